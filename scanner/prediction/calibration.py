"""A calibration file: the level of one base model, what it was fitted on, and how well it then predicted.

    scan calibrate RUN... -o FILE writes it, --calibration FILE merges it into the shipped weights

It belongs to one set of weights (`version`) and to one base, kind of tuning and unit of tokens. Where a plan names
others, the shipped level is used as if there were no file, and the outputs say why.
"""

from __future__ import annotations

import hashlib
import json
import math
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from scanner.errors import RuleError, SettingsError
from scanner.prediction.hazard import WEIGHTS, Weights
from scanner.prediction.hazard import load_weights as load_shipped
from scanner.prediction.statements import amount
from scanner.prediction.validated import Validated
from scanner.prediction.validated import read as read_validated
from scanner.settings import TrainingPlan

KIND = "calibration"
BIN = ("predicted", "observed", "rows", "low", "high")  # of reliability.Bin, as [evaluation] lists them
OWN_TOKENS = "own"
NOTHING = Validated()
SIZE_FACTOR = 1.25
"""Models whose numbers of parameters differ by less are taken for the same: embeddings are counted or not."""
PLAN_SD = {False: 0.6, True: 0.3}
"""Logits; how far the level of one base moves between random and length-grouped batches of the same rows, without and
with a dose factor: .55 in the pilots and .64 in the grid without (benchmarks/prediction), half of it with."""
NEEDED: dict[str, dict[str, type]] = {
    "level": {"offset": float, "offset_sd": float, "dose_factor": float, "offset_step": float,
              "log_factor_step": float, "fitted": str},
    "weights": {"id": str, "version": str},
    "base": {"name": str, "parameters": float, "method": str, "lora_rank": int, "token_unit": str},
    "fitted_on": {"date": str, "rows": int, "epochs": list, "runs": list, "plans": list, "batchings": list,
                  "loss_averages": list},
}  # fmt: skip
"""What a file must hold to be used; it tells more, for people."""


@dataclass(frozen=True)
class Calibration:
    """A calibration file that was read, its tables as they stand there."""

    name: str  # of the file
    level: Mapping[str, Any]
    weights: Mapping[str, Any]
    base: Mapping[str, Any]
    fitted_on: Mapping[str, Any]
    evaluation: Mapping[str, Any]
    validated: Validated  # what its runs covered; of nothing in files of before it was recorded

    def on(self) -> str:
        """What it rests on, in words: base, rows, epochs, plan and date."""
        fitted = self.fitted_on
        planted = (
            f", {fitted['planted']:,} rows planted beside them"
            if type(fitted.get("planted")) is int and fitted["planted"]
            else ""
        )
        return (
            f"{described(self.base)}: {fitted['rows']:,} rows measured at {epochs_in_words(fitted['epochs'])} of "
            f"{listed(fitted['runs'])}{planted} ({listed(fitted['plans'])}; {fitted['date']})"
        )

    def mismatch(self, plan: TrainingPlan, token_unit: str = OWN_TOKENS) -> str:
        """Why it says nothing about the plan; empty where it does."""
        base, other = self.base, []
        if plan.method != base["method"]:
            other.append(f"{'LoRA' if plan.method == 'lora' else 'full fine-tuning'}")
        elif plan.method == "lora" and plan.lora_rank != base["lora_rank"]:
            other.append(f"LoRA of rank {plan.lora_rank}")
        size = plan.model_params
        if size and not 1 / SIZE_FACTOR <= size / base["parameters"] <= SIZE_FACTOR:
            other.append(f"a model of {amount(size)} parameters")
        if token_unit != base["token_unit"]:
            other.append("another unit of tokens (--tokenizer)")
        return (
            f"calibrated on {described(base)}; the plan names {listed(other)}: not calibrated for it" if other else ""
        )

    def caution(self) -> str:
        """What its own evaluation has against it; empty where nothing."""
        return str(self.evaluation.get("caution", ""))

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
            return {"on": str(test.get("on", self.name)), "bins": bins, **errors}

        return {**drawn(self.evaluation), "ahead": drawn(self.evaluation.get("ahead") or {})}


