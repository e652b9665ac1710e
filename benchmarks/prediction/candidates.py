"""What further features of tokens and rows would add to the hazard model, on sources and seeds that were left out.

    python candidates.py --data DATA --cache CACHE                    every candidate; what is in CACHE is not redone
    python candidates.py --data DATA --cache CACHE --only "answer length, log2"
    python candidates.py --data DATA --cache CACHE --other boilerplate      other rows, one fit of seven to each

Each candidate gets two weights, on the bias and on the slope of dose (those of what the other rows teach a single one,
beside surprise and known contexts, where the training of the set gates it), and the whole model is fitted with them as
`fit.py` fits it, from the fitted model on: to every token, then to N_pre (level and shape, and the weights of a
candidate that is the same for a whole row). Fitted on seeds 1 and 2 of the random and grouped cell without one source,
tested on that source under seeds 3 and 4 with a simulated sampler; fitted on all six sources, tested on the rows of
`other`, `boilerplate` or `boilerplate-chinese`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from types import SimpleNamespace

import candidate_columns
import fit as fitting
import grid
import measured
import numpy as np
import predicting
import tables
import torch

from scanner.prediction import Hazard
from scanner.prediction.hazard import EXTRACTED, NODES, quadrature

FITTED_ON, TESTED_ON = ([f"{kind}-{seed}" for kind in tables.KINDS for seed in seeds] for seeds in tables.FOLDS[0])
OTHER = {
    "other": ["other-1", "linear-other"], "boilerplate": ["boilerplate-1", "boilerplate-2"],
    "boilerplate-chinese": ["boilerplate-chinese-1", "boilerplate-chinese-2"],
}  # fmt: skip
"""Set of rows -> its cells that are tested after a fit to all sources of FITTED_ON."""
ROUNDS = (25, 15)  # of the two fits, from where the model without the candidate ended
NONE = "the model, fitted again"
TOGETHER = "all row features together"
BIAS, SLOPE, TAUGHT = (fitting.NAMES.index(name) for name in ("bias", "dose_bias", "context_bias"))
CLEARLY = 0.95  # of paired draws

Predicted = dict[tuple[str, int], np.ndarray]
softplus = torch.nn.functional.softplus


@dataclass(frozen=True)
class Candidate:
    """Columns of one kind: of tokens, of rows, or of rows and where their visits fall."""

    name: str
    kind: str  # token, row, visit, taught (of tokens, in what the other rows teach)
    columns: tuple[str, ...]


@cache
def described(data: Path, rows: str) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Token and row columns, and those of what others teach of a token, of a set of rows (of corpus.SETS)."""
    name = OTHER.get(rows, FITTED_ON)[0]
    table = next(iter(predicting.load(data, [name]).values()))[0]
    of = (candidate_columns.of_tokens, candidate_columns.of_rows, candidate_columns.taught)
    of_token, of_row, taught = (columns(data, name, table) for columns in of)
    return of_token, of_row, taught


def every_candidate(data: Path) -> list[Candidate]:
    """Each column by itself, then all row features at once."""
    tokens, rows, taught = described(data, grid.CELLS[FITTED_ON[0]].rows)
    return [
        Candidate(NONE, "row", ()),
        *(Candidate(name, "token", (name,)) for name in tokens),
        *(Candidate(name, "taught", (name,)) for name in taught),
        *(Candidate(name, "row", (name,)) for name in rows),
        Candidate("latest visit in the last epoch", "visit", ("simulated",)),
        Candidate("latest visit, the training's own seed known", "visit", ("known",)),
        Candidate(TOGETHER, "row", tuple(rows)),
    ]


