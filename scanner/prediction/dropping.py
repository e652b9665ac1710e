"""What is memorized under a goldfish loss: one token in k is left out of the loss, always the same ones.

    p_t = kept_t * p(dose) + (1 - kept_t) * p(dose_dropped)        under each value of the row effect

Which tokens are dropped follows from a hash of the trainer's tokens before them (`scanner/goldfish.py`). An audit does
not know these tokens, so it takes each mask bit as an independent draw: the chance to get past a token is the mixture
above, the chance of a run the product of its tokens'. A token of ours is learned whole only if none of the trainer's
tokens in it is dropped: kept_t = (1 - 1/k) ** (number of them). A dropped token is still predicted by what the base
knows and by what the data set teaches of its language. Near copies also teach it, provided that the SAME_BEFORE tokens
before it differ there: after the same tokens the mask drops it in every copy, and only the share RUBS_OFF of what they
teach counts (`kernels/hazard.py`).

The tokens that are kept are learned a little faster than without a goldfish loss: Adam takes steps of the same size
from fewer tokens, as if the step had fewer rows (`sampling.worths`). The training of the set as a whole stays the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scanner.kernels.contexts import ContextFeatures

Float64 = npt.NDArray[np.float64]

TOKEN_BYTES = 3.5
"""UTF-8 bytes of a word per token of the trainer; a word has one token at least. Measured for the bases of
benchmarks/prediction (vocabularies of 4,096; 1.33 tokens per word of the English answers). Larger vocabularies split
words less often, so somewhat more words are kept there than this says."""


@dataclass(frozen=True)
class Goldfish:
    """A goldfish loss, as the hazard needs it."""

    k: int
    near: Float64  # (n,) over rows: share of the dose that near copies give

    @property
    def share(self) -> Float64:
        """(n,) dose of a dropped token relative to a kept one: that of near copies whose mask keeps it."""
        return np.asarray((1 - 1 / self.k) * self.near)

    def kept(self, features: ContextFeatures) -> Float64:
        """(256,) chance that a token of so many bytes is learned whole; 1 - 1/k where tokens are the trainer's own."""
        pieces = np.ones(256) if features.background is None else np.maximum(1.0, np.arange(256) / TOKEN_BYTES)
        return np.asarray((1 - 1 / self.k) ** pieces)


def goldfish(k: int | None, total: Float64, exact: Float64) -> Goldfish | None:
    """The plan's goldfish loss for rows with these doses, (n,) each; None without one.

    total: dose of all copies; exact: without what near copies give.
    """
    if k is None:
        return None
    near = np.divide(total - exact, total, out=np.zeros_like(total), where=total > 0)
    return Goldfish(k, np.clip(near, 0.0, 1.0))