def load_weights(
    path: Path = WEIGHTS,
    calibration: Path | None = None,
    plan: TrainingPlan | None = None,
    token_unit: str = OWN_TOKENS,
    with_base: bool = False,
) -> Weights:
    """The shipped weights, with the level of a calibration file where one is given and fits the plan, else of any base.

    with_base: the weights for the base's own losses.

    What was done stands in provenance["calibration"]: `on`, and `mismatch` and `caution` where there is one.
    Raises SettingsError for a file that is none, is broken, or belongs to other weights.
    """
    weights, plan = load_shipped(path, with_base), plan or TrainingPlan()
    if calibration is None:
        return weights.of_another_base(plan)
    found = read(calibration)
    if with_base and found.weights["version"] == version(load_shipped(path)):
        provenance = {**weights.provenance, "calibration": without_base(found)}
        return replace(weights.of_another_base(plan), provenance=provenance)
    return merged(weights, found, plan, token_unit)


def merged(weights: Weights, found: Calibration, plan: TrainingPlan, token_unit: str = OWN_TOKENS) -> Weights:
    """The weights at the level of a calibration; SettingsError where it was fitted on others."""
    if found.weights["version"] != version(weights):
        raise SettingsError(
            f"--calibration {found.name}: it belongs to other weights ({found.weights['id']}, version "
            f"{found.weights['version']}; now {version(weights)}), so its level means nothing here; calibrate again "
            f"with `scan calibrate RUN -o {found.name}`"
        )
    told = {"file": found.name, "on": found.on(), "mismatch": found.mismatch(plan, token_unit),
            "caution": found.caution()}  # fmt: skip
    provenance = {**weights.provenance, "calibration": told}
    if told["mismatch"]:
        return replace(weights.of_another_base(plan), provenance=provenance)
    provenance["evaluation"] = found.tried()
    level, fitted = found.level, found.fitted_on
    # what its own test missed beyond chance; that of later epochs for plans that train longer than it did
    wider = float(level.get("misfit_later" if plan.epochs > max(fitted["epochs"], default=0) else "misfit", 1.0))
    sd = wider * float(level["offset_step"])
    if plan.batching not in fitted["batchings"] or plan.loss_average not in fitted["loss_averages"]:
        sd = math.hypot(sd, PLAN_SD[bool(level["log_factor_step"])])
        told["plan"] = (
            f"measured under {listed(fitted['batchings'])} batches averaged per {listed(fitted['loss_averages'])}; "
            f"under the plan's ({plan.batching}, per {plan.loss_average}) the level is less sure"
        )
    priors = replace(
        weights.priors,
        offset=float(level["offset"]),
        offset_sd=sd,
        unknown_parameters=float(found.base["parameters"]),  # a plan that names no size means this base
    )
    return replace(
        weights,
        priors=priors,
        calibrated=True,
        provenance=provenance,
        dose_factor=float(level["dose_factor"]),
        log_factor_step=wider * float(level["log_factor_step"]),
        rehearsed=found.validated,
    )


def without_base(found: Calibration) -> dict[str, str]:
    """What is told of a calibration in an audit with --base: rehearsals are predicted without the base's losses."""
    mismatch = (
        f"calibrated on {described(found.base)} with the table of general text; this audit predicts with the base's "
        "own losses (--base), by other weights: not calibrated for them; leave --base out to use it"
    )
    return {"file": found.name, "on": found.on(), "mismatch": mismatch, "caution": found.caution()}


def version(weights: Weights) -> str:
    """Twelve hex digits that change with every weight and prior a level depends on; not with the level itself."""
    level = ("offset", "offset_sd", "level_factor", "level_factor_sd", "unknown_parameters")
    priors = {k: v for k, v in asdict(weights.priors).items() if k not in level}
    facts = json.dumps([asdict(weights.hazard), priors], sort_keys=True)
    return hashlib.sha256(facts.encode()).hexdigest()[:12]


