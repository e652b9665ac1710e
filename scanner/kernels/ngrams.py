"""Runs of words in common: the loops that look for the items of a benchmark in a data set.

A word is a token that is no punctuation mark (see `scanner.text`), in lower case: quotes, line breaks, markup and code
fences around a copied question do not hide it. `probe` streams over the segments and proposes pairs of a row and a
text of the benchmark; `commonruns.compare` looks at the words themselves and decides.
"""

from __future__ import annotations

import numpy as np

from scanner.kernels._jit import I32, I32R, I64, I64R, INT, U8R, U64, U64R, VOID, helper, kernel
from scanner.kernels._words import BLOCK
from scanner.kernels.hashing import fmix64, power
from scanner.kernels.tokens import ROOM, WORD, code_point_at, next_tokens

SHINGLE = 5
"""Words of the runs that propose a pair, and of the shingles whose containment is measured."""
GRAM = 13
"""Words of an n-gram, the field's convention since GPT-3."""
UNSEARCHED, ASKED, SAID, PLAIN = 0, 1, 2, 3
"""Sides of a row's segments: passed over; prompts, in which only questions are looked for; answers; plain text."""
BASE = np.uint64(0x9E3779B97F4A7C15)
"""Of the rolling hashes of runs."""
_PUNCTUATION = 3  # class of scanner.text
_WHOLE = np.uint64(0xA5A5F00DC0FFEE11)  # keeps the hash of a whole text apart from that of a run as long
_ONE = np.uint64(1)


@helper
def _words(data, at, end, classes, fold, tokens, starts, ends, out, n):
    """Append the word hashes of data[at:end] to out[n:]; returns the new number; tokens, starts, ends are room."""
    while at < end:
        found, at = next_tokens(data, at, end, classes, fold, 1, tokens, starts, ends, 0)
        for i in range(found):
            byte = data[starts[i]]
            if byte < 0x80:
                is_word = classes[byte] == WORD
            else:
                point, _ = code_point_at(data, starts[i])
                is_word = classes[point] != _PUNCTUATION
            if is_word:
                out[n] = tokens[i]
                n += 1
    return n


@kernel(INT(U8R, I64R, U8R, I32R, U64, I64))
def words(data, offsets, classes, fold, out, counts):
    """The word hashes of every text; returns their number.

    data, offsets (s + 1,): texts · out: at least half as long as the texts have bytes, plus one per text · counts
    (s,): words of each text.
    """
    tokens = np.empty(ROOM + BLOCK, np.uint64)
    starts, ends = np.empty(ROOM + BLOCK, np.int64), np.empty(ROOM + BLOCK, np.int64)
    total = 0
    for s in range(len(offsets) - 1):
        after = _words(data, offsets[s], offsets[s + 1], classes, fold, tokens, starts, ends, out, total)
        counts[s] = after - total
        total = after
    return total


@helper
def _whole(hashes, begin, end):
    h = _WHOLE
    for i in range(begin, end):
        h = h * BASE + hashes[i]
    return fmix64(h + np.uint64(end - begin))


@kernel(VOID(U64R, I64R, U64))
def whole_hashes(hashes, bounds, out):
    """out (t,): one hash of all the words of each text hashes[bounds[i]:bounds[i + 1]]."""
    for i in range(len(out)):
        out[i] = _whole(hashes, bounds[i], bounds[i + 1])


@helper
def _bit(h, bits):
    """Word and bit of the filter for a hash; len(bits) is a power of 2."""
    mixed = (h ^ (h >> np.uint64(29))) * BASE
    return (mixed >> np.uint64(32)) & np.uint64(len(bits) - 1), _ONE << (mixed >> np.uint64(26) & np.uint64(63))


@helper
def _slot(keys, h):
    """Where a hash stands in an open-addressing table, or the empty slot where it would; a key is never 0."""
    mask = np.uint64(len(keys) - 1)
    at = ((h ^ (h >> np.uint64(31))) * BASE >> np.uint64(32)) & mask
    while keys[at] != np.uint64(0) and keys[at] != h:
        at = (at + _ONE) & mask
    return at


@kernel(INT(U64R, I64R, I32R, U8R, U64, U64, I32, I32, I32))
def register(hashes, text_at, benchmark, counted, bits, keys, entry, of_run, items):
    """Enter every run of SHINGLE words of the texts; returns the number of distinct ones, the entries.

    hashes: the words of the texts, text t is hashes[text_at[t]:text_at[t + 1]]; texts 2 i and 2 i + 1 are question and
    answer of item i · benchmark (t,): ascending · counted (t,): 0 for texts that stood before in their benchmark ·
    bits, keys, entry: bit filter, and table by open addressing (lengths powers of 2), filled with 0 · of_run: the
    entry of the run that starts at each word, -1 where none does · items: per entry, how many items of one benchmark
    hold it in a counted text, the most of any benchmark.
    """
    found = 0
    last_item = np.full(len(of_run) + 1, -1, np.int32)
    last_benchmark = np.full(len(of_run) + 1, -1, np.int32)
    inside = np.zeros(len(of_run) + 1, np.int32)
    leaving = power(BASE, SHINGLE)
    for t in range(len(text_at) - 1):
        h = np.uint64(0)
        for i in range(text_at[t], text_at[t + 1]):
            of_run[i] = -1
            h = h * BASE + hashes[i]
            if i - text_at[t] >= SHINGLE:
                h -= hashes[i - SHINGLE] * leaving
            if i - text_at[t] < SHINGLE - 1:
                continue
            key = h | _ONE
            slot = _slot(keys, key)
            if keys[slot] != key:
                keys[slot] = key
                entry[slot] = found
                word, bit = _bit(key, bits)
                bits[word] |= bit
                found += 1
            e = entry[slot]
            of_run[i - SHINGLE + 1] = e
            if counted[t] and last_item[e] != t >> 1:
                last_item[e] = t >> 1
                if last_benchmark[e] != benchmark[t]:
                    last_benchmark[e] = benchmark[t]
                    inside[e] = 0
                inside[e] += 1
                items[e] = max(items[e], inside[e])
    return found


