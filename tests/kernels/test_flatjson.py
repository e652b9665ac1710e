"""The fast JSON reader against the general one: SLOW, or exactly equal; never a wrong FAST."""

from __future__ import annotations

import itertools
import json

import mmh3
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from strategies import any_texts, texts

from scanner.errors import ScanError
from scanner.jsontext import canonical, parse
from scanner.kernels.flatjson import FAST, SCALAR, SLOW, TEXT, leads, read_flat

KEYS = ("instruction", "é中", "output")


def read(records: list[bytes], keys=KEYS, columns=None, hashed=None, scalars=()):
    """(status, texts per column or None, digest) of each record."""
    keys = sorted(keys)
    columns = list(range(len(keys))) if columns is None else columns
    hashed = [1] * len(keys) if hashed is None else hashed
    names = [key.encode() for key in keys]
    buffer = np.frombuffer(b"]" + b"x".join(records) + b"{", np.uint8)
    lengths = np.array([len(r) for r in records], np.int64)
    end = np.cumsum(lengths + 1)
    start = end - lengths
    n, longest = len(records), int(lengths.max(initial=0))
    scratch = np.full(2 * longest + 64 + 8 * sum(map(len, names)) + 16, 0xAA, np.uint8)
    out = np.full(int(lengths.sum()) + 16, 0xAA, np.uint8)
    offsets = np.full(n * len(columns) + 1, -1, np.int64)
    digest, status = np.zeros((n, 2), np.uint64), np.full(n, 9, np.uint8)
    kinds = [SCALAR if key in scalars else TEXT for key in keys]
    written = read_flat(
        buffer, start, end, np.frombuffer(b"".join(names), np.uint8), np.cumsum([0, *map(len, names)]).astype(np.int64),
        np.array(kinds, np.int64), np.array(columns, np.int64), np.array(hashed, np.int64),
        *leads(names, kinds, hashed), scratch[:-16], out[:-16], offsets, digest, status,
    )  # fmt: skip
    assert written == offsets[-1]
    assert (scratch[-16:] == 0xAA).all()
    assert (out[-16:] == 0xAA).all()
    found = []
    for i in range(n):
        cuts = offsets[i * len(columns) : (i + 1) * len(columns) + 1]
        parts = [out[a:b].tobytes() for a, b in itertools.pairwise(cuts)]
        found.append((int(status[i]), parts, tuple(int(v) for v in digest[i])))
    return found


def twin(raw: bytes, keys=KEYS):
    """What the general parser makes of a record: None where the fast one has no business."""
    try:
        value = parse(raw)
    except ScanError:
        return None
    if not isinstance(value, dict) or sorted(value) != sorted(keys):
        return None
    if not all(isinstance(v, str) for v in value.values()):
        return None
    try:
        parts = [value[key].encode() for key in sorted(keys)]
    except UnicodeEncodeError:
        return None
    return parts, mmh3.hash64(canonical(value), signed=False)


def assert_never_wrong(records: list[bytes], keys=KEYS):
    for raw, (status, parts, digest) in zip(records, read(records, keys), strict=True):
        expected = twin(raw, keys)
        if status == FAST:
            assert expected is not None
            assert (parts, digest) == expected
        else:
            assert status == SLOW
            assert not any(parts)


spaces = st.text(st.sampled_from(" \t\n\r"), max_size=2)


