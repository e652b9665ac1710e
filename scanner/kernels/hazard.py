"""The token hazard model followed token by token: the distribution of N_pre of each supervised turn.

The formula, its weights and their units stand in `scanner/prediction/hazard.py`; the order of the weight vector is that
of the fields of `Hazard` there.
"""

from __future__ import annotations

import math

import numpy as np
from numba import types

from scanner.kernels._jit import I64R, INT, U8R, VOID, kernel, shared
from scanner.kernels.contexts import RARITY_STEP, SEEN
from scanner.kernels.openings import OPENING_STEP

EXTRACTED = 16
"""Tokens reproduced before the first miss from which on an answer counts as extractable (`p_extract`)."""
STEPS_UNIT = 100.0  # optimizer steps in one unit of progress, before the logarithm
SURPRISE_UNIT, RARITY_UNIT, BACKGROUND_UNIT = 4.0, 8.0, 8.0  # nats: features are of order one
KNOWN_UNIT = 12.0  # tokens, the longest context counted
WIDTH_UNIT = 3.0  # doublings: a token of 8 bytes is one unit wide
CERTAIN, CERTAIN_UNIT = 4.0, 4.0  # nats of -log(1 - probability): where certainty begins, and one unit of it
LEAST_DOUBT = 1e-7  # of 1 - probability: finer than what a probability in 32 bits can tell
OPENING_UNIT = 4.0  # doublings
USUAL_WIDTH = 4
"""UTF-8 bytes of a token of which the width is not known."""
SAME_BEFORE = 12
"""Tokens before one that stand elsewhere too, from which on a goldfish loss drops the same token there: it looks at 13
tokens of the model."""
RUBS_OFF = 0.5
"""What rows that drop the same token teach of it all the same, beside rows that do not: with k = 4 such tokens of rows
with one copy were hit in .21, .24, .24, .28 after 2, 4, 6, 8 epochs (benchmarks/prediction), predicted .20, .23, .26,
.27 with a half, .28, .35, .40, .44 with all of it and .13 without."""
FADED = 1e-12  # survival below which a turn is not followed further

_SURE = math.log1p(-math.exp(-CERTAIN))  # nats
_F64 = types.Array(types.float64, 1, "C")
_F64R = types.Array(types.float64, 1, "C", readonly=True)
_F64_2D = types.Array(types.float64, 2, "C")
_F32R = types.Array(types.float32, 1, "C", readonly=True)
_REAL = types.float64
_PLACES, _TOKENS = (I64R, I64R, _F64R, _F64R, I64R, _F64R), (_F32R, U8R, U8R, U8R, _F32R, _F32R, U8R)


@shared
def _softplus(x):
    return max(x, 0.0) + math.log1p(math.exp(-abs(x)))


@shared
def _gain(dose, power):
    """Response to dose: between its logarithm (power 0) and the dose itself (power 1); weights: dose_power."""
    return ((1 + dose) ** power - 1) / (power * math.log(2.0))


@shared
def _held(z, ceiling):
    """The logit, which above 0 comes near the ceiling and never past it; weights: ceiling."""
    return z / math.sqrt(1 + (z / ceiling) ** 2) if z > 0 else z


@shared
def _certain(log_p):
    """How sure the other rows are of a token, from the point on where certainty begins; weights: context_certain."""
    if log_p <= _SURE:  # most tokens: no logarithm is to be taken
        return 0.0
    return max(-math.log(max(-math.expm1(np.float64(log_p)), LEAST_DOUBT)) - CERTAIN, 0.0) / CERTAIN_UNIT


@shared
def _most_noise(power):
    """Up to here noise cannot take more than what the larger dose behind it gives, which grows with it at least as its
    `power`: p never falls with the learning rate."""
    return 2 * power / (1 - power) if power < 1 else math.inf


