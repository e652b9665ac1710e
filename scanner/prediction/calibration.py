"""A calibration file: the level of one base model, what it was fitted on, and how well it then predicted.

    scan calibrate RUN... -o FILE writes it, --calibration FILE merges it into the shipped weights

It holds two levels: one for predictions by the table of general text alone ([level], [weights], [evaluation],
[validated]), and one for those with the base's own losses, which an audit with --base makes by weights of its own (the
same tables below [with_base]). An audit takes the one that is made like its prediction. Files of format 1 have the
first alone.

A level belongs to one set of weights (`version`) and to one base, kind of tuning and unit of tokens. Where a plan names
others, the shipped level is used as if there were no file, and the outputs say why.
"""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from scanner.errors import RuleError, SettingsError
from scanner.figures import amount, listed, plural
from scanner.prediction.carrying import to_plan
from scanner.prediction.doubting import Place
from scanner.prediction.hazard import WEIGHTS, Weights
from scanner.prediction.hazard import load_weights as load_shipped
from scanner.prediction.trainings import described, epochs_in_words, packed_in_words
from scanner.prediction.validated import Validated
from scanner.prediction.validated import read as read_validated
from scanner.settings import TrainingPlan

KIND = "calibration"
BIN = ("predicted", "observed", "rows", "low", "high")  # of reliability.Bin, as [evaluation] lists them
OWN_TOKENS = "own"
FORMAT = 2
"""Of the files that are written; those of 1 are read too."""
WITH_BASE = "with_base"
"""The table below which the level for predictions with the base's own losses stands."""
NOTHING = Validated()
ENDS = ("offset_lower", "log_factor_lower", "offset_upper", "log_factor_upper")
"""Entries of [level] where few rows were recited: ends of a 90 % interval."""
AGAIN = "write it again with `scan calibrate RUN -o FILE`"
SIZE_FACTOR = 1.25
"""Models whose numbers of parameters differ by less are taken for the same: embeddings are counted or not."""
Needed = Mapping[str, Mapping[str, type]]
OF_A_LEVEL: Needed = {
    "level": {"offset": float, "offset_sd": float, "dose_factor": float, "offset_step": float,
              "log_factor_step": float, "fitted": str},
    "weights": {"id": str, "version": str},
}  # fmt: skip
OF_BOTH: Needed = {
    "base": {"name": str, "parameters": float, "method": str, "lora_rank": int, "token_unit": str},
    "fitted_on": {"date": str, "rows": int, "epochs": list, "runs": list, "plans": list, "batchings": list,
                  "loss_averages": list},
}  # fmt: skip
"""What a file must hold to be used; it tells more, for people."""


@dataclass(frozen=True)
class Fitted:
    """One of a file's levels, its tables as they stand there."""

    level: Mapping[str, Any]
    weights: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    validated: Validated  # what its runs covered; of nothing in files of before it was recorded

    def caution(self) -> str:
        """What its own evaluation has against it; empty where nothing."""
        return str(self.evaluation.get("caution", ""))

    def ends(self) -> tuple[Place, Place] | None:
        """Its ends where few rows were recited; None where its steps tell them."""
        if ENDS[0] not in self.level:
            return None
        low, low_factor, high, high_factor = (float(self.level[name]) for name in ENDS)
        return (low, low_factor), (high, high_factor)

    def tried(self) -> dict[str, Any]:
        """Predicted beside measured in its own tests, as the report draws it; empty where the file has no bins.

        on, bins (as reliability.Bin), calibration_error and what chance alone makes of it; ahead: the same of the last
        epoch foretold from the first ones.
        """

        def drawn(test: Mapping[str, Any]) -> dict[str, Any]:
            if not test.get("bins"):
                return {}
            bins = [dict(zip(BIN, entry, strict=True)) for entry in test["bins"]]
            errors = {k: test.get(k) for k in ("calibration_error", "calibration_error_by_chance")}
            return {"on": str(test["on"]), "bins": bins, **errors}

        return {**drawn(self.evaluation), "ahead": drawn(self.evaluation.get("ahead") or {})}


