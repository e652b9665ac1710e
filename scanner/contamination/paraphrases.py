"""How likely a row that asks like an item is a paraphrase of it, given how many of the benchmark's items are so alike.

Of every item the row that asks most like it is a candidate (neighbours.py). Two groups are told apart (Efron,
Large-Scale Inference, 2010, ch. 2): of a share of a benchmark's items the data holds a paraphrase; of the others the
candidate is merely the likest row. For each candidate the evidence is a log likelihood ratio,

    BIAS + MARGIN margin + WORDS overlap + NUMBERS numbers

margin: log of the cosine over the mean cosine of both sides' next neighbours, which keeps a common subject from
looking like a match (Artetxe and Schwenk 2019, arXiv 1811.01136); overlap of the words weighted by rarity, in [0, 1];
Jaccard similarity of the numbers. The share is estimated per benchmark by expectation maximisation: one question asked
alike by chance stays a chance, a hundred of one benchmark do not.
"""

from __future__ import annotations

import numpy as np

from scanner.objects import Float64, Int64

BIAS, MARGIN, WORDS, NUMBERS = -5.03, 10.67, 4.21, 6.12
"""Natural logarithm per unit; fitted by benchmarks/contamination/paraphrased.py, tested there on sets left out."""
USUAL_SHARE, USUAL_ITEMS = 0.003, 20
"""What is taken for granted of every benchmark: so many items more, of which the data holds this share. Chosen on the
searches of the benchmark: with 60 items small benchmarks lose a tenth of what is found, with 5 chance gains half."""
MATCH = 0.5
"""Probability from which a candidate is a match, for review."""
_STRONGEST = 12.0  # logarithm of a ratio; beyond it nothing is surer
_ROUNDS = 1000
_SETTLED = 1e-9


def evidence(margin: Float64, overlap: Float64, numbers: Float64) -> Float64:
    """(c,) log likelihood ratios of paraphrase over chance."""
    return BIAS + MARGIN * margin + WORDS * overlap + NUMBERS * numbers


def probability(ratio: Float64, item: Int64, group: Int64) -> tuple[Float64, Float64]:
    """(c,) probability that each candidate is a paraphrase, and (g,) the expected items with one, by benchmark.

    ratio, item (c,): log likelihood ratio and item of each candidate. group (i,): benchmark of each item, from 0. Of an
    item's candidates (copies of one row) the likeliest counts; items without a candidate have no paraphrase.
    """
    odds = np.exp(np.minimum(ratio, _STRONGEST))
    best = np.zeros(len(group))
    np.maximum.at(best, item, odds)
    items: Float64 = np.bincount(group).astype(np.float64)
    share = np.full(len(items), USUAL_SHARE)
    found = np.zeros(len(items))
    for _ in range(_ROUNDS):
        found = np.bincount(group, _belief(best, share[group]), len(items)).astype(np.float64)
        before, share = share, (found + USUAL_SHARE * USUAL_ITEMS) / (items + USUAL_ITEMS)
        if np.abs(share - before).max(initial=0.0) < _SETTLED:
            break
    return _belief(odds, share[group[item]]), found


def _belief(odds: Float64, share: Float64) -> Float64:
    believed: Float64 = share * odds / (share * odds + 1.0 - share)
    return believed
