"""Is p_counterfactual what really vanishes when a row is left out? Half-splits: 8 models with each row, 8 without.

    python counterfactual.py --data DATA                          from measurements/half-*.parquet

Each pair of cells half-+k, half--k trains one model on one half of the same members and one on the other half, so over
eight pairs each member was trained on by eight models and left out by the other eight (no two pairs alike). Measured
counterfactual memorization of a row (2012.13891): mean over the models with it minus mean over those without it, of
"N_pre >= 16", of "N_pre >= 4" and of the share of the answer's tokens that are hit. Its ceiling is its own reliability.

What leaving out means here: a half takes a member *with everything planted for it*, its exact copies, near copies and
conflicting answers. So the measurement leaves out the whole group, and what it can be compared with is

    f(dose) - f(0)           the group's counterfactual; for members planted once this is p_counterfactual itself
    f(dose) - f(dose - own)  p_counterfactual: this row goes, its copies stay; shown by number of copies, where it must
                             fall although the group's rises (the inverted U); a half-split cannot measure that fall

Predictions are means over the eight models with the row, each from its own training set, doses and steps, as a user of
that training set would get them; nothing of the models without the row is used.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from scipy.stats import spearmanr
from tokens import auroc

if TYPE_CHECKING:
    from planted import Planted

    from scanner.prediction import Weights

PAIRS = tuple(range(1, 9))
EPOCHS = (4, 6, 8)
LARGE = 0.5  # measured counterfactual from which on a row counts as memorized for its own sake
EXTRACTED = 16
LEAST = (EXTRACTED, 4)
"""Tokens from which on an answer counts as recalled: those of p_extract, and a few, because rows planted once reach 16
too seldom in so small a set to rank them."""


@dataclass(frozen=True)
class Models:
    """Outcomes of 2 m models on n rows; model 2 k and 2 k + 1 are a pair."""

    inside: np.ndarray  # (2 m, n) bool: the row was in the model's training set
    outcome: np.ndarray  # (2 m, n) float: what the model did with the row


@dataclass(frozen=True)
class Measured:
    """Counterfactual memorization as measured; (n,) each."""

    value: np.ndarray  # mean over models with the row minus mean over models without
    with_row: np.ndarray
    without_row: np.ndarray
    error: np.ndarray  # standard error of `value`


def counterfactual(models: Models) -> Measured:
    """Mean with minus mean without, and its standard error (the two sets of models are independent)."""
    inside, outcome = models.inside.astype(float), models.outcome
    parts = []
    for weight in (inside, 1 - inside):
        count = weight.sum(0)
        mean = (weight * outcome).sum(0) / count
        variance = (weight * (outcome - mean) ** 2).sum(0) / np.maximum(1, count - 1)
        parts.append((mean, variance / count))
    (there, a), (absent, b) = parts
    return Measured(there - absent, there, absent, np.sqrt(a + b))


def reliability(models: Models, rows: np.ndarray) -> tuple[float, float]:
    """(Split-half correlation over models, stepped up to all of them; the largest Spearman one can expect).

    The pairs of models are split into two halves in every way (35 ways of 8 pairs); each half gives a value per row.
    Their rank correlation r belongs to half as many models; Spearman-Brown makes it 2 r / (1 + r) for all of them, and
    a perfect prediction of what the models do on average would reach the square root of that.
    """
    pairs = len(models.inside) // 2
    found = []
    for chosen in combinations(range(pairs), pairs // 2):
        if 0 not in chosen:
            continue  # each split once
        picked = np.isin(np.arange(2 * pairs) // 2, chosen)
        a, b = (
            counterfactual(Models(models.inside[side], models.outcome[side])).value[rows] for side in (picked, ~picked)
        )
        found.append(_spearman(a, b))
    half = float(np.mean(found))
    whole = 2 * half / (1 + half)
    return whole, float(np.sqrt(whole)) if whole >= 0 else 0.0 if whole < 0 else float("nan")


def again(models: Models, rows: np.ndarray, large: float = LARGE) -> float:
    """Mean AUROC with which one half of the models tells the rows that are large under the other half: a floor of the
    ceiling, since either half knows only half as much as all do."""
    pairs = len(models.inside) // 2
    found = []
    for chosen in combinations(range(pairs), pairs // 2):
        picked = np.isin(np.arange(2 * pairs) // 2, chosen)
        a, b = (
            counterfactual(Models(models.inside[side], models.outcome[side])).value[rows] for side in (picked, ~picked)
        )
        found.append(auroc(a, b >= large))
    return float(np.nanmean(found)) if not np.isnan(found).all() else float("nan")


def mean_of(values: Sequence[np.ndarray]) -> np.ndarray:
    """(n,) mean over the models that say something of the row; NaN where none does."""
    stacked = np.array(values)
    known = ~np.isnan(stacked)
    return np.divide(
        np.where(known, stacked, 0).sum(0), known.sum(0), where=known.any(0), out=np.full(known.shape[1], np.nan)
    )


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    return float(spearmanr(a, b).statistic) if len(np.unique(a)) > 1 and len(np.unique(b)) > 1 else float("nan")


@dataclass(frozen=True)
class Predicted:
    """What the scanner says of each row, mean over the models with it; (n,) each."""

    extract: np.ndarray
    own: np.ndarray  # p_counterfactual: this row is left out, its copies stay
    group: np.ndarray  # it is left out with everything planted for it
    dose: np.ndarray
    ngram: np.ndarray  # mean log leave-one-out probability, nats per token
    hits: np.ndarray  # expected share of the answer's tokens that are hit
    hits_group: np.ndarray  # the part of it that would go with the group


def predict(planted: Planted, epoch: int, weights: Weights, least: int) -> dict[str, np.ndarray]:
    """One model's prediction for every row of its training set; NaN for the others and for answers too short."""
    from scanner.prediction import Answers, turn_tails
    from scanner.prediction.stretches import heat

    table, seen = planted.table, planted.epochs[epoch]
    regime = replace(seen.regime, set_dose=seen.regime.set_dose * seen.freed)
    given, own = seen.dose * seen.freed, seen.own * seen.freed
    start, end = table.answers.start, table.answers.end
    beginning = Answers(table.answers.row, start, np.minimum(end, start + least))

    def reaching(dose: np.ndarray) -> np.ndarray:
        """P(N_pre >= least) under a dose: that of the whole of the answer's first tokens."""
        found = turn_tails(table.features, beginning, dose, None, regime, weights, planted.conflicts, 1)
        return np.where(table.length >= least, found.whole, np.nan)

    there, row_gone, group_gone = (reaching(d) for d in (given, np.maximum(0, given - own), given * 0))
    chosen = np.flatnonzero(table.member)
    shares = []
    for dose in (given, given * 0):
        found = heat(table.features, table.answers, chosen, dose, regime, weights, planted.conflicts, 1)
        share = np.full(len(table.length), np.nan)
        share[chosen] = np.add.reduceat(found.probability, found.bounds[:-1]) / table.length[chosen]
        shares.append(share)
    held = table.length > 0
    loss = np.full(len(table.length), np.nan)
    loss[held] = np.add.reduceat(table.features.log_probability.astype(float), start[held]) / table.length[held]
    values = {
        "extract": there,
        "own": there - row_gone,
        "group": there - group_gone,
        "dose": seen.dose,
        "ngram": loss,
        "hits": shares[0],
        "hits_group": shares[0] - shares[1],
    }
    return {name: np.where(table.member, value, np.nan) for name, value in values.items()}