@dataclass(frozen=True)
class Calibration:
    """A calibration file that was read."""

    name: str  # of the file
    base: Mapping[str, Any]
    fitted_on: Mapping[str, Any]
    table: Fitted  # for predictions without the base's own losses
    with_base: Fitted | None  # for those with them
    missing: str  # why the second is missing; empty where it is there

    def on(self) -> str:
        """What it rests on, in words: base, rows, epochs, plan and date."""
        fitted = self.fitted_on
        planted = (
            f", {plural(fitted['planted'], 'row')} planted beside them"
            if type(fitted.get("planted")) is int and fitted["planted"]
            else ""
        )
        stood = packed_in_words(self.table.validated)
        return (
            f"{described(self.base)}: {plural(fitted['rows'], 'row')} measured at "
            f"{epochs_in_words(fitted['epochs'])} of {listed(fitted['runs'])}{planted}{stood} "
            f"({listed(fitted['plans'])}; {fitted['date']})"
        )

    def mismatch(self, plan: TrainingPlan, token_unit: str = OWN_TOKENS, mark: str = "") -> str:
        """Why it says nothing about the plan; empty where it does. mark: fingerprint of the base, "" if not known."""
        base, other = self.base, []
        if plan.method != base["method"]:
            other.append(f"{'LoRA' if plan.method == 'lora' else 'full fine-tuning'}")
        elif plan.method == "lora" and plan.lora_rank != base["lora_rank"]:
            other.append(f"LoRA of rank {plan.lora_rank}")
        size = plan.model_params
        if size and not 1 / SIZE_FACTOR <= size / base["parameters"] <= SIZE_FACTOR:
            other.append(f"a model of {amount(size)} parameters")
        elif mark and base.get("fingerprint") and mark != base["fingerprint"]:
            other.append("a base of that size with other weights (--base)")
        if token_unit != base["token_unit"]:
            other.append("another unit of tokens (--tokenizer)")
        return (
            f"calibrated on {described(base)}; the plan names {listed(other)}: not calibrated for it" if other else ""
        )


def load_weights(
    path: Path = WEIGHTS,
    calibration: Path | None = None,
    plan: TrainingPlan | None = None,
    token_unit: str = OWN_TOKENS,
    with_base: bool = False,
    mark: str = "",
) -> Weights:
    """The shipped weights, with the level of a calibration file where one is given and fits the plan, else of any base.

    with_base: the weights for the base's own losses, and the level that was fitted with them. mark: fingerprint of the
    base that is to be tuned, where it is known.

    What was done stands in provenance["calibration"]: `on`, `with_base`, and `mismatch` and `caution` where there is
    one.
    Raises SettingsError for a file that is none, is broken, or belongs to other weights.
    """
    weights, plan = load_shipped(path, with_base), plan or TrainingPlan()
    if calibration is None:
        return weights.of_another_base(plan)
    found = read(calibration)
    fitted = found.with_base if with_base else found.table
    if fitted is None:
        check_version(found.name, found.table, load_shipped(path))
        provenance = {**weights.provenance, "calibration": without_losses(found)}
        return replace(weights.of_another_base(plan), provenance=provenance)
    return merged(weights, found, fitted, plan, token_unit, mark)


def check_version(name: str, fitted: Fitted, weights: Weights) -> None:
    """SettingsError where a level of the file `name` was fitted on other weights."""
    if fitted.weights["version"] != version(weights):
        raise SettingsError(
            f"--calibration {name}: it belongs to other weights ({fitted.weights['id']}, version "
            f"{fitted.weights['version']}; now {version(weights)}), so its level means nothing here; calibrate again "
            f"with `scan calibrate RUN -o {name}`"
        )


