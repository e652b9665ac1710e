"""The rows of a rehearsal as the predictor sees them: alone, as if they were the whole training set.

rehearsal/<name> -> ids of its rows, planted rows -> the rows alone (recounting.py)
+ what the rehearsal gave and measured -> Observed, one for each epoch
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import polars as pl

from scanner import alongside, prediction, recounting
from scanner.batching import PACKED, PACKED_ROWS, SEQUENCE_TOKENS, sequence_length
from scanner.errors import RunError
from scanner.objects import Float64
from scanner.planting import Planted
from scanner.prediction.dropping import goldfish
from scanner.prediction.level import Observed
from scanner.prediction.validated import SHUFFLED, Validated
from scanner.prediction.validated import observed as what_was_observed
from scanner.prediction.validity import LANGUAGE
from scanner.recounting import RowsAlone, alone, as_trained, knowing_losses, sources_of
from scanner.sampling import Copies, Exposure, asked_alone, copies_of, dose_of_set, dose_unit, simulate, with_copies
from scanner.settings import Settings, TrainingPlan
from scanner.store import RunFolder

LENGTHS = "lengths.parquet"
"""Of a rehearsal; those of earlier versions have none, and losses that were not shared out to our own tokens."""
SCRIPT_SHARE, SCRIPT_ROWS = 0.05, 10
"""Share and number of the measured rows from which a script counts as rehearsed."""
NEEDED = ("row_id", "stratum", "epoch", "answer", "tokens", "n_pre", "own_dose", "steps")


@dataclass(frozen=True)
class Rehearsal:
    """A finished rehearsal as it lies in a run folder."""

    run: RunFolder
    name: str
    facts: dict[str, Any]
    settings: Settings  # of the audit
    plan: TrainingPlan  # that was rehearsed, with the true size of the base

    @property
    def sequence_tokens(self) -> int:
        """Tokens of a packed sequence; where the base's context was not written down it counts as none too short."""
        context = int(self.facts["base"].get("context", SEQUENCE_TOKENS))
        return sequence_length(self.plan, context, self.settings.max_length)

    @property
    def packing(self) -> str | None:
        """In which order rows were packed, of PACKINGS; None where they were not."""
        return str(self.facts.get("packing", SHUFFLED)) if self.plan.batching in PACKED else None

    @property
    def base(self) -> dict[str, Any]:
        """See `tuned_base`."""
        return tuned_base(self.facts["base"], self.plan)

    @property
    def told(self) -> str:
        return f"{self.run.path.name}/{self.name}"

    @property
    def data(self) -> str:
        return str(self.facts["asked"]["identity"])

    @property
    def planted(self) -> int:
        return int((self.facts.get("planted") or {}).get("rows", 0))

    @property
    def lacking(self) -> str:
        if (self.run.path / "rehearsal" / self.name / LENGTHS).is_file():
            return ""
        return f"what the base knew untuned was not kept by {self.told} of an earlier version"

    def observed(self, first_unit: int = 0) -> Iterator[Observed]:
        return observed(self, first_unit)

    def covered(self, states: Sequence[Observed], fitted: prediction.Weights) -> Validated:
        found = went_through(self.run, states, measured(self)["row_id"].unique(), fitted)
        return replace(found, packings=(self.packing,) if self.packing else ())


def tuned_base(base: dict[str, Any], plan: TrainingPlan) -> dict[str, Any]:
    """A base and what was done to it, as a calibration names them."""
    return {
        "name": str(base["name"]),
        "parameters": float(base["parameters"]),
        "method": plan.method,
        "lora_rank": plan.lora_rank if plan.method == "lora" else 0,
        "token_unit": "own",
        "fingerprint": str(base.get("fingerprint", "")),  # not known of earlier versions
    }


def rehearsals(run: RunFolder) -> list[Rehearsal]:
    """The finished rehearsals of a run, by name."""
    scan = run.read_json("scan.json")
    settings = Settings.from_dict(scan["settings"])
    known = sorted(p.parent.name for p in run.path.glob("rehearsal/*/rehearsal.json"))
    return [_opened(run, name, settings) for name in known]


