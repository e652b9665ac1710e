"""How likely a row that asks like an item is a paraphrase of it, given how many of the benchmark's items are so alike.

Of every item the rows to which it is the nearest are candidates, ranked by likeness (neighbours.py). For each rank two
groups are told apart (Efron, Large-Scale Inference, 2010, ch. 2): of a share of a benchmark's items the data holds so
many paraphrases; of the others the candidate is merely a like row. For each the evidence is a log likelihood ratio,

    bias + a margin + b overlap + c numbers

margin: log of the cosine over the mean cosine of both sides' next neighbours, which keeps a common subject from
looking like a match (Artetxe and Schwenk 2019, arXiv 1811.01136); overlap of the words weighted by rarity, in [0, 1];
Jaccard similarity of the numbers. The share is estimated per benchmark and rank by expectation maximisation: one
question asked alike by chance stays a chance, a hundred of one benchmark do not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from scanner.objects import Bool, Float64, Int64


@dataclass(frozen=True)
class Weights:
    """Of the evidence, natural logarithm per unit."""

    bias: float
    margin: float
    words: float
    numbers: float

    def evidence(self, margin: Float64, overlap: Float64, numbers: Float64) -> Float64:
        """(c,) log likelihood ratios of paraphrase over chance."""
        return self.bias + self.margin * margin + self.words * overlap + self.numbers * numbers


FAST = Weights(-5.03, 10.67, 4.21, 6.12)
"""Fitted by benchmarks/contamination/paraphrased.py, tested there on sets left out."""
CAUTION = 1.0
"""Less to begin with for what a transformer has read again: it was chosen for being likely. Chosen on the searches of
the benchmark, so that no more of alpaca_52k is found than by the table: with 0.5 it is twice as much."""
CONFIRMED = replace(FAST, bias=FAST.bias - CAUTION)
USUAL_SHARE, USUAL_ITEMS = 0.003, 20
"""What is taken for granted of every benchmark: so many items more, of which the data holds this share. Chosen on the
searches of the benchmark: with 60 items small benchmarks lose a tenth of what is found, with 5 chance gains half."""
MATCH = 0.5
"""Probability from which a candidate is a match, for review."""
_STRONGEST = 12.0  # logarithm of a ratio; beyond it nothing is surer
_ROUNDS = 1000
_SETTLED = 1e-9


@dataclass(frozen=True)
class Compared:
    """Every candidate with what is known of it, (c,) each, and the part of its benchmark that each item is of."""

    place: Int64  # the row's, among all rows
    item: Int64
    cosine: Float64
    margin: Float64  # see neighbours.Candidates
    rank: Int64  # 0 for the likest row of the item
    overlap: Float64  # of words, weighted by rarity, in [0, 1]
    numbers: Float64  # Jaccard similarity
    confirmed: Bool  # whether a transformer has read both
    group: Int64  # (items,)
    notes: dict[str, Any]

    def ratio(self) -> Float64:
        """(c,) log likelihood ratios of paraphrase over chance."""
        known = self.margin, self.overlap, self.numbers
        return np.where(self.confirmed, CONFIRMED.evidence(*known), FAST.evidence(*known))

    def only(self, which: Bool) -> Compared:
        """Some of the candidates."""
        return replace(self, **{name: getattr(self, name)[which] for name in _OF_CANDIDATES})

    def and_also(self, others: Compared) -> Compared:
        """These candidates and others among the same items, with the notes of both."""
        both = {name: np.concatenate((getattr(self, name), getattr(others, name))) for name in _OF_CANDIDATES}
        return replace(self, **both, notes=self.notes | others.notes)


_OF_CANDIDATES = ("place", "item", "cosine", "margin", "rank", "overlap", "numbers", "confirmed")


@dataclass(frozen=True)
class Alike:
    """Rows and items that ask the same in other words, in row order."""

    row_id: Int64  # (m,)
    item: Int64  # (m,)
    cosine: Float64  # (m,) by the transformer where it has read both
    confirmed: Bool  # (m,) whether it has
    notes: dict[str, Any]


def probability(ratio: Float64, item: Int64, rank: Int64, group: Int64) -> tuple[Float64, Float64]:
    """(c,) probability that each candidate is a paraphrase, and (g,) the expected items with one, by benchmark.

    ratio, item, rank (c,): log likelihood ratio, item and rank of each candidate. group (i,): benchmark of each item,
    from 0. Of candidates of one rank (copies of one row) the likeliest counts; items without one have no paraphrase.
    """
    share = shares(ratio, item, rank, group)
    odds = np.exp(np.minimum(ratio, _STRONGEST))
    first = rank == 0
    found = np.bincount(group, _belief(_best(odds[first], item[first], len(group)), share[group, 0]), len(share))
    return _belief(odds, share[group[item], rank]), found.astype(np.float64)


def shares(ratio: Float64, item: Int64, rank: Int64, group: Int64) -> Float64:
    """(g, ranks) the share of each benchmark's items of which the data holds a paraphrase of that rank.

    Each rank is estimated by itself: that many items are asked once in other words says little of a second time.
    """
    ranks = int(rank.max(initial=0)) + 1
    best = _best(np.exp(np.minimum(ratio, _STRONGEST)), item * ranks + rank, len(group) * ranks).reshape(-1, ranks)
    items: Float64 = np.bincount(group).astype(np.float64)
    share = np.full((len(items), ranks), USUAL_SHARE)
    for _ in range(_ROUNDS):
        found = np.zeros(share.shape)
        np.add.at(found, group, _belief(best, share[group]))
        before, share = share, (found + USUAL_SHARE * USUAL_ITEMS) / (items[:, None] + USUAL_ITEMS)
        if np.abs(share - before).max(initial=0.0) < _SETTLED:
            break
    return share


def _best(odds: Float64, item: Int64, items: int) -> Float64:
    """(i,) the largest odds of each item's candidates, 0 without one."""
    best = np.zeros(items)
    np.maximum.at(best, item, odds)
    return best


def _belief(odds: Float64, share: Float64) -> Float64:
    believed: Float64 = share * odds / (share * odds + 1.0 - share)
    return believed