def table(
    title: str, models: Models, scores: Mapping[str, np.ndarray], rows: np.ndarray, large: float = LARGE
) -> list[str]:
    """Markdown: Spearman and AUROC of each score against the measured value, over the given rows, with the ceiling."""
    measured = counterfactual(models)
    value = measured.value[rows]
    truth = value >= large
    whole, ceiling = reliability(models, rows)
    lines = [
        f"**{title}**: {rows.sum()} rows, {truth.sum()} with {large:g} or more; mean {value.mean():.3f} "
        f"(with {measured.with_row[rows].mean():.3f}, without {measured.without_row[rows].mean():.3f}), mean standard "
        f"error {measured.error[rows].mean():.3f}, reliability {whole:.3f}", "",
        f"| score | Spearman (at most {ceiling:.3f}) | AUROC (one half of the models: "
        f"{again(models, rows, large):.3f}) | mean |", "|---|---|---|---|",
    ]  # fmt: skip
    for name, score in scores.items():
        mean = f"{np.nanmean(score[rows]):.3f}" if name.startswith("p_") or "share" in name else ""
        lines.append(f"| {name} | {_spearman(score[rows], value):.3f} | {auroc(score[rows], truth):.3f} | {mean} |")
    return [*lines, ""]


def by_copies(
    measured: Measured, predicted: Predicted, copies: np.ndarray, alone: np.ndarray, rows: np.ndarray
) -> list[str]:
    """Markdown: measured and predicted by number of exact copies; near and conflicting plantings are left out."""
    lines = ["| exact copies | rows | measured, group left out | standard error | predicted, group left out | "
             "predicted, one row left out | predicted with the row |", "|---|---|---|---|---|---|---|"]  # fmt: skip
    for count in np.unique(copies[rows]):
        here = rows & (copies == count) & (alone if count == 1 else True)
        if not here.any():
            continue
        error = np.sqrt((measured.error[here] ** 2).sum()) / here.sum()
        lines.append(
            f"| {count} | {here.sum()} | {measured.value[here].mean():.3f} | {error:.3f} | "
            f"{predicted.group[here].mean():.3f} | {predicted.own[here].mean():.3f} | "
            f"{predicted.extract[here].mean():.3f} |"
        )
    return [*lines, ""]


