"""The passes of a confirmation: what the model before tuning, and the tuned one, say of some rows, block by block.

    base  -> N_pre and losses per own token of every answer    RUN/private/confirmation/<name>/rows-base-00000.parquet
    tuned -> every metric of every row                                                        rows-00000.parquet
          -> N_pre per answer, the base's losses beside it                                    rows-answers-00000.parquet

A block that lies there is not made again, so an interrupted pass ends as an uninterrupted one. All is measured in fp32:
which precision pays would depend on how busy the machine is, and with it the last digits, and here and there an N_pre.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from scanner import baseloss, chat, confirmation, models, running, training
from scanner.chat import Example
from scanner.confirmation import Row, Said, Sampler
from scanner.errors import ModelError
from scanner.models import LanguageModel
from scanner.objects import Int64
from scanner.progress import Progress
from scanner.recounting import segments_of
from scanner.settings import Settings
from scanner.store import RunFolder
from scanner.untuned import fingerprint, mark
from scanner.writing import save_table

BLOCK = 256
"""Rows that go through a model together."""
ANSWERS: dict[str, Any] = {
    "row_id": pl.Int64,
    "answer": pl.Int32,
    "tokens": pl.Int32,
    "n_pre": pl.Int32,
    "losses": pl.Binary,
}
OF_BASE: dict[str, Any] = {"row_id": pl.Int64, "answer": pl.Int32, "n_pre": pl.Int32, "own_nats": pl.List(pl.Float64)}
LENGTHS: dict[str, Any] = {"row_id": pl.Int64, "tokens": pl.Int32, "answers": pl.List(pl.Int32)}
REFUSED = "the model's chat template refuses such a row, or changes its text"


@dataclass(frozen=True)
class Texts:
    """Rows that are measured, in content order."""

    name: str  # of their parts
    run: RunFolder  # that holds their text
    row_id: Int64
    left_out: int = 0  # controls that are rows of the run
    skipped: int = 0  # controls that could not be read

    def blocks(self) -> Iterator[tuple[str, Int64]]:
        """(number, row ids) of those that go through a model together."""
        for number, begin in enumerate(range(0, len(self.row_id), BLOCK)):
            yield f"{number:05}", self.row_id[begin : begin + BLOCK]


@dataclass
class Passes:
    """The passes over members and controls; parts that lie in the private folder are not made again."""

    private: Path
    members: Texts
    controls: Texts | None
    model: Path
    sampler: Sampler
    settings: Settings

    @property
    def texts(self) -> list[Texts]:
        return [self.members, *([self.controls] if self.controls else [])]

    def measured(self, base: Path | None, progress: Progress) -> dict[str, Any]:
        """Everything that a model has to say; returns what is to be told of the models."""
        import torch

        before, limit = torch.get_num_threads(), self.settings.max_length
        torch.set_num_threads(running.thread_count(self.settings.threads))
        of_base = None
        try:
            if models.is_adapter(self.model):
                assert base is not None
                with progress.stage("load the adapter and its base"):
                    tuned = models.load_adapted(self.model, base, limit)
                self._base_pass(tuned, tuned.model.disable_adapter(), progress)
                of_base = _of_model(tuned, base.resolve().name, fingerprint(base))
            else:
                if base is not None:
                    with progress.stage("load the base"):
                        plain = models.load(base, limit)
                    self._base_pass(plain, nullcontext(), progress)
                    of_base = _of_model(plain, plain.name, fingerprint(base))
                    del plain
                with progress.stage("load the tuned model"):
                    tuned = models.load(self.model, limit, "--model")
            with progress.stage("apply the chat template"):
                self._lengths(tuned)
            self._tuned_pass(tuned, base is not None, progress)
        finally:
            torch.set_num_threads(before)
        return {"model": _of_model(tuned, tuned.name, mark(self.model)), "base": of_base,
                "adapter": models.is_adapter(self.model), "precision": f"fp32 on {tuned.device}"}  # fmt: skip

    def _base_pass(self, model: LanguageModel, state: Any, progress: Progress) -> None:
        """What the model before tuning says of every answer: N_pre and the loss of each own token."""
        with progress.stage("measure the base", sum(len(t.row_id) for t in self.texts)), state:
            for texts in self.texts:
                for number, ids in texts.blocks():
                    path = self.private / f"{texts.name}-base-{number}.parquet"
                    if not path.exists():
                        lines = []
                        for row, example, found in self._answered(model, texts, ids, None):
                            for n, answer in enumerate(example.answers):
                                n_pre = training.recited(found.hits, answer)[1]
                                lines.append((row, n, n_pre, baseloss.shared(found.loss_nats, answer).tolist()))
                        save_table(path, pl.DataFrame(lines, schema=OF_BASE, orient="row"))
                    progress.advance(len(ids))

    def _tuned_pass(self, model: LanguageModel, has_base: bool, progress: Progress) -> None:
        """Every metric of every row, block by block."""
        there = {"tuned", "distribution", *(["base"] if has_base else [])}
        with progress.stage("measure the tuned model", sum(len(t.row_id) for t in self.texts)):
            for texts in self.texts:
                for number, ids in texts.blocks():
                    path = self.private / f"{texts.name}-{number}.parquet"
                    if not path.exists():
                        lines, answers = self._block(model, texts, number, ids, there)
                        save_table(self.private / f"{texts.name}-answers-{number}.parquet",
                                   pl.DataFrame(answers, schema=ANSWERS, orient="row"))  # fmt: skip
                        schema = {"row_id": pl.Int64, **confirmation.schema(), "reason": pl.String}
                        save_table(path, pl.DataFrame(lines, schema=schema))
                    progress.advance(len(ids))

    def _block(
        self, model: LanguageModel, texts: Texts, number: str, ids: Int64, there: set[str]
    ) -> tuple[list[dict[str, Any]], list[tuple[Any, ...]]]:
        known: dict[tuple[int, int], tuple[int, np.ndarray]] = {}
        if "base" in there:
            path = self.private / f"{texts.name}-base-{number}.parquet"
            for row, n, n_pre, nats in pl.read_parquet(path, glob=False).iter_rows():
                known[row, n] = n_pre, np.array(nats, np.float64)
        lines: dict[int, dict[str, Any]] = {int(row): {"row_id": int(row), "reason": REFUSED} for row in ids}
        answers: list[tuple[Any, ...]] = []
        for row, example, found in self._answered(model, texts, ids, confirmation.look(self.sampler)):
            said = []
            for n, answer in enumerate(example.answers):
                text = model.tokenizer.decode(
                    example.ids[answer.start : answer.end], clean_up_tokenization_spaces=False
                )
                one = Said.of(found, answer, text)
                if (row, n) in known:
                    one = replace(one, base_n_pre=known[row, n][0], base_nats=known[row, n][1])
                losses = None if one.base_nats is None else baseloss.halved(one.base_nats)
                answers.append((row, n, len(one.words), one.n_pre, losses))
                said.append(one)
            lines[row] = {"row_id": row, "reason": None} | (
                confirmation.measured(Row(tuple(said)), self.sampler, there)
                if said else {"reason": f"no answer lies within the model's {model.context:,} tokens"}
            )  # fmt: skip
        return list(lines.values()), sorted(answers, key=lambda line: line[:2])

    def _answered(
        self, model: LanguageModel, texts: Texts, ids: Int64, look: training.Look | None
    ) -> Iterator[tuple[int, Example, training.Measured]]:
        """(row id, the row as the model saw it, what was measured) of those that its template takes."""
        found = chat.encode_some(segments_of(texts.run, ids), model.tokenizer, model.context)
        taken = [(int(row), e) for row, e in zip(ids, found, strict=True) if isinstance(e, Example)]
        examples = [example for _, example in taken]
        for place, measured in training.measure(model, examples, False, look):
            yield taken[place][0], examples[place], measured

    def _lengths(self, model: LanguageModel) -> None:
        """lengths.parquet: every row of the run in the model's tokens, own tokens of its answers.

        Rows that the template refuses are not in it; ModelError where they are too many.
        """
        path = self.private / "lengths.parquet"
        if path.exists():
            return
        ids = self.members.run.read_table("rows", ["row_id"])["row_id"].to_numpy()
        lines, wrong = [], ""
        for begin in range(0, len(ids), BLOCK):
            part = ids[begin : begin + BLOCK]
            encoded = chat.encode_some(segments_of(self.members.run, part), model.tokenizer, model.context)
            for row, found in zip(part.tolist(), encoded, strict=True):
                if isinstance(found, Example):
                    words = [len(a.words) for a in found.answers if len(a.words)]
                    lines.append((row, len(found.ids), words))
                else:
                    wrong = wrong or str(found)
        if len(ids) - len(lines) > baseloss.LARGEST_REFUSED * len(ids):
            raise ModelError(
                f"--model {model.name}: {len(ids) - len(lines):,} of {len(ids):,} rows cannot be measured: {wrong}"
            )
        save_table(path, pl.DataFrame(lines, schema=LENGTHS, orient="row"))

    def parts(self, texts: Texts, kind: str = "") -> pl.DataFrame:
        """The finished parts of some texts, one after the other."""
        files = [self.private / f"{texts.name}{kind}-{number}.parquet" for number, _ in texts.blocks()]
        if not files:
            return pl.DataFrame(schema={"row_id": pl.Int64, **confirmation.schema(), "reason": pl.String})
        return pl.concat([pl.read_parquet(file, glob=False) for file in files])


def _of_model(model: LanguageModel, name: str, fingerprint_: str) -> dict[str, Any]:
    return {"name": name, "parameters": model.parameters, "context": model.context, "vocabulary": model.vocabulary,
            "fingerprint": fingerprint_}  # fmt: skip
