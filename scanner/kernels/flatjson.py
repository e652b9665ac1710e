"""Read flat JSON objects of strings straight into segment buffers; anything else is left to the general parser.

SFT files are mostly objects of a few string fields. For those this kernel finds the values, decodes escapes, checks
UTF-8 and hashes the canonical record (JSON with sorted keys, as orjson writes it), without making Python objects.
Fields that no segment reads may also hold a whole number, true, false or null, whose canonical form is how they stand
there. A record with any other value type, an unknown, missing or repeated key, an escaped lone surrogate or broken
syntax gets status SLOW and is parsed by `scanner.jsontext`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scanner.kernels._jit import I64, I64R, INT, U8, U8R, U64_2D, helper, kernel
from scanner.kernels._jsonstrings import QUOTE, put_escaped, string_end, unescape
from scanner.kernels._words import copy_bytes, word_at
from scanner.kernels.hashing import murmur128

FAST, SLOW = 1, 0
MAX_KEYS = 16
TEXT, SCALAR = 0, 1
_DIGITS = 18
"""Longest whole number that is taken as it stands; longer ones may not fit 64 bits."""


def _word(text):
    return np.uint64(int.from_bytes(text, "little"))


_TRUE, _FALSE, _NULL = _word(b"true"), _word(b"false"), _word(b"null")


@helper
def _skip_space(buffer, at, end):
    while at < end:
        byte = buffer[at]
        if byte == 32 or byte == 10 or byte == 13 or byte == 9:
            at += 1
        else:
            break
    return at


@helper
def _find_key(buffer, start, end, keys, key_offsets, n_keys):
    for k in range(n_keys):
        length = key_offsets[k + 1] - key_offsets[k]
        if length != end - start:
            continue
        same = True
        for i in range(length):
            if buffer[start + i] != keys[key_offsets[k] + i]:
                same = False
                break
        if same:
            return k
    return -1


@helper
def _scalar_end(buffer, at, end):
    """The byte after true, false, null or a whole number in its one canonical form; -1 for anything else."""
    first = buffer[at]
    if first == 116 or first == 110 or first == 102:  # t n f
        length = 5 if first == 102 else 4
        if at + length > end:
            return -1
        word = word_at(buffer, at, length)
        return at + length if word == _TRUE or word == _FALSE or word == _NULL else -1
    i = at + 1 if first == 45 else at  # -
    begin = i
    while i < end and np.uint8(buffer[i] - 48) < 10:
        i += 1
    if i == begin or i - begin > _DIGITS:
        return -1
    if buffer[begin] == 48 and i > at + 1:  # leading zeros are no JSON, and -0 is written as 0
        return -1
    # a fraction or an exponent goes on here, and is refused by whoever expects a comma or a bracket
    return i


@helper
def _parse_object(buffer, at, end, keys, key_offsets, n_keys, kinds, value_start, value_end, value_escaped):
    """Fill the value positions of every key; False unless the object has exactly the keys, each a value of its kind."""
    for k in range(n_keys):
        value_start[k] = -1
    at = _skip_space(buffer, at, end)
    if at >= end or buffer[at] != 123:  # {
        return False
    at = _skip_space(buffer, at + 1, end)
    found = 0
    while True:
        if at >= end or buffer[at] != QUOTE:
            return False
        close, escaped = string_end(buffer, at + 1, end)
        if close < 0 or escaped:
            return False
        k = _find_key(buffer, at + 1, close, keys, key_offsets, n_keys)
        if k < 0 or value_start[k] >= 0:
            return False
        at = _skip_space(buffer, close + 1, end)
        if at >= end or buffer[at] != 58:  # :
            return False
        at = _skip_space(buffer, at + 1, end)
        if at >= end:
            return False
        if buffer[at] == QUOTE:
            if kinds[k] != TEXT:
                return False
            close, escaped = string_end(buffer, at + 1, end)
            if close < 0:
                return False
            value_start[k] = at + 1
            value_end[k] = close
            value_escaped[k] = escaped
            at = close + 1
        else:
            close = _scalar_end(buffer, at, end)
            if kinds[k] != SCALAR or close < 0:
                return False
            value_start[k] = at
            value_end[k] = close
            value_escaped[k] = False
            at = close
        found += 1
        at = _skip_space(buffer, at, end)
        if at >= end:
            return False
        if buffer[at] == 44:  # ,
            at = _skip_space(buffer, at + 1, end)
            continue
        if buffer[at] != 125:  # }
            return False
        return found == n_keys and _skip_space(buffer, at + 1, end) == end


def leads(keys: Sequence[bytes], kinds: Sequence[int], hashed: Sequence[bool]) -> tuple[np.ndarray, np.ndarray]:
    """What stands before each value of a canonical record and behind the last: bytes, and offsets (k + 2,).

    keys: names in sorted order, UTF-8 · kinds, hashed: as in `read_flat`.
    """
    found, before = [], b"{"
    for key, kind, wanted in zip(keys, kinds, hashed, strict=True):
        quote = b'"' if kind == TEXT else b""
        found.append(before + b'"' + key + b'":' + quote if wanted else b"")
        before = quote + b"," if wanted else before
    found.append(before[:-1] + b"}" if before != b"{" else b"{}")
    return np.frombuffer(b"".join(found), np.uint8), np.cumsum([0, *map(len, found)]).astype(np.int64)


@kernel(INT(U8R, I64R, I64R, U8R, I64R, I64R, I64R, I64R, U8R, I64R, U8, U8, I64, U64_2D, U8))
def read_flat(
    buffer, start, end, keys, key_offsets, kinds, column_key, hashed, lead, lead_offsets, scratch, out, out_offsets,
    digest, status,
):  # fmt: skip
    """Decode flat records; returns the number of bytes written to `out`.

    buffer, start (n,), end (n,): the records · keys, key_offsets (k + 1,): key names in sorted order, UTF-8 ·
    kinds (k,): TEXT or SCALAR · column_key (c,): which TEXT key each output segment comes from · hashed (k,): 1 where
    the key is part of the canonical record · lead, lead_offsets: from `leads` · scratch: at least twice the longest
    record · out: at least the records' total length · out_offsets (n * c + 1,): segment i of record r is
    out[out_offsets[r*c+i]:out_offsets[r*c+i+1]], empty for SLOW records · digest (n, 2): MurmurHash3 of the canonical
    record · status (n,): FAST or SLOW.
    """
    n_keys = len(key_offsets) - 1
    columns = len(column_key)
    value_start = np.empty(n_keys, np.int64)
    value_end = np.empty(n_keys, np.int64)
    value_escaped = np.empty(n_keys, np.bool_)
    text_start = np.empty(n_keys, np.int64)
    text_end = np.empty(n_keys, np.int64)
    at = 0
    out_offsets[0] = 0
    for r in range(len(start)):
        fast = _parse_object(
            buffer, start[r], end[r], keys, key_offsets, n_keys, kinds, value_start, value_end, value_escaped
        )
        decoded = 0  # decoded strings of the record stand at the front of scratch
        if fast:
            for k in range(n_keys):
                if value_escaped[k]:
                    text_start[k] = decoded
                    decoded = unescape(buffer, value_start[k], value_end[k], scratch, decoded)
                    if decoded < 0:
                        fast = False
                        break
                    text_end[k] = decoded
        if not fast:
            status[r] = SLOW
            for i in range(columns):
                out_offsets[r * columns + i + 1] = at
            continue
        status[r] = FAST
        for i in range(columns):
            k = column_key[i]
            if value_escaped[k]:
                length = text_end[k] - text_start[k]
                copy_bytes(out, at, scratch, text_start[k], length)
            else:
                length = value_end[k] - value_start[k]
                copy_bytes(out, at, buffer, value_start[k], length)
            at += length
            out_offsets[r * columns + i + 1] = at
        canonical = decoded  # the canonical record follows the decoded strings
        for k in range(n_keys):
            if hashed[k] == 0:
                continue
            length = lead_offsets[k + 1] - lead_offsets[k]
            copy_bytes(scratch, canonical, lead, lead_offsets[k], length)
            canonical += length
            if value_escaped[k]:
                canonical = put_escaped(scratch, text_start[k], text_end[k], scratch, canonical)
            else:
                length = value_end[k] - value_start[k]
                copy_bytes(scratch, canonical, buffer, value_start[k], length)
                canonical += length
        length = lead_offsets[n_keys + 1] - lead_offsets[n_keys]
        copy_bytes(scratch, canonical, lead, lead_offsets[n_keys], length)
        h1, h2 = murmur128(scratch, decoded, canonical + length)
        digest[r, 0] = h1
        digest[r, 1] = h2
    return at
