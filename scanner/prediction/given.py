"""What a prediction is made from, beside the features of the text: answers, copies, conflicts, and what training gives.

Answers, NearCopies, Conflicts: what stands in the data · Doses: how much training each row and the set get
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from scanner.prediction.dropping import Goldfish, goldfish
from scanner.prediction.freeing import USUAL
from scanner.prediction.hazard import Regime
from scanner.sampling import asked_alone
from scanner.settings import TrainingPlan

Int64 = npt.NDArray[np.int64]
Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """Supervised turns as tokens [start, end) of the concatenated rows; (m,) with `row` ascending.

    A turn of several segments is one span. What the trainer cuts off (--max-length) lies in no span.
    """

    row: Int64  # position among the rows
    start: Int64
    end: Int64

    def tokens(self, rows: int) -> Int64:
        """(rows,) tokens of the answers of each row."""
        return np.bincount(self.row, self.end - self.start, minlength=rows).astype(np.int64)

    def mean_tokens(self, rows: int) -> float:
        """Tokens of the answers of a row, on average over the rows with any; NaN without any."""
        tokens = self.tokens(rows)
        return float(tokens[tokens > 0].mean()) if tokens.any() else math.nan

    def where(self, taken: npt.NDArray[np.bool_] | Int64 | slice) -> Answers:
        """The turns that are taken: a mask (m,), or their places, ascending."""
        return Answers(self.row[taken], self.start[taken], self.end[taken])

    def first(self) -> Int64:
        """Places of the rows' first answers."""
        return np.flatnonzero(np.diff(self.row, prepend=-1))


@dataclass(frozen=True)
class NearCopies:
    """Verified near pairs, each once; (p,)."""

    a: Int64  # positions among the rows
    b: Int64
    jaccard: npt.NDArray[np.floating[Any]]  # of word shingles
    shingle: int  # tokens per shingle


@dataclass(frozen=True)
class Conflicts:
    """Identical prompts with other answers, (n,) over rows; it acts on the row's first supervised turn."""

    place: Int64  # token of the answer, from 0, at which the answers first part; -1: no conflict
    share: Float64  # share of this answer among the answers to the prompt: p cannot exceed it there


@dataclass(frozen=True)
class Doses:
    """Exposures of each row, (n,), and of the set."""

    own: Float64  # dose of the row's own visits
    total: Float64  # with the visits of its copies, as far as they count when the model is prompted with the row alone
    together: Float64  # share of their sum that counts, as some fall into the same step (see sampling.Exposure)
    copies: Int64  # rows that are exact copies of one another, itself included
    set_dose: float  # mean dose of the data set as a whole (see sampling.dose_of_set)
    steps: float  # optimizer steps
    alone: Float64 | float = 1.0  # (n,) share that counts without the rows before it (see sampling.asked_alone)
    known: float = USUAL  # share of the rows that are recited at the plan's end, as predicted (`with_known`)

    @property
    def exact(self) -> Float64:
        """(n,) dose without what near copies give."""
        return np.minimum(self.own * self.copies * self.together * self.alone, self.total)

    @property
    def near(self) -> Float64:
        """(n,) dose of the near copies, in units of one exact copy of the row; NaN where the row has no dose."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(self.total / (self.own * self.together * self.alone) - self.copies)

    def without(self, plan: TrainingPlan) -> Float64:
        """(n,) dose that the copies of each row would give if the row itself were left out."""
        others = self.total / self.alone - self.own * self.together
        return np.asarray(others * asked_alone(plan, self.own, others))

    def regime(self, plan: TrainingPlan) -> Regime:
        """The training of the set to the plan's end, in doses without the factors of the weights."""
        return Regime.of(plan, self.set_dose, self.steps, known=self.known)

    def goldfish(self, plan: TrainingPlan, rows: Int64 | slice = slice(None)) -> Goldfish | None:
        """The plan's goldfish loss for some rows; None without one."""
        return goldfish(plan.goldfish_k, self.total[rows], self.exact[rows])
