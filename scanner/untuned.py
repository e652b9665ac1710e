"""--base in an audit: what the untuned model already knows of every answer, measured once and kept with the run.

    folder -> its fingerprint (part of what makes two runs the same) and size -> model_params of a plan that names none
    rows   -> the model's losses in our own tokens (baseloss.py) -> private/base.npz -> beside the background table

The losses are derived from the text, so they lie under private/. They are kept in half precision, and used as they are
kept: predicting again gives the very same tables. Measured once more, with other threads or on another machine, a loss
may differ in its last digit; in bf16 instead of fp32, which the facts tell, by .02 nats at most for 95 % of the tokens.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from scanner import baseloss, memory, models
from scanner.contextual import beside_table
from scanner.errors import ModelError
from scanner.figures import amount
from scanner.kernels.contexts import ContextFeatures
from scanner.objects import Bool, Float32, Int64, Rows, Segment
from scanner.progress import Progress
from scanner.recounting import segments_of
from scanner.settings import Settings
from scanner.store import RunFolder
from scanner.tokenising import TokenisedRows
from scanner.writing import atomic

STORED = "base.npz"
"""Under private/: losses of the answers' tokens and what they were measured with."""
READ_WHOLE, SAMPLES, SAMPLE_BYTES = 16 << 20, 64, 64 << 10
"""Files up to the first size are hashed whole; of larger ones so many parts of so many bytes, evenly spread."""
ROWS_AT_ONCE = 2048  # whose text is held


@dataclass(frozen=True)
class Untuned:
    """What the base said before any tuning."""

    loss_nats: np.ndarray  # (a,) float16, tokens of the answers one after the other; NaN where not measured
    row_tokens: np.ndarray  # (n,) int32, tokens of each row, as this base is trained on it; 0 where not known
    facts: dict[str, Any]  # as in notes.prediction.base of scan.json
    reach: np.ndarray  # (m,) int32, tokens of each answer within the base's context, in the order of the rows' answers

    def save(self, run: RunFolder) -> None:
        """Keep it in the run."""
        with atomic(run.private / STORED) as temporary, temporary.open("wb") as file:
            facts = np.array(json.dumps(self.facts))
            np.savez(file, loss_nats=self.loss_nats, row_tokens=self.row_tokens, reach=self.reach, facts=facts)

    @classmethod
    def load(cls, run: RunFolder) -> Untuned | None:
        """The inverse of `save`; None for a run without."""
        if not (run.private / STORED).exists():
            return None
        with np.load(run.private / STORED) as stored:
            if not {"row_tokens", "reach"} <= {*stored.files}:  # measured by an earlier version
                return None
            return cls(stored["loss_nats"], stored["row_tokens"], json.loads(str(stored["facts"])), stored["reach"])

    def beside_table(self, features: ContextFeatures, text: TokenisedRows) -> ContextFeatures:
        """Features with the base's own probabilities; the table's stand in where none was measured."""
        said: Float32 = np.full(len(text.tokens), np.nan, np.float32)
        said[in_answers(text)] = -self.loss_nats.astype(np.float32)
        return beside_table(features, said)

    def within(self, text: TokenisedRows) -> TokenisedRows:
        """The same rows with answers cut where the base's context ends: what lies beyond no trainer can show it."""
        end = np.minimum(text.answer_end, text.answer_start + self.reach)
        kept = end > text.answer_start
        return replace(
            text, answer_row=text.answer_row[kept], answer_start=text.answer_start[kept], answer_end=end[kept]
        )

    def lengths(self, text: TokenisedRows) -> Int64:
        """(n,) tokens of each row by which a trainer makes its batches; our own where the base refused the row."""
        own: Int64 = np.diff(text.offsets)
        return np.where(self.row_tokens > 0, self.row_tokens, own).astype(np.int64)


def in_answers(text: TokenisedRows) -> Bool:
    """(T,) the token lies in an answer."""
    change: Int64 = np.zeros(len(text.tokens) + 1, np.int64)
    np.add.at(change, text.answer_start, 1)
    np.add.at(change, text.answer_end, -1)
    return np.asarray(np.cumsum(change)[:-1] > 0)


