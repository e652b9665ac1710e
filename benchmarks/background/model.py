"""From documents to a table: counts, modified Kneser-Ney probabilities, the n-grams worth their slot, quantised.

    count -> smooth -> choose -> pack -> weigh

Counts are of words (kernel tokens that stand in at least LEAST_DOCUMENTS documents; all others are one word, id 0), of
pairs and of triples within a document. Probabilities are interpolated modified Kneser-Ney (Chen and Goodman 1999):
absolute discounts D1, D2, D3+ from the counts of counts, continuation counts below the highest order. An n-gram is
worth count * (log p - log p without it) nats; the most valuable ones of each bucket are kept. Back-off weights are
computed last, from what was kept and as it was quantised, so that the probabilities after a context sum to one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from scanner.background import BackgroundTable
from scanner.kernels.background import SLOTS, UNKNOWN_KEY

LEAST_DOCUMENTS = 3
"""An n-gram of fewer documents is not kept, however often it stands in them: nothing of one document alone is told."""
WORD_LOAD = 0.4
"""Share of the slots for words that are taken, so that next to no bucket is too small."""
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Corpus:
    """Documents as kernel tokens."""

    tokens: Array  # (T,) uint64
    offsets: Array  # (d + 1,)


@dataclass(frozen=True)
class Grams:
    """The distinct n-grams of one order, ascending by (context, word)."""

    context: Array  # (k,) word (pairs) or pair (triples) it begins with
    word: Array  # (k,) id of its last word
    count: Array  # (k,) occurrences
    documents: Array  # (k,) documents that hold it
    suffix: Array  # (k,) the n-gram without its first word: word or pair
    opens: Array  # (k,) bool: some document begins with it


@dataclass(frozen=True)
class Counts:
    """Words by id: 0 is the unknown word."""

    words: Array  # (v,) uint64 hash; [0] is UNKNOWN_KEY
    word_count: Array  # (v,)
    kinds: int  # kinds of tokens that are the unknown word
    pairs: Grams
    triples: Grams
    before_word: Array  # (v,) distinct words before it; the opening of a document is one
    before_pair: Array  # of a pair, likewise


@dataclass(frozen=True)
class Smoothed:
    """Natural probabilities of every counted n-gram, and the back-off weight of every context."""

    word: Array  # (v,)
    pair: Array
    triple: Array
    word_back: Array  # (v,) of a word as the context of pairs
    pair_back: Array  # of a pair as the context of triples


def _documents(gram: Array, document: Array, grams: int, documents: int) -> Array:
    held = np.unique(gram * documents + document)
    return np.bincount(held // documents, minlength=grams)


def count(corpus: Corpus) -> Counts:
    """Count words, pairs and triples; n-grams do not cross documents."""
    lengths = np.diff(corpus.offsets)
    number = len(lengths)
    document = np.repeat(np.arange(number), lengths)
    place = np.arange(len(corpus.tokens)) - np.repeat(corpus.offsets[:-1], lengths)
    hashes, kind = np.unique(corpus.tokens, return_inverse=True)
    held = _documents(kind, document, len(hashes), number) >= LEAST_DOCUMENTS
    names = np.zeros(len(hashes), np.int64)
    names[held] = np.arange(1, held.sum() + 1)
    word = names[kind]
    words = np.concatenate(([UNKNOWN_KEY], hashes[held]))
    size = len(words)
    second = np.flatnonzero(place >= 1)
    pairs, pair = _grams(word[second - 1], word[second], document[second], place[second] == 1, size, number)
    pair_at = np.full(len(word), -1)
    pair_at[second] = pair
    third = np.flatnonzero(place >= 2)
    opens = place[third] == 2
    triples, _ = _grams(pair_at[third - 1], word[third], document[third], opens, size, number)
    # the pair that ends a triple, found once per triple
    suffix = np.searchsorted(pairs.context * size + pairs.word, pairs.word[triples.context] * size + triples.word)
    triples = replace(triples, suffix=suffix)
    begin = np.zeros(size, np.bool_)
    begin[word[place == 0]] = True
    before_word = np.bincount(pairs.word, minlength=size) + begin
    before_pair = np.bincount(suffix, minlength=len(pairs.word)) + pairs.opens
    # the unknown word stands for many: each of them counts with the words before it, or it would seem far too rare
    rare = np.flatnonzero(word == 0)
    left = np.where(place[rare] > 0, word[rare - 1], size)
    before_word[0] = len(np.unique(left * len(hashes) + kind[rare]))
    rare = rare[place[rare] > 0]
    left = np.where(place[rare] > 1, pair_at[rare - 1], len(pairs.word) + word[rare - 1])
    _, first = np.unique(left * len(hashes) + kind[rare], return_index=True)
    before_pair[pairs.word == 0] = np.bincount(pair_at[rare[first]], minlength=len(pairs.word))[pairs.word == 0]
    return Counts(
        words, np.bincount(word, minlength=size), int((~held).sum()), pairs, triples, before_word, before_pair
    )


def _grams(
    context: Array, word: Array, document: Array, opens: Array, size: int, documents: int
) -> tuple[Grams, Array]:
    keys, gram, number = np.unique(context * size + word, return_inverse=True, return_counts=True)
    first = np.zeros(len(keys), np.bool_)
    first[gram[opens]] = True
    held = _documents(gram, document, len(keys), documents)
    return Grams(keys // size, keys % size, number, held, keys % size, first), gram


def _discounts(number: Array) -> Array:
    """(4,) what is taken from a count of 0, 1, 2, 3 or more (Chen and Goodman 1999, equation 26)."""
    n = [max(1, int((number == k).sum())) for k in range(1, 5)]
    y = n[0] / (n[0] + 2 * n[1])
    return np.array([0.0, *(max(0.1, k - (k + 1) * y * n[k] / n[k - 1]) for k in (1, 2, 3))])


def _order(context: Array, number: Array, lower: Array, contexts: int) -> tuple[Array, Array]:
    """Interpolated probabilities of n-grams with these (continuation) counts, and the weight of the lower order."""
    discount = _discounts(number)
    taken = discount[np.minimum(number, 3)]
    total = np.bincount(context, number, contexts)
    left = np.bincount(context, taken, contexts)
    back = np.divide(left, total, out=np.ones(contexts), where=total > 0)
    return np.maximum(number - taken, 0) / total[context] + back[context] * lower, back


def smooth(counts: Counts) -> Smoothed:
    """Interpolated modified Kneser-Ney."""
    size = len(counts.words)
    pairs, triples = counts.pairs, counts.triples
    word, _ = _order(np.zeros(size, np.int64), counts.before_word, np.full(size, 1 / size), 1)
    pair, word_back = _order(pairs.context, counts.before_pair, word[pairs.word], size)
    triple, pair_back = _order(triples.context, triples.count, pair[triples.suffix], len(pairs.word))
    return Smoothed(word, pair, triple, word_back, pair_back)


def mix(h: Array) -> Array:
    """MurmurHash3's finaliser, as scanner.kernels.hashing has it."""
    with np.errstate(over="ignore"):
        h = (h ^ (h >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
        h = (h ^ (h >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return h ^ (h >> np.uint64(33))


def longer_keys(context: Array, token: Array) -> Array:
    """The twin of `scanner.kernels.background.longer_key`."""
    with np.errstate(over="ignore"):
        return mix(context * np.uint64(0xD6E8FEB86659FD93) + token)


def pack(keys: Array, value: Array, buckets: int, bits: int) -> tuple[Array, Array]:
    """Where each n-gram lies: (slot or -1, fingerprint); of a bucket the most valuable with different fingerprints."""
    bucket = (keys >> np.uint64(32)) * np.uint64(buckets) >> np.uint64(32)
    mark = np.maximum(keys & np.uint64((1 << (16 - bits)) - 1), np.uint64(1))
    order = np.lexsort((keys, -value, mark, bucket))
    same = np.zeros(len(keys), np.bool_)
    b, m = bucket[order], mark[order]
    same[1:] = (b[1:] == b[:-1]) & (m[1:] == m[:-1])
    order = order[~same]
    order = order[np.lexsort((keys[order], -value[order], bucket[order]))]
    b = bucket[order]
    begin = np.flatnonzero(np.append(True, b[1:] != b[:-1]))
    rank = np.arange(len(b)) - np.repeat(begin, np.diff(np.append(begin, len(b))))
    slot = np.full(len(keys), -1)
    kept = rank < SLOTS
    slot[order[kept]] = (b[kept].astype(np.int64)) * SLOTS + rank[kept]
    return slot, mark.astype(np.uint16)


def levels(value: Array, weight: Array, number: int) -> tuple[Array, Array]:
    """(number,) float32 levels that are near the values (Lloyd's algorithm, by weight), and the level of each value."""
    order = np.sort(value)
    step = np.cumsum(np.sort(weight ** (1 / 3))) if len(value) else np.zeros(0)
    found = order[np.minimum(np.searchsorted(step, np.linspace(0, step[-1], number)), len(order) - 1)]
    found = np.unique(found)
    for _ in range(40):
        nearest = np.searchsorted((found[1:] + found[:-1]) / 2, value)
        total = np.bincount(nearest, weight, len(found))
        mean = np.bincount(nearest, weight * value, len(found))
        found = np.sort(np.divide(mean, total, out=found.copy(), where=total > 0))
    out = np.full(number, found[-1], np.float32)
    out[: len(found)] = found
    return out, np.searchsorted((found[1:] + found[:-1]) / 2, value)


def fit(
    counts: Counts, smoothed: Smoothed, size: int, bits: int = 5, pair_share: float = 0.5, order: int = 3
) -> BackgroundTable:
    """The table of about `size` bytes: words as they need, the rest for pairs (3 bytes) and triples (2 bytes)."""
    pairs, triples = counts.pairs, counts.triples
    word_buckets = int(len(counts.words) / WORD_LOAD / SLOTS) + 1
    room = max(size - word_buckets * SLOTS * 4, 0)
    share = pair_share if order == 3 else 1.0 if order == 2 else 0.0
    pair_buckets = max(1, int(room * share / 3 / SLOTS))
    triple_buckets = max(1, int(room * (1 - share) / 2 / SLOTS)) if order > 2 else 1

    log_word = np.log(smoothed.word)
    word_keys = counts.words.astype(np.uint64)
    pair_keys = longer_keys(word_keys[pairs.context], word_keys[pairs.word])
    gain3 = triples.count * (
        np.log(smoothed.triple) - np.log(smoothed.pair_back[triples.context]) - np.log(smoothed.pair[triples.suffix])
    )
    wanted3 = np.flatnonzero((triples.documents >= LEAST_DOCUMENTS) & (gain3 > 0) & (order > 2))
    wanted3 = wanted3[np.argsort(-gain3[wanted3], kind="stable")[: int(1.3 * triple_buckets * SLOTS)]]
    gain2 = pairs.count * (np.log(smoothed.pair) - np.log(smoothed.word_back[pairs.context]) - log_word[pairs.word])
    gain2 = np.maximum(gain2, 0) + np.bincount(triples.context[wanted3], gain3[wanted3], len(gain2))
    word_slot, word_mark = pack(word_keys[1:], counts.word_count[1:].astype(float), word_buckets, 0)
    there = np.append(True, word_slot >= 0)
    wanted2 = np.flatnonzero(
        (pairs.documents >= LEAST_DOCUMENTS) & (gain2 > 0) & there[pairs.context] & there[pairs.word] & (order > 1)
    )
    slot2, mark2 = pack(pair_keys[wanted2], gain2[wanted2], pair_buckets, bits)
    kept2, slot2, mark2 = wanted2[slot2 >= 0], slot2[slot2 >= 0], mark2[slot2 >= 0]
    has_pair = np.zeros(len(pair_keys), np.bool_)
    has_pair[kept2] = True
    wanted3 = wanted3[has_pair[triples.context[wanted3]] & there[triples.word[wanted3]]]
    keys3 = longer_keys(pair_keys[triples.context[wanted3]], word_keys[triples.word[wanted3]])
    slot3, mark3 = pack(keys3, gain3[wanted3], triple_buckets, bits)
    kept3, slot3, mark3 = wanted3[slot3 >= 0], slot3[slot3 >= 0], mark3[slot3 >= 0]

    word_levels, level1 = levels(log_word, counts.word_count.astype(float), 256)
    pair_levels, level2 = levels(np.log(smoothed.pair[kept2]), pairs.count[kept2].astype(float), 1 << bits)
    triple_levels, level3 = levels(np.log(smoothed.triple[kept3]), triples.count[kept3].astype(float), 1 << bits)
    # from here on with the values that the table will give
    chance1 = np.exp(word_levels[level1].astype(np.float64))
    chance1[0] = smoothed.word[0]
    chance2 = np.exp(pair_levels[level2].astype(np.float64))
    chance3 = np.exp(triple_levels[level3].astype(np.float64))
    back1 = _leftover(pairs.context[kept2], chance2, chance1[pairs.word[kept2]], len(word_keys), smoothed.word_back)
    suffix = triples.suffix[kept3]
    place2 = np.full(len(pair_keys), -1)
    place2[kept2] = np.arange(len(kept2))
    lower = np.where(
        has_pair[suffix],
        chance2[place2[suffix]] if len(kept2) else 0.0,
        back1[pairs.context[suffix]] * chance1[pairs.word[suffix]],
    )
    back2 = _leftover(triples.context[kept3], chance3, lower, len(pair_keys), smoothed.pair_back)
    follows1 = np.bincount(pairs.context[kept2], minlength=len(word_keys)) > 0
    follows2 = np.bincount(triples.context[kept3], minlength=len(pair_keys)) > 0
    logs = np.concatenate((np.log(back1[follows1]), np.log(back2[follows2])))
    weight = np.concatenate((counts.word_count[follows1], pairs.count[follows2])).astype(float)
    some_levels, level = levels(logs, weight, 255)
    back_levels = np.append(np.float32(0), some_levels)
    number1, number2 = np.zeros(len(word_keys), np.uint8), np.zeros(len(pair_keys), np.uint8)
    number1[follows1] = level[: follows1.sum()] + 1
    number2[follows2] = level[follows1.sum() :] + 1

    def slots(buckets: int, slot: Array, value: Array, kind: Any) -> Array:
        out = np.zeros(buckets * SLOTS, kind)
        out[slot] = value
        return out

    in1 = word_slot >= 0
    return BackgroundTable(
        words=slots(word_buckets, word_slot[in1], word_mark[in1], np.uint16),
        word_level=slots(word_buckets, word_slot[in1], level1[1:][in1], np.uint8),
        word_back=slots(word_buckets, word_slot[in1], number1[1:][in1], np.uint8),
        pairs=slots(pair_buckets, slot2, mark2 << bits | level2.astype(np.uint16), np.uint16),
        pair_back=slots(pair_buckets, slot2, number2[kept2], np.uint8),
        triples=slots(triple_buckets, slot3, mark3 << bits | level3.astype(np.uint16), np.uint16),
        word_levels=word_levels,
        pair_levels=pair_levels,
        triple_levels=triple_levels,
        back_levels=back_levels.astype(np.float32),
        unknown=np.array([np.log(chance1[0]), np.log(back1[0]), np.log(max(1, counts.kinds))], np.float32),
    )


def _leftover(context: Array, chance: Array, lower: Array, contexts: int, true_back: Array) -> Array:
    """What is left after a context, over what the lower order leaves for it: makes the probabilities sum to one.

    Coarse levels can use up more than there is after contexts that nearly always go on in one way; at least half of
    what Kneser-Ney leaves stays.
    """
    left = 1 - np.bincount(context, chance, contexts)
    below = 1 - np.bincount(context, lower, contexts)
    return np.maximum(left, true_back / 2 * np.maximum(below, 1e-6)) / np.maximum(below, 1e-6)
