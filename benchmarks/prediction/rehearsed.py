"""The level fitted on a short rehearsal of one cell, tested on its later epochs and on other plans and rows."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import combinations
from pathlib import Path

import corpus
import fit as fitting
import grid
import numpy as np
import other_bases
import predicting

from scanner.prediction import Hazard, Weights, level, openings, scoring
from scanner.prediction.hazard import EXTRACTED, load_weights

CALIBRATED_TO = 4  # epochs of the short rehearsal
HELD = ("random-3", "random-4", "grouped-3", "grouped-4")  # never fitted where a level is tested
OF_OTHER_ROWS = [
    "other-2", "other-3", "linear-other", "linear-other-3", "other-grouped", "other-grouped-2", "other-grouped-3",
    "packed-other", "packed-four-other", "many-other", "many-other-linear", "many-other-cosine",
    "many-other-cosine-2", "linear-steep-other",
]  # fmt: skip
"""Cells of rows that no weights they are tested with have seen, beside other-1."""
REHEARSED = {  # rehearsal -> cells that are predicted with its level, beside its own later epochs
    "random-3": [
        "random-4", "grouped-3", "grouped-4", "batch-32", "linear", "cosine", "steep", "steep-2", "steep-3", "steep-4",
        "gentle", "per-row", "micro-2", "packed", "packed-ordered-2", "packed-2", "packed-four", "few", "many",
        "many-linear", "many-cosine", "many-cosine-2", "linear-steep", "linear-steep-2", "linear-steep-3",
        "linear-steep-4", "most", "brief-1", "long-1", "other-1", *OF_OTHER_ROWS,
    ],
    "other-1": OF_OTHER_ROWS, "packed": ["packed-ordered-2"], "packed-ordered-2": ["packed"],
    "many-cosine": ["many-other-cosine"], "linear-steep": ["linear-steep-other"],
    "lora": ["lora-long", "lora-linear"], "lora-low": ["lora-long"], "lora-gentle": [], "lora-64": [],
    "lora-linear": [], "lora-low-other": ["lora-other", "lora-cosine-other"], "lora-cosine-other": [],
    "short-1": [], "small-1": [], "middle-1": [], "larger-1": [], "large-1": [], "chinese-1": ["chinese-2"],
}  # fmt: skip

BOILERPLATE = {
    "random-3": ["boilerplate-1", "boilerplate-2", "boilerplate-3", "boilerplate-4"],
    "boilerplate-1": ["boilerplate-2", "boilerplate-3", "boilerplate-4"],
    "chinese-1": ["boilerplate-chinese-1", "boilerplate-chinese-2"], "boilerplate-chinese-1": ["boilerplate-chinese-2"],
}  # fmt: skip
"""Rehearsals and cells of sets many of whose answers begin or go on as others do; no bar was set for them."""

OFTEN = {
    "random-3": ["once", "once-other", "once-many", "once-most", "twice", "twice-other", "four", "near"],
}
"""Sets none of whose rows has a copy, or all of whose rows have as many, of 175 to 2,000 texts; no bar was set."""

FURTHER = {"random-3": ["further-1", "linear-steep-further"], "further-1": ["linear-steep-further"]}
"""Rehearsals and cells of rows of sources that nothing was chosen on."""

QUICK = {
    "random-3": [
        "linear-quick",
        "linear-steep-quick",
        "linear-steep-warm-quick",
        "many-linear-steep-quick",
        "linear-steep-other-quick",
        "linear-steep-further-quick",
    ],
    "linear-quick": ["linear", "linear-other"],
    "linear-steep-quick": ["linear-steep", "linear-steep-other"],
    "linear-steep-other-quick": ["linear-steep", "linear-steep-other"],
    "linear-steep-further-quick": ["linear-steep-further"],
}
"""Trainings of four epochs in which the rate falls to 0, and rehearsals by them of the same plan over eight epochs."""

KNOWN_PLANS = ("random-1", "grouped-1", "linear-steep")
"""Cells whose plans stand in every fit that a test is made with, by other seeds or other rows than those tested."""

FITTED_BEFORE: list[Hazard] = []
"""What `hazard_of` fitted, the latest last: where the next fit begins."""


def calibration(data: Path, rehearsals: dict[str, list[str]] = REHEARSED) -> list[str]:
    """The level fitted on the first epochs of one cell, tested on its later epochs and on other plans.

    The weights of each tested cell were not fitted to it.
    """
    lines = [
        "| rehearsal, epochs 1 to 4 | level | tested on | epoch | predicted / true rows before | after (90 % interval) "
        "| within the bar | calibration error | by chance | 95 % quantile covers | AUROC |",
        "|---" * 11 + "|",
    ]
    found_of: dict[str, list[tuple[bool, float, float, bool]]] = {name: [] for name in rehearsals}
    by_plan: dict[tuple[str, grid.Cell, int], list[tuple[str, np.ndarray, np.ndarray]]] = {}
    for name, others in rehearsals.items():
        cells = predicting.load(data, [name, *others], predicting.SIMULATED)
        if name not in cells:
            continue
        table, observed = cells[name]
        short = [o for o in observed if 1 <= o.epoch <= CALIBRATED_TO]
        rows = np.flatnonzero(table.member & (table.length > 0))
        for other, (there, epochs) in cells.items():
            weights = weights_without(data, other)
            found = level.fit([predicting.observed_for_level(table, o, rows) for o in short], weights)
            told = f"{found.offset:+.2f} ±{found.offset_sd:.2f}" + (
                f", dose x{found.dose_factor:.2f}" if found.fitted != "offset" else ""
            )
            fitted = replace(
                level.found(weights, found), rehearsed=predicting.runs_of(name, CALIBRATED_TO),
                set_sd=openings.doubt(predicting.begin_alike(there)),
            )  # fmt: skip
            for o in epochs:
                if o.epoch < CALIBRATED_TO or (other == name and o.epoch <= CALIBRATED_TO):
                    continue
                members = np.flatnonzero(there.member & (there.length >= EXTRACTED))
                one = predicting.observed_for_level(there, o, members)
                truth, told_of = o.n_pre[members] >= EXTRACTED, level.foretold(one, fitted)
                p, (before, after) = level.extraction(told_of, fitted), level.around(told_of, fitted)
                scores = scoring.score(p, truth, members, 1 - before, 1 - after, members)
                rows_told = predicting.interval(fitted, one, p)
                ok = bool(within_bar(p.sum(), truth.sum(), scores.standard_error))
                holds = rows_told.low <= truth.sum() <= rows_told.high
                chance = missed_by_chance(p, scores.standard_error)
                found_of[name].append((ok, chance, scores.cover.value, holds))
                if other != name:
                    plan = replace(grid.CELLS[other], seed=0)
                    by_plan.setdefault((name, plan, o.epoch), []).append((other, p, truth))
                lines.append(
                    f"| {name} | {told} | {other} | {o.epoch} | {predicting.extraction(one, weights).sum():.0f} / "
                    f"{truth.sum()} | {p.sum():.0f} ({rows_told.low:.0f}-{rows_told.high:.0f}) | "
                    f"{'yes' if ok else 'no'} | "
                    f"{scores.calibration_error.value:.3f} | {scores.calibration_error_by_chance:.3f} | "
                    f"{scores.cover.value:.3f} | {scores.auroc.value or np.nan:.3f} |"
                )
    lines += ["", "| rehearsal | counts within the bar | a perfect prediction would miss | covers within .90 to .98 "
              "| 90 % intervals that hold |", "|---|---|---|---|---|"]  # fmt: skip
    for name, lines_of in found_of.items():
        if lines_of:
            ok, chance, cover, holds = (np.array(column) for column in zip(*lines_of, strict=True))
            inside = int(((cover >= 0.9) & (cover <= 0.98)).sum())
            counts = (
                f"{ok.sum()} of {len(ok)} | {chance.sum():.1f} | {inside} of {len(ok)} | {holds.sum()} of {len(ok)}"
            )
            lines.append(f"| {name} | {counts} |")
    return lines + over_seeds({key: cells for key, cells in by_plan.items() if len(cells) > 1})


def over_seeds(by_plan: dict[tuple[str, grid.Cell, int], list[tuple[str, np.ndarray, np.ndarray]]]) -> list[str]:
    """Plans that were tested on the same rows under several seeds, their rows taken together: what is left of the
    calibration error when chance, which a single training is full of, evens out. Of each cell: name, p, truth (n,).
    """
    if not by_plan:
        return []
    lines = [
        "",
        "Plans under several seeds, the rows of all taken together. By chance: of rows that are recited each by "
        "itself. By seed: what a prediction that is right on average over seeds would show of one training, as its "
        "rows are recited together.",
        "",
        "| rehearsal | tested on | epoch | predicted / true rows, mean of a seed | true rows of each "
        "| calibration error | by chance | of one training, mean | by chance | by seed |",
        "|---" * 10 + "|",
    ]
    for (name, _, epoch), cells in by_plan.items():
        p, truth = (np.concatenate(column) for column in list(zip(*cells, strict=True))[1:])
        alone = [scoring.calibration_error(*cell[1:]) for cell in cells]
        chance, of_one = (scoring.calibration_error_by_chance(x, np.random.default_rng(0)) for x in (p, cells[0][1]))
        lines.append(
            f"| {name} | {', '.join(other for other, *_ in cells)} | {epoch} | {p.sum() / len(cells):.0f} / "
            f"{truth.sum() / len(cells):.0f} | {', '.join(str(t.sum()) for _, _, t in cells)} | "
            f"{scoring.calibration_error(p, truth):.3f} | {chance:.3f} | {np.mean(alone):.3f} | {of_one:.3f} | "
            f"{apart([cell[1:] for cell in cells]):.3f} |"
        )
    return lines


def apart(cells: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """Calibration error of one training where the prediction is right on average over seeds, by how far the shares of
    recited rows lie apart between two seeds, in the bins of the calibration error; cells: p, truth (n,), the same rows.
    """
    gaps = []
    for (p, one), (_, other) in combinations(cells, 2):
        bins = np.array_split(np.argsort(p, kind="stable"), scoring.BINS)
        gaps.append(sum(abs(one[b].sum() - float(other[b].sum())) for b in bins) / len(p) / np.sqrt(2))
    return float(np.mean(gaps))


def within_bar(expected: float, true: np.ndarray | int, standard_error: float) -> np.ndarray:
    """Whether an expected number of rows lies within the larger of 25 % and two standard errors of the true one."""
    return np.abs(expected - true) <= np.maximum(0.25 * np.asarray(true), 2 * standard_error)


def missed_by_chance(p: np.ndarray, standard_error: float) -> float:
    """How often the bar is missed where every row is recited with exactly its chance p (n,); by 2,000 draws."""
    rng = np.random.default_rng(0)
    true = np.array([np.count_nonzero(rng.random(len(p)) < p) for _ in range(2000)])
    return float(1 - within_bar(p.sum(), true, standard_error).mean())


@cache
def weights_without(data: Path, name: str) -> Weights:
    """Weights fitted to what does not resemble a cell: not itself, nor its plan under another seed, nor its rows, where
    they are others. KNOWN_PLANS stand in every fit, by seeds and rows that are not tested. No fit has a cell of LoRA:
    there the weights are the shipped ones, and what adapters learn and hold is told by the other cells.

    Their level is that of the base of the fit, known to no more than bases lie apart.
    """
    tested, shipped = grid.CELLS[name], load_weights()
    priors = replace(shipped.priors, offset=predicting.PRIORS.offset, offset_sd=predicting.PRIORS.offset_sd)
    if tested.plan.method == "lora":
        weights = Weights(shipped.hazard, priors, False, {})
        return other_bases.with_adapters(weights, *other_bases.of_adapters(data, shipped.hazard, name))
    cells = [c for c in fitting.FITTED if c not in (*HELD, name)]
    if tested.plan not in [grid.CELLS[known].plan for known in KNOWN_PLANS]:
        cells = [c for c in cells if grid.CELLS[c].plan != tested.plan]
    if tested.times is not None:
        cells = [c for c in cells if grid.CELLS[c].times is None]
    rows = {tested.rows, *corpus.JOINED.get(tested.rows, ())} - {"english"}
    cells = [c for c in cells if grid.CELLS[c].rows not in rows]
    return Weights(hazard_of(data, tuple(cells)), priors, False, {})


@cache
def hazard_of(data: Path, cells: tuple[str, ...]) -> Hazard:
    """The hazard fitted to some cells."""
    start = FITTED_BEFORE[-1] if FITTED_BEFORE else None
    hazard, _ = fitting.fit(predicting.load(data, cells), lambda t: t.length > 0, start)
    FITTED_BEFORE.append(hazard)
    return hazard
