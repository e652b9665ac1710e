"""JSON text and Python values: tolerant reading, canonical bytes, replacing strings in place."""

import json
import math

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner import jsontext
from scanner.errors import OutputError, ScanError
from scanner.store import pointer

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | TEXT
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4), max_leaves=12
)


def strings(value, path=()):
    """Every path to a string, the slow way."""
    if isinstance(value, str):
        yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from strings(inner, (*path, key))


@given(VALUES)
def test_parse_reads_what_json_wrote(value):
    assert jsontext.parse(json.dumps(value).encode()) == value


@given(VALUES)
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
        (b'{"a": "\xff\xfe"}', {"a": "\ufffd\ufffd"}, "byte 8"),
        (b'{"a": "x\ny\x00"}', {"a": "x\ny\x00"}, "control characters"),
        (b'{"a": "\\ud800"}', {"a": "\ud800"}, None),
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
        (b"\0\0\0", "expected a value"),
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


@given(VALUES, st.data(), st.booleans(), st.sampled_from([None, 2]))
def test_replacing_strings_changes_nothing_else(value, data, ascii_only, indent):
    paths = list(strings(value))
    chosen = data.draw(st.lists(st.sampled_from(paths), unique=True)) if paths else []
    raw = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    texts = {path: data.draw(TEXT.filter(lambda t: t[:1] not in "[{")) for path in chosen}
    texts = {p: t for p, t in texts.items() if not jsontext._holds_json(jsontext.get_at(value, p))}
    out = jsontext.replace_strings(raw, texts)
    for path, text in texts.items():
        value = jsontext.set_at(value, path, text)
    assert json.loads(out) == value
    if not texts:
        assert out == raw


def test_replacing_keeps_spacing_numbers_and_escapes():
    raw = b'{ "n":1.50e3 ,"a" : "caf\\u00e9", "b":["x" , "\\/"] }'
    assert jsontext.replace_strings(raw, {("b", 0): "\u00fc"}) == raw.replace(b'"x"', b'"\\u00fc"')


def test_replacing_in_a_record_with_duplicate_keys_leaves_no_hidden_copy():
    out = jsontext.replace_strings(b'{"a": "secret", "a": "secret"}', {("a",): "<X>"})
    assert json.loads(out) == {"a": "<X>"}
    assert b"secret" not in out


def test_replacing_beside_bytes_that_are_not_utf8():
    out = jsontext.replace_strings(b'{"k\xff": "x", "b": "y\xff"}', {("k\ufffd",): "z"})
    assert out == b'{"k\xff": "z", "b": "y\xff"}'


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        ('{"card": <CREDIT_CARD_1>, "to": "<EMAIL>"}', '{"card": "<CREDIT_CARD_1>", "to": "<EMAIL>"}'),
        ('{"card": "<CREDIT_CARD_1>"}', '{"card": "<CREDIT_CARD_1>"}'),
    ],
)
def test_json_in_a_string_stays_json(new, expected):
    raw = json.dumps({"arguments": '{"card": 4111, "to": "a@b"}'}).encode()
    assert json.loads(jsontext.replace_strings(raw, {("arguments",): new}))["arguments"] == expected


def test_json_in_a_string_that_would_break_is_refused():
    with pytest.raises(OutputError, match="held JSON and would no longer be JSON"):
        jsontext.keep_json('{"a": 1}', '{"a": 1<X>')


def test_a_list_in_prose_is_no_json():
    assert jsontext.keep_json("[1]", "[<X>1]") == "[<X>1]"


@given(VALUES)
def test_pointers_lead_back_to_their_paths(value):
    for path in strings(value):
        assert jsontext.path_of(pointer(path), value) == path


@pytest.mark.parametrize("key", ["a\ud800", "\udc80", "\udcff\ud800", "\udfff/b", "c\ufffd"])
def test_a_key_that_utf8_cannot_hold_is_found_again(key):
    record = {key: "secret", "other": "x"}
    raw = json.dumps(record).encode()
    path = jsontext.path_of(jsontext.encodable(pointer((key,))), record)
    assert path == (key,)
    assert json.loads(jsontext.replace_strings(raw, {path: "[X]"})) == {key: "[X]", "other": "x"}


def test_keys_that_are_stored_alike_are_not_guessed_between():
    with pytest.raises(OutputError, match="2 keys of a record differ only in characters that UTF-8 cannot hold"):
        jsontext.path_of("/a\ufffd", dict.fromkeys(["a" + chr(0xD800), "a" + chr(0xD801)], "x"))


def test_a_pointer_that_leads_nowhere():
    with pytest.raises(OutputError, match="leads nowhere"):
        jsontext.path_of("/a/0", {"a": {}})


def test_a_new_text_for_something_else_than_text():
    for raw, seen in ((b'{"a": null}', "nothing"), (b'{"a": true}', "true or false"), (b'{"a": [1]}', "a list")):
        with pytest.raises(OutputError, match=f"holds {seen}, expected text or a number"):
            jsontext.replace_strings(raw, {("a",): "x"})


def test_a_number_becomes_a_string_and_what_is_beside_it_stays():
    raw = b'{"a": [ 1e3 ,-7], "b":12345678901234567890123, "c": 1.50}'
    texts = {("a", 1): "x", ("b",): '"', ("c",): "é"}
    assert jsontext.replace_strings(raw, texts) == b'{"a": [ 1e3 ,"x"], "b":"\\"", "c": "\\u00e9"}'


def test_a_value_in_an_entry_of_a_map():
    value = {"m": [("k", ["v", "w"]), ("l", [])], "n": 1}
    assert jsontext.set_at(value, ("m", 0, 1, 0), "x") == {"m": [("k", ["x", "w"]), ("l", [])], "n": 1}
    assert jsontext.set_at((1, (2, 3)), (1, 0), None) == (1, (None, 3))
