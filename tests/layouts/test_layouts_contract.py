"""What every file in scanner/layouts promises, run over whatever lies there."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner import jsonediting, layouts, plugins
from scanner.errors import LayoutError
from scanner.objects import ROLES
from scanner.settings import Settings

NAMES = plugins.names("scanner.layouts")
EXAMPLES = [(name, record) for name in NAMES for record in layouts.load(name).EXAMPLES]
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def read_or_refused(module, record):
    """(segments, None) or ([], reason)."""
    try:
        return module.segments(record, Settings()), None
    except LayoutError as error:
        return [], str(error)


@pytest.mark.parametrize("name", NAMES)
def test_offers_the_same_few_things(name):
    module = layouts.load(name)
    assert name == module.NAME
    assert module.DESCRIPTION
    assert module.EXAMPLES
    assert {"id", "uuid"} <= module.ID_FIELDS
    assert isinstance(module.FLAT, bool)


@pytest.mark.parametrize(("name", "record"), EXAMPLES)
def test_its_own_examples(name, record):
    module = layouts.load(name)
    score = module.matches(record)
    assert 0 < score <= 1
    found = layouts.find([record], Settings(), "csv")
    assert found.name == name
    assert found.share == 1
    segments = module.segments(record, Settings())
    assert segments
    assert all(jsonediting.get_at(record, s.path) == s.text for s in segments)
    assert len({s.path for s in segments}) == len(segments)
    assert {s.role for s in segments} <= set(ROLES)
    assert not any(s.supervised and s.role not in ("assistant", "text") for s in segments)
    turns = [s.turn for s in segments if s.role != "rejected"] or [0]  # a worse dialogue counts its turns anew
    assert turns == sorted(turns)
    assert sorted(set(turns)) == list(range(len(set(turns))))


@pytest.mark.parametrize(("name", "record"), [(n, r) for n, r in EXAMPLES if isinstance(r, dict)])
@given(texts=st.lists(st.sampled_from(["", "A", "Z", "?", "two words", "ABCD"]) | st.text(min_size=2), min_size=9))
def test_only_texts_of_one_character_tell_flat_records_apart(name, record, texts):
    """`find` looks at one record of each form."""
    one = dict(zip(record, texts, strict=False))
    other = {key: text if len(text) < 2 else "some longer text" for key, text in one.items()}
    for module in map(layouts.load, NAMES):
        assert module.matches(one) == module.matches(other)
    sample = [one, other, dict(reversed(one.items())), *[record] * 4]
    scores = {n: sum(layouts.load(n).matches(r) for r in sample) / len(sample) for n in NAMES}
    found = layouts.find(sample, Settings(), "csv")
    assert found.scores == pytest.approx({n: score for n, score in scores.items() if score}, abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
@given(record=VALUES)
def test_any_value_is_read_or_refused_with_a_reason(name, record):
    module = layouts.load(name)
    assert 0 <= module.matches(record) <= 1
    segments, reason = read_or_refused(module, record)
    assert all(jsonediting.get_at(record, s.path) == s.text for s in segments)
    assert reason is None or reason


@pytest.mark.parametrize(("name", "record"), EXAMPLES)
@given(data=st.data())
def test_damaged_examples_are_read_or_refused(name, record, data):
    """The same with one value anywhere replaced by something else."""
    module = layouts.load(name)
    record, path = _replaced(record, data)
    segments, reason = read_or_refused(module, record)
    assert all(jsonediting.get_at(record, s.path) == s.text for s in segments), path
    assert "secret" not in (reason or "")


def _replaced(record, data):
    paths = [()]
    stack = [((), record)]
    while stack:
        path, value = stack.pop()
        items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        for key, inner in items:
            paths.append((*path, key))
            stack.append(((*path, key), inner))
    path = data.draw(st.sampled_from(paths))
    new = data.draw(st.sampled_from([None, 1, 1.5, True, "secret", [], {}, ["secret"], {"a": "secret"}, [["a"]]]))

    def rebuilt(value, rest):
        if not rest:
            return new
        if isinstance(value, dict):
            return {key: rebuilt(inner, rest[1:]) if key == rest[0] else inner for key, inner in value.items()}
        return [rebuilt(inner, rest[1:]) if i == rest[0] else inner for i, inner in enumerate(value)]

    return rebuilt(record, path), path


@pytest.mark.parametrize("name", [name for name in NAMES if layouts.load(name).FLAT])
@given(values=st.lists(st.text(max_size=5), min_size=8, max_size=8))
def test_flat_layouts_look_at_keys_only(name, values):
    module = layouts.load(name)
    for record in module.EXAMPLES:
        if not isinstance(record, dict):
            continue
        keys = [key for key, value in record.items() if isinstance(value, str)] + ["id", "history", "label", "system"]
        first = dict.fromkeys(keys, "x")
        second = dict(zip(keys, values, strict=False))
        try:
            expected = module.segments(first, Settings())
        except LayoutError:
            with pytest.raises(LayoutError):
                module.segments(second, Settings())
            continue
        found = module.segments(second, Settings())
        assert [s._replace(text="") for s in found] == [s._replace(text="") for s in expected]
