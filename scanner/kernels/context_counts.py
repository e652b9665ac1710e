"""The loops behind `contexts.py`: words numbered, pairs of words counted, single words and longer contexts looked up.

Counting goes over slices of the hash space of word pairs. A slice is scattered into partitions that fit a core's cache,
and a partition is counted in open-addressing tables. All longer contexts that end in one pair of words stand in its
partition, so what is read of a token is read once, whatever the length of its contexts.
"""

from __future__ import annotations

import math

import numpy as np
from numba import types

from scanner.kernels._jit import F32, I32, I32R, I64, I64R, INT, U8, U64_2D, U64R, VOID, helper, kernel, maker
from scanner.kernels.hashing import fmix64

UNIFORM = 1 / 50_000
"""Probability of a token no other row holds, before interpolation: one of about 50,000 words."""
RARITY_STEP = 1 / 8
"""Nats per unit of `ContextFeatures.rarity`."""
SEEN, COPIED = 1, 2
"""Bits of `ContextFeatures.within`: the token stood earlier in its row; so did the three tokens that end with it."""
LONGER = (2, 3, 4, 6, 8, 12)
"""Context lengths in tokens beyond a single word."""

_ROW, _PLACE = np.uint64(32), np.uint64(0xFFFFFFFF)
_STEP, _ODD = np.uint64(0xD6E8FEB86659FD93), np.uint64(0x9E3779B97F4A7C15)
_R24 = np.uint64(24)
_I32_3D = types.Array(types.int32, 3, "C")


@helper
def slot_of(keys, mask, start, key):
    """Slot of a key, or of the first empty place (key 0) on its way."""
    s = np.int64(start & np.uint64(mask))
    while keys[s] != key and keys[s] != 0:
        s = (s + 1) & mask
    return s


@helper
def table_size(entries):
    """Slots of a table that is at most half full."""
    size = 16
    while size < 2 * entries:
        size *= 2
    return size


@helper
def _word_slot(table, word):
    """Slot of a word, or of the first empty place (0) on its way."""
    mask = np.uint64(len(table) - 1)
    s = (word * _ODD >> _ROW) & mask
    while table[s, 0] != word and table[s, 0] != 0:
        s = (s + np.uint64(1)) & mask
    return s


