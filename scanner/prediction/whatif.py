"""What if the plan were another: rows expected to be recited under more epochs, other batches, or fewer copies.

    features, p_extract -> Sample: some rows, each standing for many -> curve (epochs), variants (batches), deduplicated

Every figure is a sum over one stratified sample, with the 90 % interval of `intervals`. Of a turn only the first 16
tokens are followed where nothing but P(N_pre >= 16) is asked for, so that a variant costs milliseconds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from scanner import running
from scanner.batching import PACKED, SEQUENCE_TOKENS
from scanner.kernels.contexts import ContextFeatures
from scanner.kernels.grouping import sizes_of_groups
from scanner.prediction import Answers, Conflicts, Doses, carrying, knowing, turn_tails
from scanner.prediction.dropping import Goldfish, goldfish
from scanner.prediction.hazard import EXTRACTED, Regime, TurnTails, Weights
from scanner.prediction.skew import sparse, stratified
from scanner.ranges import laid_out
from scanner.sampling import BATCH_POWER
from scanner.settings import TrainingPlan

Int64 = npt.NDArray[np.int64]
UInt64 = npt.NDArray[np.uint64]
Float64 = npt.NDArray[np.float64]

SAMPLE_ROWS = 2000
"""Rows over which everything is drawn; all of them when there are fewer."""
EPOCH_FACTORS = (0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 8.0)
"""Epochs of the curve, as multiples of the plan's."""
SIMULATED_EPOCHS = 4
"""Epochs of another plan that are simulated, for its dose grows in proportion to them; with fewer than the plan has,
the luck of single batches would count for more than in the plan."""
PLANNED, TWICE, HALF, DEDUPLICATED = (
    "as planned", "batches twice as large", "batches half as large", "after deduplication"
)  # fmt: skip
GROUPED, RANDOM, RANDOM_TOKENS = "grouped by length", "random batches", "random, as many tokens"
USUAL_K = 4
"""Of the goldfish loss that is asked about: the paper's own (arXiv 2406.10209)."""
WITH_GOLDFISH, WITHOUT_GOLDFISH = f"goldfish loss, k = {USUAL_K}", "no goldfish loss"
SCHEMA = {
    "variant": pl.String,
    "epochs": pl.Float64,
    "expected_rows": pl.Float64,  # with N_pre >= 16
    "low": pl.Float64,  # 90 % interval
    "high": pl.Float64,
    "mean_tokens": pl.Float64,  # mean N_pre of the rows with an answer of at least 16 tokens; null where not drawn
    "q99_tokens": pl.Float64,  # N_pre that 1 % of these rows are expected to exceed
    "top1_share": pl.Float64,  # of the expected memorized tokens that the top 1 % of these rows carry
}


@dataclass(frozen=True)
class Sample:
    """Some rows with everything that their tokens' hazard needs; m rows, t turns."""

    rows: Int64  # (m,) positions among all rows
    stands_for: Float64  # (m,) rows that each one represents
    copies: Float64  # (m,) rows of the whole set with the very text, itself included
    answers: Answers  # (t,) turns over the tokens kept here; `row` counts from 0 to m - 1
    features: ContextFeatures  # of the tokens kept
    conflicts: Conflicts | None  # (m,)
    measurable: int  # rows of the whole set with an answer of at least 16 tokens

    @cached_property
    def few(self) -> Answers:
        """Turns of the rows that tell how many of the set are known."""
        return self.answers.where(sparse(self.answers.row, len(self.rows)))

    def first_tokens(self) -> Sample:
        """The same of the first 16 tokens of each turn alone, which decide P(N_pre >= 16)."""
        end = np.minimum(self.answers.end, self.answers.start + EXTRACTED)
        features, answers = _only(self.features, replace(self.answers, end=end))
        return replace(self, answers=answers, features=features)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """Everything as arrays, to be stored; no text and no hash is in it."""
        parts = {"rows": self.rows, "stands_for": self.stands_for, "copies": self.copies}
        parts["measurable"] = np.array(self.measurable)
        parts |= {f"answers.{f.name}": getattr(self.answers, f.name) for f in fields(Answers)}
        known = {f.name: getattr(self.features, f.name) for f in fields(self.features)}
        parts |= {f"features.{name}": value for name, value in known.items() if value is not None}
        if self.conflicts is not None:
            parts |= {f"conflicts.{f.name}": getattr(self.conflicts, f.name) for f in fields(Conflicts)}
        return parts

    @classmethod
    def from_arrays(cls, parts: dict[str, npt.NDArray[Any]]) -> Sample:
        """The inverse of `arrays`."""
        named: dict[str, dict[str, Any]] = {"answers": {}, "features": {}, "conflicts": {}}
        for name, value in parts.items():
            owner, _, field = name.partition(".")
            if field:
                named[owner][field] = value
        return cls(
            parts["rows"], parts["stands_for"], parts.get("copies", np.ones(len(parts["rows"]))),
            Answers(**named["answers"]), ContextFeatures(**named["features"]),
            Conflicts(**named["conflicts"]) if named["conflicts"] else None, int(parts["measurable"]),
        )  # fmt: skip


