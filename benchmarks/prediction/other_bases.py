"""What a visit is worth to a base that was not in the fit: the levels of all measured bases, and of one more.

Here too no training is done; the weights file takes these figures as priors (`fit.py`), `tables.py` tests them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from functools import cache
from pathlib import Path

import grid
import numpy as np
import predicting
import validity
from scipy.optimize import brentq, minimize
from scipy.stats import t as student

from scanner.prediction import Hazard, Weights, level, scoring
from scanner.prediction.hazard import EXTRACTED
from scanner.prediction.validated import LENGTH, STEPS, Transfer

TESTED = {**{f"{base}-1": "parameters" for base in ("small", "middle", "larger", "large")}, "chinese-1": "script"}
"""Cells that are predicted and never fitted, and what is new in them (see scanner.prediction.validated.Transfer)."""
OF_BASES = ("random-1", "short-1", *TESTED)
"""One cell of each base, of which only the first is in the fit: their levels make that of a base not measured."""
SETTLED = 4
"""Epochs from which on the level of a base is read: before, few rows are recited."""
OTHER_WAYS = {
    "goldfish-4": ("goldfish loss", "goldfish"), "goldfish-10": ("goldfish loss", "goldfish"),
    "goldfish-4-other": ("goldfish loss", "goldfish"),
    "wrapped": ("batching", "wrapped"), "wrapped-other": ("batching", "wrapped"),
    "wrapped-long": ("batching", "wrapped"), "brief-1": (LENGTH, "22"), "long-1": (LENGTH, "66"),
    "many": (STEPS, "2992"), "many-other": (STEPS, "2736"), "most": (STEPS, "5800"),
    "many-linear": (STEPS, "2992"), "many-other-linear": (STEPS, "2736"), "many-cosine": (STEPS, "2992"),
    "many-other-cosine": (STEPS, "2736"),
}  # fmt: skip
"""Cells of the base of the fit that no fit has seen: what is new in them, and its name."""
LORA = (
    "lora", "lora-long", "lora-low", "lora-gentle", "lora-other", "lora-low-other", "lora-64", "lora-few", "lora-linear"
)  # fmt: skip
"""The cells that say what a LoRA visit is worth: ranks 16, 8 and 64, rates from 3e-4 to 3e-3, 246 to 634 texts."""
RUN = 4
"""Tokens from which on a run says something of LoRA: most rows stop at the first token, whatever they were taught."""


@cache
def of_adapters(data: Path, hazard: Hazard, without: str | None = None) -> tuple[float, float]:
    """lora_dose and lora_holds: under which the tails of N_pre in the cells of LORA but one are likeliest."""
    seen = [one for name in LORA if name != without for one in measured_of(data, name)]
    weights = predicting.plain(hazard)

    def surprise(place: np.ndarray) -> float:
        known = with_adapters(weights, *np.exp(place))
        return -sum(tail_likelihood(one, known).sum() for one in seen)

    start = np.log(of_adapters(data, hazard)) if without else np.log([0.2, 3.0])
    return tuple(np.exp(minimize(surprise, start, method="L-BFGS-B", options={"eps": 1e-3, "ftol": 1e-7}).x).tolist())


@cache
def measured_of(data: Path, name: str) -> list[level.Observed]:
    """All answers of a cell, members' and controls', after each measured epoch."""
    ((table, observed),) = predicting.load(data, [name]).values()
    rows = np.flatnonzero(table.length > 0)
    return [predicting.observed_for_level(table, o, rows) for o in observed if o.epoch]


def with_adapters(weights: Weights, dose: float, holds: float) -> Weights:
    """The weights where adapters learn and hold so much."""
    return replace(weights, priors=replace(weights.priors, lora_dose=float(dose), lora_holds=float(holds)))


def tail_likelihood(one: level.Observed, weights: Weights) -> np.ndarray:
    """(m,) log likelihood of N_pre, nats, of runs below RUN tokens only that they are so short."""
    short = one.n_pre < RUN
    _, reaching = level.around(replace(one, n_pre=np.where(short, RUN - 1, one.n_pre)), weights)
    return np.where(short, np.log(np.maximum(1 - reaching, level.LEAST_CHANCE)), level.likelihood(one, weights))


def new_in(name: str, topic: str) -> str:
    """What is new in a tested cell: the size of its base or the script of its rows."""
    cell = grid.CELLS[name]
    return str(predicting.parameters(cell.base)) if topic == "parameters" else validity.SCRIPTS[cell.rows][0]


def levels_of_bases(data: Path, weights: Weights) -> dict[str, float]:
    """Log of what a visit is worth to each base: where as many rows are expected after SETTLED epochs as were recited.

    Beside what its size does. An offset instead would be another at every epoch.
    """
    found = {}
    for name in OF_BASES:
        for table, observed in predicting.load(data, [name]).values():
            rows = table.member & (table.length >= EXTRACTED)
            late = [o for o in observed if o.epoch > SETTLED]
            truth = sum(int((o.n_pre[rows] >= EXTRACTED).sum()) for o in late)

            def surplus(log_factor: float, table=table, rows=rows, late=late, truth=truth) -> float:
                there = replace(weights, dose_factor=math.exp(log_factor))
                return sum(predicting.predict(table, o, there).extract[rows].sum() for o in late) - truth

            found[name] = brentq(surplus, -4.0, 4.0, xtol=1e-4)
    return found


def level_of_a_base(levels: Iterable[float]) -> tuple[float, float]:
    """Level of a base that was not measured, and its standard deviation: as wide as a 90 % interval of so few needs.

    The predictive t interval of a normal distribution whose mean and variance are not known.
    """
    values = np.array(list(levels))
    wide = student.ppf(0.95, len(values) - 1) / student.ppf(0.95, np.inf)
    return float(values.mean()), float(wide * values.std(ddof=1) * math.sqrt(1 + 1 / len(values)))


def at_level_of_others(weights: Weights, name: str, levels: dict[str, float]) -> Weights:
    """The weights at the level, and its doubt, that all bases but that of one cell tell."""
    mean, doubt = level_of_a_base(own for other, own in levels.items() if other != name)
    priors = replace(weights.priors, level_factor=math.exp(mean), level_factor_sd=doubt)
    return replace(weights, priors=priors).of_another_base(predicting.plan_of(name))


def transfers(data: Path, weights: Weights, levels: dict[str, float]) -> tuple[Transfer, ...]:
    """What came of predicting the cells of TESTED, at their last epoch and the level of the other bases."""
    found = []
    for name, topic in TESTED.items():
        value = new_in(name, topic)
        for table, observed in predicting.load(data, [name]).values():
            rows = table.member & (table.length >= EXTRACTED)
            there = at_level_of_others(weights, name, levels)
            p, truth = (
                predicting.predict(table, observed[-1], there).extract[rows],
                observed[-1].n_pre[rows] >= EXTRACTED,
            )
            ranked = scoring.auroc(p, truth) or 0.0
            found.append(Transfer(topic, value, int(rows.sum()), int(truth.sum()), float(p.sum()), ranked))
    return (*found, *other_ways(data, weights), *of_lora(data, weights))


def of_lora(data: Path, weights: Weights) -> tuple[Transfer, ...]:
    """What came of predicting the cells of LORA at their last epoch, each with the law that the others tell."""
    p, truth = [], []
    for name in LORA:
        there = with_adapters(weights, *of_adapters(data, weights.hazard, name))
        for table, observed in predicting.load(data, [name]).values():
            rows = table.member & (table.length >= EXTRACTED)
            p.append(predicting.predict(table, observed[-1], there).extract[rows])
            truth.append(observed[-1].n_pre[rows] >= EXTRACTED)
    chance, recited = np.concatenate(p), np.concatenate(truth)
    counts = len(recited), int(recited.sum()), float(chance.sum())
    return (Transfer("method", "lora", *counts, scoring.auroc(chance, recited) or 0.0),)


def other_ways(data: Path, weights: Weights) -> tuple[Transfer, ...]:
    """What came of predicting the cells of OTHER_WAYS, at their last epoch and the level of the fit."""
    found = []
    for name, (table, observed) in predicting.load(data, OTHER_WAYS).items():
        rows = table.member & (table.length >= EXTRACTED)
        p = predicting.predict(table, observed[-1], weights).extract[rows]
        truth = observed[-1].n_pre[rows] >= EXTRACTED
        counts = int(rows.sum()), int(truth.sum()), float(p.sum())
        found.append(Transfer(*OTHER_WAYS[name], *counts, scoring.auroc(p, truth) or 0.0))
    return tuple(found)