def values(data: Path, table: measured.Table, o: measured.Observation, what: Candidate, fits: bool) -> np.ndarray:
    """(k, T) columns of a candidate over the answers' tokens, not standardised."""
    if what.kind == "visit":
        known = fits or what.columns == ("known",)
        row = candidate_columns.latest_visit(table, o, None if known else predicting.SIMULATED)
        return np.repeat(row, table.length)[None]
    tokens, rows, taught = described(data, grid.CELLS[o.cell].rows)
    if what.kind in ("token", "taught"):
        return np.array([(tokens | taught)[name] for name in what.columns], np.float64)
    row = np.array([rows[name] for name in what.columns]).reshape(len(what.columns), len(table.length))
    return np.repeat(row, table.length, axis=1)


@dataclass(frozen=True)
class Scale:
    """Mean and standard deviation of each column over the tokens of a fit."""

    mean: np.ndarray
    sd: np.ndarray

    def __call__(self, column: np.ndarray) -> np.ndarray:
        return np.nan_to_num((column - self.mean[:, None]) / self.sd[:, None])  # what is not measured is the mean


def gathered(data: Path, cells: predicting.Cells, rows: np.ndarray, what: Candidate, until_miss: bool) -> np.ndarray:
    """(k, N) columns in the order of fit.Observations."""
    parts = []
    for table, observed in cells.values():
        for o in observed:
            if o.epoch in fitting.EPOCHS:
                column = values(data, table, o, what, True)
                taken = np.minimum(table.length[rows], o.n_pre[rows] + 1 if until_miss else fitting.TOKENS)
                starts = table.answers.start[rows]
                parts.append(
                    column[:, np.concatenate([np.arange(s, s + n) for s, n in zip(starts, taken, strict=True)])]
                )
    return np.concatenate(parts, 1)


def logits(w: torch.Tensor, d: object, extra: torch.Tensor) -> torch.Tensor:
    """fit.logits with a candidate's weights after the model's; extra (k, ...).

    2 k weights: on bias, then on the slope of dose. k weights: on what the other rows teach.
    """
    count, model = len(extra), len(fitting.NAMES)
    parts = list(w[:model])
    if count and len(w) == model + count:
        parts[TAUGHT] = parts[TAUGHT] + torch.tensordot(w[model:], extra, 1)
    elif count:
        parts[BIAS] = parts[BIAS] + torch.tensordot(w[model : model + count], extra, 1)
        parts[SLOPE] = parts[SLOPE] + torch.tensordot(w[model + count :], extra, 1)
    return fitting.logits(parts, d)