@kernel(I32(U64R, I32))
def number_words(tokens, word):
    """Number the words in the order in which they first stand; returns how often each stands.

    tokens (T,) hashes; word (T,) is filled.
    """
    size = 1 << 12
    table = np.zeros((size, 2), np.uint64)  # word, its number
    count = np.zeros(size // 2, np.int32)
    found = 0
    for t in range(len(tokens)):
        key = max(tokens[t], np.uint64(1))  # 0 marks an empty slot
        s = _word_slot(table, key)
        if table[s, 0] == 0:
            if found == len(count):
                before, size = table, size * 4
                table = np.zeros((size, 2), np.uint64)
                for old in range(len(before)):
                    if before[old, 0] != 0:
                        s = _word_slot(table, before[old, 0])
                        table[s, 0], table[s, 1] = before[old, 0], before[old, 1]
                fewer, count = count, np.zeros(size // 2, np.int32)
                for old in range(found):
                    count[old] = fewer[old]
                s = _word_slot(table, key)
            table[s, 0], table[s, 1] = key, found
            found += 1
        word[t] = table[s, 1]
        count[table[s, 1]] += 1
    return count[:found]


@helper
def _pair(word, t):
    """The word before a place and the word that stands there, never 0."""
    return (np.uint64(word[t - 1]) << _ROW | np.uint64(word[t])) + np.uint64(1)


@kernel(I64(I32R, I64R, INT, INT, INT, U8, INT, INT))
def sizes(word, offsets, back, bits, least, known, first, last):
    """Entries of rows [first, last) in each of 2 ** bits partitions of the hash space; see `_scatter`."""
    found = np.zeros(1 << bits, np.int64)
    shift = np.uint64(64 - bits)
    for i in range(first, last):
        for t in range(offsets[i] + 1 + back, offsets[i + 1]):
            if known[t] >= least:
                found[np.int64(_pair(word, t - back) * _ODD >> shift)] += 1
    return found


@maker
def _scatter(word, offsets, back, part, bits, ends, least, known, entry):
    """Put what belongs to a slice into its partitions: the pair of words `back` before the token, place | row << 32.

    The slice is partitions [part * len(ends), (part + 1) * len(ends)) of 2 ** bits; ends: last entry + 1 of each.
    Tokens with `known` below `least` are left out.
    """
    partitions = np.uint64(len(ends))
    shift = np.uint64(64 - bits)
    lowest = np.uint64(part) * partitions
    place = np.zeros(len(ends) + 1, np.int64)
    for p in range(len(ends)):
        place[p + 1] = ends[p]
    # subtle: what is not of the slice is written behind it, one over the other, so that no branch is to be guessed
    for i in range(len(offsets) - 1):
        for t in range(offsets[i] + 1 + back, offsets[i + 1]):
            pair = _pair(word, t - back)
            q = min((pair * _ODD >> shift) - lowest, partitions)
            if known[t] < least:
                q = partitions
            e = place[q]
            place[q] = e + (1 if q < partitions else 0)
            entry[e, 0] = pair
            entry[e, 1] = np.uint64(t) | np.uint64(i) << _ROW


@helper
def _largest(ends):
    """Entries of the largest partition."""
    largest = ends[0]
    for q in range(1, len(ends)):
        largest = max(largest, ends[q] - ends[q - 1])
    return largest


@kernel(VOID(I32R, I64R, I32R, INT, INT, I64R, U8, U64_2D, I32, I32))
def count_pairs(word, offsets, copies, part, bits, ends, known, entry, others, kinds):
    """How often each pair of words of a slice stands in other rows, and what different words stand after a word.

    others (T,) is filled for the tokens of the slice; kinds (words,) is added to. entry: room for the slice.
    """
    _scatter(word, offsets, 0, part, bits, ends, 0, known, entry)
    largest = _largest(ends)
    capacity = table_size(largest)
    keys, count, own = np.empty(capacity, np.uint64), np.empty(capacity, np.int32), np.zeros(capacity, np.int32)
    slot, many = np.empty(largest, np.int32), np.empty(largest, np.int32)
    for q in range(len(ends)):
        a, b = (ends[q - 1] if q else 0), ends[q]
        size = table_size(b - a)
        for s in range(size):
            keys[s] = 0
        for e in range(a, b):
            pair = entry[e, 0]
            s = slot_of(keys, size - 1, pair * _ODD >> np.uint64(16), pair)
            if keys[s] == 0:
                keys[s] = pair
                count[s] = 0
                kinds[np.int64((pair - np.uint64(1)) >> _ROW)] += 1
            count[s] += 1
            slot[e - a] = s
            many[e - a] = copies[np.int64(entry[e, 1] >> _ROW)]
        begin = a
        while begin < b:  # entries keep the order of tokens, so those of one row stand together
            owner = entry[begin, 1] >> _ROW
            end = begin + 1
            while end < b and entry[end, 1] >> _ROW == owner:
                end += 1
            multiple = np.int64(many[begin - a])
            if end - begin == 1:  # as most rows have it
                others[np.int64(entry[begin, 1] & _PLACE)] = max(0, count[slot[begin - a]] - multiple)
            else:
                for e in range(begin, end):
                    own[slot[e - a]] += 1
                for e in range(begin, end):
                    s = slot[e - a]
                    others[np.int64(entry[e, 1] & _PLACE)] = max(0, count[s] - multiple * own[s])
                for e in range(begin, end):
                    own[slot[e - a]] = 0
            begin = end


@kernel(VOID(I32R, I64R, I32R, I32R, I32R, I32R, I32R, INT, INT, F32, U8, U8, U8, U8, F32, _I32_3D))
def single_words(word, offsets, copies, count, followed, kinds, pairs, first, last,
                 chance, known, agreed, rarity, within, entropy, watched):  # fmt: skip
    """The word by itself and after one other, the words that stood earlier, and the row's entropy; rows [first, last).

    count, followed, kinds (words,): how often each stands, how often with a word after it, and with how many different
    ones · pairs (T,): how often the pair that ends here stands in other rows; may be the memory of `chance`.
    """
    total, words = len(word), len(count)
    own = np.zeros(words, np.int32)
    for i in range(first, last):
        a, b = offsets[i], offsets[i + 1]
        multiple = np.int64(copies[i])
        repeated = 0.0  # sum of c log c over the distinct tokens
        for t in range(a, b):
            c = own[word[t]]
            own[word[t]] = c + 1
            if c > 0:
                within[t] |= SEEN
                repeated += (c + 1) * math.log(c + 1.0) - c * math.log(float(c))
        others = total - multiple * (b - a)
        for t in range(a, b):
            j = max(0, count[word[t]] - multiple * own[word[t]])
            p = (np.float32(j) + words * UNIFORM) / (others + words)
            rarity[t] = np.uint8(min(255.0, -math.log(p) / RARITY_STEP))
            if watched.shape[2] > 0:
                watched[0, 0, t], watched[0, 1, t], watched[0, 2, t] = j, j, -1 if j == 0 else 0
            was = np.float32(p)
            if t > a:
                before = word[t - 1]
                # subtle: the row's last word is followed by nothing
                c = max(0, followed[before] - multiple * (own[before] - (1 if before == word[b - 1] else 0)))
                j = np.int64(pairs[t])
                d = kinds[before] - (1 if j == 0 else 0)
                if watched.shape[2] > 0:
                    watched[1, 0, t], watched[1, 1, t], watched[1, 2, t] = c, j, d
                if c > 0:
                    known[t] = 1
                    agreed[t] = 1 if j > 0 else 0
                    was = np.float32((j + d * was) / (c + d))
            chance[t] = was
        for t in range(a, b):
            own[word[t]] = 0
        if b - a > 1:
            most = math.log(float(b - a))
            entropy[i] = np.float32(max(0.0, (most - repeated / (b - a)) / most))


@helper
def _clear(table, size):
    """Empty the first slots of a table."""
    for s in range(size):
        for column in range(3):
            table[s, column] = 0


@kernel(VOID(I32R, I64R, I32R, INT, INT, I64R, U64_2D, F32, U8, U8, _I32_3D))
def longer_contexts(word, offsets, copies, part, bits, ends, entry, chance, known, agreed, watched):
    """Count the contexts of two words and more of a slice and fold them into the features.

    entry: room for the slice. chance, known, agreed (T,) as `single_words` left them.

    A slot of the tables holds the context (or the context's slot and the word that goes on with it); how often it
    stands, and in the upper half how many different words go on with it; and the row that was there last with its first
    entry there, which collects how often the row itself has it. What happens is chosen without a branch wherever it
    cannot be foreseen.
    """
    _scatter(word, offsets, 1, part, bits, ends, 1, known, entry)
    largest = _largest(ends)
    capacity = table_size(largest)
    held, pairs = np.empty((capacity, 3), np.uint64), np.empty((capacity, 3), np.uint64)
    live, asked = np.empty(largest, np.uint32), np.empty(largest, np.uint32)
    slot, pair_slot = np.empty(largest, np.uint32), np.empty(largest, np.uint32)
    first, pair_first = np.empty(largest, np.uint32), np.empty(largest, np.uint32)
    own, pair_own = np.empty(largest, np.int32), np.empty(largest, np.int32)
    next_word, many, deep = np.empty(largest, np.uint32), np.empty(largest, np.int32), np.empty(largest, np.int32)
    context, was, went = np.empty(largest, np.uint64), np.empty(largest, np.float32), np.zeros(largest, np.int32)
    longest, longest_agreed = np.empty(largest, np.uint8), np.empty(largest, np.uint8)
    alone = np.empty(largest, np.uint8)
    none, one = np.uint64(0), np.uint64(1)
    for q in range(len(ends)):
        a = ends[q - 1] if q else 0
        entries = ends[q] - a
        for e in range(entries):  # read at once what lies far apart: among the branches below, each would be waited for
            at, row = entry[a + e, 1] & _PLACE, entry[a + e, 1] >> _ROW
            was[e] = chance[at]
            next_word[e] = word[at]
            many[e] = copies[row]
            deep[e] = np.int64(at) - offsets[row]
            context[e] = entry[a + e, 0]
            longest[e], longest_agreed[e], alone[e] = 1, 0, 0
            live[e] = e
        alive, reached = entries, 2
        for level in range(len(LONGER)):
            k = LONGER[level]
            kept = none
            for x in range(alive):
                e = live[x]
                live[kept] = e
                kept += one if deep[e] >= k else none
            alive = np.int64(kept)
            if alive == 0:
                break
            for back in range(reached + 1, k + 1):
                for x in range(alive):
                    e = live[x]
                    h = context[e] * _STEP + np.uint64(word[(entry[a + np.int64(e), 1] & _PLACE) - np.uint64(back)])
                    context[e] = h ^ h >> _ROW
            reached = k
            size = table_size(alive)
            mask = np.uint64(size - 1)
            _clear(held, size)
            _clear(pairs, size)
            open_pairs = none
            for x in range(alive):
                e = live[x]
                h, row = max(context[e], one), (entry[a + np.int64(e), 1] >> _ROW) + one
                s = (h * _ODD >> _R24) & mask
                while held[s, 0] != h and held[s, 0] != 0:
                    s = (s + one) & mask
                held[s, 0] = h
                f = (held[s, 2] & _PLACE) if held[s, 2] >> _ROW == row else np.uint64(x)
                held[s, 2] = row << _ROW | f
                held[s, 1] += one + (np.uint64(alone[e]) << _ROW)
                own[x] = 0
                own[f] += 1
                slot[x], first[x] = s, f
                asked[open_pairs] = x
                open_pairs += one - np.uint64(alone[e])
            for y in range(np.int64(open_pairs)):
                x = asked[y]
                e, s = live[x], slot[x]
                row = (entry[a + np.int64(e), 1] >> _ROW) + one
                pair = (np.uint64(s) << _ROW | np.uint64(next_word[e])) + one
                p = (pair * _ODD >> _R24) & mask
                while pairs[p, 0] != pair and pairs[p, 0] != 0:
                    p = (p + one) & mask
                held[s, 1] += (one << _ROW) if pairs[p, 0] == 0 else none
                pairs[p, 0] = pair
                f = (pairs[p, 2] & _PLACE) if pairs[p, 2] >> _ROW == row else np.uint64(x)
                pairs[p, 2] = row << _ROW | f
                pairs[p, 1] += one
                pair_own[x] = 0
                pair_own[f] += 1
                pair_slot[x], pair_first[x] = p, f
            for y in range(np.int64(open_pairs)):
                x = asked[y]
                e, stands = live[x], np.int64(pairs[pair_slot[x], 1])
                went[x] = max(0, stands - np.int64(many[e]) * pair_own[pair_first[x]])
                alone[e] = 1 if stands == 1 else 0  # then it is so after every longer context: not looked for again
            kept = none
            for x in range(alive):
                e, s = live[x], slot[x]
                c = max(0, np.int64(held[s, 1] & _PLACE) - np.int64(many[e]) * own[first[x]])
                j = np.int64(went[x])
                went[x] = 0
                d = np.int64(held[s, 1] >> _ROW) - (1 if j == 0 else 0)
                if watched.shape[2] > 0:
                    at = entry[a + np.int64(e), 1] & _PLACE
                    watched[2 + level, 0, at], watched[2 + level, 1, at], watched[2 + level, 2, at] = c, j, d
                longest[e] = k if c > 0 else longest[e]
                longest_agreed[e] = k if j > 0 else longest_agreed[e]
                was[e] = (j + d * was[e]) / (c + d) if c > 0 else was[e]
                live[kept] = e
                kept += one if c > 0 else none
            alive = np.int64(kept)
        for e in range(entries):
            at = entry[a + e, 1] & _PLACE
            chance[at] = was[e]
            known[at] = longest[e]
            if longest_agreed[e] > 0:
                agreed[at] = longest_agreed[e]


@kernel(VOID(U64R, I64R, INT, INT, U8))
def mark_copied(tokens, offsets, first, last, within):
    """Mark the tokens of rows [first, last) that end three tokens which stood earlier in their row."""
    longest = 1
    for i in range(first, last):
        longest = max(longest, offsets[i + 1] - offsets[i])
    keys, used = np.zeros(table_size(longest), np.uint64), np.empty(longest, np.int64)
    for i in range(first, last):
        mask = table_size(offsets[i + 1] - offsets[i]) - 1
        filled = 0
        for t in range(offsets[i] + 2, offsets[i + 1]):
            h = max(fmix64((tokens[t - 2] * _STEP + tokens[t - 1]) * _ODD + tokens[t]), np.uint64(1))
            s = slot_of(keys, mask, h, h)
            if keys[s] == 0:
                keys[s] = h
                used[filled] = s
                filled += 1
            else:
                within[t] |= COPIED
        for f in range(filled):
            keys[used[f]] = 0