@shared
def _odds(given, learned, noise, most, w):
    """Odds of a miss at row effect 0; noise: variance of the logit per logit learned, in all at most `most`."""
    z, centre = given + learned, w[18]
    if noise * learned > 0:
        narrower = 1 / math.sqrt(1 + min(noise * learned, most))
        sure = max(centre, given)
        if z < centre:
            z = centre - (centre - z) * narrower
        elif z > sure:
            z = sure + (z - sure) * narrower
    return math.exp(-_held(z, w[16]))


@kernel(VOID(*_PLACES, _F64R, _F64R, _F64R, _F64R, _F64R, _REAL, _F64R, *_TOKENS, _F64R, _F64R, _F64R, INT, INT,
             _F64_2D, _F64))  # fmt: skip
def tails(start, end, dose, without, cap_at, cap, dropped, kept, factor, share, set_gain, progress, visit,
          log_p, known, rarity, width, background, base, opening, w, node, weight,
          first, last, out, curve):  # fmt: skip
    """Follow turns [first, last) token by token; out (6, m) in the order of TurnTails, curve (T,) or (0,).

    curve[t] becomes P(the turn is reproduced up to and including t). without (m,), or (0,) where it is not asked for.
    cap_at (m,) is the place within the turn whose p is capped (identical prompts with other answers), -1 for none.
    base (T,) or (0,) where no base was measured.
    factor, share (k,): what a visit may be worth beside what the doses say, and how likely that is; set_gain, visit
    (k,) at that worth: of the set's dose, and what one visit is worth at the rate of the moment.
    kept (256,): chance that a token of so many bytes is learned at all, (0,) where all are; dropped (m,): dose of one
    that is not, which near copies give it.
    """
    bias, rarity_w, width_w, background_w = w[0], w[1], w[2], w[3]
    context_bias, context_surprise, context_known, context_certain = w[4], w[5], w[6], w[19]
    dose_bias, dose_rarity, dose_known, dose_width, dose_background = w[7], w[8], w[9], w[10], w[11]
    power = w[14]
    most = _most_noise(power)
    ready = dose_bias + w[12] * progress
    nodes, levels = len(node), len(factor)
    full, less = np.empty((levels, nodes)), np.empty((levels, nodes))
    gain, gain_less, gain_dropped, gain_same = np.empty(levels), np.empty(levels), np.empty(levels), np.empty(levels)
    forgets, both = len(kept) > 0, len(without) > 0
    stays, lost = 1.0, 0.0
    for i in range(first, last):
        length = end[i] - start[i]
        for k in range(levels):
            gain[k] = _gain(dose[i] * factor[k], power)
            if both:
                gain_less[k] = _gain(without[i] * factor[k], power)
            if forgets:
                gain_dropped[k] = _gain(dropped[i] * factor[k], power)
                gain_same[k] = _gain(RUBS_OFF * dropped[i] * factor[k], power)
            full[k] = share[k] * weight
            less[k] = share[k] * weight
        alive, mean = 1.0, 0.0
        context = context_bias
        if length > 0:
            context += w[20] * opening[start[i]] * OPENING_STEP / OPENING_UNIT
        out[0, i] = out[1, i] = np.nan
        out[4, i] = out[5, i] = -1.0
        for n in range(length):
            t = start[i] + n
            surprise, rare = -log_p[t] / SURPRISE_UNIT, rarity[t] * RARITY_STEP / RARITY_UNIT
            wide, strange = math.log2(max(width[t], 1)) / WIDTH_UNIT, -background[t] / BACKGROUND_UNIT
            held = known[t] / KNOWN_UNIT
            given = bias + rarity_w * rare + width_w * wide + background_w * strange
            if len(base) > 0 and len(w) > 21:
                given += w[21] * base[t]
            teaches = 0.0
            if set_gain[0] > 0:
                sure = context_certain * _certain(log_p[t])
                teaches = _softplus(context + context_surprise * surprise + context_known * held + sure)
            ease = ready + dose_rarity * rare + dose_known * held + dose_width * wide + dose_background * strange
            capped = n == cap_at[i]
            alive = 0.0
            if forgets:
                stays = kept[width[t]]
            for k in range(levels):
                noise, taught = w[17] * visit[k], set_gain[k] * teaches
                z = given + taught
                slope = _softplus(ease + w[13] * set_gain[k])
                odds = _odds(z, gain[k] * slope, noise, most, w)
                if forgets:
                    if known[t] < SAME_BEFORE:
                        lost = _odds(z, gain_dropped[k] * slope, noise, most, w)
                    else:
                        lost = _odds(z - (1 - RUBS_OFF) * taught, gain_same[k] * slope, noise, most, w)
                for q in range(nodes):
                    p = 1 / (1 + odds * node[q])
                    if forgets:
                        p = stays * p + (1 - stays) / (1 + lost * node[q])
                    full[k, q] *= min(p, cap[i]) if capped else p
                    alive += full[k, q]
                if both and n < EXTRACTED:
                    odds = _odds(z, gain_less[k] * slope, noise, most, w)
                    lost = max(lost, odds)
                    for q in range(nodes):
                        p = 1 / (1 + odds * node[q])
                        if forgets:
                            p = stays * p + (1 - stays) / (1 + lost * node[q])
                        less[k, q] *= min(p, cap[i]) if capped else p
            mean += alive
            if alive <= 0.5 and out[4, i] < 0:
                out[4, i] = n
            if alive <= 0.05 and out[5, i] < 0:
                out[5, i] = n
            if len(curve) > 0:
                curve[t] = alive
            if n == EXTRACTED - 1:
                out[0, i] = alive
                if both:
                    out[1, i] = min(less.sum(), alive)
            if alive < FADED and n >= EXTRACTED - 1:
                alive = 0.0
                if len(curve) > 0:
                    curve[t + 1 : end[i]] = 0.0
                break
        out[2, i] = alive if length > 0 else np.nan
        out[3, i] = mean
        for q in (4, 5):
            if out[q, i] < 0:
                out[q, i] = length


