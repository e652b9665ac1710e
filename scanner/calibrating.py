"""`scan calibrate`: the level of a base from the user's own measured rows, tried out on those rows, as a TOML file.

rehearsals, confirmations -> Observed per epoch -> level.fit -> the level, tried out (trying.py) -> [level] ...
                                     with what the base knew of their tokens untuned -> [with_base.level] ...

An audit with --base predicts by weights of its own, so that its level is another one: both are fitted, and the audit
takes the one that is made like its prediction.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from functools import reduce
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from scanner import confirmed, rehearsed, trying
from scanner.errors import OutputError, RunError
from scanner.figures import listed, plural
from scanner.prediction import calibration, level, scoring, trainings
from scanner.prediction.hazard import EXTRACTED, WEIGHTS, Weights, load_weights
from scanner.prediction.level import Level, Observed
from scanner.prediction.scoring import Figure, Scores
from scanner.prediction.validated import CALIBRATION, LATER, LEFT_OUT, Transfer, Validated
from scanner.progress import Progress
from scanner.store import RunFolder
from scanner.trying import FOLDS, Tried
from scanner.writing import write_bytes

Source = rehearsed.Rehearsal | confirmed.Confirmation
WORTH_SAYING = 1.05


@dataclass(frozen=True)
class Fitted:
    """One of the two levels."""

    level: Level
    values: dict[str, Any]  # its tables: level, weights, evaluation
    within: Scores
    ahead: Scores | None
    covered: Validated  # by the rehearsals; stands in the file too

    def in_words(self, epoch: float) -> list[str]:
        """Lines for the screen; epoch: the last one."""
        found = self.level
        lines = [
            f"Level: offset {found.offset:+.2f} logits, standard deviation {found.offset_sd:.2f}"
            + (f"; dose factor {found.dose_factor:.2f}, its log known to {found.log_factor_sd:.2f}"
               if found.log_factor_sd else "; no dose factor fitted")
            + f" (log-likelihood {found.nats_before:.3f} before, {found.nats:.3f} after, nats per answer and epoch)",
            *self._open(),
            *self._widened(),
            f"Rows predicted by a level fitted on other rows ({FOLDS} folds), epoch {epoch:g}:",
            *_told(self.within),
        ]  # fmt: skip
        if self.ahead:
            early = self.values["evaluation"]["ahead"]["fitted_epochs"]
            lines += [f"Epoch {epoch:g} predicted by a level fitted on {trainings.epochs_in_words(early)}:",
                      *_told(self.ahead)]  # fmt: skip
        caution = self.values["evaluation"].get("caution")
        return [*lines, *([f"Caution: {caution}"] if caution else [])]

    def _open(self) -> list[str]:
        """What few recited rows leave open; nothing where there were enough."""
        if self.level.ends is None:
            return []
        low, high = (f"offset {offset:+.2f}, dose factor {math.exp(factor):.2f}" for offset, factor in self.level.ends)
        return [
            "So few recited rows leave the level open: the 90 % interval of an audit also covers what "
            f"{low} and {high} would give"
        ]

    def _widened(self) -> list[str]:
        """What the tests made of the level's doubt; nothing where they found it right."""
        now, later = (self.values["level"][name] for name in ("misfit", "misfit_later"))
        if later < WORTH_SAYING:
            return []
        if now < WORTH_SAYING:
            return ["The test below of the last epoch missed by more than a standard error, so audits take this doubt "
                    f"{later:.1f} times for plans of more epochs"]  # fmt: skip
        return [f"The tests below missed by more than a standard error, so audits take this doubt {now:.1f} times, and "
                f"{later:.1f} times for plans of more epochs"]  # fmt: skip


@dataclass(frozen=True)
class Calibrated:
    """What `scan calibrate` found, and where it stands."""

    path: Path
    values: dict[str, Any]  # the file's tables
    table: Fitted  # for predictions by the table of general text alone
    with_base: Fitted | None  # for those with the base's own losses; None: they are not known

    def in_words(self) -> str:
        """Lines for the screen."""
        fitted = self.values["fitted_on"]
        epoch = max(fitted["epochs"])
        lines = [
            f"{trainings.described(self.values['base'])}: {plural(fitted['rows'], 'row')} at "
            f"{trainings.epochs_in_words(fitted['epochs'])} of {listed(fitted['runs'])}, "
            f"{fitted['hits']:,} of them, copies counted once, with N_pre >= {EXTRACTED}"
            f"{trainings.packed_in_words(self.table.covered)}",
            "For audits without --base:",
            *self.table.in_words(epoch),
        ]
        if self.with_base is None:
            lines.append(f"For audits with --base there is no level: {self.values[calibration.WITH_BASE]['missing']}")
        else:
            lines += ["For audits with --base, whose predictions know the base's own losses:",
                      *self.with_base.in_words(epoch)]  # fmt: skip
        return "\n".join([*lines, f"{self.path}"])


