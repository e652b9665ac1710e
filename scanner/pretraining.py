"""The tiny base of a rehearsal: built from rows that are left out of it, pre-trained on their text, and kept.

RUN/private/rehearsal/<name>/base              the model as transformers saves it
RUN/private/rehearsal/<name>/pretraining.json  how it was made
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from scanner import chat, memory, models, rehearsal
from scanner.chat import Example
from scanner.errors import ModelError
from scanner.models import LanguageModel
from scanner.objects import Int64
from scanner.progress import Progress
from scanner.recounting import segments_of
from scanner.store import RunFolder

TINY = "tiny"
BASE = "base"
PRETRAINING = "pretraining.json"
"""What is known of a tiny base's making; beside its folder, for the seconds are no part of its fingerprint."""
FEWEST_PRETRAINING_TOKENS = 20_000


def kept(private: Path, max_length: int | None) -> tuple[LanguageModel, dict[str, Any]] | None:
    """The base that lies in a rehearsal's private folder, and how it was made; None where it was not finished."""
    if not ((private / BASE).exists() and (private / PRETRAINING).exists()):
        return None
    model = replace(models.load(private / BASE, max_length), name=TINY)
    return model, json.loads((private / PRETRAINING).read_text("utf-8"))


def untrained(
    run: RunFolder, row_ids: Int64, seed: int, tokens: int, width: int | None, layers: int | None
) -> tuple[LanguageModel, list[Example]]:
    """A tiny model with random weights, and rows, neither trained on nor held out, to pre-train it on.

    tokens: of those rows, at most. width, layers: of the model; None: as usual. ModelError where the rows hold too few
    tokens, or the model would not fit into memory.
    """
    rows = segments_of(run, row_ids)
    memory.check_measuring(TINY, models.tiny_parameters(width, layers), cure="give fewer --layers or a smaller --width")
    model = models.tiny((s.text for row in rows for s in row), seed, width=width, layers=layers)
    examples = [e for e in chat.encode_some(rows, model.tokenizer, model.context) if isinstance(e, Example)]
    total = np.cumsum([len(e.ids) for e in examples])
    if not len(total) or total[-1] < FEWEST_PRETRAINING_TOKENS:
        raise ModelError(
            f"the rows left over for pre-training hold {int(total[-1]) if len(total) else 0:,} tokens, too few for a "
            f"tiny base (at least {FEWEST_PRETRAINING_TOKENS:,}); train on fewer with --rows, or give --base a model"
        )
    return model, examples[: int(np.searchsorted(total, tokens)) + 1]


def pretrained(
    model: LanguageModel, examples: Sequence[Example], seed: int, bf16: bool, private: Path, progress: Progress
) -> dict[str, Any]:
    """Pre-train a tiny base in place, and keep it, so that it is made once; returns how it was made."""
    blocks = sum(len(e.ids) for e in examples) // model.context
    with progress.stage("pre-train a tiny base", blocks):
        facts = {"rows": len(examples), **rehearsal.pretrain(model, examples, seed, bf16, progress.advance)}
    fresh, base = private / f"{BASE}.part", private / BASE
    shutil.rmtree(fresh, ignore_errors=True)
    model.model.save_pretrained(fresh)
    model.tokenizer.save_pretrained(fresh)
    shutil.rmtree(base, ignore_errors=True)
    (private / PRETRAINING).write_text(json.dumps(facts), "utf-8")
    fresh.rename(base)
    return facts
