"""Spans of records against slow, obvious twins: json.raw_decode and the csv module."""

import csv
import io
import json

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from scanner.kernels import records

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
SPACE = st.text(" \t\n\r", max_size=3)


def all_spans(kernel, data, state, room, *extra):
    """Run a resumable kernel to its end with room for few spans, so that resuming is tested too."""
    start, end, line = (np.zeros(room, np.int64) for _ in range(3))
    found = []
    while True:
        n = kernel(data, *extra, state, start, end, line)
        found += list(zip(start[:n].tolist(), end[:n].tolist(), line[:n].tolist(), strict=True))
        if state[records.STATUS] != records.FULL:
            return found


@given(st.lists(st.tuples(SPACE, VALUES, SPACE), max_size=8), st.integers(1, 3), st.sampled_from([None, 1]))
def test_json_elements_are_those_of_raw_decode(items, room, indent):
    text = "[" + ",".join(a + json.dumps(v, ensure_ascii=False, indent=indent) + b for a, v, b in items) + "]"
    data = np.frombuffer(text.encode(), np.uint8)
    state = records.new_state(1, in_array=True)
    spans = all_spans(records.json_elements, data, state, room, len(data), np.zeros(64, np.uint8))
    assert state[records.STATUS] == records.CLOSED
    assert state[records.AT] == len(data) - 1
    raw = text.encode()
    assert [json.loads(raw[a:b]) for a, b, _ in spans] == [v for _, v, _ in items]
    assert [line for _, _, line in spans] == [raw[:a].count(b"\n") + 1 for a, _, _ in spans]
    for a, b, _ in spans:
        value, stop = json.JSONDecoder().raw_decode(raw[a:].decode())
        assert len(raw[a:].decode()[:stop].encode()) == b - a, value


CELLS = st.text(st.sampled_from('ab,"\n é'), max_size=5)


@settings(max_examples=200)
@given(
    st.lists(st.lists(CELLS, min_size=2, max_size=4), max_size=6), st.sampled_from(["\n", "\r\n"]), st.integers(1, 3)
)
def test_csv_records_are_those_of_the_csv_module(rows, newline, room):
    out = io.StringIO()
    csv.writer(out, lineterminator=newline).writerows(rows)
    data = np.frombuffer(out.getvalue().encode(), np.uint8)
    state = records.new_state()
    spans = all_spans(records.csv_records, data, state, room, len(data), ord(","))
    assert state[records.STATUS] == records.ENDED
    raw = out.getvalue().encode()
    assert [next(csv.reader([raw[a:b].decode()])) for a, b, _ in spans] == rows
    assert [line for _, _, line in spans] == [raw[:a].count(b"\n") + 1 for a, _, _ in spans]


def test_every_kind_of_breakage_is_named():
    cases = {
        b'{"a": "x': records.UNTERMINATED,
        b'{"a": "x\ny"}': records.LINE_BREAK,
        b'{"a": "x" y"}': records.MISPLACED,
        b'{"a": 1 {"a": 2}': records.MISPLACED,
        b'{"a": [1}': records.MISMATCHED,
        b'{"a": {"b": 1}': records.UNCLOSED,
        b"[" * 65: records.TOO_DEEP,
    }
    for raw, status in cases.items():
        state = records.new_state()
        data = np.frombuffer(raw, np.uint8)
        assert records.json_value_end(data, 0, len(data), np.zeros(64, np.uint8), state) == -1
        assert state[records.STATUS] == status, raw
        assert status in records.REASONS


@given(st.text(st.sampled_from("ab {\n\r\t\v\f"), max_size=300), st.integers(1, 80), st.integers(0, 3))
def test_lines_are_those_of_split(text, step, begin):
    """Blank lines and carriage returns at line ends left out, read in blocks of any size."""
    raw = text.encode()
    begin = min(begin, len(raw))
    expected, at = [], begin
    for number, line in enumerate(raw[begin:].split(b"\n"), 1):
        body = line[:-1] if line.endswith(b"\r") else line
        if body and not (body[:1] in (b" ", b"\t", b"\r") and not body.strip()):
            expected.append((at, at + len(body), number))
        at += len(line) + 1
    data, state, found = np.frombuffer(raw, np.uint8), records.new_state(begin), []
    for low in range(begin, max(len(raw), begin + 1), step):
        out = np.empty((3, step + 1), np.int64)
        count = records.line_spans(data, low, min(low + step, len(raw)), state, *out)
        found += zip(*out[:, :count].tolist(), strict=True)
    assert found == expected
