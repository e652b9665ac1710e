"""Stretches of an answer that come out word for word with at least a given chance, from the odds of each token.

The chance of a stretch is that of all its tokens in a row, the text before it being the true one: the product of their
probabilities under each value of the row effect, averaged over its quadrature. It can only fall as a stretch grows, so
the longest stretch from each token follows from two places that move forwards.
"""

from __future__ import annotations

import math

import numpy as np
from numba import types

from scanner.kernels._jit import I64, I64R, INT, kernel, shared

_F64R = types.Array(types.float64, 1, "C", readonly=True)
_F64 = types.Array(types.float64, 1, "C")
_REAL = types.float64


@shared
def _log(t, odds, node, cap, kept, lost):
    """Log of the probability of token t under one value of the row effect."""
    if len(kept):
        return math.log(min(kept[t] / (1 + odds[t] * node) + (1 - kept[t]) / (1 + lost[t] * node), cap[t]))
    return min(-math.log1p(odds[t] * node), math.log(cap[t]))


@shared
def _chance(odds, cap, kept, lost, node, share, first, last):
    """Chance of the tokens [first, last) in a row."""
    total = 0.0
    for q in range(len(node)):
        s = 0.0
        for t in range(first, last):
            s += _log(t, odds, node[q], cap, kept, lost)
        total += share[q] * math.exp(s)
    return total


@kernel(INT(I64R, I64R, *[_F64R] * 9, INT, _REAL, I64, I64, I64, _F64))
def stretches(start, end, odds, node, first_odds, first_node, cap, kept, lost, first_lost, share, least, chance,
              turn, begin, stop, score):  # fmt: skip
    """The stretches of at least `least` tokens and `chance` of each turn; returns their number.

    start, end (m,): turns as tokens [start, end) · odds (T,): of a miss at row effect 0 · node, share: exp(-effect) at
    the nodes of the row effect and their weights · first_odds, first_node: the same for what comes out from the turn's
    beginning · cap (T,): what the probability cannot exceed · kept, lost, first_lost (T,): chance that a token is
    learned, odds where it is not; (0,) where all are · turn, begin, stop, score (room,): outputs, tokens
    [begin, stop); room is at least T // least. What comes out from the turn's beginning is taken first, then the
    longest stretch of what is left, the first of equals, and so on.
    """
    longest = 0
    for i in range(len(start)):
        longest = max(longest, end[i] - start[i])
    far = np.empty(longest + 1, np.int64)
    log_sum = np.empty(len(node))
    low, high = np.empty(longest + 2, np.int64), np.empty(longest + 2, np.int64)  # intervals that are left
    count = 0
    for i in range(len(start)):
        first, last = start[i], end[i]
        log_sum[:] = 0.0
        b = first
        for a in range(first, last):
            if b <= a:
                b = a
                log_sum[:] = 0.0
            while b < last:
                alive = 0.0
                for q in range(len(node)):
                    alive += share[q] * math.exp(log_sum[q] + _log(b, odds, node[q], cap, kept, lost))
                if alive < chance:
                    break
                for q in range(len(node)):
                    log_sum[q] += _log(b, odds, node[q], cap, kept, lost)
                b += 1
            far[a - first] = b
            if b > a:
                for q in range(len(node)):
                    log_sum[q] -= _log(a, odds, node[q], cap, kept, lost)
        open_ = 1
        low[0], high[0] = first + 1, last  # from the first token on, first_odds decide alone
        reach = first
        log_sum[:] = 0.0
        while reach < last:
            alive = 0.0
            for q in range(len(node)):
                log_sum[q] += _log(reach, first_odds, first_node[q], cap, kept, first_lost)
                alive += share[q] * math.exp(log_sum[q])
            if alive < chance:
                break
            reach += 1
        if reach - first >= least:
            turn[count], begin[count], stop[count] = i, first, reach
            score[count] = _chance(first_odds, cap, kept, first_lost, first_node, share, first, reach)
            count += 1
            low[0] = reach
        while open_:
            open_ -= 1
            x, y = low[open_], high[open_]
            best, at = least - 1, -1
            for a in range(x, y - least + 1):
                length = min(far[a - first], y) - a
                if length > best:
                    best, at = length, a
            if at < 0:
                continue
            turn[count], begin[count], stop[count] = i, at, at + best
            score[count] = _chance(odds, cap, kept, lost, node, share, at, at + best)
            count += 1
            low[open_], high[open_] = x, at
            low[open_ + 1], high[open_ + 1] = at + best, y
            open_ += 2
    return count