def calibrate(
    runs: Sequence[Path], out: Path, names: tuple[str, ...] = (), progress: Progress | None = None
) -> Calibrated:
    """Fit both levels on what was measured in these runs, evaluate them on their rows and write the file.

    names: of rehearsals and confirmations; all of each run where none is given. They must be of one base and one kind
    of tuning.
    """
    progress = progress or Progress()
    if not out.parent.is_dir():
        raise OutputError(f"{out.parent} is no folder to write {out.name} to; create it, or choose another -o")
    found = [r for path in runs for r in sources(RunFolder.open_finished(path), names)]
    bases = list(dict.fromkeys(trainings.described(r.base) for r in found))
    if len(bases) > 1:
        raise RunError(
            f"what was measured is of {len(bases)} bases: {', '.join(bases)}; a calibration is for one: choose with "
            f"--name, of {', '.join(dict.fromkeys(r.name for r in found))}"
        )
    if len({mark for r in found if (mark := r.base["fingerprint"])}) > 1:
        raise RunError(
            f"what was measured is of bases with one name and size, {bases[0]}, but other weights; a calibration is "
            f"for one: choose with --name, of {', '.join(dict.fromkeys(r.name for r in found))}"
        )
    _refuse_repeated(found)
    by_run: list[list[Observed]] = []  # one list for each rehearsal, its epochs in order
    measured: list[Source] = []  # those of by_run
    with progress.stage("read what was measured", len(found)):
        first = 0
        for r in found:
            states = [o for o in r.observed(first) if len(o.n_pre)]
            if states:
                by_run.append(states)
                measured.append(r)
            first = 1 + max((int(o.unit.max()) for o in states), default=first - 1)
            progress.advance(1)
    if not by_run:
        raise RunError("no answer was measured after training; rehearse with more --rows or --epochs, or confirm --all")
    table = _fitted(measured, by_run, load_weights(), progress)  # at the level of the base of the fit
    lacking = [r.lacking for r in measured if r.lacking]
    values = {
        "kind": calibration.KIND, "format": calibration.FORMAT, "id": f"{calibration.KIND}/{found[0].base['name']}",
        **table.values, **_of_both(found, by_run),
    }  # fmt: skip
    if lacking:
        with_base = None
        values[calibration.WITH_BASE] = {"missing": "; ".join(lacking)}
    else:
        with_base = _fitted(measured, by_run, load_weights(with_base=True), progress)
        values[calibration.WITH_BASE] = with_base.values
    text = calibration.toml(values, table.covered, with_base.covered if with_base else None)
    write_bytes(out, text.encode("utf-8"))
    return Calibrated(out, values, table, with_base)


def sources(run: RunFolder, names: tuple[str, ...] = ()) -> list[Source]:
    """Rehearsals and confirmations of a run; RunError where there is none, or not one of the names."""
    known: list[Source] = [*rehearsed.rehearsals(run), *confirmed.confirmations(run)]
    if not known:
        folder = shlex.quote(str(run.path))
        raise RunError(
            f"{run.path} holds no finished rehearsal to calibrate on; make one: scan rehearse {folder}; or measure "
            f"the model that you have tuned: scan confirm {folder} --model FOLDER"
        )
    missing = sorted(set(names) - {r.name for r in known})
    if missing:
        raise RunError(
            f"{run.path} has no rehearsal and no confirmation named {', '.join(missing)}; it has "
            f"{', '.join(r.name for r in known)}"
        )
    return [r for r in known if r.name in names or not names]


def _refuse_repeated(found: list[Source]) -> None:
    """RunError where one tuned model was confirmed several times: what it recites of a row would count as often."""
    several: dict[str, list[str]] = {}
    for one in found:
        if isinstance(one, confirmed.Confirmation):
            several.setdefault(one.facts["model"]["fingerprint"], []).append(one.name)
    for names in several.values():
        if len(names) > 1:
            raise RunError(
                f"{listed(names)} confirm one and the same model, whose rows count once; choose one of "
                f"them with --name, of {', '.join(dict.fromkeys(r.name for r in found))}"
            )


