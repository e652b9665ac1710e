"""Fit the weights of the token hazard model to what the grid of rehearsals found, and write the weights file.

    python fit.py --data DATA                                       the fit, without writing anything
    python fit.py --data DATA --weights rules/weights/prediction.toml

Every token of an answer was measured with the true text before it, so each is an observation; those of one row share
the row effect, which is integrated out. No training is done here: rows are derived from the data files, their features
by the shipped kernels, hits and doses come from `measurements/`. `tables.py` tests the same fit on what it left out.
"""

from __future__ import annotations

import argparse
import json
import math
import tomllib
from collections.abc import Callable, Iterable
from dataclasses import asdict, fields
from datetime import date
from pathlib import Path

import corpus
import grid
import measured
import numpy as np
import other_bases
import predicting
import torch
import validity

from scanner.kernels.contexts import RARITY_STEP, SEEN
from scanner.kernels.hazard import (
    BACKGROUND_UNIT,
    CERTAIN,
    CERTAIN_UNIT,
    KNOWN_UNIT,
    LEAST_DOUBT,
    OPENING_UNIT,
    USUAL_WIDTH,
    WIDTH_UNIT,
)
from scanner.kernels.openings import OPENING_STEP
from scanner.prediction import Hazard, HazardWithBase, Priors, Weights
from scanner.prediction.hazard import NODES, RARITY_UNIT, SURPRISE_UNIT, WEIGHTS, HeatWeights

NAMES = list(Hazard.__dataclass_fields__)
BASE = "base_known"
HEAT_NAMES = [field.name for field in fields(HeatWeights)]
COLUMNS = ("rarity", "width", "background", "surprise", "known", "certain", "opening")
LEVEL = (
    "bias", "context_bias", "dose_bias", "dose_progress", "dose_epochs", "dose_power", "spread", "ceiling", "noise",
    "centre",
)  # fmt: skip
"""Weights that are fitted once more to N_pre alone, when all have been fitted to every token: the row effect of a run
of hits from the beginning is wider than that of tokens anywhere, and it makes the tail."""
PULL = 2e-4  # weight decay of the fit per observation: keeps a coefficient that the data do not need near zero
TOKENS = 24  # of each answer; the first 16 decide p_extract
EPOCHS = (0, 1, 2, 4, 6, 8, 12)
FITTED = [f"{kind}-{seed}" for kind in ("random", "grouped") for seed in (1, 2, 3, 4)] + [
    "batch-32", "linear", "cosine", "steep", "gentle", "per-row", "micro-2", "packed-2", "few", "once",
    "once-many", "twice", "other-1", "boilerplate-1", "linear-steep", "linear-steep-quick", "linear-quick",
]  # fmt: skip
START = [0, 0, 0, 0, -2, -0.3, 0, -0.5, 0, 0, 0, 0, -2, -1, -0.8, -0.5, 6, -2, 3, 0, 0]
POSITIVE = ("dose_progress", "dose_epochs", "dose_power", "spread", "ceiling", "noise")  # through softplus

BASE_COLUMN = len(COLUMNS)

softplus = torch.nn.functional.softplus


def columns(table: measured.Table, with_base: bool = False, warm: bool = False) -> np.ndarray:
    """(7, T) COLUMNS in the units of the kernel; (8, T) the base's probability.

    warm: (10, T), for the heat: also whether the token stood earlier in its row, and the width of the token before it.
    """
    f = table.features
    doubt = np.maximum(-np.expm1(f.log_probability.astype(np.float64)), LEAST_DOUBT)
    return np.stack([
        f.rarity * RARITY_STEP / RARITY_UNIT,
        np.log2(np.maximum(f.width, 1)) / WIDTH_UNIT, -f.background / BACKGROUND_UNIT,
        -f.log_probability / SURPRISE_UNIT, f.known / KNOWN_UNIT,
        np.maximum(-np.log(doubt) - CERTAIN, 0) / CERTAIN_UNIT, f.opening * OPENING_STEP / OPENING_UNIT,
        *([f.base] if with_base else []),
        *(_of_heat(table) if warm else []),
    ]).astype(np.float32)  # fmt: skip


