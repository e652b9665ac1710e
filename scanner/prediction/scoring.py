"""How good a prediction was, once the truth is known: calibration error, counts, cover of a quantile, ranking.

Every figure is of independent units (a row with its copies), so intervals are drawn over units, not over rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

BINS = 10
QUANTILE = 0.95
DRAWS = 200
"""Bootstrap draws of units, of which percentiles 5 and 95 are taken."""


@dataclass(frozen=True)
class Figure:
    """A figure with its 90 % bootstrap interval; None where it is not defined."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Scores:
    """A prediction beside what came of it."""

    rows: int  # with an answer of 16 tokens or more
    expected_rows: float  # sum of P(N_pre >= 16)
    true_rows: int
    standard_error: float  # of true minus expected, rows: chance of each row, and units that go together
    calibration_error: Figure  # expected calibration error over 10 bins of equally many rows
    calibration_error_by_chance: float  # what a perfect prediction would show with as many rows
    cover: Figure  # share of answers at or below the 95 % quantile of N_pre, ties randomised
    auroc: Figure

    @property
    def is_off(self) -> bool:
        """Whether expected and true number lie more than two standard errors apart."""
        return abs(self.true_rows - self.expected_rows) > 2 * self.standard_error


def score(p: Float64, truth: Bool, unit: Int64, below: Float64, upto: Float64, of: Int64, seed: int = 0) -> Scores:
    """Score P(N_pre >= 16) of rows, and the distribution of N_pre of answers.

    p, truth, unit (n,): rows, without NaN; below, upto (m,): P(N_pre < seen) and P(N_pre <= seen) of each answer;
    of (m,): the unit of each answer.
    """
    covered = _covered(below, upto)
    units = np.unique(np.concatenate((unit, of)))
    rows_of, answers_of = (_members(np.searchsorted(units, x), len(units)) for x in (unit, of))
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {"error": [], "cover": [], "auroc": [], "surplus": []}
    for _ in range(DRAWS if len(units) > 1 else 0):
        chosen = rng.integers(0, len(units), len(units))
        rows = np.concatenate([rows_of[u] for u in chosen])
        answers = np.concatenate([answers_of[u] for u in chosen])
        drawn["surplus"].append(float(truth[rows].sum() - p[rows].sum()))
        drawn["error"].append(calibration_error(p[rows], truth[rows]))
        drawn["cover"].append(float(covered[answers].mean()) if len(answers) else math.nan)
        found = auroc(p[rows], truth[rows])
        drawn["auroc"].append(math.nan if found is None else found)
    chance = math.sqrt(float((p * (1 - p)).sum()))
    return Scores(
        rows=len(p),
        expected_rows=math.fsum(np.sort(p)),
        true_rows=int(truth.sum()),
        standard_error=max(chance, float(np.std(drawn["surplus"])) if drawn["surplus"] else 0.0),
        calibration_error=_figure(calibration_error(p, truth) if len(p) else None, drawn["error"]),
        calibration_error_by_chance=calibration_error_by_chance(p, rng),
        cover=_figure(float(covered.mean()) if len(covered) else None, drawn["cover"]),
        auroc=_figure(auroc(p, truth), drawn["auroc"]),
    )


def calibration_error(p: Float64, truth: Bool) -> float:
    """Expected calibration error: mean over bins of equally many rows of |mean p - share of positives|.

    Rows of equal p share their outcome evenly, so that their order says nothing; 0 of no rows.
    """
    if not len(p):
        return 0.0
    _, place = np.unique(p, return_inverse=True)
    mean = np.bincount(place, truth)[place] / np.bincount(place)[place]
    ranked = np.argsort(p, kind="stable")
    gap = (p - mean)[ranked]
    edges = np.linspace(0, len(p), min(BINS, len(p)) + 1).astype(np.int64)
    return float(np.abs(np.add.reduceat(gap, edges[:-1])).sum() / len(p))


def calibration_error_by_chance(p: Float64, rng: np.random.Generator) -> float:
    """The calibration error that rows (n,) show which are positive with exactly their chance p, a mean of 100 draws."""
    return float(np.mean([calibration_error(p, rng.random(len(p)) < p) for _ in range(100)]))


def auroc(score_of: Float64, truth: Bool, weight: Float64 | None = None) -> float | None:
    """Probability that a positive scores above a negative, ties counting half; None without both kinds.

    weight (n,): rows that each stands for; 1 where not given.
    """
    positive = int(truth.sum())
    if not 0 < positive < len(truth):
        return None
    worth = np.ones(len(truth)) if weight is None else weight
    _, place = np.unique(score_of, return_inverse=True)
    up, down = (np.bincount(place, worth * kind) for kind in (truth, ~truth))
    below = np.cumsum(down) - down / 2
    return float((up * below).sum() / (up.sum() * down.sum()))


def _covered(below: Float64, upto: Float64) -> Float64:
    """(m,) chance that the randomised rank of what was seen lies at or below the quantile: no draw is needed."""
    mass = upto - below
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.where(mass > 0, (QUANTILE - below) / mass, below <= QUANTILE)
    return np.asarray(np.clip(share, 0.0, 1.0))


def _members(of: Int64, units: int) -> list[Int64]:
    """Places of each unit's members."""
    ranked = np.argsort(of, kind="stable")
    return np.split(ranked, np.searchsorted(of[ranked], np.arange(1, units)))


def _figure(value: float | None, drawn: list[float]) -> Figure:
    usable = np.asarray([d for d in drawn if not math.isnan(d)])
    if value is None or len(usable) < DRAWS // 2:
        return Figure(value, None, None)
    low, high = np.quantile(usable, (0.05, 0.95))
    return Figure(value, float(low), float(high))
