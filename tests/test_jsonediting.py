"""New texts in records: nothing else changes, and places are found again."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import json_texts, json_values

from scanner import jsonediting, jsontext
from scanner.errors import OutputError
from scanner.redaction import is_json_container


def strings(value, path=()):
    """Every path to a string, the slow way."""
    if isinstance(value, str):
        yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from strings(inner, (*path, key))


@given(json_values, st.data(), st.booleans(), st.sampled_from([None, 2]))
def test_replacing_strings_changes_nothing_else(value, data, ascii_only, indent):
    paths = list(strings(value))
    chosen = data.draw(st.lists(st.sampled_from(paths), unique=True)) if paths else []
    raw = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
    texts = {path: data.draw(json_texts.filter(lambda t: t[:1] not in "[{")) for path in chosen}
    texts = {p: t for p, t in texts.items() if not is_json_container(jsonediting.get_at(value, p))}
    out = jsonediting.replace_strings(raw, texts)
    for path, text in texts.items():
        value = jsonediting.set_at(value, path, text)
    assert json.loads(out) == value
    if not texts:
        assert out == raw


def test_replacing_keeps_spacing_numbers_and_escapes():
    raw = b'{ "n":1.50e3 ,"a" : "caf\\u00e9", "b":["x" , "\\/"] }'
    assert jsonediting.replace_strings(raw, {("b", 0): "\u00fc"}) == raw.replace(b'"x"', b'"\\u00fc"')


def test_replacing_in_a_record_with_duplicate_keys_leaves_no_hidden_copy():
    out = jsonediting.replace_strings(b'{"a": "secret", "a": "secret"}', {("a",): "<X>"})
    assert json.loads(out) == {"a": "<X>"}
    assert b"secret" not in out


def test_replacing_beside_bytes_that_are_not_utf8():
    out = jsonediting.replace_strings(b'{"k\xff": "x", "b": "y\xff"}', {("k\ufffd",): "z"})
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
    assert json.loads(jsonediting.replace_strings(raw, {("arguments",): new}))["arguments"] == expected


def test_json_in_a_string_that_would_break_is_refused():
    with pytest.raises(OutputError, match="held JSON and would no longer be JSON"):
        jsonediting.keep_json('{"a": 1}', '{"a": 1<X>')


def test_a_list_in_prose_is_no_json():
    assert jsonediting.keep_json("[1]", "[<X>1]") == "[<X>1]"


@given(json_values)
def test_pointers_lead_back_to_their_paths(value):
    for path in strings(value):
        assert jsonediting.path_of(jsonediting.pointer_of(path), value) == path


@pytest.mark.parametrize("key", ["a\ud800", "\udc80", "\udcff\ud800", "\udfff/b", "c\ufffd"])
def test_a_key_that_utf8_cannot_hold_is_found_again(key):
    record = {key: "secret", "other": "x"}
    raw = json.dumps(record).encode()
    path = jsonediting.path_of(jsontext.encodable(jsonediting.pointer_of((key,))), record)
    assert path == (key,)
    assert json.loads(jsonediting.replace_strings(raw, {path: "[X]"})) == {key: "[X]", "other": "x"}


def test_keys_that_are_stored_alike_are_not_guessed_between():
    with pytest.raises(OutputError, match="2 keys of a record differ only in characters that UTF-8 cannot hold"):
        jsonediting.path_of("/a\ufffd", dict.fromkeys(["a" + chr(0xD800), "a" + chr(0xD801)], "x"))


def test_a_pointer_that_leads_nowhere():
    with pytest.raises(OutputError, match="leads nowhere"):
        jsonediting.path_of("/a/0", {"a": {}})


def test_a_new_text_for_something_else_than_text():
    for raw, seen in ((b'{"a": null}', "nothing"), (b'{"a": true}', "true or false"), (b'{"a": [1]}', "a list")):
        with pytest.raises(OutputError, match=f"holds {seen}, expected text or a number"):
            jsonediting.replace_strings(raw, {("a",): "x"})


def test_a_number_becomes_a_string_and_what_is_beside_it_stays():
    raw = b'{"a": [ 1e3 ,-7], "b":12345678901234567890123, "c": 1.50}'
    texts = {("a", 1): "x", ("b",): '"', ("c",): "é"}
    assert jsonediting.replace_strings(raw, texts) == b'{"a": [ 1e3 ,"x"], "b":"\\"", "c": "\\u00e9"}'


def test_a_value_in_an_entry_of_a_map():
    value = {"m": [("k", ["v", "w"]), ("l", [])], "n": 1}
    assert jsonediting.set_at(value, ("m", 0, 1, 0), "x") == {"m": [("k", ["x", "w"]), ("l", [])], "n": 1}
    assert jsonediting.set_at((1, (2, 3)), (1, 0), None) == (1, (None, 3))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ((), ""),
        (("a",), "/a"),
        (("turns", 3, "a/b"), "/turns/3/a~1b"),
        (("~1",), "/~01"),
        (("",), "/"),
        (("m~n/",), "/m~0n~1"),
    ],
)
def test_pointer_is_rfc_6901(path, expected):
    assert jsonediting.pointer_of(path) == expected
    assert jsonediting.parts_of(expected) == [str(part) for part in path]


@given(st.lists(st.one_of(st.text(st.sampled_from("a~/01 é"), max_size=4), st.integers(0, 3)), max_size=4))
def test_a_pointer_leads_back_to_its_path(path):
    record: object = "leaf"
    for step in reversed(path):
        record = {step: record} if isinstance(step, str) else [None] * step + [record]
    assert jsonediting.path_of(jsonediting.pointer_of(tuple(path)), record) == tuple(path)