def draw(
    features: ContextFeatures,
    answers: Answers,
    p_extract: Float64,
    order: UInt64,
    conflicts: Conflicts | None = None,
    most: int = SAMPLE_ROWS,
) -> Sample:
    """A sample of the rows with an answer of at least 16 tokens, stratified by p_extract (see `stratified`)."""
    chosen, stands_for = stratified(p_extract, order, most)
    place = np.full(len(p_extract), -1, np.int64)
    place[chosen] = np.arange(len(chosen))
    mine = np.flatnonzero(place[answers.row] >= 0)
    turns = mine[np.lexsort((mine, place[answers.row[mine]]))]  # rows ascend in the sample too
    some, kept = _only(features, Answers(place[answers.row[turns]], answers.start[turns], answers.end[turns]))
    of_chosen = None if conflicts is None else Conflicts(conflicts.place[chosen], conflicts.share[chosen])
    copies = sizes_of_groups(order)[chosen].astype(np.float64)
    return Sample(chosen, stands_for, copies, kept, some, of_chosen, int((~np.isnan(p_extract)).sum()))


def curve(sample: Sample, amounts: Doses, plan: TrainingPlan, weights: Weights, threads: int = 2) -> pl.DataFrame:
    """Lines "as planned" of whatif.parquet: the plan for no epochs up to eight times as many, all else equal."""
    short = sample.first_tokens()
    total = amounts.total[sample.rows]
    lines = []
    for factor in EPOCH_FACTORS if plan.epochs else (0.0,):
        planned, goldfish = amounts.regime(plan), amounts.goldfish(plan, sample.rows)
        training = _Training(total * planned.grows(factor), planned.scaled(factor), goldfish)
        middle = training.under(weights, plan, short, threads)
        found, tail = _tail(sample, *middle, goldfish, weights, threads)
        longer = replace(plan, epochs=plan.epochs * factor)
        lines.append(_line(PLANNED, short, training, longer, weights, threads, middle, found.extract) | tail)
    return pl.DataFrame(lines, schema=SCHEMA)


def variants(
    sample: Sample,
    plan: TrainingPlan,
    doses_under: Callable[[TrainingPlan], Doses],
    weights: Weights,
    threads: int = 2,
    sequence_tokens: int = SEQUENCE_TOKENS,
) -> pl.DataFrame:
    """A line of whatif.parquet for each other way to batch the same rows for as many epochs.

    doses_under: the doses of all rows under another plan; it is asked for at most four epochs, which stand for all.
    """
    short = sample.first_tokens()
    lines = []
    named = list(other_batches(plan, sequence_tokens))
    shorter = [replace(other, epochs=min(other.epochs, SIMULATED_EPOCHS)) for _, other in named]
    doses = running.run(doses_under, shorter, threads)
    for (name, other), few, amounts in zip(named, shorter, doses, strict=True):
        factor = other.epochs / few.epochs if few.epochs else 0.0
        drawn, goldfish = amounts.regime(other), amounts.goldfish(plan, sample.rows)
        training = _Training(amounts.total[sample.rows] * drawn.grows(factor), drawn.scaled(factor), goldfish)
        lines.append(_line(name, short, training, other, weights, threads))
    return pl.DataFrame(lines, schema=SCHEMA)


