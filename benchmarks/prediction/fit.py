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
from dataclasses import asdict, fields, replace
from datetime import date
from functools import cache
from pathlib import Path

import corpus
import grid
import measured
import numpy as np
import torch
import validity
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import t as student

from scanner.kernels.contexts import RARITY_STEP, SEEN
from scanner.kernels.hazard import BACKGROUND_UNIT, KNOWN_UNIT, USUAL_WIDTH, WIDTH_UNIT
from scanner.prediction import Conflicts, Hazard, HazardWithBase, Priors, Weights, scoring, turn_tails
from scanner.prediction.hazard import EXTRACTED, NODES, RARITY_UNIT, SURPRISE_UNIT, WEIGHTS, HeatWeights, Regime
from scanner.prediction.stretches import Heat, heat
from scanner.prediction.validated import Transfer
from scanner.settings import TrainingPlan

NAMES = list(Hazard.__dataclass_fields__)
BASE = "base_known"
HEAT_NAMES = [field.name for field in fields(HeatWeights)]
COLUMNS = ("rarity", "width", "background", "surprise", "known")
PRIORS = Priors(
    offset=0.0, offset_sd=0.7, level_factor=1.0, level_factor_sd=0.0, lora_dose=1.0, size_exponent=0.0,
    fitted_parameters=1.0, unknown_parameters=1.0, most_steps=1e9,
)  # fmt: skip
LEVEL = ("bias", "context_bias", "dose_bias", "dose_progress", "dose_epochs", "dose_power", "spread", "ceiling")
"""Weights that are fitted once more to N_pre alone, when all have been fitted to every token: the row effect of a run
of hits from the beginning is wider than that of tokens anywhere, and it makes the tail."""
PULL = 2e-4  # weight decay of the fit per observation: keeps a coefficient that the data do not need near zero
TOKENS = 24  # of each answer; the first 16 decide p_extract
EPOCHS = (0, 1, 2, 4, 6, 8, 12)
FITTED = [f"{kind}-{seed}" for kind in ("random", "grouped") for seed in (1, 2, 3, 4)] + [
    "batch-32", "linear", "cosine", "steep", "gentle", "per-row", "micro-2", "packed-2", "few", "other-1",
]  # fmt: skip
TESTED = {"small-1": "parameters", "middle-1": "parameters", "larger-1": "parameters", "chinese-1": "script"}
"""Cells that are predicted and never fitted, and what is new in them (see scanner.prediction.validated.Transfer)."""
OF_BASES = ("random-1", "short-1", *TESTED)
"""One cell of each base, of which only the first is in the fit: their levels make that of a base not measured."""
SETTLED = 4
"""Epochs from which on the level of a base is read: before, few rows are recited."""
OTHER_WAYS = {
    "goldfish-4": ("goldfish loss", "goldfish"), "goldfish-10": ("goldfish loss", "goldfish"),
    "wrapped": ("batching", "wrapped"),
}  # fmt: skip
"""Cells of the base and rows of the fit that no fit has seen: what is new in them, and its name."""
LORA = "lora"
"""The cell that says what a LoRA visit is worth."""
START = [0, 0, 0, 0, -2, -0.3, 0, -0.5, 0, 0, 0, 0, -2, -1, -0.8, -0.5, 6]
POSITIVE = ("dose_progress", "dose_epochs", "dose_power", "spread", "ceiling")  # through softplus

Cells = dict[str, tuple[measured.Table, list[measured.Observation]]]
softplus = torch.nn.functional.softplus


@cache
def _table(data: Path, name: str) -> measured.Table:
    return measured.assemble(data, name)


def load(data: Path, names: Iterable[str], simulated: int | None = None) -> Cells:
    """The named cells that were measured; cells that train on the same rows share a table."""
    shared: dict[tuple, str] = {}
    cells: Cells = {}
    for name in names:
        if not (grid.HERE / f"{name}.parquet").exists():
            continue
        cell = grid.CELLS[name]
        rows = (cell.rows, cell.members, cell.half, cell.base, cell.seed if cell.shuffled else None)
        first = shared.setdefault(rows, name)
        table = _table(data, first)
        cells[name] = (table, measured.observe(table, name, simulated))
    return cells


