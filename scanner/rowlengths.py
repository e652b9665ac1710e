"""How long each row is to the trainer, which makes batches by it: grouped by length, packed, or of so many tokens.

    --base       the base's own tokens, template and all, as its losses were measured          (untuned.py)
    --tokenizer  that tokenizer's, in the chat template that lies beside it
    neither      our own: the trainer's batches will be somewhat other ones, and the report says so

All are cut at --max-length, where the trainer cuts.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from scanner.chat import row_tokens
from scanner.objects import Int64, Segment
from scanner.progress import Progress
from scanner.settings import Settings
from scanner.store import RunFolder
from scanner.tokenising import TokenisedRows
from scanner.untuned import Untuned, texts
from scanner.versions import TOKENIZER_CONFIG

ROWS_AT_ONCE = 512


def row_lengths(
    run: RunFolder, row_id: Int64, text: TokenisedRows, settings: Settings, base: Untuned | None, progress: Progress
) -> Int64:
    """(n,) tokens of each row."""
    length: Int64 = np.diff(text.offsets) if base is None else base.lengths(text)
    if settings.tokenizer is not None:
        length = _measured(run, row_id, length, _templated(settings.tokenizer), progress)
    return length if settings.max_length is None else np.minimum(length, settings.max_length)


def _measured(run: RunFolder, row_id: Int64, own: Int64, tokenizer: Any, progress: Progress) -> Int64:
    """(n,) tokens of each row in the template; our own count of them where it refuses the row."""
    parts = []
    with progress.stage("measure lengths", len(row_id)):
        waiting: Iterator[list[Segment]] = texts(run, row_id)
        while block := list(islice(waiting, ROWS_AT_ONCE)):
            parts.append(row_tokens(block, tokenizer))
            progress.advance(len(block))
    found = np.concatenate([np.zeros(0, np.int64), *parts])
    return np.where(found > 0, found, own)


def _templated(path: Path) -> Any:
    """The tokenizer with the template and the marks that were saved beside it; a file alone has none of them."""
    import transformers

    file, folder = (path / "tokenizer.json", path) if path.is_dir() else (path, path.parent)
    with suppress(OSError, ValueError, KeyError, ImportError, AttributeError, TypeError):  # the file alone will do
        if (folder / TOKENIZER_CONFIG).is_file():
            return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return transformers.PreTrainedTokenizerFast(tokenizer_file=str(file))
