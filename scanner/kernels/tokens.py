"""Text to tokens: boundaries and 64-bit hashes straight from UTF-8 bytes.

The definition of a token stands in `scanner.text`. Hashes come in two kinds: exact (the token's own code points)
and folded (each code point replaced by its one-code-point lower case).

A hash depends on the token's UTF-8 bytes (of the folded code points) and on nothing else: they are mixed 8 at a time,
padded with zeros to a multiple of 16. ASCII is cut into tokens 64 bytes at a time by bit masks; a token that holds or
touches another byte is read code point by code point, to the same hash.
"""

from __future__ import annotations

import numpy as np
from numba import types

from scanner.kernels._jit import I32R, I64, I64R, INT, U8, U8R, U64, VOID, helper, kernel, maker
from scanner.kernels._words import (
    BLOCK,
    bits_set,
    hash_tokens,
    highest_bit,
    kinds64,
    load64,
    lowest_bit,
    word_at,
)
from scanner.kernels.hashing import combine, fmix64

SEPARATOR, WORD, SINGLE = 0, 1, 2
ROOM = 1 << 10
"""Tokens that a caller's buffers should hold at a time: few enough to stay in a core's first cache."""
_SEED = np.uint64(0x51ED270B27B4F3CF)
_FOLDED = 0x20000
_LOWER = np.uint64(0x2020202020202020)  # letters and digits with this bit set are lower-case letters and digits
_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)
_ONE = np.uint64(1)
_AT_ONCE = 16
"""Tokens of 64 bytes that are put aside without asking whether there are so many: in most texts there are fewer."""


@helper
def code_point_at(data, at):
    """The code point that starts at byte `at` of valid UTF-8, and the byte after it."""
    byte = np.int64(data[at])
    if byte < 0x80:
        return byte, at + 1
    if byte < 0xE0:
        return (byte & 0x1F) << 6 | (np.int64(data[at + 1]) & 0x3F), at + 2
    if byte < 0xF0:
        return (byte & 0x0F) << 12 | (np.int64(data[at + 1]) & 0x3F) << 6 | (np.int64(data[at + 2]) & 0x3F), at + 3
    return (
        (byte & 0x07) << 18
        | (np.int64(data[at + 1]) & 0x3F) << 12
        | (np.int64(data[at + 2]) & 0x3F) << 6
        | (np.int64(data[at + 3]) & 0x3F)
    ), at + 4


@helper
def _utf8_word(point):
    """The UTF-8 bytes of a code point as one little-endian word, and their number."""
    if point < 0x80:
        return np.uint64(point), 1
    if point < 0x800:
        return np.uint64(0xC0 | point >> 6 | (0x80 | point & 0x3F) << 8), 2
    if point < 0x10000:
        return np.uint64(0xE0 | point >> 12 | (0x80 | point >> 6 & 0x3F) << 8 | (0x80 | point & 0x3F) << 16), 3
    high = 0xF0 | point >> 18 | (0x80 | point >> 12 & 0x3F) << 8
    return np.uint64(high | (0x80 | point >> 6 & 0x3F) << 16 | (0x80 | point & 0x3F) << 24), 4


@helper
def _any_token(data, at, end, classes, fold, folded):
    """The next token of data[at:end], whatever its bytes: (hash, first byte, byte after it); start == end: none."""
    kind = np.uint8(SEPARATOR)
    point = np.int64(0)
    after = at
    while at < end:
        point, after = code_point_at(data, at)
        kind = classes[point]
        if kind != SEPARATOR:
            break
        at = after
    if at >= end:
        return np.uint64(0), end, end
    start = at
    h = _SEED
    held = np.uint64(0)  # bytes that do not make a word yet
    bits = 0
    odd = False
    while True:
        if folded and point < _FOLDED:
            point = np.int64(fold[point])
        raw, size = _utf8_word(point)
        held |= raw << np.uint64(bits)
        bits += 8 * size
        if bits >= 64:
            h = combine(h, held)
            odd = not odd
            bits -= 64
            # subtle: a shift by 64 is not defined, and none is left over then
            held = raw >> np.uint64(8 * size - bits) if bits else np.uint64(0)
        at = after
        if kind != WORD or at >= end:
            break
        point, after = code_point_at(data, at)
        if classes[point] != WORD:
            break
    if bits:
        h = combine(h, held)
        odd = not odd
    if odd:
        h = combine(h, np.uint64(0))
    return fmix64(h), start, at


