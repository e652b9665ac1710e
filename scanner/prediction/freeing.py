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
weights fitted again with each, the likeliest on all fitted tokens."""
USUAL = 0.35
"""Share at which the factor is 1: that of the grid's English rows after six epochs."""
ROUNDS, CLOSE = 20, 1e-4


def freed(known: float) -> float:
    """On the doses of a set of whose rows this share is recited."""
    return math.exp(FREED * (known - USUAL))


def known_share(recited: Callable[[float], float]) -> float:
    """The share that is recited where a share that is recited is what makes it so: the least fixed point.

    recited: from the share that is taken as known to the share that the weights then predict, which rises with it; 0
    for a set without rows to measure. Each round is a fraction of the one before, for all shares together move the
    doses by a factor of exp(FREED) only.
    """
    share = 0.0
    for _ in range(ROUNDS):
        before, share = share, recited(share)
        if abs(share - before) < CLOSE:
            break
    return share