def _of_heat(table: measured.Table) -> list[np.ndarray]:
    """(T,) each: whether it stood earlier in its row; the width of the token before, the usual one at the beginning."""
    wide = np.log2(np.maximum(table.features.width, 1)) / WIDTH_UNIT
    before = np.append(np.zeros(1), wide[:-1])[: len(wide)]
    before[table.answers.start[table.length > 0]] = np.log2(USUAL_WIDTH) / WIDTH_UNIT
    return [(table.features.within & SEEN) > 0, before]


class Observations:
    """All measured tokens one after the other, as tensors."""

    def __init__(
        self, cells: predicting.Cells, chosen: Callable[[measured.Table], np.ndarray], epochs: Iterable[int] = EPOCHS,
        until_miss: bool = False, with_base: bool = False, warm: bool = False,
    ) -> None:  # fmt: skip
        names = ("x", "own", "dose", "set_dose", "progress", "visit", "sign")
        parts: dict[str, list[np.ndarray]] = {k: [] for k in names}
        count = 0
        for table, observed in cells.values():
            x = columns(table, with_base or warm, warm)
            if warm and not with_base:
                x[BASE_COLUMN] = 0  # the base was not measured
            rows = np.flatnonzero(chosen(table) & (table.length > 0))
            for o in observed:
                if o.epoch not in epochs:
                    continue
                most = o.n_pre[rows] + 1 if until_miss else np.inf if warm else TOKENS
                taken = np.minimum(table.length[rows], most).astype(np.int64)
                starts = table.answers.start[rows]
                index = np.concatenate([np.arange(s, s + n) for s, n in zip(starts, taken, strict=True)])
                parts["x"].append(x[:, index])
                parts["own"].append(count + np.repeat(np.arange(len(rows)), taken))
                parts["dose"].append(np.repeat(o.dose[rows] * o.freed, taken))
                parts["set_dose"].append(np.full(len(index), np.log2(1 + o.regime.set_dose * o.freed)))
                parts["progress"].append(np.full(len(index), o.regime.progress()))
                parts["visit"].append(np.full(len(index), o.regime.visit))
                hit = np.concatenate([o.hits[i][:n] for i, n in zip(rows, taken, strict=True)])
                parts["sign"].append(np.where(hit, 1.0, -1.0))
                count += len(rows)
        self.count = count
        self.x = torch.tensor(np.concatenate(parts["x"], 1))
        self.own = torch.tensor(np.concatenate(parts["own"]))
        self.dose, self.set_dose, self.progress, self.visit, self.sign = (
            torch.tensor(np.concatenate(parts[k]).astype(np.float32))
            for k in ("dose", "set_dose", "progress", "visit", "sign")
        )


def logits(w: torch.Tensor, d: Observations) -> torch.Tensor:
    """The hazard's logit of every token at row effect 0; the formula stands in scanner/prediction/hazard.py."""
    rare, wide, strange, odd, known, certain, opening = d.x[: len(COLUMNS)]
    z = w[0] + w[1] * rare + w[2] * wide + w[3] * strange
    if len(d.x) > len(COLUMNS):  # the base's own probability
        z = z + w[21] * d.x[BASE_COLUMN]
    if len(w) == len(HEAT_NAMES):
        z = z + w[22] * d.x[BASE_COLUMN + 1] + w[23] * wide * odd
    z = z + d.set_dose * softplus(w[4] + w[5] * odd + w[6] * known + w[19] * certain + w[20] * opening)
    slope = w[7] + w[8] * rare + w[9] * known + w[10] * wide + w[11] * strange
    if len(w) == len(HEAT_NAMES):
        slope = slope + (w[24] + w[25] * wide) * d.x[BASE_COLUMN + 2] + w[26] * wide * odd
    power = softplus(w[14])
    gain = ((1 + d.dose) ** power - 1) / (power * math.log(2.0))
    learned = gain * softplus(slope + softplus(w[12]) * d.progress + softplus(w[13]) * d.set_dose)
    z = blurred(z, learned, softplus(w[17]) * d.visit, w[18])
    above = torch.clamp(z, min=0.0)
    return torch.where(z > 0, above / torch.sqrt(1 + (above / softplus(w[16])) ** 2), z)


def blurred(given: torch.Tensor, learned: torch.Tensor, noise: torch.Tensor, centre: torch.Tensor) -> torch.Tensor:
    """What noise leaves of the logit given + learned; noise: its variance per logit learned."""
    z, narrower = given + learned, 1 / torch.sqrt(1 + noise * learned)
    sure = torch.maximum(given, centre)
    above = torch.where(z > sure, sure + (z - sure) * narrower, z)
    return torch.where(z < centre, centre - (centre - z) * narrower, above)


