"""What two texts have in common becomes a verdict: exact, ngram, near, or nothing.

Precision comes first: what stands in many rows or in many items is a phrase or a template and proves nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from scanner.contamination.items import Index, Items
from scanner.contamination.lexical import Compared
from scanner.decontaminating import HOWS
from scanner.kernels import commonruns, ngrams
from scanner.objects import Bool, Float64, Int64

SHORTEST_EQUAL = 3
"""Words of a question that is compared with whole turns only."""
SHORTEST_WITHIN = 8
"""Words of a question that counts where it stands inside a longer text; from GRAM words on it is `exact` ..."""
OWN_RUNS = 0.5
"""... below, it is one n-gram of its own length, and this share of its runs must be the item's own."""
SHORTEST_ANSWER = ngrams.GRAM
"""Words of an answer that is looked for without its question; shorter ones are no evidence by themselves."""
QUESTION_COVERAGE = 0.1
"""Share of a question's own n-grams that must stand in a row's prompts or plain text ..."""
QUESTION_GRAMS = 3
"""... and how many: three in a row are 15 words."""
SAID_COVERAGE = 0.5
"""Share of an answer's own n-grams, or of a question's where it stands in an answer ..."""
SAID_GRAMS = 13
"""... and how many: thirteen in a row are 25 words; short solutions of one task are written alike by anyone."""
NEAR_CONTAINMENT = 0.6
"""Share of a question's proposing shingles that must stand in the row ..."""
NEAR_SHINGLES = 10
"""... of at least so many; shorter questions share as much by chance."""
COMMON_ROWS = 10
"""Different rows, copies of the item left out, from which an n-gram is a common phrase of the data."""
COPY_COVERAGE = 0.8
"""Share of an item's own n-grams from which a row is a copy of it and makes none of them common."""
EXACT, NGRAM, NEAR, SEMANTIC = range(len(HOWS))


@dataclass(frozen=True)
class Verdicts:
    """What each compared pair amounts to; `how` is -1 where it amounts to nothing."""

    how: Int64  # (p,) index into HOWS
    similarity: Float64  # (p,) in [0, 1]: 1 for exact, coverage of n-grams, containment of shingles
    grams: Int64  # (p,) the item's own n-grams that stand in the row
    common: int  # n-grams left out because they stand in many rows


def decide(compared: Compared, items: Items, index: Index, content: Int64) -> Verdicts:
    """Judge the pairs. content (p,): equal for rows of equal content, which count as one row."""
    lengths = items.lengths()[compared.text]
    pair = np.repeat(np.arange(len(compared)), np.diff(compared.marks_at))
    place = items.text_at[compared.text][pair] + np.arange(len(pair)) - compared.marks_at[pair]
    flags = (commonruns.GRAM_FOUND, commonruns.GRAM_ASKED, commonruns.SHINGLE_FOUND)
    has_gram, is_asked, has_shingle = ((compared.marks & flag) > 0 for flag in flags)

    def share(usable: Bool, found: Bool) -> tuple[Int64, Float64]:
        hits = np.bincount(pair, usable & found, len(compared))
        total = np.bincount(pair, usable, len(compared))
        return hits.astype(np.int64), np.divide(hits, total, out=np.zeros(len(hits)), where=total > 0)

    own = index.own[place] == 1
    proposing = index.proposing[place] == 1
    _, coverage = share(own, has_gram)
    common = _common(compared, pair, place, own & has_gram, has_shingle & proposing, coverage, content)
    grams, coverage = share(own & ~common[0], has_gram)
    asked, asked_coverage = share(own & ~common[0], is_asked)
    shingles, containment = share(proposing & ~common[1], has_shingle)
    possible = np.bincount(pair, proposing & ~common[1], len(compared))
    runs = np.maximum(lengths - ngrams.SHINGLE + 1, 1)

    question = compared.text % 2 == 0
    equal = (compared.flags & commonruns.EQUAL) > 0
    within = (compared.flags & commonruns.WITHIN) > 0
    is_long = lengths >= ngrams.GRAM
    how = np.full(len(compared), -1, np.int64)
    similarity = np.zeros(len(compared))
    rules = (
        (NEAR, question & (possible >= NEAR_SHINGLES) & (containment >= NEAR_CONTAINMENT), containment),
        (NGRAM, question & (asked >= QUESTION_GRAMS) & (asked_coverage >= QUESTION_COVERAGE), coverage),
        (NGRAM, (grams >= SAID_GRAMS) & (coverage >= SAID_COVERAGE), coverage),
        (NGRAM, question & within & (lengths >= SHORTEST_WITHIN) & (shingles >= OWN_RUNS * runs), np.ones(len(how))),
        (EXACT, within & is_long & (grams > 0), np.ones(len(how))),
        (EXACT, question & equal & (lengths >= SHORTEST_EQUAL), np.ones(len(how))),
    )
    for name, holds, value in rules:
        how[holds] = name
        similarity[holds] = value[holds]
    return Verdicts(how, similarity, grams, int(common[0].sum()))


def _common(
    compared: Compared, pair: Int64, place: Int64, grams: Bool, shingles: Bool, coverage: Float64, content: Int64
) -> tuple[Bool, Bool]:
    """Per word of the pairs: whether the n-gram, the shingle that starts there is a common phrase of the data.

    It is where it stands in COMMON_ROWS different rows that are no copies of the item.
    """
    equal = (compared.flags & commonruns.EQUAL) > 0
    partial = ~equal & (coverage < COPY_COVERAGE)
    key = pl.DataFrame({"content": content, "text": compared.text, "pair": np.arange(len(compared))})
    partial &= np.isin(key["pair"], key.unique(["content", "text"], keep="first", maintain_order=True)["pair"])
    out = []
    for found in (grams, shingles):
        counted = place[found & partial[pair]]
        rows = np.bincount(counted, minlength=int(place.max(initial=0)) + 1)
        out.append(rows[place] >= COMMON_ROWS)
    return out[0], out[1]