@helper
def _ascii_hash(data, at, length, lower):
    """Hash of the ASCII token data[at:at + length], each byte taken | the byte in `lower`."""
    h = _SEED
    for i in range(at, at + length, 16):
        left = at + length - i
        h = combine(h, word_at(data, i, left) | lower & _bytes(left))
        h = combine(h, word_at(data, i + 8, left - 8) | lower & _bytes(left - 8))
    return fmix64(h)


@helper
def _bytes(count):
    """A mask of the lowest `count` bytes; 0 below 1, all for more than 8."""
    if count < 1:
        return np.uint64(0)
    return _ALL >> np.uint64(64 - 8 * min(count, 8))


@helper
def _borders(words, spaces, known, more):
    """Words among the first `known` bytes of a block, the first and the last byte of each token, and the bytes used.

    more: whether something follows these bytes. Bit masks; a word that may go on there waits, and is not used.
    """
    inside = _ALL >> np.uint64(64 - known) if known else np.uint64(0)
    words &= inside
    single = inside & ~(words | spaces)
    first = words & ~(words << _ONE) | single
    last = words & ~(words >> _ONE) | single
    used = known
    if more and known and words >> np.uint64(known - 1):
        used = highest_bit(first)
        first ^= _ONE << np.uint64(used)
        last ^= _ONE << np.uint64(known - 1)
    return words, first, last, used


@maker
def ascii_room(count, segments):
    """What `ascii_tokens` needs besides, for texts of `count` bytes and tokens together, in so many segments."""
    most = count + 2 * BLOCK
    return np.empty(most, np.uint64), np.empty(most, np.uint64), np.empty(segments + 1, np.int64)


@helper
def _put_aside(data, start, place, starts, first_word, second_word):
    starts[place] = start
    first_word[place] = load64(data, start)
    second_word[place] = load64(data, start + 8)


@helper
def ascii_tokens(data, at, stop, offsets, s, after, hashes, starts, ends, room, held):
    """The folded tokens of data[at:stop], up to where other bytes than ASCII begin: most of most texts.

    The bytes lie in segments s to after - 1 of `offsets` (each but the first from its beginning); a token ends with its
    segment. Returns how many tokens there are, put at hashes[held:] and so on, where to go on, and the segment that
    lies in. A token that may go on behind that place is left, and so are those at the very end of the data.
    starts, ends: as in `next_tokens` · room: from `ascii_room`; its last part says how many tokens stand before each
    segment from s on. All arrays have room for the bytes and the tokens held, and 2 * BLOCK more.
    First the tokens of 64 bytes are found at a time and their bytes put aside, 16 without asking whether there are so
    many; then all are hashed, many at a time. What is written too much is written over.
    """
    first_word, second_word, before = room
    last_block = len(data) - 3 * BLOCK
    made = done = np.uint64(held)
    next_edge = s + 1
    before[0] = held
    in_word = in_single = np.uint64(0)  # whether the last byte was of a word, or a token by itself
    reached = at
    while reached < stop and reached <= last_block:
        words, spaces, others = kinds64(data, reached)
        known = min(stop - reached, BLOCK)
        inside = _ALL >> np.uint64(BLOCK - known)
        others &= inside
        if others:
            known = lowest_bit(others)
            inside = (_ONE << np.uint64(known)) - _ONE
        words &= inside
        single = inside & ~(words | spaces)
        earlier = words << _ONE | in_word
        edges = np.uint64(0)  # where segments begin
        while next_edge < after and offsets[next_edge] - reached < BLOCK:
            edge = _ONE << np.uint64(offsets[next_edge] - reached)
            first = words & (~earlier | edges) | single
            before[next_edge - s] = np.int64(made) + bits_set(first & (edge - _ONE))
            edges |= edge
            next_edge += 1
        first = words & (~earlier | edges) | single
        last = earlier & (~words | edges) | single << _ONE | in_single  # the byte after a token
        count, closed = bits_set(first), bits_set(last)
        for i in range(_AT_ONCE):
            _put_aside(data, reached + lowest_bit(first), made + np.uint64(i), starts, first_word, second_word)
            first &= first - _ONE
        for i in range(_AT_ONCE):
            ends[done + np.uint64(i)] = reached + lowest_bit(last)
            last &= last - _ONE
        for i in range(_AT_ONCE, count):
            _put_aside(data, reached + lowest_bit(first), made + np.uint64(i), starts, first_word, second_word)
            first &= first - _ONE
        for i in range(_AT_ONCE, closed):
            ends[done + np.uint64(i)] = reached + lowest_bit(last)
            last &= last - _ONE
        made += np.uint64(count)
        done += np.uint64(closed)
        if known:
            in_word = words >> np.uint64(known - 1) & _ONE
            in_single = single >> np.uint64(known - 1) & _ONE
        reached += known
        if others:
            break
    while next_edge > s + 1 and offsets[next_edge - 1] > reached:
        next_edge -= 1
    while next_edge < after and offsets[next_edge] == reached:
        before[next_edge - s] = np.int64(made)
        next_edge += 1
    is_over = reached == offsets[next_edge] or (next_edge > s + 1 and reached == offsets[next_edge - 1])
    if not in_word or is_over:
        if done < made:
            ends[done] = reached
    elif reached > at:  # the word may go on
        made -= _ONE
        reached = starts[made]
    count = np.int64(made) - held
    if hash_tokens(first_word, second_word, starts, ends, held, count, _SEED, hashes):
        for i in range(held, held + count):
            length = ends[i] - starts[i]
            if length > 16:
                hashes[i] = _ascii_hash(data, starts[i], length, _LOWER)
    return held + count, reached, next_edge - 1