def fit(cells: predicting.Cells, chosen: Callable[[measured.Table], np.ndarray], start: Hazard | None = None,
        dropped: tuple[str, ...] = (), with_base: bool = False) -> tuple[Hazard, float]:  # fmt: skip
    """All weights by the likelihood of every token, then LEVEL by that of N_pre; nats per row and epoch.

    with_base: also that of the base's own probability of the token (HazardWithBase).
    """
    free = [n for n in (*NAMES, *([BASE] if with_base else [])) if n not in dropped]
    rounds = 60 if start is None else 30  # the weights of a fit on nearly the same cells are near
    hazard, _ = maximise(Observations(cells, chosen, with_base=with_base), start, free, rounds)
    free = [n for n in LEVEL if n not in dropped]
    return maximise(Observations(cells, chosen, until_miss=True, with_base=with_base), hazard, free, 40)


def fit_heat(cells: predicting.Cells, chosen: Callable[[measured.Table], np.ndarray], start: Hazard | None = None,
             with_base: bool = False) -> HeatWeights:  # fmt: skip
    """The weights of the heat by the likelihood of every token of the answers, to their ends."""
    free = [n for n in HEAT_NAMES if with_base or n != BASE]
    found, _ = maximise(Observations(cells, chosen, with_base=with_base, warm=True), start, free, 60)
    assert isinstance(found, HeatWeights)
    return found


def maximise(d: Observations, start: Hazard | None, free: list[str], rounds: int) -> tuple[Hazard, float]:
    """Maximum likelihood over the `free` weights; the others stay as in `start`, 0 without one."""
    nodes, share = np.polynomial.hermite_e.hermegauss(NODES)
    node, log_share = (torch.tensor(v, dtype=torch.float32) for v in (nodes, np.log(share / share.sum())))
    positive = [NAMES.index(n) for n in POSITIVE]
    kind = {0: Hazard, 1: HazardWithBase, 3: HeatWeights}[len(d.x) - len(COLUMNS)]
    names = [field.name for field in fields(kind)]
    moves = torch.tensor([name in free for name in names])
    # 0 would be the strictest ceiling, not none, and a noise of .69
    pulled = torch.tensor([name not in ("ceiling", "noise", "centre") for name in names])
    first = np.array(START + [0.0] * (len(names) - len(START)), np.float32)
    if start is not None:
        first = np.append(start.vector(), np.zeros(len(names) - len(start.vector()))).astype(np.float32)
        first[positive] = np.log(np.expm1(np.maximum(first[positive], 1e-3)))  # the inverse of softplus
    first[~moves.numpy()] *= start is not None
    fixed, w = torch.tensor(first), torch.tensor(first, requires_grad=True)
    optimizer = torch.optim.LBFGS([w], max_iter=rounds, history_size=20, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        v = torch.where(moves, w, fixed)
        each = torch.nn.functional.logsigmoid(d.sign[:, None] * (logits(v, d)[:, None] + softplus(v[15]) * node))
        rows = torch.zeros(d.count, NODES).index_add_(0, d.own, each)
        return -torch.logsumexp(rows + log_share, 1).mean() + PULL * (v[pulled] ** 2).sum()

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)
    final = torch.where(moves, w, fixed).detach().double()
    final[positive] = softplus(final[positive])
    return kind(*(round(float(v), 4) for v in final)), loss().item()