def columns(table: measured.Table, with_base: bool = False, warm: bool = False) -> np.ndarray:
    """(5, T) rarity, width, background, surprise, known, in the units of the kernel; (6, T) the base's probability.

    warm: (8, T), for the heat: also whether the token stood earlier in its row, and the width of the token before it.
    """
    f = table.features
    return np.stack([
        f.rarity * RARITY_STEP / RARITY_UNIT,
        np.log2(np.maximum(f.width, 1)) / WIDTH_UNIT, -f.background / BACKGROUND_UNIT,
        -f.log_probability / SURPRISE_UNIT, f.known / KNOWN_UNIT, *([f.base] if with_base else []),
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
        self, cells: Cells, chosen: Callable[[measured.Table], np.ndarray], epochs: Iterable[int] = EPOCHS,
        until_miss: bool = False, with_base: bool = False, warm: bool = False,
    ) -> None:  # fmt: skip
        parts: dict[str, list[np.ndarray]] = {k: [] for k in ("x", "own", "dose", "set_dose", "progress", "sign")}
        count = 0
        for table, observed in cells.values():
            x = columns(table, with_base or warm, warm)
            if warm and not with_base:
                x[5] = 0  # the base was not measured
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
                parts["dose"].append(np.repeat(o.dose[rows], taken))
                parts["set_dose"].append(np.full(len(index), np.log2(1 + o.regime.set_dose)))
                parts["progress"].append(np.full(len(index), o.regime.progress()))
                hit = np.concatenate([o.hits[i][:n] for i, n in zip(rows, taken, strict=True)])
                parts["sign"].append(np.where(hit, 1.0, -1.0))
                count += len(rows)
        self.count = count
        self.x = torch.tensor(np.concatenate(parts["x"], 1))
        self.own = torch.tensor(np.concatenate(parts["own"]))
        self.dose, self.set_dose, self.progress, self.sign = (
            torch.tensor(np.concatenate(parts[k]).astype(np.float32)) for k in ("dose", "set_dose", "progress", "sign")
        )


def logits(w: torch.Tensor, d: Observations) -> torch.Tensor:
    """The hazard's logit of every token at row effect 0; the formula stands in scanner/prediction/hazard.py."""
    rare, wide, strange, odd, known = d.x[: len(COLUMNS)]
    z = w[0] + w[1] * rare + w[2] * wide + w[3] * strange
    if len(d.x) > len(COLUMNS):  # the base's own probability
        z = z + w[17] * d.x[5]
    if len(w) == len(HEAT_NAMES):
        z = z + w[18] * d.x[6] + w[19] * wide * odd
    z = z + d.set_dose * softplus(w[4] + w[5] * odd + w[6] * known)
    slope = w[7] + w[8] * rare + w[9] * known + w[10] * wide + w[11] * strange
    if len(w) == len(HEAT_NAMES):
        slope = slope + (w[20] + w[21] * wide) * d.x[7] + w[22] * wide * odd
    power = softplus(w[14])
    gain = ((1 + d.dose) ** power - 1) / (power * math.log(2.0))
    z = z + gain * softplus(slope + softplus(w[12]) * d.progress + softplus(w[13]) * d.set_dose)
    above = torch.clamp(z, min=0.0)
    return torch.where(z > 0, above / torch.sqrt(1 + (above / softplus(w[16])) ** 2), z)


def fit(cells: Cells, chosen: Callable[[measured.Table], np.ndarray], start: Hazard | None = None,
        dropped: tuple[str, ...] = (), with_base: bool = False) -> tuple[Hazard, float]:  # fmt: skip
    """All weights by the likelihood of every token, then LEVEL by that of N_pre; nats per row and epoch.

    with_base: also that of the base's own probability of the token (HazardWithBase).
    """
    free = [n for n in (*NAMES, *([BASE] if with_base else [])) if n not in dropped]
    rounds = 60 if start is None else 30  # the weights of a fit on nearly the same cells are near
    hazard, _ = maximise(Observations(cells, chosen, with_base=with_base), start, free, rounds)
    free = [n for n in LEVEL if n not in dropped]
    return maximise(Observations(cells, chosen, until_miss=True, with_base=with_base), hazard, free, 40)


def fit_heat(cells: Cells, chosen: Callable[[measured.Table], np.ndarray], start: Hazard | None = None,
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
    kind = {5: Hazard, 6: HazardWithBase, 8: HeatWeights}[len(d.x)]
    names = [field.name for field in fields(kind)]
    moves = torch.tensor([name in free for name in names])
    pulled = torch.tensor([name != "ceiling" for name in names])  # 0 would be the strictest ceiling, not none
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


def plan_of(name: str) -> TrainingPlan:
    """The plan of a cell, with the size of its base."""
    return replace(grid.CELLS[name].plan, model_params=float(parameters(grid.CELLS[name].base)))


def given(table: measured.Table, o: measured.Observation, weights: Weights) -> tuple[float, Regime, Conflicts]:
    """What a visit is worth under the plan of a cell, the training of its set by then, and its conflicting answers."""
    strength = weights.strength(plan_of(o.cell))
    regime = replace(o.regime, set_dose=o.regime.set_dose * strength)
    return strength, regime, Conflicts(table.conflict_place, table.conflict_share)


def predict(table: measured.Table, o: measured.Observation, weights: Weights) -> object:
    """The shipped prediction of every row: distributions of N_pre (TurnTails)."""
    strength, regime, torn = given(table, o, weights)
    return turn_tails(
        table.features, table.answers, o.dose * strength, o.dose * 0, regime, weights, torn, 1, goldfish=o.goldfish
    )


@cache
def parameters(base: str) -> int:
    """Parameters of a base, as measured when it was made."""
    return int(json.loads((grid.HERE / f"bases-{base}.json").read_text())["parameters"])


def warm(table: measured.Table, o: measured.Observation, weights: Weights, rows: np.ndarray) -> Heat:
    """The shipped heat of the answers of some rows."""
    strength, regime, torn = given(table, o, weights)
    exact = o.own * np.maximum(1, table.copies) * strength
    return heat(table.features, table.answers, rows, o.dose * strength, regime, weights, torn, exact)


def plain(hazard: Hazard, heated: HeatWeights | None = None) -> Weights:
    """The weights alone: no priors on size or kind of tuning."""
    return Weights(hazard, PRIORS, False, {}, heat=heated)


def worth_of_a_visit(data: Path, name: str, hazard: Hazard) -> float | None:
    """Factor on the doses of a cell under which what was recited from epoch 2 on is likeliest; None: not measured."""
    cells = load(data, [name])
    if not cells:
        return None
    table, observed = cells[name]
    rows = table.member & (table.length >= EXTRACTED)
    weights = plain(hazard)

    def surprise(log_factor: float) -> float:
        known = replace(weights, dose_factor=math.exp(log_factor))
        nats = 0.0
        for o in (o for o in observed if o.epoch >= 2):
            p = np.clip(predict(table, o, known).extract[rows], 1e-6, 1 - 1e-6)
            nats -= np.log(np.where(o.n_pre[rows] >= EXTRACTED, p, 1 - p)).sum()
        return nats

    return math.exp(minimize_scalar(surprise, bounds=(-5.0, 3.0), method="bounded").x)


def new_in(name: str, topic: str) -> str:
    """What is new in a tested cell: the size of its base or the script of its rows."""
    cell = grid.CELLS[name]
    return str(parameters(cell.base)) if topic == "parameters" else validity.SCRIPTS[cell.rows][0]


def levels_of_bases(data: Path, weights: Weights) -> dict[str, float]:
    """Log of what a visit is worth to each base: where as many rows are expected after SETTLED epochs as were recited.

    Beside what its size does. An offset instead would be another at every epoch.
    """
    found = {}
    for name in OF_BASES:
        for table, observed in load(data, [name]).values():
            rows = table.member & (table.length >= EXTRACTED)
            late = [o for o in observed if o.epoch > SETTLED]
            truth = sum(int((o.n_pre[rows] >= EXTRACTED).sum()) for o in late)

            def surplus(log_factor: float, table=table, rows=rows, late=late, truth=truth) -> float:
                there = replace(weights, dose_factor=math.exp(log_factor))
                return sum(predict(table, o, there).extract[rows].sum() for o in late) - truth

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
    level, doubt = level_of_a_base(level for other, level in levels.items() if other != name)
    priors = replace(weights.priors, level_factor=math.exp(level), level_factor_sd=doubt)
    return replace(weights, priors=priors).of_another_base(plan_of(name))


def transfers(data: Path, weights: Weights, levels: dict[str, float]) -> tuple[Transfer, ...]:
    """What came of predicting the cells of TESTED, at their last epoch and the level of the other bases."""
    found = []
    for name, topic in TESTED.items():
        value = new_in(name, topic)
        for table, observed in load(data, [name]).values():
            rows = table.member & (table.length >= EXTRACTED)
            there = at_level_of_others(weights, name, levels)
            p, truth = predict(table, observed[-1], there).extract[rows], observed[-1].n_pre[rows] >= EXTRACTED
            ranked = scoring.auroc(p, truth) or 0.0
            found.append(Transfer(topic, value, int(rows.sum()), int(truth.sum()), float(p.sum()), ranked))
    return (*found, *other_ways(data, weights))


def other_ways(data: Path, weights: Weights) -> tuple[Transfer, ...]:
    """What came of predicting the cells of OTHER_WAYS, at their last epoch and the level of the fit."""
    found = []
    for name, (table, observed) in load(data, OTHER_WAYS).items():
        rows = table.member & (table.length >= EXTRACTED)
        p, truth = predict(table, observed[-1], weights).extract[rows], observed[-1].n_pre[rows] >= EXTRACTED
        counts = int(rows.sum()), int(truth.sum()), float(p.sum())
        found.append(Transfer(*OTHER_WAYS[name], *counts, scoring.auroc(p, truth) or 0.0))
    return tuple(found)


def write(
    path: Path, data: Path, hazard: Hazard, with_base: Hazard, heats: dict[str, HeatWeights], cells: Cells, nats: float
) -> None:
    """rules/weights/prediction.toml."""
    old = tomllib.loads(WEIGHTS.read_text("utf-8"))["priors"]
    old["lora_dose"] = round(worth_of_a_visit(data, LORA, hazard) or old["lora_dose"], 3)
    steps = max(o.regime.steps for _, observed in cells.values() for o in observed)
    base = json.loads((grid.HERE / "bases-english.json").read_text())
    priors = Priors(**{**old, "fitted_parameters": float(base["parameters"]), "most_steps": steps})
    weights = Weights(hazard, priors, False, {})
    levels = levels_of_bases(data, weights)
    level, doubt = level_of_a_base(levels.values())
    tested = transfers(data, weights, levels)
    sources = sorted(
        {s for name in cells for s in corpus.SETS[grid.CELLS[name].rows]} | {*corpus.PRETRAINING["english"]}
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
        "# a LoRA visit beside a full one: measured on one cell of the grid (rank 16, all linear layers) at this size",
        f"lora_dose = {old['lora_dose']}",
        "# a step counts as one at learning rate x parameters^this: Adam moves a layer's output by learning rate x",
        "# width, which grows from 256 at 4.5 M parameters to 4,096 at 7 B: 2e-5 on a large model is as large a step",
        "# as 3e-4 on this one",
        f"size_exponent = {old['size_exponent']}",
        f"fitted_parameters = {base['parameters']:.4g}",
        f"unknown_parameters = {old['unknown_parameters']:.4g}  # where the plan names no model size",
        f"most_steps = {steps:.0f}  # the longest training of the fit; progress is counted up to here", "",
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
    cells = load(args.data, FITTED)
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