@st.composite
def literals(draw, values):
    """A JSON string literal with every kind of escape, mixed at random."""
    out = []
    for character in draw(values):
        point = ord(character)
        must = character in '"\\' or point < 0x20 or 0xD800 <= point < 0xE000
        short = {'"': '\\"', "\\": "\\\\", "/": "\\/", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
        way = draw(st.integers(0, 2))
        if character in short and (way == 1 or (must and way == 0)):
            out.append(short[character])
        elif must or way == 2:
            units = character.encode("utf-16-be", "surrogatepass")
            pattern = "\\u{:04x}" if draw(st.booleans()) else "\\u{:04X}"
            out += [pattern.format(int.from_bytes(units[i : i + 2], "big")) for i in range(0, len(units), 2)]
        else:
            out.append(character)
    return '"' + "".join(out) + '"'


@st.composite
def objects(draw, values=texts, keys=KEYS):
    """An object of strings with these keys in any order, with white space anywhere."""
    order = draw(st.permutations(keys))
    fields = [
        draw(spaces) + json.dumps(key, ensure_ascii=False) + draw(spaces) + ":" + draw(spaces) + draw(literals(values))
        for key in order
    ]
    return (draw(spaces) + "{" + ",".join(f + draw(spaces) for f in fields) + "}" + draw(spaces)).encode()


@given(st.lists(objects(), min_size=1, max_size=4))
def test_flat_objects_are_read_fast_and_equal(records):
    for raw, (status, parts, digest) in zip(records, read(records), strict=True):
        assert status == FAST
        assert (parts, digest) == twin(raw)
        assert json.loads(raw) == dict(zip(sorted(KEYS), (p.decode() for p in parts), strict=True))


@given(st.lists(objects(values=any_texts), min_size=1, max_size=3))
def test_lone_surrogates_are_left_to_the_general_reader(records):
    assert_never_wrong(records)


@given(objects(), st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255), st.integers(0, 2)), max_size=4))
def test_no_broken_byte_is_read_as_something_else(raw, changes):
    broken = bytearray(raw)
    for at, byte, kind in changes:
        at %= len(broken) + (kind == 1)
        if kind == 0:
            broken[at] = byte
        elif kind == 1:
            broken.insert(at, byte)
        elif len(broken) > 1:
            del broken[at]
    assert_never_wrong([bytes(broken), raw, bytes(broken)])


@given(objects(keys=("a",)), st.data())
def test_no_cut_record_is_read(raw, data):
    cut = data.draw(st.integers(0, len(raw)))
    assert_never_wrong([raw[:cut], raw[cut:]], keys=("a",))


def test_every_short_change_of_one_record_is_safe():
    """All single-byte changes of a record that holds each kind of thing."""
    raw = '{"a": "x\\u00e9\\n\\ud83d\\ude00é😀"}'.encode()
    records = [raw[:i] + bytes([b]) + raw[i + 1 :] for i in range(len(raw)) for b in range(256)]
    assert_never_wrong(records, keys=("a",))


values_of_any_type = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=3), st.lists(st.text(max_size=2), max_size=2)
)


@given(st.dictionaries(st.sampled_from([*KEYS, "id", ""]), values_of_any_type, max_size=4))
@example({"instruction": "a", "é中": "b", "output": None})
def test_other_keys_and_other_types_are_slow(record):
    assert_never_wrong([json.dumps(record).encode(), json.dumps(record, ensure_ascii=False).encode()])


@pytest.mark.parametrize(
    "raw",
    [
        b"", b" ", b"{", b"{}", b"[]", b'"a"', b"null", b'{"a"}', b'{"a":}', b'{"a":"x"', b'{"a":"x}', b'{"a":"x",}',
        b'{"a":"x"} x', b'{"a":"x"}{"a":"x"}', b'{"a":"x","a":"y"}', b'{"a":"x","b":"y"}', b'{"\\u0061":"x"}',
        b'{"a":1}', b'{"a":null}', b'{"a":["x"]}', b'{"a":{"b":"x"}}', b"{'a':'x'}", b'{"a":"\\x41"}', b'{"a":"\\u12"}',
        b'{"a":"\\ud800"}', b'{"a":"\\udc00"}', b'{"a":"\\ud800\\u0041"}', b'{"a":"\\udc00\\ud800"}', b'{"a":"\n"}',
        b'{"a":"\xff"}', b'{"a":"\xc0\xaf"}', b'{"a":"\xed\xa0\x80"}', b'{"a":"\xf4\x90\x80\x80"}', b'{"a":"\xe2\x82"}',
        b'{"a":"\xe2\x82', b'{"a":"\\', b'{"a":"\\"', b'{"a":"\\u', b'{"a":"\x00"}', b'\xef\xbb\xbf{"a":"x"}',
    ],
)  # fmt: skip
def test_what_is_no_flat_object_is_slow(raw):
    (found,) = read([raw], keys=("a",))
    assert found[0] == SLOW


