"""`scan calibrate`: the level of a base from the user's own rehearsed rows, tried out on those rows, as a TOML file.

rehearsals -> Observed per epoch -> level.fit -> the level
                                 -> folds over rows: fitted on the others, scored on these -> [evaluation]
                                 -> early epochs: fitted on them, scored on the last        -> [evaluation.ahead]
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from scanner import prediction, rehearsed
from scanner.errors import OutputError, RunError
from scanner.prediction import calibration, level, reliability, scoring
from scanner.prediction.hazard import EXTRACTED, WEIGHTS, Weights, load_weights
from scanner.prediction.level import Level, Observed
from scanner.prediction.scoring import Figure, Scores
from scanner.prediction.validated import CALIBRATION, LATER, LEFT_OUT, Transfer, Validated
from scanner.progress import Progress
from scanner.store import RunFolder, write_bytes

FOLDS = 5
WORTH_SAYING = 1.05
MOST_DOUBT = 1.5
"""Logits and log of the dose factor together, one standard deviation: a level less sure than that says nothing."""
Part = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]
"""Per state: p, truth and unit of rows; P(N_pre < seen), P(N_pre <= seen) and unit of answers."""


@dataclass(frozen=True)
class Calibrated:
    """What `scan calibrate` found, and where it stands."""

    path: Path
    level: Level
    values: dict[str, Any]  # the file's tables
    within: Scores
    ahead: Scores | None
    covered: Validated  # by the rehearsals; stands in the file too

    def in_words(self) -> str:
        """Lines for the screen."""
        found, fitted, one = self.level, self.values["fitted_on"], self.within
        epoch = max(fitted["epochs"])
        lines = [
            f"{calibration.described(self.values['base'])}: {fitted['rows']:,} rows at "
            f"{calibration.epochs_in_words(fitted['epochs'])} of {calibration.listed(fitted['runs'])}, "
            f"{fitted['hits']:,} of them with N_pre >= {EXTRACTED}",
            f"Level: offset {found.offset:+.2f} logits, standard deviation {found.offset_sd:.2f}"
            + (f"; dose factor {found.dose_factor:.2f}, its log known to {found.log_factor_sd:.2f}"
               if found.log_factor_sd else "; no dose factor fitted")
            + f" (log-likelihood {found.nats_before:.3f} before, {found.nats:.3f} after, nats per answer and epoch)",
            *self._widened(),
            f"Rows predicted by a level fitted on other rows ({FOLDS} folds), epoch {epoch}:",
            *_told(one),
        ]  # fmt: skip
        if self.ahead:
            early = self.values["evaluation"]["ahead"]["fitted_epochs"]
            lines += [f"Epoch {epoch} predicted by a level fitted on {calibration.epochs_in_words(early)}:",
                      *_told(self.ahead)]  # fmt: skip
        caution = self.values["evaluation"].get("caution")
        return "\n".join([*lines, *([f"Caution: {caution}"] if caution else []), f"{self.path}"])

    def _widened(self) -> list[str]:
        """What the tests made of the level's doubt; nothing where they found it right."""
        now, later = (self.values["level"][name] for name in ("misfit", "misfit_later"))
        if later < WORTH_SAYING:
            return []
        return [f"The tests below missed by more than chance, so audits take this doubt {now:.1f} times, and "
                f"{later:.1f} times for plans of more epochs"]  # fmt: skip


@dataclass(frozen=True)
class _Tried:
    """A prediction of rows that the level was not fitted on, beside what came of them."""

    fitted_epochs: list[int]
    parts: list[Part]
    scores: Scores

    @classmethod
    def of(cls, parts: list[Part], fitted_epochs: Sequence[int]) -> _Tried:
        p, truth, unit, below, upto, of = (np.concatenate([part[i] for part in parts]) for i in range(6))
        return cls(list(fitted_epochs), parts, scoring.score(p, truth, unit, below, upto, of))

    def bins(self) -> list[list[float]]:
        """Rows by predicted probability, each bin in the order of calibration.BIN."""
        p, truth = (np.concatenate([part[i] for part in self.parts]) for i in range(2))
        return [[getattr(b, name) for name in calibration.BIN] for b in reliability.bins(p, truth)]


