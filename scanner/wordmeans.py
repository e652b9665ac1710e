"""What a transformer's own word embeddings say of a text that it has not read: two means, and no layer of the model.

    pieces of a text -> their vectors in the model's input table -> mean of all, mean of the first ones

The static table knows words as another model does; the model that will decide begins with these vectors, so that a map
to what it says of whole texts (scanner/signals/_foretelling.py) has less to learn from them. Looking them up is no
encoding work. All sums are of whole numbers, so that a text has the same means wherever it stands.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from scanner.closeness import BEGINNING, at_unit, sums_of_pieces
from scanner.embedding import UNIT
from scanner.objects import Bool, Int16
from scanner.ranges import place_within

AXES = 128
"""First principal axes of the table that are kept: all 384 of MiniLM find no more pairs (benchmarks/semantic)."""
_TEXTS_AT_ONCE = 256


class WordMeans:
    """Means of word embeddings along the first axes of their table."""

    def __init__(self, table: npt.NDArray[np.float32], special: Sequence[int]):
        """table: (v, d) input embeddings; special: pieces that stand for no words, and do not count."""
        self._counts: Bool = np.ones(len(table), np.bool_)
        self._counts[[piece for piece in special if 0 <= piece < len(table)]] = False
        centred = table - table.mean(axis=0)
        with threadpool_limits(1):  # more threads could round the axes otherwise
            axes = np.linalg.eigh((centred.T @ centred).astype(np.float64))[1][:, ::-1][:, :AXES]
            along = centred @ axes.astype(np.float32)
        length = np.sqrt(np.einsum("ij,ij->i", along, along)).mean()
        limit = np.iinfo(np.int16).max
        self._table: Int16 = np.clip(np.rint(along * (UNIT / max(float(length), 1e-9))), -limit, limit).astype(np.int16)
        self.width = 2 * self._table.shape[1]

    def of(self, split: list[list[int]]) -> Int16:
        """(t, width) means of texts, given their pieces: of all and of the first BEGINNING, each of length UNIT.

        They are of whole numbers; a text without pieces of words is 0.
        """
        means = np.zeros((len(split), 2, self.width // 2), np.int16)
        for begin in range(0, len(split), _TEXTS_AT_ONCE):
            texts = split[begin : begin + _TEXTS_AT_ONCE]
            owner = np.repeat(np.arange(len(texts)), [len(pieces) for pieces in texts])
            pieces = np.fromiter((piece for text in texts for piece in text), np.int64, len(owner))
            counts = self._counts[pieces]
            pieces, owner = pieces[counts], owner[counts]
            first = place_within(np.bincount(owner, minlength=len(texts))) < BEGINNING
            for which, kept in enumerate((np.ones_like(first), first)):
                owners, sums = sums_of_pieces(self._table, pieces[kept], owner[kept])
                means[begin + owners, which] = at_unit(sums)
        return means.reshape(len(split), self.width)
