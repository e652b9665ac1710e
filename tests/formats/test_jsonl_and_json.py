"""JSON Lines and JSON: laws first, then the shapes and the damage that real files have."""

import json
import re
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scanner import formats, jsontext
from scanner.errors import FormatError, InputError
from scanner.kernels import records as kernel
from scanner.objects import Edits
from scanner.settings import Settings

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
RECORDS = st.dictionaries(TEXT, TEXT | st.integers() | st.none() | st.lists(TEXT, max_size=2), min_size=1, max_size=4)
SPACE = st.text(" \t", max_size=3)
BREAK = st.sampled_from(["\n", "\r\n"])
IN_PLACE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)


def reference_edit(values, edits):
    """The slow, obvious twin of writing: values kept, with new texts at top-level keys."""
    out = []
    for row, value in enumerate(values):
        if row not in edits.drop:
            out.append(value | {path[0]: text for path, text in edits.replace.get(row, {}).items()})
    return out


@st.composite
def edits_of(draw, values):
    rows = range(len(values))
    drop = draw(st.frozensets(st.sampled_from(rows))) if values else frozenset()
    replace = {}
    for row in rows:
        keys = [key for key, value in values[row].items() if isinstance(value, str)]
        if keys and draw(st.booleans()):
            replace[row] = {(draw(st.sampled_from(keys)),): draw(TEXT.map(lambda t: "<X> " + t))}
    return Edits(0, drop, replace)


@IN_PLACE
@given(st.data(), st.lists(st.tuples(SPACE, RECORDS, SPACE, BREAK), min_size=1, max_size=8), st.booleans())
def test_jsonl_comes_out_as_it_went_in(rewritten, contents, data, lines, last_break):
    text = "".join(a + json.dumps(r, ensure_ascii=False) + b + end for a, r, b, end in lines)
    raw = (text if last_break else text.rstrip("\r\n")).encode()
    values = [r for _, r, _, _ in lines]
    out, _ = rewritten("a.jsonl", raw)
    assert out == raw
    assert contents("a.jsonl", raw).values == values
    edits = data.draw(edits_of(values))
    out, done = rewritten("a.jsonl", raw, edits)
    expected = reference_edit(values, edits)
    assert [json.loads(line) for line in out.decode().split("\n") if line.strip()] == expected
    assert done.kept == len(expected)
    if expected:
        assert out.endswith(b"\n") == raw.endswith(b"\n")
    untouched = [i for i in range(len(values)) if i not in edits.drop and i not in edits.replace]
    originals = raw.split(b"\n")
    assert all(originals[i].strip() in out for i in untouched)


@IN_PLACE
@given(
    st.data(),
    st.lists(st.tuples(SPACE, RECORDS, SPACE | BREAK), min_size=1, max_size=8),
    st.sampled_from([None, 2]),
    st.sampled_from(["[]", "{}", ""]),
)
def test_json_comes_out_as_it_went_in(rewritten, contents, data, items, indent, shape):
    values = [r for _, r, _ in items]
    body = ("\n" if not shape else ",").join(
        a + json.dumps(r, ensure_ascii=False, indent=indent or (1 if not shape else None)) + b for a, r, b in items
    )
    text = {"[]": f"[{body}]\n", "{}": f'{{"version": "1", "data":\n[{body}]}}', "": body}[shape]
    raw = text.encode()
    out, _ = rewritten("a.json", raw)
    assert out == raw
    found = contents("a.json", raw)
    assert found.values == values
    assert not found.skips
    edits = data.draw(edits_of(values))
    out, done = rewritten("a.json", raw, edits)
    expected = reference_edit(values, edits)
    assert done.kept == len(expected)
    if shape:
        whole = json.loads(out)
        assert (whole if shape == "[]" else whole["data"]) == expected
    elif expected:
        assert contents("b.json", out).values == expected