def calibrate(
    runs: Sequence[Path], out: Path, names: tuple[str, ...] = (), progress: Progress | None = None
) -> Calibrated:
    """Fit the level on the rehearsals of these runs, evaluate it on their rows and write the file.

    names: of rehearsals; all of each run where none is given. They must be of one base and one kind of tuning.
    """
    progress = progress or Progress()
    if not out.parent.is_dir():
        raise OutputError(f"{out.parent} is no folder to write {out.name} to; create it, or choose another -o")
    found = [r for path in runs for r in rehearsed.rehearsals(RunFolder.open_finished(path), names)]
    bases = list(dict.fromkeys(calibration.described(r.base) for r in found))
    if len(bases) > 1:
        raise RunError(
            f"these rehearsals are of {len(bases)} bases: {', '.join(bases)}; a calibration is for one: choose with "
            f"--name, of {', '.join(dict.fromkeys(r.name for r in found))}"
        )
    by_run: list[list[Observed]] = []  # one list for each rehearsal, its epochs in order
    measured: list[rehearsed.Rehearsal] = []  # those of by_run
    with progress.stage("read what was measured", len(found)):
        first = 0
        for r in found:
            states = [o for o in rehearsed.observed(r, first) if len(o.n_pre)]
            if states:
                by_run.append(states)
                measured.append(r)
            first = 1 + max((int(o.unit.max()) for o in states), default=first - 1)
            progress.advance(1)
    if not by_run:
        raise RunError("the rehearsals hold no measured answer after training; rehearse with more --rows or --epochs")
    weights = load_weights()  # at the level of the base of the fit
    with progress.stage("fit the level"):
        fitted = level.fit([o for states in by_run for o in states], weights)
    with progress.stage("try it on rows left out", FOLDS):
        within = _across(by_run, weights, fitted, progress)
    with progress.stage("try it on later epochs"):
        ahead = _ahead(by_run, weights, fitted)
    values = _values(found, by_run, weights, fitted, within, ahead)
    there = level.at(weights, (fitted.offset, math.log(fitted.dose_factor)))
    misfit = _misfit(within, by_run, there, fitted)
    later = max(misfit, _misfit(ahead, by_run, there, fitted)) if ahead else misfit
    values["level"] |= {"misfit": misfit, "misfit_later": later}
    covered = _covered(measured, by_run, there)
    tested = tuple(
        Transfer(CALIBRATION, name, s.rows, s.true_rows, s.expected_rows, standard_error=s.standard_error,
                 auroc=math.nan if s.auroc.value is None else s.auroc.value)
        for name, s in ((LEFT_OUT, within.scores), *([(LATER, ahead.scores)] if ahead else []))
    )  # fmt: skip
    covered = replace(covered, tested=tested)
    write_bytes(out, calibration.toml(values, covered).encode("utf-8"))
    return Calibrated(out, fitted, values, within.scores, ahead.scores if ahead else None, covered)


def _covered(found: list[rehearsed.Rehearsal], by_run: list[list[Observed]], fitted: Weights) -> Validated:
    """What all the rehearsals together went through."""
    each = [rehearsed.covered(r, states, fitted) for r, states in zip(found, by_run, strict=True)]
    return reduce(Validated.widened, each)


def _across(by_run: list[list[Observed]], weights: Weights, fitted: Level, progress: Progress) -> _Tried:
    """Each row after its last epoch, predicted by a level fitted on the folds without it; whole units together."""
    observed = [o for states in by_run for o in states]
    units = np.unique(np.concatenate([o.unit for o in observed]))
    fold = np.empty(int(units.max()) + 1, np.int64)
    fold[units] = np.random.default_rng(0).permutation(len(units)) % FOLDS
    parts: list[Part] = []
    for k in range(FOLDS):
        there = _refitted([_some(o, fold[o.unit] != k) for o in observed], weights, fitted)
        parts += _predicted([_some(states[-1], fold[states[-1].unit] == k) for states in by_run], there)
        progress.advance(1)
    return _Tried.of(parts, sorted({o.epoch for o in observed}))