def _opened(run: RunFolder, name: str, settings: Settings) -> Rehearsal:
    facts = json.loads((run.path / "rehearsal" / name / "rehearsal.json").read_text("utf-8"))
    plan = {k: v for k, v in facts["plan"].items() if k in {f.name for f in fields(TrainingPlan)}}
    plan["source_weight"] = tuple((str(n), float(w)) for n, w in plan.get("source_weight") or ())
    plan["model_params"] = float(facts["base"]["parameters"])
    return Rehearsal(run, name, facts, settings, TrainingPlan(**plan))


def measured(rehearsal: Rehearsal) -> pl.DataFrame:
    """epochs.parquet without the epoch before training; RunError for one of an earlier version."""
    path = rehearsal.run.path / "rehearsal" / rehearsal.name / "epochs.parquet"
    if not path.is_file():
        raise RunError(f"{path} is gone; rehearse again under another --name")
    with path.open("rb") as file:  # not by its name, which polars takes for a pattern where it holds brackets
        lacking = sorted(set(NEEDED) - set(pl.read_parquet_schema(file)))
    if lacking:
        raise RunError(
            f"{path} lacks {', '.join(lacking)}: it was written by an earlier version; rehearse again under another "
            "--name"
        )
    table = pl.read_parquet(path, columns=list(NEEDED), glob=False)
    return table.filter((pl.col("epoch") > 0) & (pl.col("stratum") == "member")).sort("epoch", "row_id", "answer")


def planted_rows(rehearsal: Rehearsal) -> tuple[list[Planted], pl.DataFrame]:
    """Rows planted in a rehearsal, and their own doses (row_id, epoch, own_dose); RunError when their text is gone."""
    told = rehearsal.run.path / "rehearsal" / rehearsal.name / "planted.parquet"
    if not told.is_file():
        return [], pl.DataFrame(schema={"row_id": pl.Int64, "epoch": pl.Float64, "own_dose": pl.Float64})
    text = rehearsal.run.private / "rehearsal" / rehearsal.name / "planted.parquet"
    if not text.is_file():
        raise RunError(f"{text} is gone (purged?), so the rows planted in it are not known; rehearse again")
    return alongside.load(text), pl.read_parquet(told, glob=False)


def meeting(rehearsal: Rehearsal, rows: RowsAlone) -> tuple[Copies, Float64]:
    """Who is a copy of whom, and (n,) what is left of their doses where they meet in one step of the rehearsal.

    Who met was not written down: batches drawn alike say how many do.
    """
    copies = copies_of(rows.copies, rows.near.a, rows.near.b, rows.near.jaccard, rows.near.shingle)
    return copies, drawn_alike(rehearsal, rows, copies=copies).together


def drawn_alike(
    rehearsal: Rehearsal, rows: RowsAlone, copies: Copies | None = None, until: float | None = None
) -> Exposure:
    """What batches give to the rows that are drawn as an audit's are; of rows packed as they stood the very batches."""
    order, seed = rows.order, rehearsal.settings.seed
    stood = rehearsal.packing not in (None, SHUFFLED)
    if stood:
        seed = int(rehearsal.facts["seed"])
        made_of = np.array([row.member for row in planted_rows(rehearsal)[0]], np.int64)
        source = sources_of(rehearsal.run, np.concatenate((made_of, rows.row_id[len(made_of) :])))
        order = np.argsort(alongside.standing(rows.row_id, source, seed)).astype(np.uint64)
    return simulate(
        rehearsal.plan,
        rows.answers.tokens(len(rows.row_id)),
        rows.length,
        order,
        seed=seed,
        sequence_tokens=rehearsal.sequence_tokens,
        copies=copies,
        until=until,
        standing=stood,
        packed_rows=int(rehearsal.facts.get("packed_rows", PACKED_ROWS)),
    )


def own_doses(rehearsal: Rehearsal, rows: RowsAlone, epoch: float, written: Float64) -> Float64:
    """(n,) dose of each row's own visits until the end of an epoch, in the unit of `scanner.sampling`.

    Those that the rehearsal wrote down, where its unit is this one; else of batches drawn alike, as an audit's are.
    """
    if rehearsal.facts.get("dose_unit") == dose_unit():
        return written
    if rehearsal.plan.source_weight:
        raise RunError(
            f"{rehearsal.run.path}: the rehearsal {rehearsal.name} was written by another version, which counts "
            "otherwise what a row is given, and it weighs sources, so that cannot be counted again; rehearse again "
            "under another --name"
        )
    return drawn_alike(rehearsal, rows, until=epoch).own


