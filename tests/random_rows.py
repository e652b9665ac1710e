"""Random rows and their prediction under a plan strong enough that probabilities are far from 0 and 1."""

from __future__ import annotations

import numpy as np
import polars as pl

from scanner.contextual import with_openings
from scanner.kernels.contexts import ContextFeatures, context_features
from scanner.prediction import (
    Answers,
    Doses,
    Prediction,
    doses,
    load_weights,
    predict,
    predict_rows,
    turn_tails,
    whatif,
    with_known,
)
from scanner.settings import TrainingPlan

SHIPPED = load_weights()
PLAN = TrainingPlan(epochs=4, learning_rate=3e-4, model_params=SHIPPED.priors.fitted_parameters, batch_size=4)


class Rows:
    """Random rows with templates: a prompt of 5 tokens, then the answer."""

    def __init__(self, lengths: list[int], seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        words = rng.integers(1, 2**63, 200).astype(np.uint64)
        common = rng.integers(0, 200, 60)
        parts = []
        for length in lengths:
            row = rng.integers(0, 200, length + 5)
            at = rng.integers(0, 20)
            row[: (length + 5) // 2] = common[at : at + (length + 5) // 2] if length < 70 else row[: (length + 5) // 2]
            parts.append(words[row])
        self.parts = parts

    def arrays(self, order: list[int]) -> tuple:
        parts = [self.parts[i] for i in order]
        offsets = np.cumsum([0, *map(len, parts)]).astype(np.int64)
        answers = Answers(np.arange(len(parts)), offsets[:-1] + 5, offsets[1:])
        return np.concatenate(parts), offsets, answers, np.array(order), np.array(order, np.uint64) + np.uint64(10)


LENGTHS = [30, 20, 12, 40, 17, 60, 25, 33, 16, 15, 45, 22]


def run(order: list[int] | None = None, plan: TrainingPlan = PLAN, weights=SHIPPED, **options) -> Prediction:
    return predict(*Rows(LENGTHS).arrays(order or list(range(len(LENGTHS)))), plan, weights, **options)


class Predicted:
    """Everything of one prediction over rows of these lengths, in this order."""

    def __init__(self, lengths: list[int], order: list[int] | None = None, plan: TrainingPlan = PLAN) -> None:
        tokens, offsets, self.answers, self.group, self.order = Rows(lengths).arrays(order or list(range(len(lengths))))
        self.length, self.plan = np.diff(offsets), plan
        known = context_features(tokens, offsets, self.group)
        self.features = with_openings(known, tokens, tuple(vars(self.answers).values()), self.group, 1)
        self.amounts = with_known(
            self.features, self.answers, self.under(plan), self.order, plan, SHIPPED, None, 1
        )  # fmt: skip
        self.result = predict_rows(self.features, self.answers, self.amounts, plan, SHIPPED)

    def under(self, plan: TrainingPlan):
        return doses(plan, self.length, self.answers, self.group, self.order)

    def sample(self, most: int = whatif.SAMPLE_ROWS) -> whatif.Sample:
        return whatif.draw(self.features, self.answers, self.result.p_extract, self.order, None, most)

    def curve(self) -> pl.DataFrame:
        return whatif.curve(self.sample(), self.amounts, self.plan, SHIPPED, 1)


def survival(features: ContextFeatures, answers: Answers, amounts: Doses, plan: TrainingPlan) -> np.ndarray:
    """(T,) P(the answer is reproduced up to and including this token); 0 outside supervised turns."""
    curve = np.zeros(len(features.log_probability))
    worth, regime = SHIPPED.under(plan, amounts.regime(plan))
    turn_tails(
        features, answers, amounts.total * worth, amounts.total * 0, regime, SHIPPED,
        None, 1, curve, amounts.goldfish(plan),
    )  # fmt: skip
    return curve
