"""The token hazard model: twenty-one named numbers turn a token's surroundings into the chance that it is recalled.

    logit p_t = held(blurred(given_t, learned_t)) + u_row
    given_t   = base_t + log2(1 + set dose) * softplus(context_t)
    learned_t = gain(E_row) * softplus(dose_t)

    base_t    = bias + offset + rarity, width, background of the token    what the model can do untuned
                + base_known * P(token) of the untuned base, where that was measured (--base)
    context_t = what the *other* rows say about the token, and how well
                trodden the beginning of its answer is                             gated by the training of the set
    dose_t    = how fast this token is learned from its own row; grows with log2(1 + lasting steps / 100) and with the
                training of the set
    gain(E)   = ((1 + E) ** dose_power - 1) / (dose_power * log 2)     from log2(1 + E) at power 0 to E at power 1
    held(z)   = z / sqrt(1 + (z / ceiling) ** 2) where z > 0           what was seen often enough is missed now and then
    blurred   = how far given_t + learned_t lies from the centre, divided by sqrt(1 + noise * visit * learned_t)

While the learning rate is above 0, the model's weights still move: the latest visits add noise to the logits, with a
variance proportional to the dose of a visit at the present rate (`Regime.visit`, 0 once the rate has decayed to 0). It
draws every learned logit towards the centre: unlikely tokens are recalled more often than without noise, likely ones
less often. What a token has without learning (given_t) is not affected.

Both slopes are positive by construction, and noise never takes more than the larger dose behind it gives (`_most_noise`
in kernels/hazard.py), so dose, learning rate, copies and epochs can only raise p; with no training at all p is the base
value, and the other rows' contexts count for nothing. u_row ~ N(0, spread) is integrated out by Gauss-Hermite
quadrature: without it the tail of N_pre is underestimated. P(N_pre >= n) = prod of the first n p_t.

All doses are larger, the more rows of the set are known already (`Regime.known`, freeing.py).

A level that was calibrated on a short rehearsal drifts with further training: P(N_pre >= n) is then a mean over the
distribution of the dose per visit (`Weights.drifts`).

Under a goldfish loss p_t is a mixture over whether the token is dropped (`dropping.py`).

The heat of a token (`stretches.py`) is the same formula with weights of its own, [heat], and a few more features in
base_t and dose_t. They are fitted to every token of the answers, while N_pre depends on the first tokens alone.
"""

from __future__ import annotations

import functools
import math
import tomllib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from scanner.errors import RuleError
from scanner.kernels.hazard import RARITY_UNIT, STEPS_UNIT, SURPRISE_UNIT
from scanner.objects import EXTRACTED
from scanner.prediction.freeing import USUAL, freed
from scanner.prediction.validated import Validated, read
from scanner.prediction.wearing import lasting
from scanner.rates import of_schedule, settled, stands, visit_at
from scanner.settings import TrainingPlan

__all__ = [
    "DRIFT",
    "EXTRACTED",
    "NODES",
    "RARITY_UNIT",
    "SURPRISE_UNIT",
    "WEIGHTS",
    "Hazard",
    "HazardWithBase",
    "HeatWeights",
    "Priors",
    "Regime",
    "TurnTails",
    "Weights",
    "load_weights",
    "quadrature",
]

WEIGHTS = Path(__file__).resolve().parents[2] / "rules" / "weights" / "prediction.toml"
WITH_BASE = "hazard_with_base"
"""The table of weights that were fitted with the base's own losses."""
HEAT, HEAT_WITH_BASE = "heat", "heat_with_base"
"""The tables of weights of the heat, without and with the base's own losses."""
NODES = 7
"""Gauss-Hermite nodes for the row effect."""
DRIFT_NODES = 3
"""The same for the drift of the level."""
DRIFT = 0.1
"""Standard deviation of the log of the dose per visit, for each doubling of the training of the set beyond the training
at which the level was calibrated. Of 0 to .2 the value with the largest likelihood on later epochs and other plans of
the English rows, calibrated on epochs 1 to 4 of a cell; .12 to .17 on other rows, bases and boilerplate
(benchmarks/prediction, README, "What is covered")."""
FAR_SIZE = 7.0
"""Largest factor between the size of a measured base and that of the fit (1.2 M and 29 M parameters; the fit 4.5 M)."""
FAR_LEVEL_SD = math.log(3) / 1.645
"""Standard deviation of the log of the dose per visit under LoRA, or beyond FAR_SIZE: a 90 % interval of a factor of
three either way. Priors.size_exponent between .2 and .6 makes a factor of two for 7 B at 2e-5; bases differ as well."""


