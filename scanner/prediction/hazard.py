"""The token hazard model: a dozen named numbers turn a token's surroundings into the chance that it is recalled.

    logit p_t = base_t + log2(1 + set dose) * softplus(context_t) + log2(1 + E_row) * softplus(dose_t) + u_row

    base_t    = bias + offset + seen, copied, rarity of the token                  what the model can do untuned
    context_t = what the *other* rows say about the token                          gated by the training of the set
    dose_t    = how fast this token is learned from its own row; grows with progress = log2(1 + steps / 100)

Both slopes are positive by construction, so dose, learning rate, copies and epochs can only raise p; with no training
at all p is the base value, and the other rows' contexts count for nothing. u_row ~ N(0, spread) is integrated out by
Gauss-Hermite quadrature: without it the tail of N_pre is underestimated. P(N_pre >= n) = prod of the first n p_t.
"""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit, types

from scanner.errors import RuleError
from scanner.kernels._jit import I64R, INT, U8R, VOID, kernel
from scanner.kernels.contexts import COPIED, RARITY_STEP, SEEN
from scanner.settings import TrainingPlan

WEIGHTS = Path(__file__).resolve().parents[2] / "rules" / "weights" / "prediction.toml"
EXTRACTED = 16
"""Tokens reproduced before the first miss from which on an answer counts as extractable (DESIGN, `p_extract`)."""
NODES = 7
"""Gauss-Hermite nodes for the row effect."""
STEPS_UNIT = 100.0  # optimizer steps in one unit of progress, before the logarithm
SURPRISE_UNIT, RARITY_UNIT = 4.0, 8.0  # nats: features are of order one
FADED = 1e-12  # survival below which a turn is not followed further


@dataclass(frozen=True)
class Hazard:
    """The fitted weights; logits per unit of the feature."""

    bias: float
    seen: float  # the token stood earlier in the row
    copied: float  # so did the three tokens that end with it
    rarity: float  # -log frequency of the token, per 8 nats
    context_bias: float  # softplus(context_bias + ...) logits per doubling of 1 + the set's mean dose
    context_surprise: float  # -log leave-one-out probability, per 4 nats
    context_agreed: float  # log2(1 + longest context that went on this way elsewhere)
    dose_bias: float  # softplus(dose_bias + ...) logits per doubling of 1 + the row's dose
    dose_surprise: float
    dose_copied: float
    dose_rarity: float
    dose_progress: float  # per unit of progress; never negative
    spread: float  # standard deviation of the row effect, logits; never negative

    def vector(self) -> npt.NDArray[np.float64]:
        """In the order of the fields, for the kernel."""
        return np.array([getattr(self, f.name) for f in fields(self)])


@dataclass(frozen=True)
class Priors:
    """Values that no fit of ours stands behind; calibration must replace them."""

    offset: float  # logits added to the bias: the level, one number per base model
    lora_dose: float  # what a visit under LoRA is worth beside one under full fine-tuning
    size_exponent: float  # dose grows as (parameters / fitted parameters) ** this
    fitted_parameters: float
    unknown_parameters: float  # taken where the plan names no size


@dataclass(frozen=True)
class Weights:
    """rules/weights/prediction.toml."""

    hazard: Hazard
    priors: Priors
    calibrated: bool
    provenance: dict[str, Any]

    def strength(self, plan: TrainingPlan) -> float:
        """Factor on the dose for the kind of tuning and the size of the model."""
        priors = self.priors
        size = (plan.model_params or priors.unknown_parameters) / priors.fitted_parameters
        return (priors.lora_dose if plan.method == "lora" else 1.0) * size**priors.size_exponent


def load_weights(path: Path = WEIGHTS) -> Weights:
    """Read the weights; a missing or unknown name, or a sign that breaks monotonicity, is refused."""
    values = tomllib.loads(path.read_text("utf-8"))
    parts = {}
    for name, kind in (("hazard", Hazard), ("priors", Priors)):
        wanted, seen = {f.name for f in fields(kind)}, set(values.get(name, {}))
        if wanted != seen:
            raise RuleError(
                f"{path.name}: [{name}] lacks {sorted(wanted - seen)} and has unknown {sorted(seen - wanted)}; "
                "write it again with benchmarks/prediction/fit.py"
            )
        parts[name] = kind(**{key: float(value) for key, value in values[name].items()})
    hazard, priors = parts["hazard"], parts["priors"]
    assert isinstance(hazard, Hazard) and isinstance(priors, Priors)
    if hazard.dose_progress < 0 or hazard.spread < 0:
        raise RuleError(f"{path.name}: dose_progress and spread must not be negative: more training never unlearns")
    return Weights(hazard, priors, bool(values.get("calibrated", False)), values.get("provenance", {}))


