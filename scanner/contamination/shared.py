"""What a row's question and an item's have in common: numbers, and words weighted by how rare they are."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from scanner.contamination.items import Items, words_of
from scanner.objects import Float64, Int64, SegmentBatch, UInt64

_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class Said:
    """What one text says: its distinct words, and its numbers."""

    words: UInt64
    numbers: frozenset[str]


def said(batches: Iterable[SegmentBatch]) -> dict[int, Said]:
    """What each row of the batches says; all of their segments count."""
    out: dict[int, Said] = {}
    for batch in batches:
        if not len(batch):
            continue
        words, at = words_of(batch)
        data, offsets, starts = batch.data.tobytes(), batch.offsets, batch.row_starts()
        for first, last in zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True):
            text = data[offsets[first] : offsets[last]].decode("utf-8", "replace")
            out[int(batch.row_id[first])] = Said(
                np.unique(words[at[first] : at[last]]), frozenset(_NUMBER.findall(text))
            )
    return out


def numbers_in_common(a: Said, b: Said) -> float:
    """Jaccard similarity of the numbers; 0 where neither has any, for then they say nothing."""
    both = a.numbers | b.numbers
    return len(a.numbers & b.numbers) / len(both) if both else 0.0


class Rarity:
    """How much a word says: log((items + 1) / (items that hold it + .5)), over all questions."""

    def __init__(self, items: Items):
        owner = np.repeat(np.arange(2 * len(items)), items.lengths())
        asked = owner % 2 == 0
        pairs = np.stack((items.words[asked], owner[asked].astype(np.uint64)), axis=1)
        order = np.lexsort((pairs[:, 1], pairs[:, 0]))
        pairs = pairs[order]
        new = np.ones(len(pairs), np.bool_)
        new[1:] = (pairs[1:] != pairs[:-1]).any(axis=1)
        self._words, held = np.unique(pairs[new, 0], return_counts=True)
        self._weights = np.log((len(items) + 1) / (held + 0.5))
        self._unknown = float(np.log(2 * (len(items) + 1)))

    def overlap(self, a: Said, b: Said) -> float:
        """Geometric mean of the shares of both texts' words, weighted by rarity, that are in the other."""
        shared = float(self._weigh(np.intersect1d(a.words, b.words, assume_unique=True)).sum())
        whole = float(self._weigh(a.words).sum() * self._weigh(b.words).sum())
        return shared / whole**0.5 if whole > 0 else 0.0

    def _weigh(self, words: UInt64) -> Float64:
        if not len(self._words):
            return np.full(len(words), self._unknown)
        at: Int64 = np.minimum(np.searchsorted(self._words, words), len(self._words) - 1)
        return np.where(self._words[at] == words, np.maximum(self._weights[at], 0.0), self._unknown)