def test_byte_order_mark_carriage_returns_and_missing_final_newline(contents, rewritten):
    raw = b'\xef\xbb\xbf{"a": "1"}\r\n\r\n  \r\n{"a": "2"}\r\n{"a": "3"}'
    found = contents("a.jsonl", raw)
    assert found.values == [{"a": "1"}, {"a": "2"}, {"a": "3"}]
    assert found.lines == [1, 4, 5]
    out, _ = rewritten("a.jsonl", raw, Edits(0, frozenset({0}), {1: {("a",): "x"}}))
    assert out == b'\xef\xbb\xbf{"a": "x"}\r\n{"a": "3"}'
    out, _ = rewritten("a.jsonl", raw, Edits(0, frozenset({2})))
    assert out == b'\xef\xbb\xbf{"a": "1"}\r\n\r\n  \r\n{"a": "2"}'


@pytest.mark.parametrize(
    ("name", "raw"), [("a.jsonl", b'{"a":1}\n{"a":2}\n'), ("a.json", b'[\n {"a":1},\n {"a":2}\n]\n')]
)
def test_dropping_every_record_leaves_a_valid_file(rewritten, name, raw):
    out, done = rewritten(name, raw, Edits(0, frozenset({0, 1})))
    assert (done.kept, done.dropped) == (0, 2)
    assert out == b"" if name == "a.jsonl" else json.loads(out) == []


def test_jsonl_under_json_and_json_under_jsonl(contents):
    lines = b'{"a": 1}\n{"a": 2}\n'
    assert contents("a.json", lines).source.format == "jsonl"
    assert contents("b.jsonl", b'[\n  {"a": 1},\n  {"a": 2}\n]').values == [{"a": 1}, {"a": 2}]
    assert contents("c.jsonl", b'{\n  "a": 1\n}\n{\n  "a": 2\n}\n').values == [{"a": 1}, {"a": 2}]
    assert contents("d.json", b'[{"a": 1},\n{"a": 2}]').values == [{"a": 1}, {"a": 2}]
    assert contents("e.json", b'{"a": 1}').values == [{"a": 1}]
    assert contents("f.json", b'[{"a": 1}]\n[{"a": 2}]\n').values == [[{"a": 1}], [{"a": 2}]]
    assert contents("g.json", b'[\n{"a": 1}\n]\n[\n{"a": 2}\n]\n').values == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize("key", ["data", "train", "rows", "examples"])
def test_a_list_inside_one_object(contents, key):
    raw = json.dumps({"name": {"data": [1]}, "n": [1, 2], key: [{"a": 1}, {"a": 2}], "z": "data"}, indent=1).encode()
    found = contents("a.json", raw)
    assert found.values == [{"a": 1}, {"a": 2}]
    assert raw.split(b"\n")[found.lines[0] - 1].strip() == b"{"


@pytest.mark.parametrize(
    ("raw", "notes"),
    [
        ('[{"a": "b"}]', []), ('\ufeff [\n{"a": "b"},\n]\n', []), ('{"data": [{"a": "b"}]}', []),
        ('[{"a": "b"}][{"a": "c"}]', []), ('{"a": "b"}\n{"a": "c"}', []),
        ('[{"a": "b"},\n', ["line 1: no bracket at the end of the list: the file may be cut short"]),
        ('[{"a": "b"}] x', ["line 1: 1 byte after the last record, not read and left as they are"]),
        ('[{"a": "b"}] more', ["line 1: 4 bytes after the last record, not read and left as they are"]),
        ('{"version": 1, "data":\n[{"a": "b"}]}',
         ["line 1: 24 bytes before the records, not read and left as they are"]),
        ('{"data": [\n{"a": "b"}], "by": "me"}',
         ["line 2: 10 bytes after the last record, not read and left as they are"]),
    ],
)  # fmt: skip
def test_what_stands_beside_the_records_is_told(contents, rewritten, raw, notes):
    found = contents("a.json", raw.encode())
    assert found.notes == notes
    assert len(found.values) in (1, 2)
    assert rewritten("a.json", raw.encode())[0] == raw.encode()


