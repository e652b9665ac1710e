"""What is known already leaves the optimizer's steps to the rest.

    share of a set's rows that are recited by then -> factor on what a visit is worth

A row that is recited has next to no loss and no gradient, and Adam divides the step by what gradients are left: the
more rows of a set are known, the further a step goes for the others. So rows that stand once are learned later in a set
in which all do, and earlier beside rows with many copies (benchmarks/prediction/LAWS.md, 20).
"""

from __future__ import annotations

import math
from collections.abc import Callable

FREED = 0.25
"""Log of what a visit is worth where all rows of the set are known, beside one where none is. Of 0, .2, .3 and .4, the
weights fitted again with each, .3 and .4 are likeliest on the tokens of the fit, .2 and .3 on cells outside it."""
USUAL = 0.35
"""Share at which the factor is 1: that of the grid's English rows after six epochs."""
ROUNDS, CLOSE = 20, 1e-3  # of the secant; the doses are then right to a four-thousandth


def freed(known: float) -> float:
    """On the doses of a set of whose rows this share is recited."""
    return math.exp(FREED * (known - USUAL))


def known_share(recited: Callable[[float], float]) -> float:
    """The share that is recited where a share that is recited is what makes it so.

    recited: from the share that is taken as known to the share that the weights then predict; it rises with it, by a
    fraction of it, for all shares together move the doses by a factor of exp(FREED) only. So there is one that holds,
    and the secant finds it in three or four rounds.
    """
    share, gain = 0.0, recited(0.0)  # gain: of the share that is predicted, over the share that is taken as known
    if gain < CLOSE:
        return gain
    there = gain
    for _ in range(ROUNDS):
        predicted = recited(there)
        if abs(predicted - there) < CLOSE:
            return predicted
        steep = (predicted - there - gain) / (there - share)  # of the gain; below 0 where there is one that holds
        share, gain = there, predicted - there
        there = min(1.0, max(0.0, there - gain / steep)) if steep < 0 else predicted
    return there