def maximise(
    d: fitting.Observations, extra: torch.Tensor, start: np.ndarray, moves: np.ndarray, rounds: int
) -> np.ndarray:
    """Maximum likelihood as fit.maximise finds it, over the weights that move, before softplus."""
    nodes, share = np.polynomial.hermite_e.hermegauss(NODES)
    node, log_share = (torch.tensor(v, dtype=torch.float32) for v in (nodes, np.log(share / share.sum())))
    fixed, free = torch.tensor(start, dtype=torch.float32), torch.tensor(moves)
    w = fixed.clone().requires_grad_()
    spread = fitting.NAMES.index("spread")
    optimizer = torch.optim.LBFGS([w], max_iter=rounds, history_size=20, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        v = torch.where(free, w, fixed)
        each = torch.nn.functional.logsigmoid(
            d.sign[:, None] * (logits(v, d, extra)[:, None] + softplus(v[spread]) * node)
        )
        rows = torch.zeros(d.count, NODES).index_add_(0, d.own, each)
        value = -torch.logsumexp(rows + log_share, 1).mean() + fitting.PULL * (v**2).sum()
        value.backward()
        return value

    optimizer.step(closure)
    return torch.where(free, w, fixed).detach().double().numpy()


class Fold:
    """The observations of a fit, and the model fitted to them without any candidate."""

    def __init__(self, data: Path, source: str | None, folder: Path) -> None:
        self.data, self.cells = data, predicting.load(data, FITTED_ON)
        self.table = next(iter(self.cells.values()))[0]
        self.rows = np.flatnonzero((self.table.source != source) & (self.table.length > 0))
        self.source = source
        stored = folder / f"base-{source}.npy"
        if stored.exists():
            self.fitted = np.load(stored)
        else:
            start, none = np.array(fitting.START, float), self._columns(Candidate(NONE, "row", ()))[1:]
            tokens = maximise(self.all, none[0], start, np.ones(len(start), bool), 60)
            self.fitted = np.stack((tokens, maximise(self.first, none[1], tokens, self._level(0, False), 40)))
            np.save(stored, self.fitted)

    @cached_property
    def all(self) -> fitting.Observations:
        """Every token."""
        return fitting.Observations(self.cells, lambda table: table.source != self.source)

    @cached_property
    def first(self) -> fitting.Observations:
        """Tokens up to the first miss."""
        return fitting.Observations(self.cells, lambda table: table.source != self.source, until_miss=True)

    def _level(self, extra: int, moves: bool) -> np.ndarray:
        return np.array([name in fitting.LEVEL for name in fitting.NAMES] + [moves] * extra)

    def _columns(self, what: Candidate) -> tuple[Scale, torch.Tensor, torch.Tensor]:
        raw = gathered(self.data, self.cells, self.rows, what, False)
        scale = Scale(np.nanmean(raw, 1), np.nanstd(raw, 1)) if len(raw) else Scale(np.zeros(0), np.ones(0))
        first = gathered(self.data, self.cells, self.rows, what, True)
        return scale, *(torch.tensor(scale(x), dtype=torch.float32) for x in (raw, first))

    def fit(self, what: Candidate) -> tuple[np.ndarray, Scale]:
        """Weights of the model and of the candidate, before softplus."""
        scale, all_extra, first_extra = self._columns(what)
        count = (1 if what.kind == "taught" else 2) * len(what.columns)
        start = np.append(self.fitted[0], np.zeros(count))
        tokens = maximise(self.all, all_extra, start, np.ones(len(start), bool), ROUNDS[0])
        level = self._level(count, what.kind in ("row", "visit"))
        then = np.where(level, np.append(self.fitted[1], tokens[len(fitting.NAMES) :]), tokens)
        return maximise(self.first, first_extra, then, level, ROUNDS[1]), scale


def before_softplus(hazard: Hazard) -> np.ndarray:
    """A fitted model's weights as the fit moves them."""
    w = hazard.vector()
    positive = [fitting.NAMES.index(name) for name in fitting.POSITIVE]
    w[positive] = np.log(np.expm1(w[positive]))
    return w


def extraction(w: np.ndarray, table: measured.Table, o: measured.Observation, extra: np.ndarray) -> np.ndarray:
    """(n,) P(N_pre >= 16) by the model and a candidate, NaN where the answer is shorter; extra (k, T)."""
    rows = np.flatnonzero(table.length >= EXTRACTED)
    index = table.answers.start[rows, None] + np.arange(EXTRACTED)
    d = SimpleNamespace(
        x=torch.tensor(fitting.columns(table)[:, index], dtype=torch.float64),
        dose=torch.tensor(o.dose[rows, None] * o.freed),
        set_dose=torch.tensor(np.log2(1 + o.regime.set_dose * o.freed)),
        progress=torch.tensor(o.regime.progress()), visit=torch.tensor(o.regime.visit),
    )  # fmt: skip
    weights = torch.tensor(w, dtype=torch.float64)
    z = logits(weights, d, torch.tensor(extra[:, index], dtype=torch.float64)).numpy()
    node, share = quadrature(float(softplus(weights[fitting.NAMES.index("spread")])))
    p = 1 / (1 + np.exp(-z)[:, :, None] * node)
    torn = np.arange(EXTRACTED) == table.conflict_place[rows, None]
    cap = np.where(torn, table.conflict_share[rows, None], 1.0)
    found = np.full(len(table.member), np.nan)
    found[rows] = np.minimum(p, cap[:, :, None]).prod(1) @ share
    return found


class Study:
    """Fits, predictions and scores of all candidates; predictions are kept in a folder."""

    def __init__(self, data: Path, folder: Path, other: str = "other") -> None:
        self.data, self.folder = data, folder
        folder.mkdir(parents=True, exist_ok=True)
        self.tested = predicting.load(data, TESTED_ON, predicting.SIMULATED)
        self.other = predicting.load(data, OTHER[other], predicting.SIMULATED)
        self.table = next(iter(self.tested.values()))[0]
        self.fold = cache(lambda source: Fold(data, source, folder))
        self.sources = [*np.unique(self.table.source).tolist(), None]

    def predicted(self, what: Candidate) -> Predicted:
        """P(N_pre >= 16) of every tested cell and epoch, source and seed left out; what is stored is not fitted."""
        stored = self.folder / f"{what.name.replace('/', ' ').replace(':', '')}.npz"
        known: Predicted = {}
        if stored.exists():
            with np.load(stored) as found:
                known = {(name, int(epoch)): found[f"{name}|{epoch}"] for name, epoch in (k.split("|") for k in found)}
        began, done, predicted = time.process_time(), {name for name, _ in known}, dict(known)
        for source in self.sources:
            cells = self.other if source is None else self.tested
            if done.issuperset(cells):
                continue
            w, scale = self.fold(source).fit(what)
            for name, (table, observed) in cells.items():
                rows = table.source == source if source else np.ones(len(table.member), bool)
                for o in observed:
                    if o.epoch in tables.TESTED_EPOCHS:
                        p = extraction(w, table, o, scale(values(self.data, table, o, what, False)))
                        whole = predicted.setdefault((name, o.epoch), np.full(len(p), np.nan))
                        whole[rows] = p[rows]
        if len(predicted) > len(known):
            np.savez(stored, **{f"{name}|{epoch}": p for (name, epoch), p in predicted.items()})
            print(f"{what.name}: {time.process_time() - began:.0f} s of processor time", file=sys.stderr, flush=True)
        return predicted

    def pairs(
        self, predicted: Predicted, epoch: int, alone: bool, other: bool = False, kind: str = ""
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """Per tested cell: predictions of its members, or of those with one copy, and what came of them."""
        found = []
        for name, (table, observed) in (self.other if other else self.tested).items():
            if name.startswith(kind):
                o = next(o for o in observed if o.epoch == epoch)
                rows = table.member & (table.length >= EXTRACTED) & (table.single | (not alone))
                found.append((predicted[name, epoch][rows], o.n_pre[rows] >= EXTRACTED))
        return found


def aurocs(value: np.ndarray, truth: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(draws,) AUROC with row i taken counts[draw, i] times; NaN without both kinds."""
    ranked = np.argsort(value, kind="stable")
    heads = np.flatnonzero(np.diff(value[ranked], prepend=np.nan) != 0)  # ties count half
    taken = counts[:, ranked]
    positive, negative = (np.add.reduceat(taken * kind, heads, axis=1) for kind in (truth[ranked], ~truth[ranked]))
    won = (positive * (negative.cumsum(1) - negative / 2)).sum(1)
    with np.errstate(invalid="ignore"):
        return won / (positive.sum(1) * negative.sum(1))


def average_precisions(value: np.ndarray, truth: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """(draws,) average precision likewise, ties in the worst order."""
    ranked = np.lexsort((truth, -value))
    taken, positive = counts[:, ranked], truth[ranked]
    before = taken.cumsum(1) - taken
    hits = (taken * positive).cumsum(1) - taken * positive
    total = np.zeros(len(counts))
    for j in range(1, int(taken.max()) + 1):
        total += ((hits + j) / (before + j) * (positive & (taken >= j))).sum(1)
    with np.errstate(invalid="ignore"):
        return total / (taken * positive).sum(1)


def against(best: list, other: list, score: Callable) -> tuple[float, float]:
    """Mean gain of a score over the cells, and the share of draws of rows in which it is a gain, equals counted half.

    best, other: per cell (predictions, truth) of the same rows.
    """
    count = len(best[0][0])
    drawn = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), tables.DRAWS)
    counts = np.concatenate((np.ones((1, count), np.int64), drawn))  # as they are, then drawn
    gaps = [score(v, y, counts) - score(u, y, counts) for (v, y), (u, _) in zip(best, other, strict=True)]
    usable = ~np.isnan(gaps).all(0)
    gap = np.nanmean(np.array(gaps)[:, usable], 0)
    return float(gap[0]), float(np.mean((gap[1:] > 0) + 0.5 * (gap[1:] == 0)))


SCORES = {  # title -> score, rows with one copy alone, the other rows
    "AUROC, all members": (aurocs, False, False),
    "AUROC, one copy": (aurocs, True, False),
    "average precision": (average_precisions, False, False),
    "AUROC, other rows": (aurocs, False, True),
    "average precision, other rows": (average_precisions, False, True),
}


def report(study: Study, names: dict[str, Predicted], base: Predicted) -> list[str]:
    """One line per candidate: gains over the model in thousandths, and the share of draws in which it gains."""
    epochs = " / ".join(map(str, tables.TESTED_EPOCHS))
    head = [*SCORES, "rows predicted / true, epoch 8: random, grouped, other"]
    lines = [f"| epochs {epochs} | {' | '.join(head)} |", "|---" * (len(head) + 1) + "|"]
    remarkable = []
    for name, predicted in names.items():
        cells = []
        for title, (score, alone, other) in SCORES.items():
            parts = []
            for e in tables.TESTED_EPOCHS:
                mine, theirs = (study.pairs(p, e, alone, other) for p in (predicted, base))
                if predicted is base:
                    once = np.ones((1, len(mine[0][0])), np.int64)
                    parts.append(f"{np.nanmean([score(v, y, once)[0] for v, y in mine]):.3f}")
                    continue
                gain, share = against(mine, theirs, score)
                parts.append(f"{1000 * gain:+.1f} ({share:.0%})")
                if share >= CLEARLY and gain >= 0.002:
                    by_kind = []
                    for kind in () if other else tables.KINDS:
                        two = (study.pairs(p, e, alone, other, kind) for p in (predicted, base))
                        by_kind.append("{} {:+.4f} ({:.0%})".format(kind, *against(*two, score)))
                    remarkable.append(f"- {name}: {title}, epoch {e}: {gain:+.4f} ({share:.0%}); {', '.join(by_kind)}")
            cells.append(" / ".join(parts))
        counts = []
        for kind, other in ((tables.KINDS[0], False), (tables.KINDS[1], False), ("", True)):
            found = study.pairs(predicted, tables.TESTED_EPOCHS[-1], False, other, kind)
            counts.append(" ".join(f"{p.sum():.0f}/{y.sum()}" for p, y in found))
        lines.append(f"| {name} | {' | '.join(cells)} | {', '.join(counts)} |")
    return [*lines, "", "Gains of .002 or more in 95 % of the draws:", "", *(remarkable or ["- none"])]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument(
        "--cache", type=Path, required=True, help="fits and predictions; empty it when a fit has changed"
    )
    parser.add_argument("--only", nargs="+", help="candidates by name")
    parser.add_argument("--other", choices=OTHER, default="other", help="the other rows")
    args = parser.parse_args()
    torch.set_num_threads(1)
    study = Study(args.data, args.cache, args.other)
    chosen = [c for c in every_candidate(args.data) if c.name == NONE or args.only is None or c.name in args.only]
    names = {what.name: study.predicted(what) for what in chosen}
    print("\n".join(report(study, names, names[NONE])))


if __name__ == "__main__":
    main()