def _fitted(measured: list[Source], by_run: list[list[Observed]], weights: Weights, progress: Progress) -> Fitted:
    """The level of these weights on what was measured, and what its tests say of it."""
    knowing = " knowing the base's losses" if weights.with_base else ""
    with progress.stage(f"fit the level{knowing}"):
        fitted = level.fit([o for states in by_run for o in states], weights)
    with progress.stage("try it on rows left out", FOLDS):
        within = trying.across(by_run, weights, fitted, progress)
    with progress.stage("try it on later epochs"):
        ahead = trying.ahead(by_run, weights, fitted)
    there = level.found(weights, fitted)
    misfit = trying.misfit(within, by_run, there, fitted)
    later = max(misfit, trying.misfit(ahead, by_run, there, fitted)) if ahead else misfit
    values = _values(measured, by_run, weights, fitted, within, ahead)
    values["level"] |= {"misfit": misfit, "misfit_later": later}
    tested = tuple(
        Transfer(CALIBRATION, name, s.rows, s.true_rows, s.expected_rows, standard_error=s.standard_error,
                 auroc=math.nan if s.auroc.value is None else s.auroc.value)
        for name, s in ((LEFT_OUT, within.scores), *([(LATER, ahead.scores)] if ahead else []))
    )  # fmt: skip
    covered = replace(_covered(measured, by_run, there), tested=tested)
    return Fitted(fitted, values, within.scores, ahead.scores if ahead else None, covered)


def _covered(found: list[Source], by_run: list[list[Observed]], fitted: Weights) -> Validated:
    """What all of them together went through."""
    each = [r.covered(states, fitted) for r, states in zip(found, by_run, strict=True)]
    return reduce(Validated.widened, each)


def _values(
    found: list[Source], by_run: list[list[Observed]], weights: Weights, fitted: Level, within: Tried,
    ahead: Tried | None,
) -> dict[str, Any]:  # fmt: skip
    """The tables of one level, in the order they are read in."""
    observed = [o for states in by_run for o in states]
    hits, last = level.hits(observed), max(o.epoch for o in observed)
    runs = [r.told for r in found]
    rows = f"{within.scores.rows:,} rows of {listed(runs)} after epoch {last:g}"
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
            "on": f"{rows}, predicted by a level fitted on {trainings.epochs_in_words(ahead.fitted_epochs)}",
            "fitted_epochs": ahead.fitted_epochs,
            **_figures(ahead.scores),
            "bins": ahead.bins(),
        }
    return {
        "level": {
            "fitted": fitted.fitted,
            "offset": fitted.offset,
            "offset_sd": fitted.offset_sd,
            "dose_factor": fitted.dose_factor,
            "log_factor_sd": fitted.log_factor_sd,
            "offset_step": fitted.step[0],
            "log_factor_step": fitted.step[1],
            **dict(zip(calibration.ENDS, chain.from_iterable(fitted.ends or ()), strict=False)),
            "read_at": fitted.read_at,
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
        "evaluation": told,
    }


def _of_both(found: list[Source], by_run: list[list[Observed]]) -> dict[str, Any]:
    """The tables that say what was measured."""
    observed = [o for states in by_run for o in states]
    return {
        "base": {**found[0].base, "fingerprint": max(r.base["fingerprint"] for r in found)},  # "" where not known
        "fitted_on": {
            "date": date.today().isoformat(),
            "rows": sum(len(np.unique(np.concatenate([o.answers.row for o in states]))) for states in by_run),
            "independent_rows": len(np.unique(np.concatenate([o.unit for o in observed]))),
            "hits": level.hits(observed),
            "observations": sum(len(o.n_pre) for o in observed),
            "epochs": sorted({o.epoch for o in observed}),
            "runs": [r.told for r in found],
            "planted": sum(r.planted for r in found),
            "data": list(dict.fromkeys(r.data[:16] for r in found)),
            "plans": list(dict.fromkeys(trainings.plan_in_words(r.plan) for r in found)),
            "batchings": list(dict.fromkeys(r.plan.batching for r in found)),
            "loss_averages": list(dict.fromkeys(r.plan.loss_average for r in found)),
        },
    }


def _caution(hits: int, within: Scores, ahead: Tried | None) -> str | None:
    """What a user must know before trusting the level; None when nothing speaks against it."""
    said = []
    if hits < level.ENOUGH_HITS:
        said.append(
            f"{f'only {hits}' if hits else 'none'} of the rows recited {EXTRACTED} tokens or more, so the level rests "
            "on shorter runs; measure more rows, or after more epochs"
        )
    tried = [("rows left out", within)]
    if ahead:
        tried.append((f"the last epoch from {trainings.epochs_in_words(ahead.fitted_epochs)}", ahead.scores))
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
