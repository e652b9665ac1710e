"""Some rows of a run counted anew, each from the others: as a fine-tune on them alone had them.

the run's stored text, ids of rows -> tokens, contexts, answers, copies -> cut and known as the base has them
+ what a pass measured of their answers -> Observed
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import polars as pl

from scanner import alongside, prediction
from scanner.contextual import beside_table, token_features
from scanner.kernels.contexts import ContextFeatures
from scanner.objects import Float64, Int64, Segment, UInt64
from scanner.pairing import COPIES, ends, groups_of, jaccard_of_learned, places
from scanner.planting import Planted
from scanner.prediction.dropping import Goldfish
from scanner.prediction.level import Observed, share_recited
from scanner.ranges import laid_out
from scanner.settings import Settings, TrainingPlan
from scanner.store import RunFolder
from scanner.tokenising import tokens_of_rows


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


def alone(run: RunFolder, settings: Settings, row_id: Int64, planted: Sequence[Planted] = ()) -> RowsAlone:
    """The rows with these ids, and those planted for them, in full length: `as_trained` cuts them."""
    ids = run.read_table("rows", ["row_id"])["row_id"].to_numpy()
    part = places(ids, pl.Series(np.unique(row_id)))
    text = tokens_of_rows(run.segments(), tokenizer=None, max_length=None, threads=1)
    chosen = laid_out(text.offsets[part], text.offsets[part + 1])
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
    rows = alongside.with_planted(members, texts, planted, replace(settings, max_length=None))
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


def sources_of(run: RunFolder, row_id: Int64) -> npt.NDArray[np.object_]:
    """(n,) name of each row's source."""
    table = run.read_table("rows", ["row_id", "source"])
    return table["source"].cast(pl.String).gather(places(table["row_id"].to_numpy(), pl.Series(row_id))).to_numpy()


def segments_of(run: RunFolder, row_ids: Int64) -> list[list[Segment]]:
    """The segments of rows, in the order asked for."""
    frame = run.segments().rows(row_ids.tolist(), ["row_id", "turn", "role", "supervised", "text"])
    found: dict[int, list[Segment]] = {}
    for row, turn, role, supervised, text in frame.iter_rows():
        found.setdefault(row, []).append(Segment((), role, turn, supervised, text))
    return [found[row] for row in row_ids.tolist()]


def observed(
    rows: RowsAlone,
    measured: pl.DataFrame,
    plan: TrainingPlan,
    epoch: float,
    steps: int,
    dose: Float64,
    set_dose: float,
    goldfish: Goldfish | None,
    first_unit: int,
) -> Observed:
    """What was measured of the rows' answers in one state of a fine-tune; units are numbered from `first_unit`.

    measured: row_id, answer, tokens, n_pre of each answer, and its weight where they were drawn with weights. An answer
    that the predictor cuts otherwise than the pass did is left out; so is one of no token. The rest: see `Observed`.
    """
    index = pl.DataFrame({
        "row_id": rows.row_id[rows.answers.row], "answer": pl.Series(rows.number, dtype=pl.Int32),
        "place": np.arange(len(rows.number)), "room": rows.answers.end - rows.answers.start,
    })  # fmt: skip
    seen = measured.join(index, on=["row_id", "answer"], how="inner").filter(
        (pl.col("tokens") > 0) & (pl.col("tokens") <= pl.col("room"))
    ).sort("place")  # fmt: skip
    place = seen["place"].to_numpy()
    start = rows.answers.start[place]
    answers = prediction.Answers(rows.answers.row[place], start, start + seen["tokens"].to_numpy())
    n_pre = seen["n_pre"].to_numpy().astype(np.int64)
    weight = seen["weight"].to_numpy() if "weight" in seen.columns else None
    trained = np.zeros(len(rows.row_id))
    if weight is None:  # beside itself each row stands for the copies of it that were planted, and not measured
        there = np.unique(answers.row)
        groups = int(rows.alike.max(initial=0)) + 1
        every, shown = (np.bincount(alike, minlength=groups) for alike in (rows.alike, rows.alike[there]))
        trained[there] = (every / np.maximum(shown, 1))[rows.alike[there]]
    else:
        trained[answers.row] = weight
    return Observed(
        features=rows.features,
        answers=answers,
        n_pre=n_pre,
        dose=dose,
        set_dose=set_dose,
        steps=steps,
        plan=plan,
        unit=rows.alike[answers.row] + first_unit,
        epoch=epoch,
        known=share_recited(answers, n_pre, trained),
        conflicts=rows.conflicts,
        goldfish=goldfish,
        weight=weight,
        mean_answer=rows.answers.mean_tokens(len(rows.row_id)),
        step_tokens=rows.answers.tokens(len(rows.row_id)).sum() * epoch / steps if steps else math.nan,
        trained=trained,
    )
