"""What is known of each token before training, and of each row: what the other rows and general text say of it.

Arrays over rows, from the per-token features of `kernels/contexts.py`; only supervised tokens are counted, apart from
the entropy, which is the whole row's. A row without supervised tokens is NaN: nothing was measured.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from scanner import background
from scanner.kernels.contexts import COPIED, RARITY_STEP, SEEN, ContextFeatures, context_features
from scanner.kernels.openings import OPENING_STEP, openings
from scanner.ranges import laid_out

Float32 = npt.NDArray[np.float32]
Int64 = npt.NDArray[np.int64]


@dataclass(frozen=True)
class ContextSummary:
    """(n,) over rows; shares lie in [0, 1]; NaN where no token is supervised."""

    tokens: Int64  # supervised tokens
    loss_per_token_nats: Float32  # mean of -log of the leave-one-out probability: high is unlike the other rows
    known_2: Float32  # share of tokens whose 2-token context stands in another row
    known_4: Float32  # likewise 4 tokens
    known_8: Float32
    agreed_4: Float32  # share whose 4-token context went on in the same way in another row
    rarity_nats: Float32  # mean -log frequency of the tokens themselves
    copied: Float32  # share of tokens that end three tokens which stood earlier in the row
    seen: Float32  # share of tokens that stood earlier in the row
    entropy: Float32  # of the row's tokens over its maximum: 1 all different, 0 all the same
    opening: Float32  # log2(1 + other answers that begin so), of the best trodden answer (kernels/openings.py)

    def columns(self) -> dict[str, npt.NDArray[np.generic]]:
        """As columns of rows.parquet."""
        return {f"contexts.{name}": value for name, value in vars(self).items()}


def token_features(
    tokens: npt.NDArray[np.uint64],
    widths: npt.NDArray[np.uint8],
    offsets: Int64,
    answers: tuple[Int64, Int64, Int64],
    group: Int64,
    own_unit: bool,
    threads: int,
) -> ContextFeatures:
    """All that the hazard model knows of each token: contexts in the other rows, opening, width, background language.

    tokens, widths (T,) and offsets (n + 1,) as `tokens_of_rows` gives them; answers: rows, first token and end of each,
    (m,); group (n,) equal for exact copies; own_unit: the tokens are the scan's own, which alone the background table
    knows.
    """
    found = with_openings(context_features(tokens, offsets, group, threads), tokens, answers, group, threads)
    language = background.log_probability(tokens, offsets, threads) if own_unit else None
    return replace(found, width=widths, background=language)


def with_openings(
    features: ContextFeatures,
    tokens: npt.NDArray[np.uint64],
    answers: tuple[Int64, Int64, Int64],
    group: Int64,
    threads: int,
) -> ContextFeatures:
    """Features with the opening of the answer that a token stands in, 0 outside; answers as for `token_features`."""
    _, start, end = answers
    opening = np.zeros(len(tokens), np.uint8)
    opening[laid_out(start, end)] = np.repeat(openings(tokens, *answers, group, threads), end - start)
    return replace(features, opening=opening)


def beside_table(features: ContextFeatures, log_probability: Float32) -> ContextFeatures:
    """Features with the untuned base's own probabilities; the table's stand in where none was measured.

    log_probability (T,): nats, NaN where not measured.
    """
    assert features.background is not None
    known = np.where(np.isnan(log_probability), features.background, log_probability)
    return replace(features, base=np.exp(known))


def summarise(features: ContextFeatures, row: Int64, start: Int64, end: Int64) -> ContextSummary:
    """Sum up the supervised turns of each row.

    row, start, end (m,): the turns' rows, ascending, and their tokens [start, end).
    """
    count = len(features.entropy)
    tokens = np.bincount(row, end - start, minlength=count).astype(np.int64)

    def share(values: npt.NDArray[Any]) -> Float32:
        # each turn is summed by itself: a running sum would round differently in another order of rows
        edges = np.stack((start, end), axis=1).ravel()
        inside = edges[:-1] if len(edges) and edges[-1] == len(values) else edges
        sums = np.add.reduceat(values, inside, dtype=np.float64)[::2] if len(edges) else np.zeros(0)
        total = np.bincount(row, sums, minlength=count)
        with np.errstate(invalid="ignore"):
            return (total / np.where(tokens > 0, tokens, np.nan)).astype(np.float32)

    opening = np.zeros(count, np.float32)
    if features.opening is not None:
        some = end > start
        np.maximum.at(opening, row[some], features.opening[start[some]] * np.float32(OPENING_STEP))
    return ContextSummary(
        tokens=tokens,
        loss_per_token_nats=-share(features.log_probability),
        known_2=share(features.known >= 2),
        known_4=share(features.known >= 4),
        known_8=share(features.known >= 8),
        agreed_4=share(features.agreed >= 4),
        rarity_nats=share(features.rarity) * np.float32(RARITY_STEP),
        copied=share((features.within & COPIED) > 0),
        seen=share((features.within & SEEN) > 0),
        entropy=np.where(tokens > 0, features.entropy, np.float32(np.nan)).astype(np.float32),
        opening=np.where(tokens > 0, opening, np.float32(np.nan)).astype(np.float32),
    )