@dataclass(frozen=True)
class Regime:
    """How much training the set as a whole gets; all 0: none."""

    set_dose: float  # mean effective dose over the rows
    steps: float  # optimizer steps

    def progress(self) -> float:
        """The feature: log2(1 + steps / 100)."""
        return math.log2(1 + self.steps / STEPS_UNIT)

    def scaled(self, factor: float) -> Regime:
        """The same training for `factor` times as many epochs."""
        return Regime(self.set_dose * factor, self.steps * factor)


@dataclass(frozen=True)
class TurnTails:
    """Distribution of N_pre per supervised turn, (m,) each."""

    extract: npt.NDArray[np.float64]  # P(N_pre >= 16); NaN where the turn is shorter
    extract_without: npt.NDArray[np.float64]  # the same under the smaller dose
    whole: npt.NDArray[np.float64]  # P(the whole turn)
    mean: npt.NDArray[np.float64]  # E[N_pre], tokens
    q50: npt.NDArray[np.float64]  # tokens
    q95: npt.NDArray[np.float64]


def quadrature(spread: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """exp(-u) at the nodes of N(0, spread), and their weights."""
    nodes, weight = np.polynomial.hermite_e.hermegauss(NODES)
    return np.exp(-spread * nodes), weight / weight.sum()


@njit(nogil=True)
def _softplus(x):
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


_F64 = types.Array(types.float64, 1, "C")
_F64R = types.Array(types.float64, 1, "C", readonly=True)
_F64_2D = types.Array(types.float64, 2, "C")
_F32R = types.Array(types.float32, 1, "C", readonly=True)
_REAL = types.float64


@kernel(VOID(
    I64R, I64R, _F64R, _F64R, I64R, _F64R, _REAL, _REAL, _F32R, U8R, U8R, U8R, _F64R, _F64R, _F64R, INT, INT, _F64_2D, _F64,
))  # fmt: skip
def tails(start, end, dose, without, cap_at, cap, set_gain, progress,
          log_p, agreed, rarity, within, w, node, weight, first, last, out, curve):  # fmt: skip
    """Follow turns [first, last) token by token; out (6, m) in the order of TurnTails, curve (T,) or (0,).

    curve[t] becomes P(the turn is reproduced up to and including t). cap_at (m,) is the place within the turn whose p
    is capped (identical prompts with other answers), -1 for none.
    """
    nodes = len(node)
    full, less = np.empty(nodes), np.empty(nodes)
    for i in range(first, last):
        length = end[i] - start[i]
        gain, gain_less = math.log2(1 + dose[i]), math.log2(1 + without[i])
        full[:] = weight
        less[:] = weight
        alive, mean = 1.0, 0.0
        out[0, i] = out[1, i] = np.nan
        out[4, i] = out[5, i] = -1.0
        for n in range(length):
            t = start[i] + n
            surprise, rare = -log_p[t] / SURPRISE_UNIT, rarity[t] * RARITY_STEP / RARITY_UNIT
            copied = 1.0 if within[t] & COPIED else 0.0
            z = w[0] + w[2] * copied + w[3] * rare
            if within[t] & SEEN:
                z += w[1]
            if set_gain > 0:
                z += set_gain * _softplus(w[4] + w[5] * surprise + w[6] * math.log2(1.0 + agreed[t]))
            slope = _softplus(w[7] + w[8] * surprise + w[9] * copied + w[10] * rare + w[11] * progress)
            odds = math.exp(-z - gain * slope)
            capped = n == cap_at[i]
            alive = 0.0
            for q in range(nodes):
                p = 1 / (1 + odds * node[q])
                full[q] *= min(p, cap[i]) if capped else p
                alive += full[q]
            if n < EXTRACTED:
                odds = math.exp(-z - gain_less * slope)
                for q in range(nodes):
                    p = 1 / (1 + odds * node[q])
                    less[q] *= min(p, cap[i]) if capped else p
            mean += alive
            if alive <= 0.5 and out[4, i] < 0:
                out[4, i] = n
            if alive <= 0.05 and out[5, i] < 0:
                out[5, i] = n
            if len(curve) > 0:
                curve[t] = alive
            if n == EXTRACTED - 1:
                out[0, i] = alive
                out[1, i] = min(less.sum(), alive)
            if alive < FADED and n >= EXTRACTED - 1:
                alive = 0.0
                break
        out[2, i] = alive if length > 0 else np.nan
        out[3, i] = mean
        for q in (4, 5):
            if out[q, i] < 0:
                out[q, i] = length