@kernel(VOID(U64R, INT, U64, U64, I32))
def register_wholes(hashes, first, bits, keys, entry):
    """Enter distinct hashes of whole texts as the entries first, first + 1, ..."""
    for i in range(len(hashes)):
        key = hashes[i] | _ONE
        slot = _slot(keys, key)
        keys[slot] = key
        entry[slot] = first + i
        word, bit = _bit(key, bits)
        bits[word] |= bit


@kernel(INT(I32R, I64R, U8R, I64, I32))
def post_runs(of_run, text_at, kept, post_at, post):
    """List the texts that hold each kept entry, once each, as codes 2 x text; returns how many codes there are.

    of_run, text_at: see `register` · kept (e,) · post_at (e + 1,): filled with 0 · post: as long as there are runs.
    """
    last = np.full(len(kept), -1, np.int64)
    for t in range(len(text_at) - 1):
        for i in range(text_at[t], text_at[t + 1]):
            e = of_run[i]
            if e >= 0 and kept[e] and last[e] != t:
                last[e] = t
                post_at[e + 1] += 1
    for e in range(len(kept)):
        post_at[e + 1] += post_at[e]
    free = post_at.copy()
    last[:] = -1
    for t in range(len(text_at) - 1):
        for i in range(text_at[t], text_at[t + 1]):
            e = of_run[i]
            if e >= 0 and kept[e] and last[e] != t:
                last[e] = t
                post[free[e]] = 2 * t
                free[e] += 1
    return post_at[len(kept)]


@kernel(
    INT(INT, U8R, I64R, I64R, I64R, I32R, U8R, U8R, U8R, I32R, U64R, U64R, I32R, I64R, I32R, I32R, I64, I32, I32,
        I64, I64, I64)
)  # fmt: skip
def probe(
    begin,
    data,
    offsets,
    row_start,
    row_id,
    turn,
    role,
    side,
    classes,
    fold,
    bits,
    keys,
    entry,
    post_at,
    post,
    need,
    last_row,
    shared,
    touched,
    rows,
    texts,
    made,
):
    """Pairs of a row and a text of the benchmark that share enough runs of SHINGLE words, or are equal.

    begin: the first row to look at · data, offsets (s + 1,), turn, role (s,): segments · row_start (n + 1,), row_id
    (n,) · side (s,): UNSEARCHED, ASKED, SAID or PLAIN · bits, keys, entry: see `register` · post[post_at[e]:
    post_at[e + 1]]: codes of the texts that hold entry e, 2 x text + 1 for the hash of the whole text; odd texts are
    answers · need (t,): distinct runs in common from which a pair is proposed · last_row (entries,), begins at -1,
    shared (t,), begins at 0, touched (t,): one of each per thread.
    Writes row ids and texts of the pairs from place made[0] on, which it moves. Returns the number of rows; or, where
    there was no room left for the next row's pairs, that row: begin there again with a new last_row and more room.
    Consecutive segments of one turn and role are one text, for an instruction and its input are often joined.
    """
    longest = 0
    for r in range(begin, len(row_start) - 1):
        size = offsets[row_start[r + 1]] - offsets[row_start[r]]
        longest = max(longest, size // 2 + row_start[r + 1] - row_start[r])  # a segment's last word needs no separator
    row_words = np.empty(longest + 1, np.uint64)
    tokens = np.empty(ROOM + BLOCK, np.uint64)
    starts, ends = np.empty(ROOM + BLOCK, np.int64), np.empty(ROOM + BLOCK, np.int64)
    leaving = power(BASE, SHINGLE)
    for r in range(begin, len(row_start) - 1):
        count = 0
        s = row_start[r]
        while s < row_start[r + 1]:
            first = s
            n = 0
            answers = np.int64(side[s] >= SAID)
            mark = 2 * row_id[r] + answers
            while s < row_start[r + 1] and turn[s] == turn[first] and role[s] == role[first]:
                if side[s]:
                    n = _words(data, offsets[s], offsets[s + 1], classes, fold, tokens, starts, ends, row_words, n)
                s += 1
            if not n:
                continue
            h = np.uint64(0)
            for i in range(n + 1):
                if i < n:
                    h = h * BASE + row_words[i]
                    if i >= SHINGLE:
                        h -= row_words[i - SHINGLE] * leaving
                    if i < SHINGLE - 1:
                        continue
                    key = h | _ONE
                else:
                    key = _whole(row_words, 0, n) | _ONE
                word, bit = _bit(key, bits)
                if not bits[word] & bit:
                    continue
                slot = _slot(keys, key)
                e = entry[slot]
                if keys[slot] != key or last_row[e] == mark:
                    continue
                last_row[e] = mark
                for p in range(post_at[e], post_at[e + 1]):
                    text = post[p] >> 1
                    if text & 1 and not answers:  # answers are not looked for in prompts
                        continue
                    if not shared[text]:
                        touched[count] = text
                        count += 1
                    shared[text] += need[text] if post[p] & 1 else 1  # an equal text is proposed at once
        wanted = 0
        for i in range(count):
            wanted += shared[touched[i]] >= need[touched[i]]
        fits = made[0] + wanted <= len(rows)
        for i in range(count):
            text = touched[i]
            if fits and shared[text] >= need[text]:
                rows[made[0]] = row_id[r]
                texts[made[0]] = text
                made[0] += 1
            shared[text] = 0
        if not fits:
            return r
    return len(row_start) - 1
