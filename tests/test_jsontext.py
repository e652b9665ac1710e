"""JSON text and Python values: tolerant reading, canonical bytes."""

import json
import math

import orjson
import pytest
from hypothesis import given
from strategies import json_values

from scanner import jsontext
from scanner.errors import ScanError


@given(json_values)
def test_parse_reads_what_json_wrote(value):
    assert jsontext.parse(json.dumps(value).encode()) == value


@given(json_values)
def test_canonical_is_what_orjson_writes(value):
    expected = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    assert jsontext.canonical(value) == expected
    assert jsontext._canonical_slowly(value) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"a": "\ud800"}, b'{"a":"\\ud800"}'),
        ({"b": 2**70, "a": 1}, b'{"a":1,"b":1180591620717411303424}'),
        ({"a": math.nan}, b'{"a":null}'),
        ({1: "x", "2": b"\x01"}, b'{"1":"x","2":"01"}'),
    ],
)
def test_canonical_is_total(value, expected):
    assert jsontext.canonical(value) == expected


def test_canonical_of_deep_nesting():
    value: object = "leaf"
    for _ in range(20_000):
        value = [value]
    assert jsontext.canonical(value) == b"[" * 20_000 + b'"leaf"' + b"]" * 20_000


@pytest.mark.parametrize(
    ("raw", "expected", "note"),
    [
        (b'{"a": 1, "a": 2}', {"a": 2}, "duplicate keys"),
        (b'{"a": NaN, "b": -Infinity}', {"a": math.nan, "b": -math.inf}, "NaN"),
        (b'{"a": "\xff\xfe"}', {"a": "\ufffd\ufffd"}, jsontext.NOT_UTF8),
        (b'{"a": "x\ny\x00"}', {"a": "x\ny\x00"}, "control characters"),
        (b'{"a": "\\ud800"}', {"a": "\ud800"}, "half a surrogate pair"),
        (b'{"a": [{"\\udc00": 1}]}', {"a": [{"\udc00": 1}]}, "half a surrogate pair"),
        (b'{"a": "\\ud83d\\ude00", "b": NaN}', {"a": "\U0001f600", "b": math.nan}, "NaN"),
        (b'{"a": 123456789012345678901234567890}', {"a": 123456789012345678901234567890}, None),
        (b'{"a": [null, {"b": null}]}', {"a": [None, {"b": None}]}, None),
    ],
)
def test_tolerated(raw, expected, note):
    notes: list[str] = []
    assert repr(jsontext.parse(raw, notes)) == repr(expected)
    assert (note is None and not notes) or any(note in said for said in notes)


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (b'{"a": "secret', "unterminated string"),
        (b'{"a": "secret" "b": 1}', "expected ',' between two values"),
        (b'{"secret" 1}', "expected ':' after a key"),
        (b"{secret: 1}", "key in double quotes"),
        (b'{"a": 1} secret', "nothing more after the record"),
        (b'{"a": "\\q secret"}', "valid escape"),
        (b"\0\0\0", "expected a value, found U\\+0000"),
        (b"secret", "expected a value, found a letter"),
        (b"<html>", "expected a value, found '<'"),
        (b'{"a": "secret", "b": }', r"expected a value, found '}' \(at character 22\)"),
        (b"{\"a\": 'secret'}", 'expected a value, found "\'"'),
        (b'{"a":', "expected a value, found the end"),
        (b"[" * 10_000 + b"]" * 10_000, "levels deep"),
        (b"[NaN, " + b"[" * 10_000 + b"]" * 10_001, "deep"),
        (b"[" + b"1" * 5000 + b"]", "digits"),
    ],
)
def test_broken_records_are_explained_without_their_text(raw, reason):
    with pytest.raises(jsontext.RecordError, match=reason) as caught:
        jsontext.parse(raw)
    assert "secret" not in str(caught.value)
    assert isinstance(caught.value, ScanError)