@kernel(types.UniTuple(INT, 2)(U8R, INT, INT, U8R, I32R, INT, U64, I64, I64, INT))
def next_tokens(data, at, end, classes, fold, folded, hashes, starts, ends, count):
    """The next tokens of data[at:end], put at hashes[count:] and so on; returns the new count and where to go on.

    hashes, starts, ends: (t,) hash, first byte and byte after each token; nothing is put into the last BLOCK places,
    so t should be BLOCK + ROOM. The text is used up when the second value is `end`; tokens before `at` play no part.
    """
    size = len(data)
    room = len(hashes) - BLOCK
    while at < end and count <= room:
        limit = min(end - at, BLOCK)
        if at + BLOCK <= size:
            words, spaces, others = kinds64(data, at)
        elif size >= BLOCK:
            words, spaces, others = kinds64(data, size - BLOCK)
            beyond = np.uint64(at + BLOCK - size)
            words >>= beyond
            spaces >>= beyond
            others >>= beyond
        else:
            words, spaces, others = np.uint64(0), np.uint64(0), _ALL
        others &= _ALL >> np.uint64(64 - limit)
        known = lowest_bit(others) if others else limit
        words, first, last, used = _borders(words, spaces, known, others != 0 or at + known < end)
        after = at + used
        whole = at + BLOCK + 16 <= size  # so that every token may be loaded in words of 8 bytes
        while first:
            place = lowest_bit(first)
            start = at + place
            length = lowest_bit(last) + 1 - place
            first &= first - _ONE
            last &= last - _ONE
            lower = _LOWER if folded and words >> np.uint64(place) & _ONE else np.uint64(0)
            if whole and length <= 16:
                h = combine(_SEED, (load64(data, start) | lower) & _bytes(length))
                h = fmix64(combine(h, (load64(data, start + 8) | lower) & _bytes(length - 8)))
            else:
                h = _ascii_hash(data, start, length, lower)
            at_token = np.uint64(count)  # an unsigned index needs no look at its sign
            hashes[at_token] = h
            starts[at_token] = start
            ends[at_token] = start + length
            count += 1
        if after > at and not others:
            at = after
            continue
        at = after
        while at < end and count < len(hashes):
            h, start, at = _any_token(data, at, end, classes, fold, folded)
            if start == at:
                break
            hashes[count] = h
            starts[count] = start
            ends[count] = at
            count += 1
            # text in other scripts has ASCII spaces: looking at 64 bytes is worth it where two ASCII bytes follow
            if at + 1 < end and data[at] < 0x80 and data[at + 1] < 0x80:
                break
    return count, at


