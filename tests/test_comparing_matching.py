"""Laws of matching two runs: whose rows are matched by content, copies counted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from corpora import Row, pair, write_segments
from hypothesis import given
from hypothesis import strategies as st

from scanner.comparing import _matching
from scanner.comparing._sides import Side
from scanner.store import RunFolder

SHORT = st.sampled_from("abc")
CONTENT = st.lists(st.tuples(SHORT, st.sampled_from(["x", "y", " ".join("abcdefghijklmnopqrs")])), max_size=7)


def side(name: str, folder: Path, contents: list[tuple[str, str]]) -> Side:
    """A side of which only what rows are matched by is there; rows are prompt and answer."""
    made: list[Row] = [pair(*content) for content in contents]
    run = RunFolder(folder)
    run.private.mkdir(parents=True, exist_ok=True)
    write_segments(run.segments_path, made, list(range(len(made))), 3)
    n = len(made)
    values: dict[str, Any] = {
        "row_id": list(range(n)),
        "source": [name] * n,
        "content_hash": [f"{folder.name} {i}" for i in range(n)],  # keyed by the data set: of no use for another
        "prompt_chars": [len(prompt) for prompt, _ in contents],
        "response_chars": [len(answer) for _, answer in contents],
        "length.supervised_tokens": [len(answer.split()) for _, answer in contents],
        "action": [("keep", "drop", "review")[i % 3] for i in range(n)],
    }
    kinds = {"row_id": pl.Int64, "source": pl.String, "content_hash": pl.String, "action": pl.String}
    return Side(name, run, {}, pl.DataFrame(values, schema_overrides=kinds))


def lines(table: pl.DataFrame, turned: bool = False) -> Counter[tuple[Any, ...]]:
    other = {"only A": "only B", "only B": "only A"} if turned else {}
    order = ("row_id_b", "row_id_a") if turned else ("row_id_a", "row_id_b")
    return Counter((a, b, other.get(s, s)) for a, b, s in table.select(*order, "status").iter_rows())


@given(a=CONTENT, b=CONTENT)
def test_the_other_way_round_is_the_mirror_image(
    a: list[tuple[str, str]], b: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = tmp_path_factory.mktemp("laws")
    there = _matching.match(side("A", base / "1", a), side("B", base / "2", b)).table
    back = _matching.match(side("A", base / "2", b), side("B", base / "1", a)).table
    assert lines(there) == lines(back, turned=True)
    assert sorted(there["row_id_a"].drop_nulls()) == list(range(len(a)))
    assert sorted(there["row_id_b"].drop_nulls()) == list(range(len(b)))
    status = Counter(there["status"])
    assert status["both"] == sum((Counter(a) & Counter(b)).values())
    for i, j, s in there.select("row_id_a", "row_id_b", "status").iter_rows():
        if s == "answer changed":
            assert a[i][0] == b[j][0]
            assert a[i][1] != b[j][1]
        if s == "prompt changed":
            assert a[i][1] == b[j][1]
            assert len(a[i][1].split()) >= _matching.SHARED_ANSWER


@given(a=CONTENT)
def test_a_run_beside_itself_differs_in_nothing(
    a: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    base = tmp_path_factory.mktemp("laws")
    table = _matching.match(side("A", base / "1", a), side("B", base / "2", a)).table
    assert lines(table) == Counter((i, i, "both") for i in range(len(a)))
