"""The rows of a rehearsal as the predictor sees them: alone, as if they were the whole training set.

run + row ids + planted rows -> tokens -> contexts, answers, copies and near copies among these rows alone
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

from scanner import alongside, prediction
from scanner.batching import SEQUENCE_TOKENS, sequence_length
from scanner.contextual import beside_table, token_features
from scanner.errors import RunError
from scanner.kernels.contexts import ContextFeatures
from scanner.objects import Float64, Int64, Segment, UInt64
from scanner.pairing import COPIES, ends, groups_of, jaccard_of_learned, places
from scanner.planting import Planted
from scanner.prediction.dropping import goldfish
from scanner.prediction.level import Observed
from scanner.prediction.validated import Validated
from scanner.prediction.validated import observed as what_was_observed
from scanner.prediction.validity import LANGUAGE
from scanner.sampling import Copies, asked_alone, copies_of, dose_per_token, dose_unit, simulate, with_copies
from scanner.settings import Settings, TrainingPlan
from scanner.store import RunFolder
from scanner.tokenising import tokens_of_rows

LENGTHS = "lengths.parquet"
"""Of a rehearsal; those of earlier versions have none, and losses that were not shared out to our own tokens."""
SCRIPT_SHARE, SCRIPT_ROWS = 0.05, 10
"""Share and number of the measured rows from which a script counts as rehearsed."""
NEEDED = ("row_id", "stratum", "epoch", "answer", "tokens", "n_pre", "own_dose", "steps")


@dataclass(frozen=True)
class RowsAlone:
    """Some rows of a run, (n,) with row_id ascending, and what is known of them from one another."""

    row_id: Int64
    features: ContextFeatures
    length: Int64  # (n,) tokens
    answers: prediction.Answers  # (m,)
    number: Int64  # (m,) which of its row's answers it is, from 0
    copies: Int64  # (n,) equal for exact copies
    alike: Int64  # (n,) equal for rows that exact or near pairs connect
    order: UInt64  # (n,) rank of the content, equal for exact copies
    near: prediction.NearCopies
    conflicts: prediction.Conflicts


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
        return went_through(self.run, states, measured(self)["row_id"].unique(), fitted)


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


def alone(
    run: RunFolder, settings: Settings, row_id: Int64, max_length: int | None, planted: Sequence[Planted] = ()
) -> RowsAlone:
    """The rows with these ids, and those planted for them; max_length: tokens after which a row is not learned."""
    ids = run.read_table("rows", ["row_id"])["row_id"].to_numpy()
    part = places(ids, pl.Series(np.unique(row_id)))
    text = tokens_of_rows(run.segments(), tokenizer=None, max_length=max_length, threads=1)
    chosen = np.concatenate([np.arange(text.offsets[i], text.offsets[i + 1]) for i in part.tolist()])
    offsets = np.concatenate(([0], np.cumsum(text.offsets[part + 1] - text.offsets[part])))
    inside = np.flatnonzero(np.isin(text.answer_row, part))
    row = np.searchsorted(part, text.answer_row[inside])
    shift = offsets[row] - text.offsets[part][row]
    answers = prediction.Answers(row, text.answer_start[inside] + shift, text.answer_end[inside] + shift)
    pairs = run.read_table("pairs")
    mine = pl.col("row_a").is_in(ids[part]) & pl.col("row_b").is_in(ids[part])
    exact, near = pairs.filter(COPIES), pairs.filter(mine & (pl.col("signal") == "minhash"))
    members = alongside.Counted(
        row_id=ids[part],
        tokens=text.tokens[chosen],
        widths=text.widths[chosen],
        offsets=offsets,
        answers=answers,
        copies=groups_of(ids, exact).group[part],
        alike=groups_of(ids, pl.concat([exact, near])).group[part],
        order=np.asarray(run.read_array("content_rank"))[part].astype(np.uint64),
        near=prediction.NearCopies(
            *ends(ids[part], near),
            jaccard_of_learned(near),
            settings.shingle,
        ),
    )
    owners = np.unique(np.array([row.member for row in planted], np.int64))
    texts = dict(zip(owners.tolist(), segments_of(run, owners), strict=True)) if planted else {}
    rows = alongside.with_planted(members, texts, planted, replace(settings, max_length=max_length))
    return RowsAlone(
        row_id=rows.row_id,
        features=token_features(
            rows.tokens,
            rows.widths,
            rows.offsets,
            (rows.answers.row, rows.answers.start, rows.answers.end),
            rows.copies,
            True,
            1,
        ),
        length=np.diff(rows.offsets),
        answers=rows.answers,
        number=np.arange(len(rows.answers.row)) - np.searchsorted(rows.answers.row, rows.answers.row),
        copies=rows.copies,
        alike=rows.alike,
        order=rows.order,
        near=rows.near,
        conflicts=alongside.conflicts(rows),
    )


def as_trained(rows: RowsAlone, lengths: pl.DataFrame) -> RowsAlone:
    """The rows as a rehearsal trained on them: as long as its base has them, answers cut where it cuts.

    lengths: lengths.parquet, with every one of the rows.
    """
    known = pl.DataFrame({"row_id": rows.row_id}).join(lengths, on="row_id", how="left", maintain_order="left")
    kept = known.with_row_index("row").explode("answers").drop_nulls("answers")
    owner = kept["row"].to_numpy().astype(np.int64)
    room = np.zeros(len(rows.number), np.int64)  # own tokens of each answer that were learned
    first = np.searchsorted(rows.answers.row, owner)
    place = first + np.arange(len(owner)) - np.searchsorted(owner, owner)
    mine = place < np.searchsorted(rows.answers.row, owner, "right")
    room[place[mine]] = kept["answers"].to_numpy()[mine]
    end = np.minimum(rows.answers.end, rows.answers.start + room)
    learned = np.flatnonzero(end > rows.answers.start)
    answers = prediction.Answers(rows.answers.row[learned], rows.answers.start[learned], end[learned])
    length = known["tokens"].to_numpy().astype(np.int64)
    return replace(rows, length=length, answers=answers, number=rows.number[learned])


def knowing_losses(rows: RowsAlone, epochs: pl.DataFrame) -> RowsAlone:
    """The rows with what the base says of their tokens untuned; the table's word where it was not measured.

    epochs: epochs.parquet with `losses`; those of planted rows are not in it.
    """
    before = epochs.filter(pl.col("epoch") == 0).select("row_id", "answer", "losses")
    said = np.full(len(rows.features.log_probability), np.nan, np.float32)
    at = {(row, number): n for n, (row, number) in enumerate(zip(
        rows.row_id[rows.answers.row].tolist(), rows.number.tolist(), strict=True))}  # fmt: skip
    for row, number, losses in before.iter_rows():
        n = at.get((row, number))
        if n is not None:
            start, end = int(rows.answers.start[n]), int(rows.answers.end[n])
            nats = np.frombuffer(losses, np.float16)[: end - start].astype(np.float32)
            said[start : start + len(nats)] = -nats
    return replace(rows, features=beside_table(rows.features, said))


def segments_of(run: RunFolder, row_ids: Int64) -> list[list[Segment]]:
    """The segments of rows, in the order asked for."""
    frame = run.segments().rows(row_ids.tolist(), ["row_id", "turn", "role", "supervised", "text"])
    found: dict[int, list[Segment]] = {}
    for row, turn, role, supervised, text in frame.iter_rows():
        found.setdefault(row, []).append(Segment((), role, turn, supervised, text))
    return [found[row] for row in row_ids.tolist()]


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
        return [], pl.DataFrame(schema={"row_id": pl.Int64, "epoch": pl.Int32, "own_dose": pl.Float64})
    text = rehearsal.run.private / "rehearsal" / rehearsal.name / "planted.parquet"
    if not text.is_file():
        raise RunError(f"{text} is gone (purged?), so the rows planted in it are not known; rehearse again")
    return alongside.load(text), pl.read_parquet(told, glob=False)


def meeting(
    rows: RowsAlone, plan: TrainingPlan, seed: int, sequence_tokens: int = SEQUENCE_TOKENS
) -> tuple[Copies, Float64]:
    """Who is a copy of whom, and (n,) what is left of their doses where they meet in one step of the rehearsal.

    Who met was not written down: batches drawn alike say how many do.
    """
    copies = copies_of(rows.copies, rows.near.a, rows.near.b, rows.near.jaccard, rows.near.shingle)
    supervised = rows.answers.tokens(len(rows.row_id))
    drawn = simulate(
        plan, supervised, rows.length, rows.order, seed=seed, sequence_tokens=sequence_tokens, copies=copies
    )
    return copies, drawn.together


def own_doses(rehearsal: Rehearsal, rows: RowsAlone, epoch: int, written: Float64) -> Float64:
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
    drawn = simulate(
        rehearsal.plan,
        rows.answers.tokens(len(rows.row_id)),
        rows.length,
        rows.order,
        seed=rehearsal.settings.seed,
        sequence_tokens=rehearsal.sequence_tokens,
        until=epoch,
    )
    return drawn.own


def rows_of(rehearsal: Rehearsal, table: pl.DataFrame, planted: Sequence[Planted]) -> RowsAlone:
    """The rows of a rehearsal, planted ones first: as long as its base has them, with what it knew of them untuned.

    Of a rehearsal of an earlier version neither is known: there rows have our own lengths, and no losses.
    table: what was measured of the members.
    """
    folder = rehearsal.run.path / "rehearsal" / rehearsal.name
    if not (folder / LENGTHS).is_file():
        return alone(rehearsal.run, rehearsal.settings, table["row_id"].unique().to_numpy(), None, planted)
    lengths = pl.read_parquet(folder / LENGTHS, glob=False)
    members = lengths.filter(pl.col("row_id") >= 0)["row_id"].to_numpy()
    rows = as_trained(alone(rehearsal.run, rehearsal.settings, members, None, planted), lengths)
    columns = ["row_id", "epoch", "answer", "losses"]
    return knowing_losses(rows, pl.read_parquet(folder / "epochs.parquet", columns=columns, glob=False))


def observed(rehearsal: Rehearsal, first_unit: int = 0) -> Iterator[Observed]:
    """What each epoch showed; units are numbered from `first_unit`, so that rows of several rehearsals stay apart.

    An answer that the predictor cuts otherwise than the rehearsal did is left out; so is one of no token.
    """
    table = measured(rehearsal)
    if not len(table):
        return
    planted, given_to_planted = planted_rows(rehearsal)
    rows = rows_of(rehearsal, table, planted)
    index = pl.DataFrame({
        "row_id": rows.row_id[rows.answers.row], "answer": rows.number, "place": np.arange(len(rows.number)),
        "room": rows.answers.end - rows.answers.start,
    })  # fmt: skip
    index = index.with_columns(pl.col("answer").cast(pl.Int32))
    copies, together = meeting(rows, rehearsal.plan, rehearsal.settings.seed, rehearsal.sequence_tokens)
    exact = np.bincount(copies.text)[copies.text]
    for seen in table.partition_by("epoch", maintain_order=True):
        epoch = int(seen["epoch"][0])
        given = seen.unique("row_id").sort("row_id")
        own = np.zeros(len(rows.row_id))
        own[np.searchsorted(rows.row_id, given["row_id"].to_numpy())] = given["own_dose"].fill_null(0).to_numpy()
        own[: len(planted)] = given_to_planted.filter(pl.col("epoch") == epoch).sort("row_id")["own_dose"].to_numpy()
        own = own_doses(rehearsal, rows, epoch, own)
        dose = with_copies(own, copies, together)
        left = asked_alone(rehearsal.plan, own, dose)
        dose = dose * left
        answer = seen.join(index, on=["row_id", "answer"], how="inner").filter(
            (pl.col("tokens") > 0) & (pl.col("tokens") <= pl.col("room"))
        ).sort("place")  # fmt: skip
        place = answer["place"].to_numpy()
        start = rows.answers.start[place]
        answers = prediction.Answers(rows.answers.row[place], start, start + answer["tokens"].to_numpy())
        yield Observed(
            features=rows.features,
            answers=answers,
            n_pre=answer["n_pre"].to_numpy().astype(np.int64),
            dose=dose,
            set_dose=dose_per_token(
                own, np.where(own > 0, rows.answers.tokens(len(rows.row_id)), 0), rehearsal.plan.goldfish_k
            ),
            steps=int(given["steps"].to_numpy().max()),
            plan=rehearsal.plan,
            unit=rows.alike[answers.row] + first_unit,
            epoch=epoch,
            conflicts=rows.conflicts,
            goldfish=goldfish(rehearsal.plan.goldfish_k, dose, own * exact * together * left),
        )


def went_through(run: RunFolder, states: Sequence[Observed], ids: pl.Series, fitted: prediction.Weights) -> Validated:
    """Plan, base, doses, lengths and scripts of what was measured; nothing of how well it was predicted.

    states: its epochs in order. ids: of the measured rows. fitted: weights at the level found, for the doses are in
    their unit.
    """
    first, last = states[0], states[-1]
    plan = first.plan
    rows = np.unique(last.answers.row)
    dose = np.concatenate([o.dose[np.unique(o.answers.row)] for o in (first, last)]) * fitted.strength(plan)
    script = run.read_table("rows", ["row_id", "script.answer"]).filter(pl.col("row_id").is_in(ids.implode()))
    counts = script["script.answer"].cast(pl.String).value_counts().sort("script.answer")
    enough = max(SCRIPT_ROWS, SCRIPT_SHARE * len(rows))
    scripts = tuple(name for name, count in counts.iter_rows() if count >= enough)
    return what_was_observed(
        plan, (first.epoch, last.epoch), (first.steps, last.steps), dose,
        last.answers.end - last.answers.start, float(plan.model_params or math.nan), scripts,
        tuple(LANGUAGE[name] for name in scripts if name in LANGUAGE),
    )  # fmt: skip