@dataclass(frozen=True)
class Hazard:
    """The fitted weights; logits per unit of the feature."""

    bias: float
    rarity: float  # -log frequency of the token, per 8 nats
    width: float  # log2 of its UTF-8 bytes, per 3: long words are several tokens of the model
    background: float  # -log probability in general text, per 8 nats
    context_bias: float  # softplus(context_bias + ...) logits per doubling of 1 + the set's dose
    context_surprise: float  # -log leave-one-out probability, per 4 nats
    context_known: float  # longest context that stands elsewhere at all, per 12 tokens
    dose_bias: float  # softplus(dose_bias + ...) logits per unit of gain(E)
    dose_rarity: float
    dose_known: float
    dose_width: float
    dose_background: float
    dose_progress: float  # per unit of log2(1 + steps / 100); never negative
    dose_epochs: float  # per doubling of 1 + the set's dose; never negative
    dose_power: float  # exponent of the gain; above 0
    spread: float  # standard deviation of the row effect, logits; never negative
    ceiling: float  # logits that no training gets a token past at row effect 0; above 0
    noise: float  # variance of a logit per logit learned, while a visit is worth one unit of dose; never negative
    centre: float  # logit to which noise draws
    context_certain: float  # -log(1 - leave-one-out probability) beyond 4 nats, per 4 nats
    context_opening: float  # how well trodden the answer's beginning is (kernels/openings.py), per 4 doublings

    def vector(self) -> npt.NDArray[np.float64]:
        """In the order of the fields, for the kernel."""
        return np.array([getattr(self, f.name) for f in fields(self)])


@dataclass(frozen=True)
class HazardWithBase(Hazard):
    """The weights where the untuned base was measured (--base)."""

    base_known: float  # probability that the base gives the token; logits at 1


@dataclass(frozen=True)
class HeatWeights(HazardWithBase):
    """The weights of the heat, fitted to every token of the answers; base_known is 0 where no base was measured."""

    seen: float  # the token stood earlier in its row; logits
    wide_surprise: float  # width times leave-one-out surprise
    dose_before: float  # in the slope of the dose: width of the token before it in the answer, 4 bytes at its beginning
    dose_before_width: float  # that width times the token's own
    dose_wide_surprise: float


@dataclass(frozen=True)
class Priors:
    """Values with little evidence of our own; a calibration replaces them."""

    offset: float  # logits added to the bias; with the factor on the dose it makes the level of a base
    offset_sd: float  # logits; standard deviation of the offset between bases
    level_factor: float  # dose per visit of a base that was not measured, relative to the base of the fit
    level_factor_sd: float  # standard deviation of its log
    lora_dose: float  # dose of a first visit under LoRA, relative to one under full fine-tuning
    lora_holds: float  # mean visits per text at which adapters saturate ...
    lora_steps: (
        float  # ... if so many optimizer steps lie between two visits of a text; the fewer steps, the more visits
    )
    size_exponent: float  # a model acts like the base of the fit at rate * (parameters / fitted_parameters) ** this
    fitted_parameters: float
    unknown_parameters: float  # assumed where the plan names no size
    most_steps: float  # steps at the peak rate that count as progress; earlier ones are overwritten (wearing.py)

    def rate(self, plan: TrainingPlan) -> float:
        """Peak rate at which the base of the fit takes steps as large as the plan's model does at its own."""
        size = (plan.model_params or self.unknown_parameters) / self.fitted_parameters
        return float(plan.learning_rate * size**self.size_exponent)

    def far(self, plan: TrainingPlan) -> bool:
        """Whether the dose per visit is extrapolated: LoRA, or a size more than FAR_SIZE from the base of the fit."""
        size = (plan.model_params or self.unknown_parameters) / self.fitted_parameters
        return plan.method == "lora" or not 1 / FAR_SIZE <= size <= FAR_SIZE