def test_a_single_dialogue_is_one_record(contents):
    record = {"messages": [{"role": "user", "content": "hi"}]}
    assert contents("a.json", json.dumps(record).encode()).values == [record]


def test_lines_that_are_no_objects(contents):
    found = contents("a.jsonl", b'{"a": 1}\n12\n"text"\nnull\n[1, 2]\n{"a": 2}\n')
    assert found.values == [{"a": 1}, 12, "text", None, [1, 2], {"a": 2}]


def test_broken_lines_take_a_row_and_name_their_line(contents, rewritten):
    raw = b'{"a": "1"}\n{"a": "secret\n\0\0\0\n{"a": "4"}\n{"a": "5",}\n{"a": "6"}\n'
    found = contents("a.jsonl", raw, first_row=10)
    assert found.rows == [10, 13, 15]
    assert [(s.row_id, s.line) for s in found.skips] == [(11, 2), (12, 3), (14, 5)]
    assert "unterminated string" in found.skips[0].reason
    assert rewritten("a.jsonl", raw)[0] == raw


ARRAY = [
    '  {"a": "one", "b": [1]}',
    '  {"a": "two", "b": {"c": "x"}}',
    '  {"a": "three"}',
]


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ('  {"a": "he said "hi" to me"}', "out of place"),
        ('  {"a": "never closed}', "line break inside a string"),
        ('  {"a": "brace missing", "b": {"c": 1}', "out of place|other kind"),
        ('  {"a": [1, 2}', "other kind"),
        ('  {"a": "key" "b"}', "out of place"),
    ],
)
@pytest.mark.parametrize("at", [0, 1, 3])
def test_reading_goes_on_after_a_broken_element(contents, rewritten, broken, reason, at):
    parts = [*ARRAY[:at], broken, *ARRAY[at:]]
    raw = ("[\n" + ",\n".join(parts) + "\n]\n").encode()
    found = contents("a.json", raw)
    assert found.values == [json.loads(part) for part in ARRAY]
    (skip,) = found.skips
    assert (skip.row_id, skip.line) == (at, at + 2)
    assert re.search(reason, skip.reason)
    assert not skip.reason.startswith("line ")
    assert rewritten("a.json", raw)[0] == raw
    out, done = rewritten("a.json", raw, Edits(0, frozenset(found.rows)))
    assert broken.strip().encode() in out
    assert (done.kept, done.unreadable) == (0, 1)


def test_a_surplus_bracket_is_a_broken_record_of_its_own(contents):
    found = contents("a.json", b'[\n{"a": "x"}},\n{"a": "y"}\n]')
    assert found.values == [{"a": "x"}, {"a": "y"}]
    assert [(s.row_id, s.line, s.raw) for s in found.skips] == [(1, 2, b"}")]


def test_many_broken_elements_cost_linear_time(contents, monkeypatch):
    """Every element lacks a bracket, and that shows only at the end of the file; what is walked is counted in bytes."""
    count = 20_000
    walked = []

    def walk(data, size, stack, state, *found):
        begin = int(state[kernel.AT])
        n = elements(data, size, stack, state, *found)
        walked.append(int(max(state[kernel.AT], state[kernel.WHERE])) - begin)
        return n

    elements = kernel.json_elements
    monkeypatch.setattr(kernel, "json_elements", walk)
    raw = b"[\n" + b",\n".join(b'{"a": [1, {"b": "padding of some length"}' for _ in range(count)) + b"\n]"
    found = contents("a.json", raw)
    assert len(raw) <= sum(walked) < 20 * len(raw)
    assert (len(found.values), len(found.skips)) == (0, count)
    assert [s.line for s in found.skips] == list(range(2, count + 2))


def test_raw_line_breaks_in_strings_are_read(contents):
    found = contents("a.json", b'[\n{"a": "x\ny"},\n{"a": "z"}\n]')
    assert found.values == [{"a": "x\ny"}, {"a": "z"}]
    assert found.lines == [2, 4]
    assert found.notes == ["control characters inside a string"]