def test_a_repeated_key_does_not_stand_for_a_missing_one():
    found = read([b'{"a":"x","a":"y"}', b'{"b":"x","b":"y"}', b'{"a":"x","b":"y"}'], keys=("a", "b"))
    assert [status for status, _, _ in found] == [SLOW, SLOW, FAST]


def test_hash_leaves_out_fields_that_only_number_the_record():
    (found,) = read([b'{"id":"7","text":"a"}'], keys=("id", "text"), columns=[1], hashed=[0, 1])
    assert found == (FAST, [b"a"], mmh3.hash64(b'{"text":"a"}', signed=False))


def test_columns_may_repeat_and_reorder_the_keys():
    (found,) = read([b'{"a":"\\n1","b":"2"}'], keys=("a", "b"), columns=[1, 0, 1])
    assert found[1] == [b"2", b"\n1", b"2"]


scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.integers(-9, 9), st.floats(), st.just("text"))


@given(st.lists(st.tuples(scalars, st.text("a\\é", max_size=3)), min_size=1, max_size=4), spaces)
def test_scalars_keep_their_canonical_form_or_are_slow(rows, space):
    """Beside the texts may stand whole numbers, true, false and null; floats and texts are the general reader's."""
    records = [f'{{"n":{space}{json.dumps(n)}{space},"a":{json.dumps(a)}}}'.encode() for n, a in rows]
    for raw, (n, a), (status, parts, digest) in zip(
        records, rows, read(records, keys=("a", "n"), columns=[0], scalars=("n",)), strict=True
    ):
        fits = n is None or isinstance(n, bool) or (isinstance(n, int) and len(str(abs(n))) <= 18)
        assert status == (FAST if fits else SLOW)
        if fits:
            assert parts == [a.encode()]
            assert digest == mmh3.hash64(canonical(parse(raw)), signed=False)


@pytest.mark.parametrize(
    "value",
    [
        b"-0", b"00", b"01", b"-01", b"-", b"+1", b"1.0", b"1e3", b"1E3", b"0x1", b".5", b"1 2", b"tru", b"truex",
        b"nul", b"fals", b"False", b"NaN", b"nan", b"1" * 19, b"-" + b"1" * 19, b"1_0", b"[]", b"{}", b'"1"', b"",
    ],
)  # fmt: skip
def test_no_other_scalar_is_read_fast(value):
    found = read([b'{"n":' + value + b"}", b'{"n":' + value], keys=("n",), columns=[], scalars=("n",))
    assert [status for status, _, _ in found] == [SLOW, SLOW]


@pytest.mark.parametrize("value", [b"0", b"-1", b"7", b"9" * 18, b"-" + b"9" * 18, b"true", b"false", b"null"])
def test_scalars_of_one_form_are_read_fast(value):
    raw = b'{ "n" : ' + value + b" }"
    ((status, _, digest),) = read([raw], keys=("n",), columns=[], scalars=("n",))
    assert (status, digest) == (FAST, mmh3.hash64(canonical(parse(raw)), signed=False))


def test_a_scalar_where_a_text_is_expected_is_slow():
    found = read([b'{"a":1}', b'{"a":null}', b'{"a":"1"}'], keys=("a",))
    assert [status for status, _, _ in found] == [SLOW, SLOW, FAST]


@pytest.mark.parametrize("length", [0, 1, 7, 8, 62, 63, 64, 65, 127, 128, 129, 300])
def test_long_runs_between_escapes(length):
    """Runs that end before, at and behind the 64 bytes that are looked at together."""
    records = [
        ('{"a":"' + "x" * length + tail + '"}').encode() for tail in ("", "\\n", "é", "\\\\y", "中" * 30 + "z\\t")
    ]
    for raw, (status, parts, digest) in zip(records, read(records, keys=("a",)), strict=True):
        assert (status, parts, digest) == (FAST, *twin(raw, ("a",)))
