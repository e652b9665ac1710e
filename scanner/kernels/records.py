"""Where the records of a file begin and end: one pass over the bytes, no value parsed.

`json_elements` walks JSON values that stand in an array or one after another, minding strings, brackets and the
order of tokens, so that a broken element is noticed where it breaks. `csv_records` minds quoted line breaks.
State arrays make both resumable: they stop when the output is full and go on where they stopped.
"""

from __future__ import annotations

import numpy as np

from scanner.kernels._jit import I64, INT, U8, U8R, helper, kernel
from scanner.kernels._words import BLOCK, equal64, lowest_bit

# Indexes into the state array of all kernels here.
AT, LINE, STATUS, WHERE, WHERE_LINE, IN_ARRAY, LENIENT = range(7)
STATE_SIZE = 7

# Values of state[STATUS]; those from UNTERMINATED on are errors of the element that begins at state[AT].
FULL, ENDED, CLOSED = 0, 1, 2
UNTERMINATED, LINE_BREAK, MISPLACED, MISMATCHED, UNCLOSED, TOO_DEEP, JOINED = 3, 4, 5, 6, 7, 8, 9
REASONS = {
    UNTERMINATED: "unterminated string, expected '\"' before the end of the file",
    LINE_BREAK: "a line break inside a string, expected '\"' before the end of the line",
    MISPLACED: "a token out of place, expected ',' ':' or a closing bracket",
    MISMATCHED: "a bracket closed by one of the other kind",
    UNCLOSED: "an object or array that is not closed before the end of the file",
    TOO_DEEP: "nested too deeply, expected fewer levels",
}
MAX_DEPTH = 1 << 16

_QUOTE, _BACKSLASH, _COMMA, _COLON = 34, 92, 44, 58
_OPEN_LIST, _CLOSE_LIST, _OPEN_OBJECT, _CLOSE_OBJECT = 91, 93, 123, 125
_NEWLINE, _RETURN = 10, 13
_VALUE, _KEY, _AFTER_KEY, _AFTER_VALUE = 0, 1, 2, 3  # what the walker expects next


def new_state(at: int = 0, line: int = 1, in_array: bool = False, lenient: bool = False) -> np.ndarray:
    """A fresh state array: where to begin, and which line that is."""
    state = np.zeros(STATE_SIZE, np.int64)
    state[AT], state[LINE], state[IN_ARRAY], state[LENIENT] = at, line, in_array, lenient
    return state


@helper
def _is_blank(data, at, end):
    """Whether data[at:end] is ASCII white space only, and begins with what JSON calls so."""
    if not (data[at] == 32 or data[at] == 9 or data[at] == _RETURN):
        return False
    while at < end:
        c = data[at]
        if not (c == 32 or 9 <= c <= 13):
            return False
        at += 1
    return True


@kernel(INT(U8R, INT, INT, I64, I64, I64, I64))
def line_spans(data, low, high, state, start, end, line):
    """Spans of the lines that end in data[low:high] and are not blank; returns how many.

    state: AT, where the first of them begins, and LINE, its number; moved on behind the last one · start, end, line:
    room for high - low + 1; a carriage return before the line end is left out. At the end of data a line ends, too.
    """
    count = 0
    at = low
    first = state[AT]
    number = state[LINE]
    while at < high or (at == high == len(data)):
        if at == high:
            mask = np.uint64(1)
        elif at + BLOCK <= high:
            mask = equal64(data, at, np.uint8(_NEWLINE))
        else:
            mask = np.uint64(0)
            for i in range(at, high):
                mask |= np.uint64(data[i] == _NEWLINE) << np.uint64(i - at)
        while mask:
            after = at + lowest_bit(mask)
            mask &= mask - np.uint64(1)
            last = after - 1 if after > first and data[after - 1] == _RETURN else after
            if last > first and not _is_blank(data, first, last):
                place = np.uint64(count)
                start[place] = first
                end[place] = last
                line[place] = number
                count += 1
            first = after + 1
            number += 1
        at = min(at + BLOCK, high) if at < high else high + 1
    state[AT] = first
    state[LINE] = number
    return count


@helper
def _value_end(data, at, size, stack, state):
    """First byte after the value at `at`; -1 with STATUS, WHERE and WHERE_LINE set where it is broken."""
    depth = 0
    expect = _VALUE
    line = state[LINE]
    i = at
    while i < size:
        c = data[i]
        if c == _QUOTE:
            if expect >= _AFTER_KEY:
                return _broken(state, MISPLACED, i, line)
            first, first_line = i, line
            i += 1
            while i < size:
                c = data[i]
                if c == _QUOTE:
                    break
                if c == _BACKSLASH and i + 1 < size and data[i + 1] != _NEWLINE:
                    i += 1
                elif c == _NEWLINE:
                    if not state[LENIENT]:
                        return _broken(state, LINE_BREAK, first, first_line)
                    line += 1
                i += 1
            if i >= size:
                return _broken(state, UNTERMINATED, first, first_line)
            i += 1
            expect = _AFTER_KEY if expect == _KEY else _AFTER_VALUE
        elif c == 32 or c == _NEWLINE or c == _RETURN or c == 9:
            if c == _NEWLINE:
                line += 1
            i += 1
            continue
        elif c == _COMMA:
            if expect != _AFTER_VALUE:
                return _broken(state, MISPLACED, i, line)
            expect = _KEY if stack[depth - 1] == _OPEN_OBJECT else _VALUE
            i += 1
        elif c == _COLON:
            if expect != _AFTER_KEY:
                return _broken(state, MISPLACED, i, line)
            expect = _VALUE
            i += 1
        elif c == _OPEN_OBJECT or c == _OPEN_LIST:
            if expect != _VALUE:
                return _broken(state, MISPLACED, i, line)
            if depth == stack.size:
                return _broken(state, TOO_DEEP, i, line)
            stack[depth] = c
            depth += 1
            expect = _KEY if c == _OPEN_OBJECT else _VALUE
            i += 1
            continue
        elif c == _CLOSE_OBJECT or c == _CLOSE_LIST:
            # subtle: '[' is 91 and ']' 93, '{' 123 and '}' 125, so a pair differs by 2
            if depth == 0 or stack[depth - 1] != c - 2:
                return _broken(state, MISMATCHED, i, line)
            if expect == _AFTER_KEY or (expect == _VALUE and c == _CLOSE_OBJECT):
                return _broken(state, MISPLACED, i, line)
            depth -= 1
            expect = _AFTER_VALUE
            i += 1
        else:
            if expect != _VALUE:
                return _broken(state, MISPLACED, i, line)
            while i < size and not (
                c == _COMMA or c == _COLON or c == 32 or (9 <= c <= 13) or c == _QUOTE
                or c == _OPEN_OBJECT or c == _OPEN_LIST or c == _CLOSE_OBJECT or c == _CLOSE_LIST
            ):  # fmt: skip
                i += 1
                if i < size:
                    c = data[i]
            expect = _AFTER_VALUE
        if depth == 0 and expect == _AFTER_VALUE:
            state[LINE] = line
            return i
    return _broken(state, UNCLOSED, size, line)


