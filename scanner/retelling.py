"""What a rehearsal measured, told: one line per row, figures per epoch, what planting showed, lines for the screen."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from scanner.batching import PACKED
from scanner.figures import listed, plural
from scanner.planting import CONFLICTS, COPIES, REPLACED, Treated
from scanner.prediction import EXTRACTED
from scanner.prediction.trainings import plan_in_words
from scanner.prediction.validated import SOURCE_BY_SOURCE, STANDING_MIXED
from scanner.settings import Settings

FEW_ROWS = 15
"""Rows with N_pre >= 16 from which a level can be fitted on them with some confidence (scanner.prediction.level)."""
FEW_STEPS = 30
"""Optimizer steps below which a rehearsal says what keeps them few: one epoch of the trainings that the weights were
fitted on took 36 and more."""
SPEECHLESS = 0.75
"""Of the loss of guessing: a base that starts above it has learned little more than which tokens are frequent."""
HEADINGS = {
    COPIES: ("copies", "rows of one text in all"),
    REPLACED: ("R", "tokens of 100 replaced in three near copies"),
    CONFLICTS: ("other answers", "rows with the same prompt and another answer"),
}


PACKED_SO = {
    SOURCE_BY_SOURCE: [
        "Rows were packed as they stand, source by source, and are predicted as shuffled ones. A level fitted on them "
        "is one for rows packed so."
    ],
    STANDING_MIXED: ["Rows were packed as they stand, which makes steps of as mixed sources as shuffled rows do."],
}


@dataclass(frozen=True)
class Rehearsed:
    """What `scan rehearse` measured."""

    folder: Path
    facts: dict[str, Any]

    def in_words(self) -> str:
        """Lines for the screen."""
        f = self.facts
        planted = f.get("planted") or {}
        beside = f" and {planted['rows']:,} planted beside them" if planted else ""
        lines = [
            f"{f['base']['name']} ({size(f['base']['parameters'])}): {plural(f['trained'], 'row')} trained on{beside}, "
            f"{f['controls']:,} held out; {plan_in_words(Settings.from_dict({'plan': f['plan']}).plan)}, "
            f"{plural(f['steps'], 'step')}; {duration(f['seconds'])} in all, {f['tokens_per_second']:,.0f} tokens/s in "
            f"training ({f['precision']})",
            "",
            "         tokens recited on average    rows that recite 16 or more",
            "epoch    trained on    held out       trained on        held out       loss on held out, nats/token",
        ]
        for e in f["epochs"]:
            m, c = e["member"], e["control"]
            loss = "-" if c["loss_per_token_nats"] is None else f"{c['loss_per_token_nats']:.2f}"
            lines.append(
                f"{e['epoch']:>5g}    {m['mean_n_pre']:>10.2f}    {c['mean_n_pre']:>8.2f}    "
                f"{_of(m['extracted'], m['rows']):>13}    {_of(c['extracted'], c['rows']):>12}       {loss:>8}"
            )
        lines += ["", *_planted_lines(planted), *self._left_out(), *self._meaning(), *self._beside()]
        lines += ["", f"{self.folder}"]
        return "\n".join(lines)

    def _left_out(self) -> list[str]:
        """Which epochs the table has, where it has not every one."""
        measured = [e["epoch"] for e in self.facts["epochs"]]
        if measured == [*range(math.ceil(measured[-1])), measured[-1]]:
            return []
        return [
            f"Measured before training and after epochs {listed([f'{epoch:g}' for epoch in measured if epoch])}: not "
            "after every one, for each time all these rows go through the model once more."
        ]

    def _meaning(self) -> list[str]:
        """What the table says."""
        before, after = self.facts["epochs"][0], self.facts["epochs"][-1]
        m, c = after["member"], after["control"]
        learned = m["extracted"] - before["member"]["extracted"]
        said = (
            f"Recited = tokens of the answer that greedy decoding gives back before its first miss (N_pre), in the "
            f"scan's own tokens. After epoch {after['epoch']:g}, {m['extracted']:,} of {plural(m['rows'], 'row')} "
            f"{'gives' if m['extracted'] == 1 else 'give'} back {EXTRACTED} or more, "
            f"{before['member']['extracted']:,} did before training"
        )
        do = "does" if c["extracted"] == 1 else "do"
        held = f"{c['extracted']:,} {do}, which no training on them explains" if c["extracted"] else "none does"
        told = [f"{said}; of the held-out rows {held}."]
        if learned <= 0:
            told = [f"{said}: at this size of base and these epochs nothing is memorized."]
        loss, chance = before["control"]["loss_per_token_nats"], math.log(self.facts["base"]["vocabulary"])
        if loss is not None and loss > SPEECHLESS * chance:
            told.append(
                f"The base hardly knows the language: it starts at {loss:.2f} nats per token, {chance:.2f} would be "
                "guessing. A tiny base wants more --pretrain-tokens, or more data left over (fewer --rows)."
            )
        told += PACKED_SO.get(self.facts.get("packing") or "", [])
        told += few_steps(self.facts["steps"], self.facts["plan"], self.facts.get("sequence_tokens"))
        refused, adapted = self.facts["left_out"]["rows"], self.facts["rows_adapted"]
        if refused:
            told.append(f"{plural(refused, 'row was', 'rows were')} left out: {self.facts['left_out']['why']}.")
        if adapted:
            told.append(
                f"{plural(adapted, 'row')} had turns put together (system into user, neighbours of one role), because "
                "the base's chat template takes them no other way."
            )
        cut, without = self.facts["rows_cut_by_context"], self.facts["rows_without_answer"]
        if cut or without:
            told.append(
                f"Rows are cut at {self.facts['base']['context']:,} tokens, the most this base takes: "
                f"{plural(cut, 'answer')} {'is' if cut == 1 else 'are'} cut short, and of {plural(without, 'row')} no "
                "answer is left to learn or to measure."
            )
        return told

    def _beside(self) -> list[str]:
        """Prediction beside measurement, and what to do next."""
        p = self.facts["prediction"]
        told = "not defined, for rows of one kind only" if p["auroc"] is None else f"{p['auroc']:.3f}"
        level = "calibrated" if p["calibrated"] else "not calibrated"
        known = "the data and what the base knew untuned" if p.get("with_base") else "the data alone"
        lines = [
            f"Predicted from {known} ({level}): {p['expected_rows']:.1f} rows with {EXTRACTED} or more, "
            f"measured {p['measured_rows']:,}; order of the rows: AUROC {told} ({p['rows']:,} rows)."
        ]
        if outside := p.get("outside"):
            lines.append(f"Outside what was validated, so that this number was a guess: {'; '.join(outside)}.")
        if p["measured_rows"] < FEW_ROWS:
            return [
                *lines,
                f"Fewer than {FEW_ROWS} recited rows to fit a level on: rehearse with more --epochs or --rows.",
            ]
        run, name = (shlex.quote(str(one)) for one in (self.folder.parent.parent, self.folder.name))
        return [
            *lines,
            f"Fit the level of this base on them: scan calibrate {run} --name {name} -o calibration.toml; "
            "audits take the file with --calibration.",
        ]


def few_steps(steps: int, plan: dict[str, Any], sequence_tokens: int | None) -> list[str]:
    """Why a rehearsal takes so few optimizer steps; nothing where it takes enough.

    sequence_tokens: of a packed sequence; None where rows are not packed, or it was not written down.
    """
    if steps >= FEW_STEPS:
        return []
    size_of_step, holds = "--batch-size", plural(plan["batch_size"], "row")
    if plan["batching"] in PACKED:
        holds = plural(plan["batch_size"], "packed sequence")
        holds += "" if sequence_tokens is None else f" of {sequence_tokens:,} tokens"
    if plan["batch_tokens"]:
        size_of_step, holds = "--batch-tokens", f"{plan['batch_tokens']:,} tokens"
    return [
        f"{plural(steps, 'optimizer step')} in all {'is' if steps == 1 else 'are'} few: a step takes {holds}. A "
        f"smaller {size_of_step}, or more --rows, makes more."
    ]


def _of(some: int, rows: int) -> str:
    return f"{some:,} of {rows:,}"


def _planted_lines(planted: dict[str, Any]) -> list[str]:
    lines = []
    for kind, (name, meaning) in HEADINGS.items():
        levels = [level for level in planted.get("levels", []) if level["kind"] == kind and level["length"] == "all"]
        if levels:
            lines.append(f"{name:>13}   rows   recited on average   recite 16 or more   predicted   ({meaning})")
        for level in levels:
            expected = "-" if level["predicted_share"] is None else f"{level['predicted_share']:.0%}"
            lines.append(
                f"{level['level']:>13}   {level['members']:>4}   {level['mean_n_pre']:>18.2f}   "
                f"{level['extracted_share']:>17.0%}   {expected:>9}"
            )
    return [*lines, ""] if lines else []


def duration(seconds: float) -> str:
    """A time in words: "a few seconds", "40 seconds", "6 minutes", "2.5 hours"."""
    if seconds < 5:
        return "a few seconds"
    for unit, length in (("hours", 3600), ("minutes", 60)):
        if seconds >= 1.5 * length:
            count = seconds / length
            return f"{count:.1f} {unit}" if count < 3 and unit == "hours" else f"{count:.0f} {unit}"
    return f"{seconds:.0f} seconds"


def size(parameters: float) -> str:
    """Parameters in words: "7.0 B parameters", "4.2 M parameters", "24 thousand parameters"."""
    for unit, count in (("B", 1e9), ("M", 1e6)):
        if parameters >= count:
            return f"{parameters / count:.1f} {unit} parameters"
    return f"{parameters / 1e3:.0f} thousand parameters"


def per_row(answers: pl.DataFrame) -> pl.DataFrame:
    """One line per row: N_pre of the answer where it is largest, the whole of the longest one."""
    return (
        answers.sort("row_id", "answer")
        .group_by("row_id", maintain_order=True)
        .agg(
            pl.col("stratum").first(),
            pl.col("n_pre").max(),
            pl.col("tokens").max(),
            pl.col("whole").get(pl.col("tokens").arg_max()),
            pl.col("loss_per_token_nats").mean(),
            pl.col("^planted.*$").first(),
        )
    )


def of_epoch(epochs: pl.DataFrame, epoch: float) -> dict[str, Any]:
    """The figures of one epoch, members and controls."""
    rows = per_row(epochs.filter(pl.col("epoch") == epoch))
    told: dict[str, Any] = {"epoch": epoch}
    for stratum in ("member", "control"):
        part = rows.filter(pl.col("stratum") == stratum)
        told[stratum] = {
            "rows": len(part),
            "mean_n_pre": part["n_pre"].mean() or 0.0,
            "largest_n_pre": part["n_pre"].max() or 0,
            "extracted": int((part["n_pre"] >= EXTRACTED).sum()),
            "whole": int(part["whole"].sum()),
            "loss_per_token_nats": part["loss_per_token_nats"].mean(),
        }
    return told


PLANTED_COLUMNS = {
    "planted": pl.String,  # kind of treatment; null: nothing was planted for the row
    "planted_copies": pl.Int32,  # further rows of this very text
    "planted_near": pl.Int32,  # near copies
    "planted_replaced": pl.Int32,  # R: tokens of 100 replaced in them
    "planted_conflicts": pl.Int32,  # rows with the same prompt and another answer
    "planted_length": pl.String,  # the answer is "short" or "long"
}


def planted_columns(treated: Sequence[Treated], rows: Sequence[int], made: dict[int, int]) -> pl.DataFrame:
    """What was planted for each row trained on, by row id; made: rows planted, by place among `rows`."""
    lines = []
    for one in treated:
        count = made.get(one.member, 0)
        copies = one.kind == COPIES or (one.kind == REPLACED and one.level == 0)
        lines.append((
            rows[one.member], one.kind, count if copies else 0, count if one.kind == REPLACED and not copies else 0,
            one.level if one.kind == REPLACED else None, count if one.kind == CONFLICTS else 0, one.length,
        ))  # fmt: skip
    frame = pl.DataFrame(lines, schema={"row_id": pl.Int64, **PLANTED_COLUMNS}, orient="row")
    untouched = pl.DataFrame({"row_id": [row for row in rows if row not in set(frame["row_id"].to_list())]}).cast(
        {"row_id": pl.Int64}
    )
    counts = ("planted_copies", "planted_near", "planted_conflicts")
    return pl.concat([frame, untouched], how="diagonal").with_columns(pl.col(counts).fill_null(0))


def planted_table(rows: pl.DataFrame, planted_rows: int) -> dict[str, Any]:
    """Mean N_pre and share with N_pre >= 16 by treatment, level and length, beside the share predicted.

    rows: rows.parquet with the column `predicted`.
    """
    chosen = rows.filter(pl.col("planted").is_not_null()).with_columns(
        level=pl.when(pl.col("planted") == COPIES)
        .then(pl.col("planted_copies") + 1)
        .when(pl.col("planted") == REPLACED)
        .then(pl.col("planted_replaced"))
        .otherwise(pl.col("planted_conflicts"))
    )
    levels = []
    for length in ("all", "short", "long"):
        part = chosen if length == "all" else chosen.filter(pl.col("planted_length") == length)
        found = part.group_by("planted", "level").agg(
            pl.len().alias("members"),
            pl.col("n_pre").mean().alias("mean_n_pre"),
            (pl.col("n_pre") >= EXTRACTED).mean().alias("extracted_share"),
            pl.col("predicted").drop_nans().mean().alias("predicted_share"),
        )
        levels += [
            {"kind": row.pop("planted"), "length": length, **row}
            for row in found.sort("planted", "level").iter_rows(named=True)
        ]
    return {"members": len(chosen), "rows": planted_rows, "levels": levels}
