"""The rows of a rehearsal: drawn, put through the base's chat template, and those planted beside them.

run -> split into trained, held out, rest (whole groups of duplicates) -> examples -> planted rows
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from scanner import alongside, chat, planting, rehearsal
from scanner.batching import PACKED
from scanner.chat import Example
from scanner.effects import order_facts
from scanner.errors import ModelError
from scanner.figures import plural
from scanner.kernels.grouping import sizes_of_groups
from scanner.models import LanguageModel
from scanner.objects import Int64
from scanner.pairing import COPIES, groups_of
from scanner.planting import Planted
from scanner.prediction.validated import SHUFFLED, SOURCE_BY_SOURCE, STANDING_MIXED
from scanner.recounting import segments_of, sources_of
from scanner.settings import TrainingPlan
from scanner.store import RunFolder

LARGEST_LEFT_OUT = 0.1
"""Share of the rows that a base's template may refuse; above it the rehearsal would be one of other data."""


@dataclass(frozen=True)
class Parts:
    """A run's rows by their part in a rehearsal, in content order; places in the run."""

    row_id: Int64  # (n,) of the whole run
    group: Int64  # (n,) equal for rows that are copies or near copies of one another
    trained: Int64
    controls: Int64
    rest: Int64


def parts_of(run: RunFolder, jaccard: float, rows: int, controls: int, seed: int) -> Parts:
    """Draw who is trained on and who is held out; see rehearsal.split."""
    table = run.read_table("rows", ["row_id", "source"])
    row_id = table["row_id"].to_numpy()
    group = _alike(run, row_id, jaccard)
    rank = np.asarray(run.read_array("content_rank"))
    source = table["source"].rank("dense").cast(pl.Int64).to_numpy()
    parts = rehearsal.split(group, source, rank, rows, controls, seed)
    if not len(parts.trained) or not len(parts.controls):
        few = plural(len(row_id), "row is", "rows are")
        raise ModelError(f"{few} too few to train on some and hold out others")
    return Parts(row_id, group, *(at[np.argsort(rank[at])] for at in (parts.trained, parts.controls, parts.rest)))


@dataclass(frozen=True)
class Drawn:
    """Rows by their part in the rehearsal, in content order; examples as the model sees them."""

    row_id: Int64  # trained on
    held_id: Int64
    rows: list[Example]  # trained on, planted rows after the others
    held: list[Example]
    planting: planting.Planting
    left_out: int
    why: str

    @property
    def members(self) -> list[Example]:
        return self.rows[: len(self.row_id)]

    @property
    def planted(self) -> list[Planted]:
        """Planted rows, named after the row id of the member that they were made of."""
        return [replace(row, member=int(self.row_id[row.member])) for row in self.planting.rows]

    @property
    def trained_id(self) -> Int64:
        """Row ids of `rows`, negative ones of planted rows."""
        return np.concatenate((self.row_id, alongside.row_ids(self.planting.rows)))

    @property
    def learned_id(self) -> Int64:
        """The same, of planted rows those of the rows that they were made of."""
        return np.concatenate((self.row_id, np.array([row.member for row in self.planted], np.int64)))

    @property
    def lengths(self) -> pl.DataFrame:
        """Of every row trained on, planted ones too: the base's tokens of it, and our own of each of its answers.

        Both as far as the base's context reaches; an answer of none is left out.
        """
        return pl.DataFrame(
            {"row_id": self.trained_id,
             "tokens": [len(row.ids) for row in self.rows],
             "answers": [[len(a.words) for a in row.answers if len(a.words)] for row in self.rows]},
            schema={"row_id": pl.Int64, "tokens": pl.Int32, "answers": pl.List(pl.Int32)},
        ).sort("row_id")  # fmt: skip


def draw(run: RunFolder, parts: Parts, model: LanguageModel, planted: float, seed: int) -> Drawn:
    """Rows through the base's template, and planted ones beside them; rows that it refuses are left out.

    planted: share of the rows trained on for which others are planted.
    """
    kept, why, refused = [], "", 0
    for at in (parts.trained, parts.controls):
        segments = segments_of(run, parts.row_id[at])
        found = chat.encode_some(segments, model.tokenizer, model.context)
        good = [i for i, example in enumerate(found) if isinstance(example, Example)]
        wrong = [example for example in found if isinstance(example, ModelError)]
        refused, why = refused + len(wrong), why or "".join(map(str, wrong[:1]))
        if len(wrong) > LARGEST_LEFT_OUT * len(found):
            raise ModelError(f"{len(wrong):,} of {len(found):,} rows cannot be trained on: {wrong[0]}")
        kept.append((at[good], [segments[i] for i in good], [e for e in found if isinstance(e, Example)]))
    (trained, segments, rows), (controls, _, held) = kept
    if not sum(row.supervised_tokens for row in rows):
        raise ModelError(f"none of the {len(rows):,} rows has an answer within {model.context:,} tokens to learn")
    single = sizes_of_groups(parts.group[trained]) == 1
    long = [any(len(a.words) >= planting.FEWEST_ANSWER_TOKENS for a in row.answers) for row in rows]  # within the cut
    made = planting.plant(segments, single & np.array(long), planted, seed)
    rows = rows + chat.encode([row.segments for row in made.rows], model.tokenizer, model.context)
    return Drawn(parts.row_id[trained], parts.row_id[controls], rows, held, made, refused, why)


def sampling_weight(run: RunFolder, plan: TrainingPlan, drawn: Drawn) -> np.ndarray | None:
    """(rows,) how often each row is visited beside once an epoch; planted rows as those they were made of."""
    weight = weight_of_rows(run, plan, drawn.row_id)
    return None if weight is None else np.concatenate((weight, weight[[row.member for row in drawn.planting.rows]]))


def standing(run: RunFolder, drawn: Drawn, seed: int) -> Int64:
    """(rows,) what is trained on in the order in which it stands in the input."""
    return alongside.standing(drawn.trained_id, sources_of(run, drawn.learned_id), seed)


def packing(run: RunFolder, drawn: Drawn, tune: rehearsal.Rehearsal) -> str | None:
    """In which order a rehearsal packs its rows, of PACKINGS; None where it packs none."""
    if tune.plan.batching not in PACKED:
        return None
    if tune.standing is None:
        return SHUFFLED
    source = sources_of(run, drawn.learned_id)[tune.standing]
    supervised = np.array([sum(len(a.words) for a in row.answers) for row in drawn.rows])[tune.standing]
    length = tune.sampler.sizes[tune.standing]
    packed = (tune.sampler.sequence_tokens, tune.sampler.packed_rows)
    told = order_facts(tune.plan, source, supervised, length, tune.seed, *packed)
    return SOURCE_BY_SOURCE if told else STANDING_MIXED


def weight_of_rows(run: RunFolder, plan: TrainingPlan, row_id: Int64) -> np.ndarray | None:
    """(n,) how often each of these rows is visited beside once an epoch; None where the plan weighs no source."""
    if not plan.source_weight:
        return None
    known = dict(plan.source_weight)
    return np.array([known.get(s, known.get(Path(s).stem, 1.0)) for s in sources_of(run, row_id).tolist()])


def _alike(run: RunFolder, row_id: Int64, jaccard: float) -> Int64:
    """(n,) equal for rows that exact pairs, or near pairs of at least this similarity, connect."""
    pairs = run.read_table("pairs", ["row_a", "row_b", "signal", "relation", "similarity"]).filter(
        COPIES | (pl.col("signal") == "minhash") & (pl.col("similarity") >= jaccard)
    )
    return groups_of(row_id, pairs).group