def rows_of(rehearsal: Rehearsal, table: pl.DataFrame, planted: Sequence[Planted]) -> RowsAlone:
    """The rows of a rehearsal, planted ones first: as long as its base has them, with what it knew of them untuned.

    Of a rehearsal of an earlier version neither is known: there rows have our own lengths, and no losses.
    table: what was measured of the members.
    """
    folder = rehearsal.run.path / "rehearsal" / rehearsal.name
    if not (folder / LENGTHS).is_file():
        return alone(rehearsal.run, rehearsal.settings, table["row_id"].unique().to_numpy(), planted)
    lengths = pl.read_parquet(folder / LENGTHS, glob=False)
    members = lengths.filter(pl.col("row_id") >= 0)["row_id"].to_numpy()
    rows = as_trained(alone(rehearsal.run, rehearsal.settings, members, planted), lengths)
    columns = ["row_id", "epoch", "answer", "losses"]
    return knowing_losses(rows, pl.read_parquet(folder / "epochs.parquet", columns=columns, glob=False))


def observed(rehearsal: Rehearsal, first_unit: int = 0) -> Iterator[Observed]:
    """What each epoch showed; units are numbered from `first_unit`, so that rows of several rehearsals stay apart."""
    table = measured(rehearsal)
    if not len(table):
        return
    planted, given_to_planted = planted_rows(rehearsal)
    rows = rows_of(rehearsal, table, planted)
    copies, together = meeting(rehearsal, rows)
    exact = copies.number
    for seen in table.partition_by("epoch", maintain_order=True):
        # earlier versions called the end of a plan of 1.5 epochs epoch 2
        epoch = min(float(seen["epoch"][0]), rehearsal.plan.epochs)
        given = seen.unique("row_id").sort("row_id")
        own = np.zeros(len(rows.row_id))
        own[np.searchsorted(rows.row_id, given["row_id"].to_numpy())] = given["own_dose"].fill_null(0).to_numpy()
        of_planted = given_to_planted.filter(pl.col("epoch") == seen["epoch"][0]).sort("row_id")
        own[: len(planted)] = of_planted["own_dose"].to_numpy()
        own = own_doses(rehearsal, rows, epoch, own)
        dose = with_copies(own, copies, together)
        left = asked_alone(rehearsal.plan, own, dose)
        dose = dose * left
        taught = np.where(own > 0, rows.answers.tokens(len(rows.row_id)), 0)
        yield recounting.observed(
            rows, seen, rehearsal.plan, epoch, int(given["steps"].to_numpy().max()), dose,
            dose_of_set(own, taught, exact, rehearsal.plan.goldfish_k),
            goldfish(rehearsal.plan.goldfish_k, dose, own * exact * together * left), first_unit,
        )  # fmt: skip


def went_through(run: RunFolder, states: Sequence[Observed], ids: pl.Series, fitted: prediction.Weights) -> Validated:
    """Plan, base, doses, lengths and scripts of what was measured; nothing of how well it was predicted.

    states: its epochs in order. ids: of the measured rows. fitted: weights at the level found, for the doses are in
    their unit.
    """
    first, last = states[0], states[-1]
    plan = first.plan
    rows = np.unique(last.answers.row)
    dose = np.concatenate([o.dose[np.unique(o.answers.row)] * fitted.worth(plan, o.regime) for o in (first, last)])
    script = run.read_table("rows", ["row_id", "script.answer"]).filter(pl.col("row_id").is_in(ids.implode()))
    counts = script["script.answer"].cast(pl.String).value_counts().sort("script.answer")
    enough = max(SCRIPT_ROWS, SCRIPT_SHARE * len(rows))
    scripts = tuple(name for name, count in counts.iter_rows() if count >= enough)
    return what_was_observed(
        plan, (first.epoch, last.epoch), (first.steps, last.steps), dose,
        last.answers.end - last.answers.start, last.mean_answer, last.step_tokens,
        float(plan.model_params or math.nan), scripts,
        tuple(LANGUAGE[name] for name in scripts if name in LANGUAGE),
    )  # fmt: skip