def merged(
    weights: Weights, found: Calibration, fit: Fitted, plan: TrainingPlan, token_unit: str = OWN_TOKENS, mark: str = ""
) -> Weights:
    """The weights at one of the levels of a calibration; SettingsError where it was fitted on others."""
    check_version(found.name, fit, weights)
    told = {"file": found.name, "on": found.on(), "mismatch": found.mismatch(plan, token_unit, mark),
            "caution": fit.caution(), "with_base": weights.with_base}  # fmt: skip
    provenance = {**weights.provenance, "calibration": told}
    if told["mismatch"]:
        return replace(weights.of_another_base(plan), provenance=provenance)
    provenance["evaluation"] = fit.tried()
    level, fitted = fit.level, found.fitted_on
    # what its own test missed beyond chance; that of later epochs for plans that train longer than it did
    wider = float(level.get("misfit_later" if plan.epochs > max(fitted["epochs"], default=0) else "misfit", 1.0))
    priors = replace(
        weights.priors,
        offset=float(level["offset"]),
        offset_sd=wider * float(level["offset_step"]),
        unknown_parameters=float(found.base["parameters"]),  # a plan that names no size means this base
    )
    runs = fit.validated
    if not runs.batchings:  # a file of before it was recorded with the rest
        runs = replace(runs, batchings=tuple(fitted["batchings"]), loss_averages=tuple(fitted["loss_averages"]))
    there = replace(
        weights,
        priors=priors,
        calibrated=True,
        provenance=provenance,
        dose_factor=float(level["dose_factor"]),
        log_factor_step=wider * float(level["log_factor_step"]),
        read_at=float(level["read_at"]) if "read_at" in level else None,
        ends=fit.ends(),
        rehearsed=runs,
    )
    if less_sure := to_plan(plan, there).told:
        told["plan"] = less_sure
    return there


def without_losses(found: Calibration) -> dict[str, Any]:
    """What is told of a calibration without a level for the base's own losses, in an audit that predicts with them."""
    mismatch = (
        f"calibrated on {described(found.base)} with the table of general text alone, for {found.missing}; this audit "
        "predicts with the base's own losses (--base), by other weights: not calibrated for them; calibrate again, or "
        "leave --base out to use it"
    )
    return {"file": found.name, "on": found.on(), "mismatch": mismatch, "caution": found.table.caution(),
            "with_base": True}  # fmt: skip


def version(weights: Weights) -> str:
    """Twelve hex digits that change with every weight and prior a level depends on; not with the level itself."""
    level = ("offset", "offset_sd", "level_factor", "level_factor_sd", "unknown_parameters")
    priors = {k: v for k, v in asdict(weights.priors).items() if k not in level}
    facts = json.dumps([asdict(weights.hazard), priors], sort_keys=True)
    return hashlib.sha256(facts.encode()).hexdigest()[:12]


def read(path: Path) -> Calibration:
    """Read a calibration file; SettingsError says what is wrong with it."""
    where, again = f"--calibration {path.name}", AGAIN
    if not path.is_file():
        raise SettingsError(f"--calibration {path}: there is no such file; write one with `scan calibrate RUN -o FILE`")
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{where}: not readable as TOML ({error}); {again}") from error
    if values.get("kind") != KIND:
        raise SettingsError(f"{where}: it is no calibration (kind = {values.get('kind')!r}); {again}")
    form = values.get("format", 1)
    if type(form) is not int or not 1 <= form <= FORMAT:
        raise SettingsError(f"{where}: it is of format {form!r}, expected 1 to {FORMAT}; {again}")
    beside = values.get(WITH_BASE, {})
    if not isinstance(beside, dict):
        raise SettingsError(f"{where}: {WITH_BASE} is {type(beside).__name__}, expected a table; {again}")
    missing = "" if "level" in beside else str(beside.get("missing", "it is of a version that fitted nothing else"))
    table = _fitted(values, path.name, "")
    with_base = None if missing else _fitted(beside, path.name, f"{WITH_BASE}.")
    measured = _tables(values, OF_BOTH, path.name, "")
    return Calibration(path.name, **measured, table=table, with_base=with_base, missing=missing)


def _tables(values: Mapping[str, Any], needed: Needed, name: str, below: str) -> dict[str, Mapping[str, Any]]:
    """The needed tables; SettingsError names an entry that is missing or of another kind. below: "with_base.", say."""
    for table, entries in needed.items():
        seen = values.get(table)
        if not isinstance(seen, dict):
            raise SettingsError(f"--calibration {name}: it has no table [{below}{table}]; {AGAIN}")
        for entry, kind in entries.items():
            value = seen.get(entry)
            fits = isinstance(value, kind) or (kind is float and type(value) is int)
            if not fits or (isinstance(value, float) and not math.isfinite(value)):
                found = type(value).__name__ if entry in seen else "missing"
                raise SettingsError(
                    f"--calibration {name}: {entry} in [{below}{table}] is {found}, expected "
                    f"{'a finite number' if kind is float else kind.__name__}; {AGAIN}"
                )
    return {table: values[table] for table in needed}