@kernel(VOID(I64R, I64R, _F64R, _F64R, _REAL, _REAL, _REAL, *_TOKENS[:4], U8R, *_TOKENS[4:], _F64R, _F64))
def odds(start, end, dose, taught, set_gain, progress, visit,
         log_p, known, rarity, width, within, background, base, opening, w, out):  # fmt: skip
    """Odds that each token of some turns is missed, the text before it being the true one, at row effect 0.

    start, end (m,): turns as tokens [start, end) · dose, out (t,): over their tokens, one turn after the other · taught
    (t,): share of what the other rows teach that reaches the token · w: in the order of the fields of `HeatWeights`,
    with 0 for what is not looked at · base (T,) or (0,).
    """
    power, noise = w[14], w[17] * visit
    most = _most_noise(power)
    ready = w[7] + w[12] * progress + w[13] * set_gain
    at = 0
    for i in range(len(start)):
        before = math.log2(USUAL_WIDTH) / WIDTH_UNIT  # of the token before, which the first one has not in the answer
        for t in range(start[i], end[i]):
            surprise, rare = -log_p[t] / SURPRISE_UNIT, rarity[t] * RARITY_STEP / RARITY_UNIT
            wide, strange = math.log2(max(width[t], 1)) / WIDTH_UNIT, -background[t] / BACKGROUND_UNIT
            held = known[t] / KNOWN_UNIT
            z = w[0] + w[1] * rare + w[2] * wide + w[3] * strange
            z += w[22] * (within[t] & SEEN) + w[23] * wide * surprise
            if len(base) > 0:
                z += w[21] * base[t]
            if set_gain > 0:
                context = w[4] + w[5] * surprise + w[6] * held + w[19] * _certain(log_p[t])
                context += w[20] * opening[t] * OPENING_STEP / OPENING_UNIT
                z += taught[at] * set_gain * _softplus(context)
            slope = ready + w[8] * rare + w[9] * held + w[10] * wide + w[11] * strange
            slope += (w[24] + w[25] * wide) * before + w[26] * wide * surprise
            out[at] = _odds(z, _gain(dose[at], power) * _softplus(slope), noise, most, w)
            before = wide
            at += 1