def write(
    path: Path,
    data: Path,
    hazard: Hazard,
    with_base: Hazard,
    heats: dict[str, HeatWeights],
    cells: predicting.Cells,
    nats: float,
) -> None:
    """rules/weights/prediction.toml."""
    old = tomllib.loads(WEIGHTS.read_text("utf-8"))["priors"]
    old["lora_dose"], old["lora_holds"] = (round(v, 3) for v in other_bases.of_adapters(data, hazard))
    steady = (name for name in cells if grid.CELLS[name].plan.lr_schedule == "constant")
    steps = max(o.regime.steps for name in steady for o in cells[name][1])
    base = json.loads((grid.HERE / "bases-english.json").read_text())
    priors = Priors(**{**old, "fitted_parameters": float(base["parameters"]), "most_steps": steps})
    weights = Weights(hazard, priors, False, {})
    levels = other_bases.levels_of_bases(data, weights)
    level, doubt = other_bases.level_of_a_base(levels.values())
    tested = other_bases.transfers(data, weights, levels)
    sources = sorted(
        {s.removesuffix(corpus.LATER) for name in cells for s in corpus.SETS[grid.CELLS[name].rows]}
        | {*corpus.PRETRAINING["english"]}
    )
    heated = []
    for title, found in heats.items():
        heated += [title, *(f"{name} = {value}" for name, value in asdict(found).items()), ""]
    lines = [
        "# Weights of the token hazard model (scanner/prediction/hazard.py states the formula and each unit).",
        "# Written by benchmarks/prediction/fit.py; do not edit by hand, fit again or calibrate.",
        'kind = "weights"', 'id = "weights/prediction"', "calibrated = false", "",
        "[hazard]  # logits per unit of the feature",
        *(f"{name} = {value}" for name, value in asdict(hazard).items()), "",
        "[hazard_with_base]  # where the untuned base was measured (scan DATASET --base)",
        *(f"{name} = {value}" for name, value in asdict(with_base).items()), "",
        *heated,
        "[priors]  # little stands behind these; calibration must replace them",
        "offset = 0.0  # logits; the level of the base of the fit",
        f"offset_sd = {old['offset_sd']}  # logits; how far from it a calibration may find that of another base to lie",
        f"# {len(levels)} bases, beside what their sizes do; the doubt is that of another, by how far these lie apart",
        f"level_factor = {math.exp(level):.3f}  # what a visit is worth to a base that was not measured",
        f"level_factor_sd = {doubt:.3f}  # of the log of that",
        f"# a first LoRA visit beside a full one: {len(other_bases.LORA)} cells (all linear layers; ranks 8, 16, 64; "
        "rates 3e-4 to 3e-3)",
        f"lora_dose = {old['lora_dose']}",
        "# and what adapters come near to and never pass: D visits a text, on average, count as this much of",
        "# 1 - exp(-D / this), where a text is visited once in so many optimizer steps, the most of these cells",
        f"lora_holds = {old['lora_holds']}  # visits",
        f"lora_steps = {old['lora_steps']}",
        "# a step counts as one at learning rate x parameters^this: Adam moves a layer's output by learning rate x",
        "# width, which grows from 256 at 4.5 M parameters to 4,096 at 7 B: 2e-5 on a large model is as large a step",
        "# as 3e-4 on this one",
        f"size_exponent = {old['size_exponent']}",
        f"fitted_parameters = {base['parameters']:.4g}",
        f"unknown_parameters = {old['unknown_parameters']:.4g}  # where the plan names no model size",
        "# a step with more at the peak rate behind it is no progress: as many as the fit's longest steady training",
        f"most_steps = {steps:.0f}", "",
        validity.of_cells(cells, tested).toml(),
        "[provenance]",
        'script = "benchmarks/prediction/grid.py, benchmarks/prediction/fit.py"',
        f'date = "{date.today().isoformat()}"',
        f'model = "causal transformer, {base["parameters"]} parameters, pre-trained on {base["tokens"]} tokens"',
        f"cells = {json.dumps(sorted(cells))}",
        f"epochs = {json.dumps(list(EPOCHS))}", f"seed = {grid.SEED}", f"nats_per_row_and_epoch = {nats:.4f}",
    ]  # fmt: skip
    lines += ["", "[provenance.sha256]"]
    lines += [f'"{name}" = "{corpus.sha256(data / "sft" / name)}"' for name in sources]
    path.write_text("\n".join([*lines, ""]))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, help="where to write the weights; nothing is written without it")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cells = predicting.load(args.data, FITTED)
    answered: Callable[[measured.Table], np.ndarray] = lambda table: table.length > 0  # noqa: E731
    hazard, nats = fit(cells, answered)
    print(asdict(hazard), f"{nats:.4f} nats per row and epoch")
    with_base, fewer = fit(cells, answered, with_base=True)
    print(asdict(with_base), f"{fewer:.4f} nats per row and epoch, the base's own probabilities known")
    heats = {
        "[heat]  # of each token by itself, and of stretches within an answer": fit_heat(cells, answered, hazard),
        "[heat_with_base]": fit_heat(cells, answered, with_base, True),
    }
    print(*map(asdict, heats.values()), sep="\n")
    if args.weights:
        write(args.weights, args.data, hazard, with_base, heats, cells, nats)


if __name__ == "__main__":
    main()
