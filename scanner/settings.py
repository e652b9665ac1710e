"""Everything a user can set, as frozen objects passed as arguments; there are no globals."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from scanner.errors import SettingsError, meant

BATCHINGS = ("random", "length-grouped", "packed", "wrapped")
LOSS_AVERAGES = ("token", "micro-batch", "row")
DROPS = ("none", "micro-batch", "step")
LR_SCHEDULES = ("linear", "cosine", "constant")
METHODS = ("full", "lora")
NONE = "none"  # on the command line: takes back what a scan.toml or the run's plan says
SUPERVISE = ("all-assistant", "last", "everything")
TEXT_POLICIES = ("masked", "none", "full")
KEEP_POLICIES = ("best", "first", "longest", "source:", "field:")  # see scanner/keeping.py
DECONTAMINATE = ("both", "question", "review", "off")
MAX_SHINGLE = 64  # tokens: what the kernels hold at a time
MOST_EPOCHS = 10_000  # a few seconds of simulated batches for a thousand rows
MOST_NEIGHBOURS = 1000  # each takes 12 bytes a row
MOST_THREADS = 1024
MOST_SEED = 2**63 - 1  # what torch takes
MOST = 2**31 - 1  # of any whole number: what the kernels count with
MIN_SPAN = 10  # tokens: shorter runs are turns of phrase
NEGATIONS = {
    "no_header": "header",
    "no_semantic": "semantic",
    "keep_semantic": "drop_semantic",
    "no_redact": "redact",
    "leave_unread": "redact_unread",
}
"""What options say that switch a setting off, and which it is."""
OF_ONE_COMMAND = ("out", "fix", "force", "dry_run", "fail_on", "quiet")
"""Options that are no settings, and stand on the command line alone."""
LEAST_PARAMETERS = 1000  # of a model: who writes 7 means billions
SIZES = {"": 1, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}


@dataclass(frozen=True)
class TrainingPlan:
    """The fine-tune that is planned; every prediction is conditional on it."""

    epochs: float = 3.0
    learning_rate: float = 2e-5  # peak, as trainers take it
    lr_schedule: str = "linear"  # how it falls to 0 after the warm-up; linear is the default of transformers
    warmup: float = 0.0  # share of the steps over which it rises to its peak
    method: str = "full"  # full or lora
    lora_rank: int = 16  # used when method is lora
    model_params: float | None = None  # parameters of the base model; None when unknown
    batch_size: int = 16  # rows per optimizer step, gradient accumulation and devices included
    batch_tokens: int | None = None  # tokens per optimizer step instead of rows
    micro_batch: int | None = (
        None  # rows (packed: sequences) that go through one device at a time; None: the whole step
    )
    devices: int = 1
    drop_last: str = "none"  # what an epoch leaves out at its end when rows are left over: none, micro-batch or step
    batching: str = "random"
    loss_average: str = "token"
    source_weight: tuple[tuple[str, float], ...] = ()  # (source name, sampling weight)
    goldfish_k: int | None = None  # one token in k left out of the loss (scanner/goldfish.py); None: no goldfish loss

    def __post_init__(self) -> None:
        _one_of("--batching", self.batching, BATCHINGS)
        _one_of("--loss-average", self.loss_average, LOSS_AVERAGES)
        _one_of("--lr-schedule", self.lr_schedule, LR_SCHEDULES)
        _one_of("--method", self.method, METHODS)
        at_least("--epochs", self.epochs, 0)
        if self.epochs > MOST_EPOCHS:
            raise SettingsError(f"--epochs is {self.epochs:g}; it must be at most {MOST_EPOCHS:,}: each is simulated")
        at_least("--learning-rate", self.learning_rate, 0)
        at_least("--warmup", self.warmup, 0)
        if self.warmup > 1:
            raise SettingsError(f"--warmup is {self.warmup:g}; it is a share of the steps, from 0 to 1")
        at_least("--batch-size", self.batch_size, 1)
        at_least("--lora-rank", self.lora_rank, 1)
        if self.model_params is not None:
            at_least("--model-params", self.model_params, LEAST_PARAMETERS, ": parameters, such as 350M or 7B")
        if self.batch_tokens is not None:
            at_least("--batch-tokens", self.batch_tokens, 1)
        _one_of("--drop-last", self.drop_last, DROPS)
        at_least("--devices", self.devices, 1)
        if self.goldfish_k is not None:
            at_least("--goldfish-k", self.goldfish_k, 2)
        if self.micro_batch is not None:
            at_least("--micro-batch", self.micro_batch, 1)
        elif self.loss_average == "micro-batch":
            raise SettingsError("--loss-average micro-batch needs the rows of one: give --micro-batch ROWS")
        for name, weight in self.source_weight:
            at_least(f"--source-weight {name}", weight, 0)
        together = self.devices * (self.micro_batch or 1)
        if self.batch_tokens is None and self.batch_size % together:
            raise SettingsError(
                f"--batch-size is {self.batch_size}; {self.devices} devices x micro-batches of {self.micro_batch or 1} "
                f"rows make steps of a multiple of {together} rows: give the rows of a whole optimizer step"
            )

    def changed(self, **values: Any) -> TrainingPlan:
        """A copy with some values replaced; steps that are given in rows alone are counted in rows again.

        SettingsError where a rank is named and no LoRA: what is predicted would be full fine-tuning.
        """
        if "batch_size" in values:
            values = {"batch_tokens": None, **values}
        if "lora_rank" in values and "method" not in values and self.method != "lora":
            raise SettingsError(
                f"--lora-rank is {values['lora_rank']}, and the plan is one of full fine-tuning; give --method lora"
            )
        return replace(self, **values)

    @property
    def share_in_loss(self) -> float:
        """Of the supervised tokens; less than 1 where a goldfish loss leaves some out."""
        return 1.0 if self.goldfish_k is None else 1 - 1 / self.goldfish_k


@dataclass(frozen=True)
class Settings:
    """One audit: how to read, what counts as similar, what to do, what to show."""

    # reading
    layout: str | None = None  # None: found automatically
    prompt_field: str | None = None
    response_field: str | None = None
    header: bool | None = None  # of delimited text: whether the first row names the columns; None: found automatically
    supervise: str = "all-assistant"
    max_length: int | None = None  # tokens after which the trainer cuts a row; None: never
    tokenizer: Path | None = None  # a tokenizer.json; None: the kernels' own tokens
    max_decompressed_bytes: int = 16 << 30
    # similarity
    jaccard: float = 0.8  # near duplicates at or above this are clustered
    floor: float = 0.5  # pairs at or above this are stored and count as near copies
    recall: float = 0.95  # wanted at `jaccard`
    shingle: int = 3  # tokens per shingle
    permutations: int = 128
    span_tokens: int = 50  # shortest repeated passage, in the scan's own tokens; 0: none are looked for
    semantic: bool = True
    embedder: str | None = None  # None: the static table shipped with the package
    cosine: float = 0.9  # semantic pairs at or above this go to review
    neighbours: int = 10
    # comparing
    against: tuple[Path, ...] = ()  # folders of earlier runs
    # evaluation data
    evaluation: tuple[Path, ...] = ()  # files, folders or patterns of benchmarks that must not be in the data
    decontaminate: str = "both"  # which rows with evaluation items are dropped; see scanner.decontaminating
    confirm_with: str | None = None  # a transformer that decides on the pairs and paraphrases that are proposed
    confirm_share: float = 0.1  # of its work on all rows, and again on all questions, in its tokens, that may cost
    confirm_recall: float | None = None  # of its pairs, to be found by reading on beyond that share; None: no aim
    confirm_limit: float = 1.0  # of that work, that reading on may cost in all
    # judging
    rules: tuple[Path, ...] = ()  # folders with further rules
    keep_policy: str = "best"
    keep: int = 1  # rows of each cluster that stay
    drop_semantic: bool = False
    redact: bool = True
    redact_unread: bool = True  # also in fields that no trainer reads; only with `redact`
    max_removal_share: float = 0.5
    # the model
    plan: TrainingPlan = field(default_factory=TrainingPlan)
    calibration: Path | None = None  # level of the base, as `scan calibrate` writes it
    base: Path | None = None  # the untuned model, whose own losses are measured; None: the table of general text alone
    # running
    seed: int = 0
    threads: int = 0  # 0: all cores
    text: str = "masked"

    def __post_init__(self) -> None:
        _one_of("--supervise", self.supervise, SUPERVISE)
        _one_of("--text", self.text, TEXT_POLICIES)
        _keep_policy(self.keep_policy)
        at_least("--keep", self.keep, 1)
        _one_of("--decontaminate", self.decontaminate, DECONTAMINATE)
        for name in ("jaccard", "floor", "recall", "cosine", "confirm_share", "confirm_limit", "max_removal_share"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise SettingsError(f"{option_name(name)} is {value}; it must lie between 0 and 1")
        if self.floor > self.jaccard:
            raise SettingsError(
                f"--floor is {self.floor}, above --jaccard {self.jaccard}; pairs below the floor are not kept, "
                "so choose a floor at or below the threshold"
            )
        if self.confirm_with and not self.semantic:
            raise SettingsError("--confirm-with confirms semantic pairs, and --no-semantic looks for none; drop one")
        self._check_confirm_recall()
        if self.base and self.tokenizer:
            raise SettingsError(
                "--base and --tokenizer cannot be combined: what the base knows is measured in the scan's own tokens; "
                "leave --tokenizer out"
            )
        if self.recall >= 1:
            raise SettingsError("--recall must be below 1: a sketch cannot promise every pair")
        at_least("--shingle", self.shingle, 1)
        if self.shingle > MAX_SHINGLE:
            raise SettingsError(f"--shingle is {self.shingle}; it must be at most {MAX_SHINGLE}")
        at_least("--permutations", self.permutations, 8)
        if self.span_tokens and self.span_tokens < MIN_SPAN:
            raise SettingsError(
                f"--span-tokens is {self.span_tokens}; it must be at least {MIN_SPAN}, or 0 to look for no repeated "
                "passages"
            )
        at_least("--span-tokens", self.span_tokens, 0)
        at_least("--neighbours", self.neighbours, 2, most=MOST_NEIGHBOURS)
        at_least("--threads", self.threads, 0, most=MOST_THREADS)
        at_least("--seed", self.seed, 0, most=MOST_SEED)
        if self.max_length is not None:
            at_least("--max-length", self.max_length, 1)

    def _check_confirm_recall(self) -> None:
        """An aim that can be met, and room to read on for it."""
        if self.confirm_recall is None:
            if self.confirm_limit != 1:
                raise SettingsError(
                    f"--confirm-limit is {self.confirm_limit:g}; it bounds what --confirm-recall reads, which was not "
                    "given: without it --confirm-share is the bound"
                )
            return
        if not 0 < self.confirm_recall < 1:
            raise SettingsError(
                f"--confirm-recall is {self.confirm_recall:g}; it must lie between 0 and 1, such as 0.95: an estimate "
                "never promises every pair; --confirm-share 1 reads all that is proposed"
            )
        if not self.confirm_with:
            raise SettingsError("--confirm-recall is the share of a model's pairs to find: name it with --confirm-with")
        if self.confirm_limit < self.confirm_share:
            raise SettingsError(
                f"--confirm-limit is {self.confirm_limit:g}, below --confirm-share {self.confirm_share:g}; that share "
                "is read first, so choose a limit at or above it"
            )

    def as_dict(self) -> dict[str, Any]:
        """Plain values for scan.json; paths as text."""
        values = asdict(self)
        values["rules"] = [str(p) for p in self.rules]
        values["against"] = [str(p) for p in self.against]
        values["evaluation"] = [str(p) for p in self.evaluation]
        values["tokenizer"] = str(self.tokenizer) if self.tokenizer else None
        for name in ("calibration", "base"):
            values[name] = str(values[name]) if values[name] else None
        values["plan"]["source_weight"] = [list(pair) for pair in self.plan.source_weight]
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Settings:
        """The inverse of `as_dict`; unknown names are refused."""
        plan = dict(values.get("plan", {}))
        plan["source_weight"] = tuple((str(n), float(w)) for n, w in plan.get("source_weight", ()))
        own = {k: v for k, v in values.items() if k != "plan"}
        own["rules"] = tuple(Path(p) for p in own.get("rules", ()))
        own["against"] = tuple(Path(p) for p in own.get("against", ()))
        own["evaluation"] = tuple(Path(p) for p in own.get("evaluation", ()))
        own["tokenizer"] = Path(own["tokenizer"]) if own.get("tokenizer") else None
        for name in ("calibration", "base"):
            own[name] = Path(own[name]) if own.get(name) else None
        _known(own, cls, "settings")
        _known(plan, TrainingPlan, "plan")
        return cls(plan=TrainingPlan(**plan), **own)

    def of_reading(self) -> Settings:
        """Those that say how records are read; all others are the defaults."""
        names = ("layout", "prompt_field", "response_field", "header", "supervise", "max_decompressed_bytes")
        return Settings(**{name: getattr(self, name) for name in names})

    def changed(self, **values: Any) -> Settings:
        """A copy with some values replaced; names of TrainingPlan go to the plan."""
        in_plan = {f.name for f in fields(TrainingPlan)}
        plan = self.plan.changed(**{k: v for k, v in values.items() if k in in_plan})
        return replace(self, plan=plan, **{k: v for k, v in values.items() if k not in in_plan})

    def sized(self, parameters: int) -> Settings:
        """A copy whose plan trains a base of so many parameters; as it is where the plan names a size."""
        return self if self.plan.model_params is not None else self.changed(model_params=float(parameters))


def read_settings_file(path: Path) -> dict[str, Any]:
    """Options from a scan.toml, with dashes or underscores, as keyword arguments of `Settings.changed`.

    They may be called as on the command line: eval, no-semantic = true.
    """
    try:
        values = tomllib.loads(path.read_text("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path.name}: not readable as TOML: {error}") from error
    given = [(k.replace("-", "_"), v) for k, v in values.items()]
    values = {}
    for name, value in given:
        own = NEGATIONS.get(name, "evaluation" if name == "eval" else name)
        if own in values:
            raise SettingsError(f"{path.name}: {option_name(own)} is said twice; leave one of the entries out")
        values[own] = not value if name in NEGATIONS and isinstance(value, bool) else value
    kinds = {f.name: str(f.type) for owner in (Settings, TrainingPlan) for f in fields(owner) if f.name != "plan"}
    unknown = sorted(set(values) - set(kinds))
    if here := [name for name in unknown if name in OF_ONE_COMMAND]:
        raise SettingsError(
            f"{path.name}: {', '.join(here)} cannot stand in a file; say {option_name(here[0])} on the command line"
        )
    if unknown:
        raise SettingsError(
            f"{path.name}: unknown entries {', '.join(unknown)}; known are {', '.join(sorted(kinds))}."
            f"{meant(unknown, sorted(kinds))}"
        )
    if isinstance(size := values.get("model_params"), str):
        values["model_params"] = model_size(size, f"{path.name}: model_params")
    return {name: _from_toml(value, kinds[name], f"{path.name}: {name}") for name, value in values.items()}


def settings_for(datasets: Sequence[str], options: dict[str, Any]) -> Settings:
    """Defaults, then what scan.toml beside the first data set says, then these options (entries of Settings)."""
    first = Path(datasets[0])
    beside = (first if first.is_dir() else first.parent) / "scan.toml"
    stored = read_settings_file(beside) if datasets[0] != "-" and beside.is_file() else {}
    if "batch_size" in options:
        stored.pop("batch_tokens", None)
    return Settings().changed(**{**stored, **options})


def option_name(setting: str) -> str:
    """A setting or an entry of the plan as it is given on the command line: --max-length."""
    return "--" + {"evaluation": "eval"}.get(setting, setting).replace("_", "-")


def check_name(name: str | None) -> None:
    """SettingsError where --name would not call something in the run folder."""
    if name is not None and (not name or Path(name).name != name or name.startswith(".")):
        raise SettingsError(
            f"--name is {name!r}; it names a file in the run folder, so leave out slashes and a dot before it"
        )


def model_size(text: str, where: str = "--model-params") -> float:
    """Parameters of a model as people write them: 7B, 350M, 1.5b, 4e6, 7_000_000; SettingsError for anything else."""
    plain = re.sub(r"(?<=\d)[_,](?=\d{3}(?:\D|$))", "", text.strip().lower())
    found = re.fullmatch(r"([+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?) ?([kmbt]?)", plain)
    if found is None:
        raise SettingsError(
            f"{where} is {text!r}; expected the parameters of the base model: 350M, 1.5B, 7e9 or 7_000_000"
        )
    return float(found[1]) * SIZES[found[2]]


def _from_toml(value: Any, kind: str, where: str) -> Any:
    """A TOML value as the type of its field (`kind` as it is written there); SettingsError for any other."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    texts = isinstance(value, list) and all(isinstance(item, str) for item in value)
    weights = isinstance(value, dict) and all(type(item) in (int, float) for item in value.values())
    accepted: dict[str, tuple[bool, str, Callable[[Any], Any]]] = {
        "bool": (isinstance(value, bool), "true or false", bool),
        "int": (number and isinstance(value, int), "a whole number", int),
        "float": (number, "a number", float),
        "str": (isinstance(value, str), "text", str),
        "Path": (isinstance(value, str), "text", Path),
        "tuple[Path, ...]": (texts, "a list of texts", lambda v: tuple(map(Path, v))),
        "tuple[tuple[str, float], ...]": (
            weights, "a table of numbers", lambda v: tuple((name, float(weight)) for name, weight in v.items())
        ),
    }  # fmt: skip
    fits, expected, convert = accepted[kind.removesuffix(" | None")]
    if not fits:
        seen = {bool: "true or false", int: "a whole number", float: "a number", str: "text", list: "a list"}
        raise SettingsError(f"{where} is {seen.get(type(value), 'a table')}, expected {expected}")
    return convert(value)