@kernel(INT(U8R, I64R, U8R, I32R, INT, U64, I64, I64))
def tokenise(data, offsets, classes, fold, folded, hashes, starts, counts):
    """Hash every token of every text; returns their number.

    data, offsets (s + 1,): texts · classes, fold: tables of `scanner.text` · folded: 1 for lower-cased hashes ·
    hashes (t,), starts (t,): one entry per token, `starts` its first byte in data (both may be longer than needed; a
    text has at most as many tokens as bytes) · counts (s,): tokens of each text.
    """
    some = np.empty(ROOM + BLOCK, np.uint64)
    begin = np.empty(ROOM + BLOCK, np.int64)
    after = np.empty(ROOM + BLOCK, np.int64)
    total = 0
    for s in range(len(offsets) - 1):
        at = offsets[s]
        before = total
        while at < offsets[s + 1]:
            found, at = next_tokens(data, at, offsets[s + 1], classes, fold, folded, some, begin, after, 0)
            for i in range(found):  # assigning slices would compile for longer than all the rest
                hashes[total + i] = some[i]
                starts[total + i] = begin[i]
            total += found
        counts[s] = total - before
    return total


@kernel(INT(U8R, I64R, U8R, I32R, U8))
def token_widths(data, offsets, classes, fold, widths):
    """UTF-8 bytes of every token of every text, 255 for longer ones; returns their number.

    data, offsets, classes, fold: as in `tokenise`, whose order this follows · widths (t,): output.
    """
    some = np.empty(ROOM + BLOCK, np.uint64)
    begin = np.empty(ROOM + BLOCK, np.int64)
    after = np.empty(ROOM + BLOCK, np.int64)
    total = 0
    for s in range(len(offsets) - 1):
        at = offsets[s]
        while at < offsets[s + 1]:
            found, at = next_tokens(data, at, offsets[s + 1], classes, fold, 0, some, begin, after, 0)
            for i in range(found):
                widths[total + i] = min(255, after[i] - begin[i])
            total += found
    return total


@kernel(VOID(U8R, I64R, U8R, I32R, I64, I64))
def count_distinct(data, offsets, classes, fold, counts, distinct):
    """Tokens and distinct folded tokens of every text.

    data, offsets (s + 1,): texts · classes, fold: tables of `scanner.text` · counts, distinct (s,): outputs.
    """
    longest = 0
    for s in range(len(offsets) - 1):
        longest = max(longest, offsets[s + 1] - offsets[s])
    capacity = 16
    while capacity < 2 * longest:
        capacity *= 2
    keys = np.zeros(capacity, np.uint64)  # open addressing, 0 for an empty slot; as much of it as a text needs
    used = np.empty(longest, np.uint64)
    hashes = np.empty(ROOM + BLOCK, np.uint64)
    begin = np.empty(ROOM + BLOCK, np.int64)
    after = np.empty(ROOM + BLOCK, np.int64)
    for s in range(len(offsets) - 1):
        at = offsets[s]
        end = offsets[s + 1]
        size = 16
        while size < 2 * (end - at):
            size *= 2
        mask = np.uint64(size - 1)
        total = 0
        filled = 0
        while at < end:
            found, at = next_tokens(data, at, end, classes, fold, 1, hashes, begin, after, 0)
            total += found
            for i in range(found):
                key = hashes[i] if hashes[i] else _ONE
                slot = key & mask
                while keys[slot] != 0 and keys[slot] != key:
                    slot = (slot + _ONE) & mask
                if keys[slot] == 0:
                    keys[slot] = key
                    used[filled] = slot
                    filled += 1
        for i in range(filled):
            keys[used[i]] = 0
        counts[s] = total
        distinct[s] = filled