def sized(settings: Settings, progress: Progress) -> Settings:
    """Settings whose plan has the size of the base, where it names none.

    Raises ModelError where the folder holds no causal model, or none that fits into memory.
    """
    assert settings.base is not None
    count = models.parameters_of(settings.base)
    memory.check_measuring(settings.base.resolve().name, count)
    if settings.plan.model_params is None:
        progress.say(f"--model-params is not given: those of --base are taken ({amount(count)})")
    return settings.sized(count)


def measured(
    run: RunFolder, rows: Rows, text: TokenisedRows, settings: Settings, threads: int, progress: Progress
) -> Untuned | None:
    """The losses that the run holds already, or else measured; None without --base."""
    if settings.base is None:
        return None
    mark, tokens = fingerprint(settings.base), int(in_answers(text).sum())
    known = Untuned.load(run)  # of an interrupted audit
    if known is not None and known.facts["fingerprint"] == mark and len(known.loss_nats) == tokens:
        progress.say("the losses of the base were measured before the interruption")
        return known
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with progress.stage("load the base"):
            model = models.load(settings.base, settings.max_length)
        with progress.stage("measure the base", len(rows)), memory.kept():
            found = baseloss.base_losses(model, texts(run, rows.row_id), text, None, progress.advance)
    except RuntimeError as error:
        if "memory" not in str(error):
            raise
        raise ModelError(
            f"--base {settings.base}: out of memory while it was measured; take a smaller base, rows cut with "
            "--max-length, or leave --base out"
        ) from error
    finally:
        torch.set_num_threads(before)
    facts = {
        "name": model.name,
        "fingerprint": mark,
        "parameters": model.parameters,
        "context_tokens": model.context,
        "answer_tokens": tokens,
        "tokens_measured": found.measured,
        "rows_beyond_context": found.rows_beyond_context,
        "rows_not_aligned": found.rows_not_aligned,
        "rows_refused": found.rows_refused,
        "loss_per_token_nats": float(np.nanmean(found.loss_nats)) if found.measured else None,
        "precision": f"{'bf16' if found.bf16 else 'fp32'} on {model.device}",
    }
    kept = Untuned(
        found.loss_nats[in_answers(text)].astype(np.float16), found.row_tokens.astype(np.int32), facts,
        found.reach.astype(np.int32),
    )  # fmt: skip
    kept.save(run)
    if settings.max_length is None:
        cut = "1 row" if found.rows_beyond_context == 1 else f"{found.rows_beyond_context:,} rows"
        progress.say(
            f"--max-length is not given: rows are taken as cut at the context of --base ({model.context:,} tokens; "
            f"answers that go on behind it: {cut})"
        )
    return kept


def texts(run: RunFolder, row_id: Int64) -> Iterator[list[Segment]]:
    """The segments of each row, a few of them held at a time."""
    for begin in range(0, len(row_id), ROWS_AT_ONCE):
        yield from segments_of(run, row_id[begin : begin + ROWS_AT_ONCE])


def fingerprint(folder: Path) -> str:
    """Sixteen hex digits of a model folder's content, wherever it lies; of large files samples are read."""
    models.check_folder(folder)
    return mark(folder)


def mark(folder: Path) -> str:
    """The same of a folder that may hold an adapter too."""
    stats = ((path.name, path.stat()) for path in sorted(p for p in folder.iterdir() if p.is_file()))
    return _mark(folder.resolve(), tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in stats))


@cache
def _mark(folder: Path, files: tuple[tuple[str, int, int], ...]) -> str:
    """Read once for all who ask in a run; files: name, bytes and time of the last change (ns)."""
    state = hashlib.sha256()
    for name, size, _ in files:
        state.update(f"{name}\0{size}\0".encode())
        with (folder / name).open("rb") as file:
            if size <= READ_WHOLE:
                state.update(file.read())
                continue
            for place in np.linspace(0, size - SAMPLE_BYTES, SAMPLES).astype(np.int64).tolist():
                file.seek(place)
                state.update(file.read(SAMPLE_BYTES))
    return state.hexdigest()[:16]