def main() -> None:
    """Command line."""
    import corpus
    import grid
    from planted import planted_once, read

    from scanner.prediction.hazard import load_weights  # at the level of the base of the fit, which this is

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the data folder (holds sft/)")
    parser.add_argument("--measurements", type=Path, default=grid.HERE)
    parser.add_argument("--weights", type=Path, help="another weights file than the shipped one")
    parser.add_argument("--epochs", type=int, nargs="+", default=EPOCHS)
    args = parser.parse_args()
    grid.HERE = args.measurements
    weights = load_weights(args.weights) if args.weights else load_weights()
    there = [k for k in PAIRS if all((grid.HERE / f"half-{n:+d}.parquet").exists() for n in (k, -k))]
    if len(there) < 2:
        parser.error(f"{grid.HERE} holds {len(there)} pairs of half-splits; at least 2 are needed (grid.py run)")
    names = [f"half-{n:+d}" for k in there for n in (k, -k)]
    cells = [read(args.data, name) for name in names]
    cell = grid.CELLS[names[0]]
    members, _ = corpus.choose(args.data, cell.rows, cell.members, 200, grid.SEED)
    everyone = np.arange(len(members))
    copies = np.max([c.table.copies[everyone] for c in cells], axis=0)
    alone, length = planted_once(members), cells[0].table.length[everyone]
    inside = np.array([c.table.member[everyone] for c in cells])
    print(f"{len(cells)} models, {len(everyone)} members; {int((length >= EXTRACTED).sum())} long enough\n")
    alike = {"number of copies": copies.astype(float), "- answer length": -length.astype(float)}
    ends = np.concatenate(([0.0], np.cumsum(cells[0].table.base_loss, dtype=float)))
    answers = cells[0].table.answers
    alike["- loss before tuning"] = -((ends[answers.end] - ends[answers.start])[everyone] / np.maximum(1, length))
    for number in args.epochs:
        now = [c.epochs[number] for c in cells]
        print(f"### Epoch {number}\n")
        for least in LEAST:
            each = [predict(c, number, weights, least) for c in cells]
            predicted = Predicted(**{k: mean_of([v[k][everyone] for v in each]) for k in each[0]})
            same = alike | {"dose": predicted.dose, "- leave-one-out n-gram loss": predicted.ngram}
            scores = {
                "p_counterfactual": predicted.own, "p_counterfactual of the group": predicted.group,
                "p of reaching so far": predicted.extract, **same,
            }  # fmt: skip
            reached = Models(inside, np.array([e.n_pre[everyone] >= least for e in now], float))
            long = length >= least
            title = f"N_pre >= {least}"
            print("\n".join(table(f"{title}, members planted once", reached, scores, long & alone)))
            print("\n".join(table(f"{title}, all members, the group left out", reached, scores, long)))
            print("\n".join(by_copies(counterfactual(reached), predicted, copies, alone, long)))
        shared = Models(inside, np.array([[e.hits[i].mean() for i in everyone] for e in now]))
        scores = {"expected share of tokens, group left out": predicted.hits_group,
                  "expected share of tokens": predicted.hits, **same}  # fmt: skip
        print("\n".join(table("share of tokens hit, members planted once", shared, scores, alone)))


if __name__ == "__main__":
    main()