@dataclass(frozen=True)
class Weights:
    """rules/weights/prediction.toml."""

    hazard: Hazard
    priors: Priors
    calibrated: bool
    provenance: dict[str, Any]
    dose_factor: float = 1.0  # dose per visit, calibrated or assumed, on top of size and kind of tuning
    log_factor_step: float = 0.0  # change of its log in one standard deviation of the level (see intervals.levels)
    offset_step: float | None = None  # change of the offset in it; None: priors.offset_sd
    read_at: float | None = None  # training of the set (Regime.set_dose, at a dose factor of 1) up to which the level
    # was read; beyond it the level drifts, which every row's distribution takes in (`drifts`); None: it does not
    ends: tuple[tuple[float, float], tuple[float, float]] | None = None  # offset and log of the dose factor that the
    # ends of a 90 % interval reach too, where they mean fewer or more rows (see doubting.py); None: the steps alone
    validated: Validated = field(default_factory=Validated)  # what they were fitted and tested on
    rehearsed: Validated | None = None  # what the runs behind a calibration add to it
    set_sd: float = 0.0  # doubt of the log of what a visit is worth to the very set (openings.doubt)
    with_base: bool = False  # fitted with the base's own losses
    heat: HeatWeights | None = None  # of each token by itself; None: `hazard` stands for them

    def of_another_base(self, plan: TrainingPlan) -> Weights:
        """The same weights for a base that was not measured: the mean level of the measured bases, and their spread.

        For a plan far from these (`Priors.far`) the level is that of the base of the fit, on which LoRA was measured;
        for sizes that nobody measured it errs towards predicting too much memorization rather than too little.
        """
        priors = self.priors
        level, sd = (1.0, FAR_LEVEL_SD) if priors.far(plan) else (priors.level_factor, priors.level_factor_sd)
        return replace(self, dose_factor=level, log_factor_step=sd, offset_step=0.0)

    def strength(self, plan: TrainingPlan, at: float = 1.0, steps: float = math.inf) -> float:
        """Factor on the dose for the kind of tuning and the size of the model; under LoRA for the first visits.

        at: share of the training that is over; steps: optimizer steps up to there.
        """
        rate, here = plan.learning_rate, self.priors.rate(plan)
        larger = 1.0
        if rate > 0 and at > 0:
            larger = of_schedule(plan, here, at, steps) / of_schedule(plan, rate, at, steps)
        return float(self.kind(plan) * larger * self.dose_factor)

    def kind(self, plan: TrainingPlan) -> float:
        """Dose of a first visit under this kind of tuning, relative to full fine-tuning."""
        return self.priors.lora_dose if plan.method == "lora" else 1.0

    def worth(self, plan: TrainingPlan, regime: Regime) -> float:
        """Factor on the doses of a training up to `regime`; under LoRA it falls, for adapters saturate.

        Later steps overwrite what earlier ones stored in the adapters. A mean of D visits per text counts as
        h * (1 - exp(-D / h)), and the visits of each row shrink in proportion: more epochs or a larger rate add ever
        less, but never take anything away. h is lora_holds if lora_steps lie between two visits of a text. In smaller
        sets, where visits follow sooner, h grows in proportion; in larger ones, which were not measured, it stays. A
        decaying rate raises h as it raises what full fine-tuning retains (`rates.settled`). What the set knows by then
        is a factor on all of it. regime: in doses without any factor.
        """
        strength = self.strength(plan, regime.at, regime.steps)
        spared = freed(regime.known)
        if plan.method != "lora":
            return strength * spared
        priors = self.priors
        at_most = of_schedule(plan, plan.learning_rate, regime.at, regime.steps) * regime.steps / priors.lora_steps
        written = min(regime.set_dose, at_most)
        holds = priors.lora_holds * settled(plan, regime.at, priors.rate(plan), regime.steps)
        full = written * strength / self.dose_factor / holds
        return strength * spared * (-math.expm1(-full) / full if full > 0 else 1.0)

    def under(self, plan: TrainingPlan, regime: Regime) -> tuple[float, Regime]:
        """Factor on the doses of rows, and the regime with that factor applied.

        Its `visit`, which sets the noise of the logits, is as large under LoRA as under full fine-tuning, and whatever
        the set knows: noise depends on the size of the steps and not on how much of a text they store.
        """
        worth = self.worth(plan, regime)
        felt = regime.under(worth)
        return worth, replace(felt, visit=felt.visit / self.kind(plan) / freed(regime.known))

    def moved(self, log_factor: float) -> Weights:
        """The weights with every visit worth exp(log_factor) times as much."""
        return replace(self, dose_factor=self.dose_factor * math.exp(log_factor))

    def placed(self, offset: float, log_factor: float | None = None) -> Weights:
        """The weights at this offset and, where given, this log of the dose factor."""
        factor = self.dose_factor if log_factor is None else math.exp(log_factor)
        return replace(self, priors=replace(self.priors, offset=float(offset)), dose_factor=factor)

    def drifts(self, regime: Regime) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Quadrature over the drift of the level: factors on the dose and their weights, (k,) each.

        A single factor of 1 where the set is trained no further than in the calibration (`read_at`). Beyond it the log
        of the factor is normal; its standard deviation grows with the logarithm of the training, so that at every node
        more training still means a larger dose.
        """
        drift = self.drift(regime)
        if not drift:
            return np.ones(1), np.ones(1)
        node, share = _normal(DRIFT_NODES)
        return np.exp(drift * node), share

    def drift(self, regime: Regime) -> float:
        """Standard deviation of the log of the dose per visit, for training beyond that at which the level was read.

        regime: under these weights (`under`). 0 where the set is trained no further.
        """
        beyond = regime.set_dose / (self.dose_factor * self.read_at) if self.read_at else 1.0
        return DRIFT * math.log2(beyond) if beyond > 1 + 1e-9 else 0.0  # rounding is no further training


def load_weights(path: Path = WEIGHTS, with_base: bool = False) -> Weights:
    """Read the weights, at the level of the base of the fit.

    A missing or unknown name, or a sign that breaks monotonicity, is refused.
    with_base: those that were fitted with the base's own losses beside the table of general text.
    """
    values = tomllib.loads(path.read_text("utf-8"))
    chosen, heat = (WITH_BASE, HEAT_WITH_BASE) if with_base else ("hazard", HEAT)
    parts = {}
    kinds = {chosen: HazardWithBase if with_base else Hazard, heat: HeatWeights, "priors": Priors}
    for name, kind in kinds.items():
        wanted, seen = {f.name for f in fields(kind)}, set(values.get(name, {}))
        if wanted != seen:
            raise RuleError(
                f"{path.name}: [{name}] lacks {sorted(wanted - seen)} and has unknown {sorted(seen - wanted)}; "
                "write it again with benchmarks/prediction/fit.py"
            )
        parts[name] = kind(**{key: float(value) for key, value in values[name].items()})
    hazard, heated, priors = parts[chosen], parts[heat], parts["priors"]
    assert isinstance(hazard, Hazard)
    assert isinstance(heated, HeatWeights)
    assert isinstance(priors, Priors)
    if any(
        min(h.dose_progress, h.dose_epochs, h.spread, h.noise) < 0 or min(h.dose_power, h.ceiling) <= 0
        for h in (hazard, heated)
    ):
        raise RuleError(
            f"{path.name}: dose_progress, dose_epochs, spread and noise must not be negative, dose_power and ceiling "
            "must be above 0: more training never unlearns"
        )
    validated = read(values.get("validated"), path.name)
    return Weights(
        hazard, priors, bool(values.get("calibrated", False)), values.get("provenance", {}), validated=validated,
        with_base=with_base, heat=heated,
    )  # fmt: skip


@dataclass(frozen=True)
class Regime:
    """How much training the data set as a whole has had; all 0: none."""

    set_dose: float  # mean effective dose of a supervised token of a text, copies included (sampling.dose_of_set)
    steps: float  # optimizer steps
    visit: float = 0.0  # dose of an average visit at the present rate (rates.visit_at); 0 once that is 0
    plan: TrainingPlan | None = None  # whose schedule it is; None: a constant rate
    at: float = 1.0  # share of that plan's training that is over
    known: float = USUAL  # share of the set's rows that are recited by then, as measured or predicted

    @classmethod
    def of(cls, plan: TrainingPlan, set_dose: float, steps: float, at: float = 1.0, known: float = USUAL) -> Regime:
        """The plan's training when a share `at` of it is over, in doses without the factors of the weights."""
        return cls(set_dose, steps, visit_at(plan, at), plan, at, known)

    def progress(self, most_steps: float = math.inf) -> float:
        """The feature log2(1 + steps / 100), over the steps that are not overwritten (wearing.py)."""
        return math.log2(1 + lasting(self.steps, most_steps, self.plan, self.at) / STEPS_UNIT)

    def scaled(self, factor: float) -> Regime:
        """The same training for `factor` times as many epochs."""
        return replace(self, set_dose=self.set_dose * self.grows(factor), steps=self.steps * factor)

    def grows(self, factor: float) -> float:
        """Factor on every dose in `factor` times as many epochs, in which a falling rate settles the further."""
        if self.plan is None:
            return factor
        now, then = (stands(self.plan, self.at, steps=steps) for steps in (self.steps, self.steps * factor))
        return factor * then / now

    def under(self, strength: float) -> Regime:
        """The same training with `strength` times the dose per visit."""
        return replace(self, set_dose=self.set_dose * strength, visit=self.visit * strength)


@dataclass(frozen=True)
class TurnTails:
    """Distribution of N_pre per supervised turn, (m,) each."""

    extract: npt.NDArray[np.float64]  # P(N_pre >= 16); NaN where the turn is shorter
    extract_without: npt.NDArray[np.float64]  # the same under the smaller dose; NaN where none was given
    whole: npt.NDArray[np.float64]  # P(the whole turn)
    mean: npt.NDArray[np.float64]  # E[N_pre], tokens
    q50: npt.NDArray[np.float64]  # tokens
    q95: npt.NDArray[np.float64]


def quadrature(spread: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """exp(-u) at the nodes of N(0, spread), and their weights."""
    node, weight = _normal(NODES)
    return np.exp(-spread * node), weight


@functools.cache
def _normal(nodes: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Gauss-Hermite nodes of the standard normal distribution, and their weights; neither can be written to."""
    node, weight = np.polynomial.hermite_e.hermegauss(nodes)
    share = weight / weight.sum()
    for array in (node, share):
        array.flags.writeable = False
    return node, share
