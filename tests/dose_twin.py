"""The doses of a training, slow and obvious: a loop over the batches of batching_twin, visit by visit."""

from __future__ import annotations

import math
import statistics

import batching_twin
import numpy as np

from scanner.settings import TrainingPlan


def rows(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    supervised = rng.integers(1, 60, count)
    order = rng.permutation(np.arange(1, count + 1)).astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    return supervised, supervised + rng.integers(0, 40, count), order


def plan(**values: object) -> TrainingPlan:
    usual = {"epochs": 2, "learning_rate": 3e-4, "lr_schedule": "constant", "batch_size": 4}
    return TrainingPlan(**{**usual, **values})  # type: ignore[arg-type]


def twin(p: TrainingPlan, supervised, length, order, seed: int, kappa=None) -> tuple[list[float], int, list[float]]:
    """Doses, steps and `together`: one loop over batches, one addition per visit.

    kappa: what a visit of row j is worth to row i, by (i, j); rows that are no copies are not named.
    """
    ranked = sorted(range(len(supervised)), key=lambda i: int(order[i]))
    sizes, tokens = [int(length[i]) for i in ranked], [int(supervised[i]) for i in ranked]
    dose, steps = [0.0] * len(supervised), 0
    added, left = [0.0] * len(supervised), [0.0] * len(supervised)
    for epoch in range(int(p.epochs)):
        batches = batching_twin.epoch(p, sizes, np.random.default_rng([seed, epoch]))
        if p.batching in ("packed", "wrapped"):  # of four ways in which the rows may have stood
            stood = np.random.default_rng([seed, epoch % 4, 1]).permutation(len(sizes)).tolist()
            batches = batching_twin.epoch(p, [sizes[i] for i in stood], np.random.default_rng([seed, epoch]))
            batches = [[[stood[i] for i in part] for part in step] for step in batches]
        visits = [row for step in batches for part in step for row in part]
        words = sum(tokens[row] for row in visits) / len(batches)
        crowd = words / 350
        sizes_of_steps = []
        for step in batches:
            weights = [
                batching_twin.token_weight(p, step, part, row, tokens)
                for part in step for row in part for _ in range(tokens[row])
            ]  # fmt: skip
            sizes_of_steps += [math.sqrt(sum(w * w for w in weights))] if weights else []
        usual = statistics.median(sizes_of_steps)
        sizes_of_steps = [min(size, 6 * usual) for size in sizes_of_steps]
        even = statistics.fmean(sizes_of_steps) / math.sqrt(statistics.fmean(s * s for s in sizes_of_steps))
        for number, step in enumerate(batches):
            steps += 1
            done = (epoch + number / len(batches)) / p.epochs
            rate = {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}[p.lr_schedule]
            learned: dict[int, list[float]] = {}
            for part in step:
                for row in part:
                    weight = batching_twin.token_weight(p, step, part, row, tokens)
                    worth = math.log1p(p.learning_rate * rate / 3e-4) / math.log(2) * (weight * words) ** 0.65
                    worth *= even**1.7 / crowd**0.24
                    worth *= tokens[row] > 0
                    dose[ranked[row]] += worth
                    for i in range(len(supervised)):
                        share = 1.0 if i == ranked[row] else (kappa or {}).get((i, ranked[row]), 0.0)
                        if share:
                            learned.setdefault(i, []).append(share * worth)
            for i, doses in learned.items():
                added[i] += sum(doses)
                left[i] += sum(d ** (1 / 0.3) for d in doses) ** 0.3
    peak = p.learning_rate
    steady = math.log1p(peak / 1e-4) / math.log(4) / (math.log1p(peak / 3e-4) / math.log(2))
    whole, stir = 3 * math.log(2) / math.log(4), 1.0
    for part in range(1024):  # the stir follows the rate: what it is above it dies away
        done = (part + 0.5) / 1024
        rate = {"constant": 1.0, "linear": 1 - done, "cosine": (1 + math.cos(math.pi * done)) / 2}[p.lr_schedule]
        stir = rate + (stir - rate) * math.exp(-2 * 45 * peak * rate * steps / 1024)
    worn = stir**2 * 1.13 / (stir**2 + 0.13)
    stands = whole + worn * (steady - whole)
    return [stands * taught for taught in dose], steps, [b / a if a else 1.0 for a, b in zip(added, left, strict=True)]


BATCHES = [
    {}, {"batching": "length-grouped", "devices": 2}, {"batching": "packed", "batch_tokens": 200},
    {"batching": "wrapped", "batch_tokens": 300}, {"batch_tokens": 90}, {"drop_last": "step"},
    {"drop_last": "micro-batch"},
]  # fmt: skip