def other_loss(sample: Sample, amounts: Doses, plan: TrainingPlan, weights: Weights, threads: int = 2) -> pl.DataFrame:
    """The line of whatif.parquet with a goldfish loss; without it where the plan has one. The batches are the same."""
    k = None if plan.goldfish_k else USUAL_K
    name = WITHOUT_GOLDFISH if k is None else WITH_GOLDFISH
    other = replace(plan, goldfish_k=k)
    dose = amounts.total[sample.rows] * (other.share_in_loss / plan.share_in_loss) ** -BATCH_POWER
    training = _Training(dose, amounts.regime(other), amounts.goldfish(other, sample.rows))
    return pl.DataFrame([_line(name, sample.first_tokens(), training, other, weights, threads)], schema=SCHEMA)


def other_batches(plan: TrainingPlan, sequence_tokens: int = SEQUENCE_TOKENS) -> Iterator[tuple[str, TrainingPlan]]:
    """(name, plan) with steps twice and half as large, and with rows grouped the other way.

    Half a batch of one row does not exist; packed rows are set beside random batches of as many tokens, for
    as many rows as there are sequences would be far smaller steps.
    """
    twice = None if plan.batch_tokens is None else 2 * plan.batch_tokens
    yield TWICE, replace(plan, batch_size=2 * plan.batch_size, batch_tokens=twice)
    if plan.batch_tokens is not None:
        yield HALF, replace(plan, batch_tokens=max(1, plan.batch_tokens // 2))
    elif plan.batch_size > 1:
        half = plan.batch_size // 2
        devices = math.gcd(half, plan.devices)
        micro = None if plan.micro_batch is None else math.gcd(half // devices, plan.micro_batch)
        yield HALF, replace(plan, batch_size=half, devices=devices, micro_batch=micro)
    if plan.batching == "random":
        yield GROUPED, replace(plan, batching="length-grouped")
    elif plan.batching in PACKED:
        yield (
            RANDOM_TOKENS,
            replace(plan, batching="random", batch_tokens=plan.batch_tokens or plan.batch_size * sequence_tokens),
        )
    else:
        yield RANDOM, replace(plan, batching="random")


def deduplicated(
    sample: Sample, total: Float64, exact: Float64, left: Float64, regime: Regime, plan: TrainingPlan,
    weights: Weights, threads: int = 2,
) -> pl.DataFrame:  # fmt: skip
    """The line "after deduplication" of whatif.parquet.

    total (n,): dose of every row from the rows that stay · exact (n,): without what near copies give · left (n,): share
    of each row and its exact copies that stays · regime: the training of what stays. The contexts are those of the
    whole set: near copies that go still count in them, so the figure is rather too large than too small.
    """
    mine = goldfish(plan.goldfish_k, total[sample.rows], exact[sample.rows])
    training = _Training(total[sample.rows], regime, mine)
    stays = left[sample.rows]
    short = replace(sample.first_tokens(), stands_for=sample.stands_for * stays, copies=sample.copies * stays)
    return pl.DataFrame([_line(DEDUPLICATED, short, training, plan, weights, threads)], schema=SCHEMA)


def audit_size(rows: int, expected: float, certainty: float = 0.95) -> int | None:
    """Rows to draw so that at least one of the memorized ones is among them with this probability.

    expected: memorized rows; None of fewer than one. A sample of z of M rows misses all of k with probability
    C(M - k, z) / C(M, z) (arXiv 2502.01187).
    """
    if expected < 1 or rows <= 0:
        return None
    memorized = round(expected)
    missed = math.log1p(-certainty) + 1e-9  # the logarithms are no more exact: 570 of 600 rows hold one with .95

    def misses(z: int) -> float:
        if z > rows - memorized:
            return -math.inf
        return math.lgamma(rows - memorized + 1) - math.lgamma(rows - memorized - z + 1) - (
            math.lgamma(rows + 1) - math.lgamma(rows - z + 1)
        )  # fmt: skip

    low, high = 0, rows - memorized + 1  # `high` never misses
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if misses(middle) <= missed else (middle, high)
    return high


@dataclass(frozen=True)
class _Training:
    """Doses of the sample's rows, and how much training the set gets, before the strength of the weights."""

    dose: Float64  # (m,)
    regime: Regime
    goldfish: Goldfish | None = None  # (m,)

    def under(self, weights: Weights, plan: TrainingPlan, sample: Sample, threads: int) -> tuple[Float64, Regime]:
        """Doses and regime under the weights, after what they say that the rows of the sample know by then."""
        regime = knowing(
            sample.features, sample.few, self.dose, self.regime, plan, weights, sample.conflicts, threads,
            self.goldfish, sample.stands_for,
        )  # fmt: skip
        worth, felt = weights.under(plan, regime)
        return self.dose * worth, felt


def _line(
    variant: str,
    short: Sample,
    training: _Training,
    plan: TrainingPlan,
    weights: Weights,
    threads: int,
    middle: tuple[Float64, Regime] | None = None,
    known: Float64 | None = None,
) -> dict[str, Any]:
    """Expected rows with their interval under a plan, whose epochs are those of the line.

    middle: doses and regime under the weights, known (t,): P(N_pre >= 16) of the turns under them, if at hand.
    """
    here = middle or training.under(weights, plan, short, threads)

    def probability(level: Weights) -> Float64:
        dose, regime = here if level is weights else training.under(level, plan, short, threads)
        found = turn_tails(
            short.features, short.answers, dose, None, regime, level, short.conflicts, threads,
            goldfish=training.goldfish,
        )  # fmt: skip
        return _of_rows(short, found.extract)

    rows = carrying.number_of_rows(
        probability, weights, plan, here[1], short.stands_for, short.copies,
        None if known is None else _of_rows(short, known),
    )  # fmt: skip
    return {
        "variant": variant,
        "epochs": plan.epochs,
        "expected_rows": rows.expected,
        "low": rows.low,
        "high": rows.high,
    }


def _tail(
    sample: Sample, dose: Float64, regime: Regime, goldfish: Goldfish | None, weights: Weights, threads: int
) -> tuple[TurnTails, dict[str, float | None]]:
    """Tails of the turns; mean and 99th percentile of N_pre of the rows, and what the top 1 % of them carry.

    dose (m,), regime: under the weights. Of a row with several turns the one that is recited furthest counts.
    """
    curve = np.zeros(len(sample.features.log_probability))
    found = turn_tails(
        sample.features, sample.answers, dose, None, regime, weights, sample.conflicts, threads, curve, goldfish,
    )  # fmt: skip
    if not len(sample.rows):
        return found, {}
    mean = _of_rows(sample, found.mean)
    share = sample.stands_for / sample.stands_for.sum()
    size = sample.answers.end - sample.answers.start

    def reaching(n: int) -> float:
        """Share of rows with N_pre >= n."""
        at = np.where(size >= n, curve[np.minimum(sample.answers.start + n, sample.answers.end) - 1], 0.0)
        return float((_of_rows(sample, at) * share).sum())

    low, high = 0, int(size.max(initial=0)) + 1  # the largest n that at least 1 % reach lies in [low, high)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if reaching(middle) >= 0.01 else (low, middle)
    ranked = np.argsort(-mean, kind="stable")
    carried = np.concatenate(([0.0], np.cumsum((mean * share)[ranked])))
    rows = np.concatenate(([0.0], np.cumsum(share[ranked])))
    total = float(carried[-1])
    return found, {
        "mean_tokens": total,
        "q99_tokens": float(low),
        "top1_share": float(np.interp(0.01, rows, carried)) / total if total > 0 else None,
    }


def _of_rows(sample: Sample, of_turns: Float64) -> Float64:
    """(m,) the largest value among the turns of each row; turns that are NaN are passed over."""
    best = np.full(len(sample.rows), -np.inf)
    np.maximum.at(best, sample.answers.row, np.nan_to_num(of_turns, nan=-np.inf))
    return best


def _only(features: ContextFeatures, answers: Answers) -> tuple[ContextFeatures, Answers]:
    """The tokens of the turns alone, and the turns over them; what a feature says of whole rows is left out."""
    at = laid_out(answers.start, answers.end)
    edges = np.concatenate(([0], np.cumsum(answers.end - answers.start))).astype(np.int64)
    count = len(features.log_probability)
    known = {f.name: getattr(features, f.name) for f in fields(features)}
    taken = {
        name: value[at] if len(value) == count else value[:0] for name, value in known.items() if value is not None
    }
    return replace(features, **taken), replace(answers, start=edges[:-1], end=edges[1:])