def read(path: Path) -> Calibration:
    """Read a calibration file; SettingsError says what is wrong with it."""
    where, again = f"--calibration {path.name}", "write it again with `scan calibrate RUN -o FILE`"
    if not path.is_file():
        raise SettingsError(f"--calibration {path}: there is no such file; write one with `scan calibrate RUN -o FILE`")
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{where}: not readable as TOML ({error}); {again}") from error
    if values.get("kind") != KIND:
        raise SettingsError(f"{where}: it is no calibration (kind = {values.get('kind')!r}); {again}")
    tables = {}
    for table, entries in NEEDED.items():
        seen = values.get(table)
        if not isinstance(seen, dict):
            raise SettingsError(f"{where}: it has no table [{table}]; {again}")
        for name, kind in entries.items():
            value = seen.get(name)
            fits = isinstance(value, kind) or (kind is float and type(value) is int)
            if not fits or (isinstance(value, float) and not math.isfinite(value)):
                raise SettingsError(
                    f"{where}: {name} in [{table}] is {type(value).__name__ if name in seen else 'missing'}, expected "
                    f"{'a finite number' if kind is float else kind.__name__}; {again}"
                )
        tables[table] = seen
    evaluation = values.get("evaluation", {})
    if not _is_drawable(evaluation) or not _is_drawable(evaluation.get("ahead", {})):
        raise SettingsError(f"{where}: [evaluation] must be a table, its bins lists of {', '.join(BIN)}; {again}")
    try:
        validated = read_validated(values.get("validated"), path.name)
    except RuleError as error:
        raise SettingsError(f"--calibration {error}; {again}") from error
    level = tables["level"]
    if level["offset_sd"] <= 0 or level["offset_step"] < 0 or level["dose_factor"] <= 0:
        raise SettingsError(
            f"{where}: offset_sd and dose_factor in [level] must be above 0 and offset_step not below; {again}"
        )
    times = [level.get(name, 1.0) for name in ("misfit", "misfit_later")]
    if not all(type(v) in (int, float) and 1 <= v < math.inf for v in times):
        raise SettingsError(f"{where}: misfit and misfit_later in [level] must be numbers of at least 1; {again}")
    return Calibration(path.name, **tables, evaluation=evaluation, validated=validated)


def _is_drawable(test: Any) -> bool:
    """Whether it is a table whose bins, if it has any, are lists of numbers in the order of BIN."""
    bins = test.get("bins", []) if isinstance(test, dict) else None
    lists = isinstance(bins, list) and all(isinstance(one, list) and len(one) == len(BIN) for one in bins)
    return lists and all(type(v) in (int, float) and 0 <= v < math.inf for one in bins or () for v in one)


def toml(values: Mapping[str, Any], validated: Validated = NOTHING) -> str:
    """A calibration as TOML: plain entries first, then a table for each mapping; None is left out."""
    plain = {k: v for k, v in values.items() if not isinstance(v, Mapping) and v is not None}
    lines = ["# The level of one base model for the token hazard model; `scan DATASET --calibration` takes it.",
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
    return "\n".join([*lines, "", validated.toml("its own runs, beside the fit of the weights,")])


def _toml(value: Any) -> str:
    if isinstance(value, str):  # the escapes of JSON are TOML's too, but for this one
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return f"{value:.6g}" if isinstance(value, float) and value != int(value) else str(value)


def described(base: Mapping[str, Any]) -> str:
    """tiny (4.5 M parameters, full fine-tuning)."""
    kind = "full fine-tuning" if base["method"] == "full" else f"LoRA of rank {base['lora_rank']}"
    return f"{base['name']} ({amount(base['parameters'])} parameters, {kind})"


def plan_in_words(plan: TrainingPlan) -> str:
    """4 epochs at 0.001, random batches of 8 rows."""
    size = f"{plan.batch_size} rows" if plan.batch_tokens is None else f"{plan.batch_tokens:,} tokens"
    average = {"token": "", "row": ", loss averaged per row"}.get(
        plan.loss_average, f", loss averaged per micro-batch of {plan.micro_batch} rows"
    )
    schedule = f", {plan.lr_schedule}" if plan.lr_schedule != "linear" else ""
    return f"{plan.epochs:g} epochs at {plan.learning_rate:g}{schedule}, {plan.batching} batches of {size}{average}"


def epochs_in_words(epochs: Sequence[int]) -> str:
    """epoch 4; epochs 1, 2 and 4."""
    return f"epoch{'' if len(epochs) == 1 else 's'} {listed([str(e) for e in epochs])}"


def listed(names: Sequence[str]) -> str:
    """a; a and b; a, b and c."""
    return " and ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else "".join(names)