def test_a_comma_before_the_closing_bracket_loses_nothing(contents, rewritten):
    raw = b'[\n {"a": 1},\n {"a": 2},\n]   '
    assert contents("a.json", raw).values == [{"a": 1}, {"a": 2}]
    assert rewritten("a.json", raw)[0] == raw


def test_an_array_cut_short(contents):
    found = contents("a.json", b'[{"a": 1}, {"a": 2}, {"a": "thr')
    assert found.values == [{"a": 1}, {"a": 2}]
    assert len(found.skips) == 1
    assert "before the end of the file" in found.skips[0].reason


def test_deep_nesting_is_one_skipped_row(contents):
    deep = b"[" * 10_000 + b"]" * 10_000
    lines, array = b'{"a": 1}\n' + deep + b'\n{"a": 2}\n', b'[{"a": 1},\n' + deep + b',\n{"a": 2}]'
    for name, raw in (("a.jsonl", lines), ("a.json", array)):
        found = contents(name, raw)
        assert found.values == [{"a": 1}, {"a": 2}]
        assert "levels deep" in found.skips[0].reason


def test_odd_values(contents):
    raw = b'{"a": NaN, "b": [null, [null]]}\n{"a": "\\ud800", "a": "\xff"}\n'
    found = contents("a.jsonl", raw)
    assert found.values[0]["b"] == [None, [None]]
    assert found.values[1] == {"a": "\ufffd"}
    assert any("UTF-8" in note for note in found.notes)
    assert any("duplicate keys" in note for note in found.notes)


@pytest.mark.parametrize("raw", [b"", b" \n\r\n\t", b"\xef\xbb\xbf", b"[]", b"[\n]\n"])
@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_a_file_without_records_is_named(contents, name, raw):
    if raw[:1] == b"[" and name == "a.jsonl":
        raw = b"\n"
    with pytest.raises(InputError, match=rf"{name}: .*(is empty|holds no records).*leave it out"):
        contents(name, raw)


def test_a_row_of_50_megabytes(contents, rewritten):
    raw = b'{"a": "' + b"x" * 50_000_000 + b'"}\n{"a": "y"}\n'
    for name in ("a.jsonl", "a.json"):
        found = contents(name, raw)
        assert [len(value["a"]) for value in found.values] == [50_000_000, 1]
    out, _ = rewritten("a.jsonl", raw, Edits(0, frozenset({1})))
    assert len(out) == 50_000_010


def test_spans_are_found_without_a_line_of_python_for_each(tmp_path):
    path, lines = tmp_path / "a.jsonl", 0

    def count_line(frame, event, argument):
        nonlocal lines
        lines += event == "line"
        return count_line

    path.write_bytes(b'{"instruction": "Say something.", "output": "Something said."}\n' * 200_000)
    (source,) = formats.discover([str(path)])
    before = sys.gettrace()
    sys.settrace(count_line)
    try:
        count = sum(len(records) for records in formats.read(source, Settings(), 0))
    finally:
        sys.settrace(before)
    assert count == 200_000
    assert 100 < lines < 20_000


def test_the_buffer_is_the_file_and_cannot_be_written(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n')
    (source,) = formats.discover([str(path)])
    (records,) = formats.read(source, Settings(), 0)
    assert records.buffer is not None
    assert records.buffer.tobytes() == b'{"a": 1}\n'
    assert records.buffer.dtype == np.uint8
    assert not records.buffer.flags.writeable


def test_lines_that_end_in_carriage_returns_alone_are_named_with_the_cure(contents):
    with pytest.raises(FormatError, match="in carriage returns alone, expected line feeds; convert it with `tr"):
        contents("a.jsonl", b'{"text": "one"}\r{"text": "two"}\r')
    assert len(contents("a.jsonl", b'{"text": "one }\\r{ two"}\r\n{"text": "two"}').values) == 2


def test_a_byte_order_mark_within_a_file_is_named():
    with pytest.raises(
        jsontext.RecordError, match="a byte order mark stands before the record, expected none; take it"
    ):
        jsontext.parse(b'\xef\xbb\xbf{"text": "two"}')
