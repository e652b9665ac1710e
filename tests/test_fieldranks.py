"""Values of a field as ranks: what is comparable with what, and what an error tells."""

from __future__ import annotations

import json
import math
from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner import fieldranks, formats
from scanner.errors import SettingsError
from scanner.fieldranks import MISSING, comparable, value_of
from scanner.settings import Settings


def read(tmp_path, records, field, wanted=None):
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in records), "utf-8")
    wanted = np.arange(len(records)) if wanted is None else np.array(wanted)
    sources = formats.discover([str(path)])
    return fieldranks.read(sources, [0], np.arange(len(records)), wanted, field, Settings())


def test_only_the_order_of_the_values_is_kept(tmp_path):
    records = [{"votes": v} for v in (30, -5, 5551234567, 30)] + [{"votes": "many"}, {}]
    found = read(tmp_path, records, "votes")
    assert found.rank[:4].tolist() == [1, 0, 2, 1]
    assert np.isnan(found.rank[4:]).all()
    assert found.notes == {
        "field": "votes", "compared_as": "numbers", "rows_with_duplicates": 6, "rows_without_the_field": 1,
        "rows_not_comparable": 1,
    }  # fmt: skip


def test_rows_that_have_no_duplicates_are_not_looked_at(tmp_path):
    found = read(tmp_path, [{"v": 3}, {"v": 1}, {"v": 2}], "v", wanted=[0, 2])
    assert found.rank[[0, 2]].tolist() == [1, 0]
    assert math.isnan(found.rank[1])


def test_an_unknown_field_lists_the_fields_and_no_values(tmp_path):
    records = [{"instruction": "secret words", "meta": {"score": 4}}]
    message = r"field:date: none of the 1 row that has duplicates has this field; their fields are "
    with pytest.raises(SettingsError, match=message) as error:
        read(tmp_path, records, "date")
    assert "instruction, meta, meta.score" in str(error.value)
    assert "secret" not in str(error.value)
    with pytest.raises(SettingsError, match="their records have no named fields"):
        read(tmp_path, ["text"], "date")
    with pytest.raises(SettingsError, match="; no name of theirs is plain enough to be shown") as error:
        read(tmp_path, [{"jane@roe.net": 4}], "jane")
    assert "roe" not in str(error.value)


def test_a_field_that_no_record_has_is_refused_before_anything_is_measured(tmp_path):
    path = tmp_path / "data.jsonl"
    path.write_text('not JSON\n{"a": "x", "date": "2024-01-01"}\n{"a": "y", "meta": {"score": 4}}\n', "utf-8")
    sources = formats.discover([str(path)])
    fieldranks.check(sources, "date", Settings())
    fieldranks.check(sources, "meta.score", Settings())
    message = r"field:dat: none of the 3 records has this field; their fields are a, date, meta, meta\.score\. Did you "
    with pytest.raises(SettingsError, match=message + r"mean 'date'\?"):
        fieldranks.check(sources, "dat", Settings())
    with pytest.raises(SettingsError, match=r"Did you mean 'meta\.score'\?"):
        fieldranks.check(sources, "meta.scor", Settings())


def test_nested_fields_are_reached_with_dots_and_names_with_dots_come_first():
    record = {"meta": {"score": 4, "deep": {"x": 1}}, "meta.score": 5}
    assert value_of(record, "meta.score") == 5
    assert value_of(record, "meta.deep.x") == 1
    assert value_of(record, "meta.other") is value_of([1], "meta") is value_of({"meta": 3}, "meta.x") is MISSING


def test_dates_of_any_iso_form_are_compared():
    values = ["2024-01-02", "2024-01-02T00:00:00+02:00", datetime(2024, 1, 1, 23, tzinfo=UTC), date(2025, 1, 1), "7"]
    numbers, kind = comparable(values)
    assert kind == "dates"
    assert np.argsort(numbers[:4]).tolist() == [1, 2, 0, 3]
    assert math.isnan(numbers[4])


def test_numbers_may_be_text_but_nothing_else_is_one():
    values = [True, "4.5", Decimal("4.25"), 10**400, math.inf, math.nan, None, [1], "2024-01-01", ""]
    numbers, kind = comparable(values)
    assert kind == "numbers"
    assert numbers[:3].tolist() == [1, 4.5, 4.25]
    assert np.isnan(numbers[3:]).all()


@given(st.lists(st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.integers(-9, 9), st.none()), max_size=9))
def test_ranks_order_like_the_values(values):
    numbers, _ = comparable(values)
    for a, x in zip(values, numbers, strict=True):
        for b, y in zip(values, numbers, strict=True):
            if a is not None and b is not None:
                assert (a < b) == (x < y)