def _known(values: dict[str, Any], owner: type, where: str) -> None:
    unknown = sorted(set(values) - {f.name for f in fields(owner)})
    if unknown:
        raise SettingsError(f"{where}: unknown entries {', '.join(unknown)}")


def _one_of(option: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise SettingsError(f"{option} is {value!r}; it must be one of {', '.join(allowed)}")


def _keep_policy(value: str) -> None:
    """Its form; whether there is such an input or field is seen with the data (scanner/keeping.py)."""
    kind, colon, rest = value.partition(":")
    if value not in KEEP_POLICIES[:3] and (f"{kind}{colon}" not in KEEP_POLICIES[3:] or not rest.strip("-, ")):
        raise SettingsError(
            f"--keep-policy is {value!r}; it must be one of {', '.join(KEEP_POLICIES[:3])}, source:A.jsonl,B.jsonl "
            "(inputs in order of preference), field:NAME (the largest stays) or field:-NAME (the smallest stays)"
        )


def at_least(option: str, value: float, least: float, cure: str = "", most: int = MOST) -> None:
    """A number from `least` on; a whole one is at most `most`."""
    if not value >= least:
        raise SettingsError(f"{option} is {value}; it must be at least {least}{cure}")
    if math.isinf(value):
        raise SettingsError(f"{option} is infinite; it must be a number")
    if isinstance(value, int) and value > most:
        raise SettingsError(f"{option} is {value:,}; it must be at most {most:,}")
