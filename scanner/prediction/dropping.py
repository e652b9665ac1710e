"""What a goldfish loss leaves of a row: a token is learned as ever, or, one time in k, never in its place.

    p_t = kept_t * p(dose) + (1 - kept_t) * p(dose_dropped)        under each value of the row effect

The mask is one of the trainer's tokens by a hash of those before it (`scanner/goldfish.py`), which an audit cannot
know, but it is drawn for each token anew, so the chance to go on past a token is this mixture, and the chance of a run
the product of them. A token of ours is learned whole only if none of the trainer's tokens in it is dropped: kept_t =
(1 - 1/k) ** (its tokens there). What is dropped keeps what the base knows and what the set teaches of its language.
Near copies teach it where the SAME_BEFORE tokens before it are others there; after the same ones they drop it too, as
every row does, and only RUBS_OFF of what they teach arrives (`kernels/hazard.py`).

What is kept is learned a little faster than without: Adam takes steps of the same size from fewer tokens, as if they
had fewer rows (`sampling.worths`). What the set as a whole teaches stays.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scanner.kernels.contexts import ContextFeatures

Float64 = npt.NDArray[np.float64]

TOKEN_BYTES = 3.5
"""UTF-8 bytes of a word to one token of the trainer, at least one token a word. For the bases of benchmarks/prediction
(vocabularies of 4,096), with 1.33 tokens to a word of the English answers. Larger vocabularies cut words less often:
for them somewhat more words are kept than this says."""


@dataclass(frozen=True)
class Goldfish:
    """A goldfish loss, as the hazard needs it."""

    k: int
    near: Float64  # (n,) over rows: share of the dose that near copies give

    @property
    def share(self) -> Float64:
        """(n,) dose of a dropped token beside that of a kept one: what near copies teach that do not drop it, where the
        text before it is another one there."""
        return np.asarray((1 - 1 / self.k) * self.near)

    def kept(self, features: ContextFeatures) -> Float64:
        """(256,) chance that a token of so many bytes is learned whole; in the trainer's own tokens 1 - 1/k."""
        pieces = np.ones(256) if features.background is None else np.maximum(1.0, np.arange(256) / TOKEN_BYTES)
        return np.asarray((1 - 1 / self.k) ** pieces)


def goldfish(k: int | None, total: Float64, exact: Float64) -> Goldfish | None:
    """What a plan's goldfish loss makes of rows with these doses, (n,) each; None where it has none.

    exact: without what near copies give.
    """
    if k is None:
        return None
    near = np.divide(total - exact, total, out=np.zeros_like(total), where=total > 0)
    return Goldfish(k, np.clip(near, 0.0, 1.0))