@helper
def _broken(state, status, where, line):
    state[STATUS] = status
    state[WHERE] = where
    state[WHERE_LINE] = line
    return -1


@kernel(INT(U8R, INT, INT, U8, I64))
def json_value_end(data, at, size, stack, state):
    """First byte after the JSON value at data[at:size]; -1 with STATUS set. state[LINE] moves on with it."""
    return _value_end(data, at, size, stack, state)


@kernel(INT(U8R, INT, U8, I64, I64, I64, I64))
def json_elements(data, size, stack, state, start, end, line):
    """Spans of the next values in data[state[AT]:size], separated by commas and white space; returns how many.

    start, end, line: (room,) outputs. Afterwards state[STATUS] is FULL (call again), ENDED (no more bytes), CLOSED
    (the array's ']' is at state[AT]) or an error of the element that begins at state[AT], line state[LINE].
    """
    count = 0
    i = state[AT]
    while True:
        while i < size:
            c = data[i]
            if c == _NEWLINE:
                state[LINE] += 1
            elif not (c == 32 or c == _RETURN or c == 9 or c == _COMMA):
                break
            i += 1
        state[AT] = i
        if i >= size:
            state[STATUS] = ENDED
            return count
        if data[i] == _CLOSE_LIST and state[IN_ARRAY]:
            state[STATUS] = CLOSED
            return count
        if count == start.size:
            state[STATUS] = FULL
            return count
        start[count] = i
        line[count] = state[LINE]
        i = _value_end(data, i, size, stack, state)
        if i < 0:
            return count
        end[count] = i
        count += 1


@helper
def _opens_cell(data, at, size, delimiter):
    """Whether quotes that end at `at` stand where a cell begins, and text behind them: they do not end a cell."""
    before = at - 1
    while data[before] == _QUOTE:  # the quote that opens the outer cell stands before a line end
        before -= 1
    if at + 1 >= size or not (data[before] == delimiter or data[before] == _NEWLINE):
        return False
    after = data[at + 1]
    return not (after == delimiter or after == _NEWLINE or after == _RETURN)


@kernel(INT(U8R, INT, INT, I64, I64, I64, I64))
def csv_records(data, size, delimiter, state, start, end, line):
    """Spans of the next CSV records, line ends left out, blank lines skipped; returns how many.

    A quote opens a quoted cell only where a cell begins, as in RFC 4180 and Python's csv. Afterwards state[STATUS]
    is FULL, ENDED, or an error of the record at state[AT], whose quote at state[WHERE] in line state[WHERE_LINE] is
    not closed: UNTERMINATED, by no further quote; JOINED, for the next one, in line state[LINE], opens a cell.
    """
    count = 0
    i = state[AT]
    number = state[LINE]
    while i < size:
        first, first_line = i, number
        in_quotes, cell_start = False, True
        opened, opened_line = i, number
        while i < size:
            c = data[i]
            if in_quotes:
                if c == _QUOTE:
                    if i + 1 < size and data[i + 1] == _QUOTE:
                        i += 1
                    elif number > opened_line and _opens_cell(data, i, size, delimiter):
                        state[AT], state[LINE], state[STATUS] = first, number, JOINED
                        state[WHERE], state[WHERE_LINE] = opened, opened_line
                        return count
                    else:
                        in_quotes = False
                elif c == _NEWLINE:
                    number += 1
            elif c == _NEWLINE:
                break
            elif c == delimiter:
                cell_start = True
                i += 1
                continue
            elif c == _QUOTE and cell_start:
                in_quotes = True
                opened, opened_line = i, number
            cell_start = False
            i += 1
        if in_quotes:
            state[AT], state[LINE], state[STATUS] = first, first_line, UNTERMINATED
            state[WHERE], state[WHERE_LINE] = opened, opened_line
            return count
        last = i
        if last > first and data[last - 1] == _RETURN:
            last -= 1
        if last > first:
            if count == start.size:
                state[AT], state[LINE], state[STATUS] = first, first_line, FULL
                return count
            start[count], end[count], line[count] = first, last, first_line
            count += 1
        i += 1
        number += 1
    state[AT], state[LINE], state[STATUS] = min(i, size), number, ENDED
    return count
