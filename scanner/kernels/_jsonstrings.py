"""Strings of JSON text: where one ends, what it says, and how it is written again."""

from __future__ import annotations

import numpy as np

from scanner.kernels._jit import helper
from scanner.kernels._words import copy_bytes, find, find_stop

QUOTE = 34
_BACKSLASH, _SLASH = 92, 47
_HEX = np.full(256, 255, np.uint8)
for _i, _c in enumerate(b"0123456789"):
    _HEX[_c] = _i
for _i, _c in enumerate(b"abcdef"):
    _HEX[_c] = 10 + _i
for _i, _c in enumerate(b"ABCDEF"):
    _HEX[_c] = 10 + _i


@helper
def string_end(buffer, at, end):
    """Position of the closing quote of a string whose first byte is at `at`, and whether it holds escapes; -1 if bad.

    Checks control characters and UTF-8 (RFC 3629: no overlong forms, no surrogates, at most U+10FFFF).
    """
    escaped = False
    while at < end:
        byte = buffer[at]
        if byte < 0x80:
            at = find_stop(buffer, at, end)
            if at >= end:
                break
            byte = buffer[at]
        if byte == QUOTE:
            return at, escaped
        if byte == _BACKSLASH:
            escaped = True
            at += 2
            if at > end:
                return -1, escaped
            if at < end and buffer[at - 1] >= 0x80:
                return -1, escaped  # no escape; and the check below would begin in the middle of a code point
            continue
        if byte < 0x20:
            return -1, escaped
        if 0xC2 <= byte <= 0xDF:
            extra = 1
        elif 0xE0 <= byte <= 0xEF:
            extra = 2
        elif 0xF0 <= byte <= 0xF4:
            extra = 3
        else:
            return -1, escaped
        if at + extra >= end:
            return -1, escaped
        second = buffer[at + 1]
        if (
            (byte == 0xE0 and second < 0xA0)
            or (byte == 0xED and second > 0x9F)
            or (byte == 0xF0 and second < 0x90)
            or (byte == 0xF4 and second > 0x8F)
        ):
            return -1, escaped
        for i in range(1, extra + 1):
            if buffer[at + i] & 0xC0 != 0x80:
                return -1, escaped
        at += extra + 1
    return -1, escaped


@helper
def _hex4(buffer, at, end):
    if at + 4 > end:
        return -1
    value = 0
    for i in range(4):
        digit = _HEX[buffer[at + i]]
        if digit == 255:
            return -1
        value = value * 16 + int(digit)
    return value


@helper
def _put_utf8(out, at, point):
    if point < 0x80:
        out[at] = point
        return at + 1
    if point < 0x800:
        out[at] = 0xC0 | (point >> 6)
        out[at + 1] = 0x80 | (point & 0x3F)
        return at + 2
    if point < 0x10000:
        out[at] = 0xE0 | (point >> 12)
        out[at + 1] = 0x80 | ((point >> 6) & 0x3F)
        out[at + 2] = 0x80 | (point & 0x3F)
        return at + 3
    out[at] = 0xF0 | (point >> 18)
    out[at + 1] = 0x80 | ((point >> 12) & 0x3F)
    out[at + 2] = 0x80 | ((point >> 6) & 0x3F)
    out[at + 3] = 0x80 | (point & 0x3F)
    return at + 4


@helper
def unescape(buffer, start, end, out, at):
    """Decode the string body buffer[start:end] to out[at:]; the new end, or -1 for a bad or surrogate escape."""
    i = start
    while i < end:
        run = find(buffer, i, end, np.uint8(_BACKSLASH)) - i
        if run:
            copy_bytes(out, at, buffer, i, run)
            at += run
            i += run
            continue
        i += 1
        mark = buffer[i]
        i += 1
        if mark == 110:  # n
            point = 10
        elif mark == QUOTE or mark == _BACKSLASH or mark == _SLASH:
            point = int(mark)
        elif mark == 116:  # t
            point = 9
        elif mark == 114:  # r
            point = 13
        elif mark == 98:  # b
            point = 8
        elif mark == 102:  # f
            point = 12
        elif mark == 117:  # u
            point = _hex4(buffer, i, end)
            i += 4
            if 0xD800 <= point < 0xDC00 and i + 6 <= end and buffer[i] == _BACKSLASH and buffer[i + 1] == 117:
                low = _hex4(buffer, i + 2, end)
                if low < 0xDC00 or low > 0xDFFF:
                    return -1
                point = 0x10000 + ((point - 0xD800) << 10) + (low - 0xDC00)
                i += 6
            elif point < 0 or 0xD800 <= point < 0xE000:
                return -1
        else:
            return -1
        at = _put_utf8(out, at, point)
    return at


@helper
def put_escaped(text, start, end, out, at):
    """Write text[start:end] as the body of a JSON string, escaped as orjson does."""
    i = start
    while i < end:
        run = find_stop(text, i, end) - i
        if run:
            copy_bytes(out, at, text, i, run)
            at += run
            i += run
            continue
        byte = text[i]
        i += 1
        if byte == QUOTE or byte == _BACKSLASH:
            out[at] = _BACKSLASH
            out[at + 1] = byte
            at += 2
        elif byte >= 0x20:
            out[at] = byte
            at += 1
        else:
            out[at] = _BACKSLASH
            if byte == 10:
                out[at + 1] = 110
            elif byte == 9:
                out[at + 1] = 116
            elif byte == 13:
                out[at + 1] = 114
            elif byte == 8:
                out[at + 1] = 98
            elif byte == 12:
                out[at + 1] = 102
            else:
                out[at + 1] = 117
                out[at + 2] = 48
                out[at + 3] = 48
                out[at + 4] = 48 + (byte >> 4)
                low = byte & 15
                out[at + 5] = 48 + low if low < 10 else 87 + low
                at += 4
            at += 2
    return at