def _ahead(by_run: list[list[Observed]], weights: Weights, fitted: Level) -> _Tried | None:
    """The last epoch predicted by a level fitted on the first half of the measured ones; None with one epoch only."""
    long = [states for states in by_run if len(states) > 1]
    if not long:
        return None
    early = [o for states in long for o in states[: len(states) // 2]]
    there = _refitted(early, weights, fitted)
    return _Tried.of(_predicted([states[-1] for states in long], there), sorted({o.epoch for o in early}))


def _misfit(tried: _Tried, by_run: list[list[Observed]], there: Weights, fitted: Level) -> float:
    """How many times the level's doubt must be taken so that it explains what its own test missed beyond chance.

    The fit knows how sure the level is if the hazard is right; where it is not, rows come out more or fewer than
    foretold, and only the test shows it (the excess variance of DerSimonian and Laird 1986, for one comparison).
    """

    def count(weights: Weights) -> float:
        return math.fsum(float(part[0].sum()) for part in _predicted([states[-1] for states in by_run], weights))

    offset, log_factor = fitted.step
    moved = level.at(there, (fitted.offset + offset, math.log(fitted.dose_factor) + log_factor))
    s = tried.scores
    missed, step = (s.true_rows - s.expected_rows) ** 2 - s.standard_error**2, abs(count(moved) - count(there))
    room = max(1.0, MOST_DOUBT / max(math.hypot(offset, log_factor), 1e-9))
    return 1.0 if missed <= 0 else min(room, math.sqrt(1 + missed / max(step, 1e-9) ** 2))


def _refitted(observed: list[Observed], weights: Weights, like: Level) -> Weights:
    """The weights at a level of the same form, fitted on these."""
    return level.fitted_weights([o for o in observed if len(o.n_pre)], weights, like.log_factor_sd > 0)


def _some(one: Observed, which: np.ndarray) -> Observed:
    answers = one.answers
    return replace(
        one,
        answers=prediction.Answers(answers.row[which], answers.start[which], answers.end[which]),
        n_pre=one.n_pre[which],
        unit=one.unit[which],
    )


def _predicted(observed: list[Observed], weights: Weights) -> list[Part]:
    """Rows and answers of each state beside what came of them; a row's likeliest answer counts."""
    parts: list[Part] = []
    for o in observed:
        p, row = level.extraction(o, weights), o.answers.row
        long = ~np.isnan(p)
        at, place = np.unique(row[long], return_inverse=True)
        best, truth, unit = np.zeros(len(at)), np.zeros(len(at), np.bool_), np.zeros(len(at), np.int64)
        np.maximum.at(best, place, p[long])
        np.logical_or.at(truth, place, o.n_pre[long] >= EXTRACTED)
        unit[place] = o.unit[long]
        before, after = level.around(o, weights)
        parts.append((best, truth, unit, 1 - before, 1 - after, o.unit))
    return parts


def _values(
    found: list[rehearsed.Rehearsal], by_run: list[list[Observed]], weights: Weights, fitted: Level, within: _Tried,
    ahead: _Tried | None,
) -> dict[str, Any]:  # fmt: skip
    """The tables of the file, in the order they are read in."""
    observed = [o for states in by_run for o in states]
    hits, last = level.hits(observed), max(o.epoch for o in observed)
    runs = [f"{r.run.path.name}/{r.name}" for r in found]
    rows = f"{within.scores.rows:,} rows of {calibration.listed(runs)} after epoch {last}"
    told: dict[str, Any] = {
        "how": f"last epoch, {FOLDS} folds over rows with their copies: the level was fitted on the other folds; "
        "intervals are 90 %, bootstrap over rows with their copies",
        "on": f"{rows}, each predicted by a level fitted on others",
        "caution": _caution(hits, within.scores, ahead),
        **_figures(within.scores),
        "bins": within.bins(),
    }
    if ahead:
        told["ahead"] = {
            "how": "last epoch, the level fitted on the first half of the measured epochs",
            "on": f"{rows}, predicted by a level fitted on {calibration.epochs_in_words(ahead.fitted_epochs)}",
            "fitted_epochs": ahead.fitted_epochs,
            **_figures(ahead.scores),
            "bins": ahead.bins(),
        }
    return {
        "kind": calibration.KIND,
        "id": f"{calibration.KIND}/{found[0].base['name']}",
        "level": {
            "fitted": fitted.fitted,
            "offset": fitted.offset,
            "offset_sd": fitted.offset_sd,
            "dose_factor": fitted.dose_factor,
            "log_factor_sd": fitted.log_factor_sd,
            "offset_step": fitted.step[0],
            "log_factor_step": fitted.step[1],
            "tempering": fitted.tempering,
            "nats_per_observation_before": fitted.nats_before,
            "nats_per_observation": fitted.nats,
            "by_epoch": [list(entry) for entry in fitted.by_epoch],
        },
        "weights": {
            "id": f"{WEIGHTS.parent.name}/{WEIGHTS.stem}",
            "version": calibration.version(weights),
            "date": str(weights.provenance.get("date", "")),
        },
        "base": found[0].base,
        "fitted_on": {
            "date": date.today().isoformat(),
            "rows": sum(len(np.unique(np.concatenate([o.answers.row for o in states]))) for states in by_run),
            "independent_rows": len(np.unique(np.concatenate([o.unit for o in observed]))),
            "hits": hits,
            "observations": sum(len(o.n_pre) for o in observed),
            "epochs": sorted({o.epoch for o in observed}),
            "runs": runs,
            "planted": sum(int((r.facts.get("planted") or {}).get("rows", 0)) for r in found),
            "data": list(dict.fromkeys(str(r.facts["asked"]["identity"])[:16] for r in found)),
            "plans": list(dict.fromkeys(calibration.plan_in_words(r.plan) for r in found)),
            "batchings": list(dict.fromkeys(r.plan.batching for r in found)),
            "loss_averages": list(dict.fromkeys(r.plan.loss_average for r in found)),
        },
        "evaluation": told,
    }


def _caution(hits: int, within: Scores, ahead: _Tried | None) -> str | None:
    """What a user must know before trusting the level; None when nothing speaks against it."""
    said = []
    if hits < level.ENOUGH_HITS:
        said.append(
            f"{f'only {hits}' if hits else 'none'} of the rows recited {EXTRACTED} tokens or more, so the level rests "
            "on shorter runs; rehearse with more --epochs or --rows"
        )
    tried = [("rows left out", within)]
    if ahead:
        tried.append((f"the last epoch from {calibration.epochs_in_words(ahead.fitted_epochs)}", ahead.scores))
    for what, scores in tried:
        if scores.is_off:
            said.append(
                f"of {what}, {scores.expected_rows:.1f} rows were predicted and {scores.true_rows} measured, more than "
                f"two standard errors ({scores.standard_error:.1f} rows) apart, and intervals are widened by it"
            )
    return "; ".join(said) or None


def _figures(scores: Scores) -> dict[str, Any]:
    """Scores as entries of the file; a figure that is not defined is left out."""
    told: dict[str, Any] = {k: v for k, v in asdict(scores).items() if not isinstance(v, dict)}
    for name in ("calibration_error", "cover", "auroc"):
        figure: Figure = getattr(scores, name)
        told |= {name: figure.value, f"{name}_low": figure.low, f"{name}_high": figure.high}
    return told


def _told(scores: Scores) -> list[str]:
    """Lines for the screen."""
    error, chance = scores.calibration_error, scores.calibration_error_by_chance
    return [
        f"  {scores.expected_rows:.1f} rows expected with N_pre >= {EXTRACTED}, {scores.true_rows} measured, of "
        f"{scores.rows:,} (standard error {scores.standard_error:.1f} rows)",
        f"  calibration error {_shown(error)}; {chance:.3f} by chance alone",
        f"  N_pre at or below its predicted {scoring.QUANTILE:.0%} quantile: {_shown(scores.cover)} of answers",
        f"  AUROC {_shown(scores.auroc)}",
    ]


def _shown(figure: Figure) -> str:
    """0.034 (0.021 to 0.055)."""
    if figure.value is None:
        return "not defined: rows of one kind only"
    between = "" if figure.low is None or figure.high is None else f" ({figure.low:.3f} to {figure.high:.3f})"
    return f"{figure.value:.3f}{between}"