def _fitted(values: Mapping[str, Any], file: str, below: str) -> Fitted:
    """One level with what belongs to it; SettingsError says what is wrong with it."""
    where = f"--calibration {file}"
    tables = _tables(values, OF_A_LEVEL, file, below)
    evaluation = values.get("evaluation", {})
    if not _is_drawable(evaluation) or not _is_drawable(evaluation.get("ahead", {})):
        raise SettingsError(
            f"{where}: [{below}evaluation] must be a table, its bins lists of {', '.join(BIN)}; {AGAIN}"
        )
    try:
        validated = read_validated(values.get("validated"), file)
    except RuleError as error:
        raise SettingsError(f"--calibration {error}; {AGAIN}") from error
    level = tables["level"]
    if level["offset_sd"] <= 0 or level["offset_step"] < 0 or level["dose_factor"] <= 0:
        raise SettingsError(
            f"{where}: offset_sd and dose_factor in [{below}level] must be above 0 and offset_step not below; {AGAIN}"
        )
    times = [level.get(name, 1.0) for name in ("misfit", "misfit_later")]
    if not all(type(v) in (int, float) and 1 <= v < math.inf for v in times):
        raise SettingsError(
            f"{where}: misfit and misfit_later in [{below}level] must be numbers of at least 1; {AGAIN}"
        )
    read_at = level.get("read_at", 0.0)
    if type(read_at) not in (int, float) or not 0 <= read_at < math.inf:
        raise SettingsError(f"{where}: read_at in [{below}level] must be a finite number of at least 0; {AGAIN}")
    ends = [level[name] for name in ENDS if name in level]
    if len(ends) not in (0, len(ENDS)) or not all(type(v) in (int, float) and math.isfinite(v) for v in ends):
        raise SettingsError(f"{where}: {listed(ENDS)} in [{below}level] must be finite numbers, all or none; {AGAIN}")
    return Fitted(**tables, evaluation={"on": file, **evaluation}, validated=validated)


def _is_drawable(test: Any) -> bool:
    """Whether it is a table whose bins, if it has any, are lists of numbers in the order of BIN."""
    bins = test.get("bins", []) if isinstance(test, dict) else None
    lists = isinstance(bins, list) and all(isinstance(one, list) and len(one) == len(BIN) for one in bins)
    return lists and all(type(v) in (int, float) and 0 <= v < math.inf for one in bins or () for v in one)


def toml(values: Mapping[str, Any], validated: Validated = NOTHING, with_base: Validated | None = None) -> str:
    """A calibration as TOML: plain entries first, then a table for each mapping; None is left out.

    with_base: what the runs covered at the level with the base's own losses; None where the file has none.
    """
    plain = {k: v for k, v in values.items() if not isinstance(v, Mapping) and v is not None}
    lines = ["# The level of one base model for the token hazard model; `scan DATASET --calibration` takes it.",
             f"# [level] is that of audits without --base, [{WITH_BASE}.level] of those with it.",
             *(f"{k} = {_toml(v)}" for k, v in plain.items())]  # fmt: skip

    def add(name: str, table: Mapping[str, Any]) -> None:
        lines.extend(("", f"[{name}]"))
        lines.extend(f"{k} = {_toml(v)}" for k, v in table.items() if not isinstance(v, Mapping) and v is not None)
        for k, v in table.items():
            if isinstance(v, Mapping):
                add(f"{name}.{k}", v)

    for k, v in values.items():
        if isinstance(v, Mapping):
            add(k, v)
    who = "its own runs, beside the fit of the weights,"
    beside = [] if with_base is None else [with_base.toml(who, f"{WITH_BASE}.validated")]
    return "\n".join([*lines, "", validated.toml(who), *beside])


def _toml(value: Any) -> str:
    if isinstance(value, str):  # the escapes of JSON are TOML's too, but for this one
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return f"{value:.6g}" if isinstance(value, float) and value != int(value) else str(value)
