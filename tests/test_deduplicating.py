"""Duplicates alone are the duplicates of an audit, with nothing stored."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

import scanner
from scanner.errors import InputError
from scanner.settings import Settings

LONG = " ".join(f"word{n}" for n in range(40))


def written(folder: Path) -> list[Path]:
    """Two files with an exact copy, a near copy, rows that are alone and a line that is no record."""
    rows = [
        {"instruction": "Say it.", "output": LONG},
        {"instruction": "Say it.", "output": LONG},
        {"instruction": "Say it.", "output": LONG.replace("word20", "another")},
        {"instruction": "Tell me of rain.", "output": "Rain falls from clouds when drops become too heavy to float."},
    ]
    first, second = folder / "a.jsonl", folder / "b.jsonl"
    first.write_text("".join(json.dumps(row) + "\n" for row in rows[:2]) + "{no record\n")
    second.write_text("".join(json.dumps(row) + "\n" for row in rows[2:]))
    return [first, second]


def test_copies_are_grouped_and_one_is_kept(tmp_path):
    found = scanner.find_duplicates(written(tmp_path))
    table = found.frame()
    assert table.columns == ["row_id", "source", "line", "group", "kept"]
    assert table["source"].to_list() == ["a.jsonl", "a.jsonl", "b.jsonl", "b.jsonl"]
    assert table["line"].to_list() == [1, 2, 1, 2]
    assert table["group"].to_list() == [0, 0, 0, None]
    assert table["kept"].sum() == 2
    assert table["kept"][3]
    assert [skip.line for skip in found.skips] == [3]
    assert "no record" not in repr(found.skips)  # what stands there may be private
    assert not [p for p in tmp_path.iterdir() if p.suffix != ".jsonl"]


def test_they_are_those_of_an_audit(tmp_path):
    files = written(tmp_path)
    settings = Settings(floor=0.8, semantic=False)
    run = scanner.audit([str(f) for f in files], settings, tmp_path / "r.scan")
    table = scanner.find_duplicates(files, settings).frame()
    dropped = pl.read_parquet(run.path / "plan.parquet").filter(pl.col("action") == "drop")["row_id"]
    assert sorted(dropped) == table.filter(~pl.col("kept"))["row_id"].to_list() != []


def test_settings_decide_and_bad_input_is_named(tmp_path):
    files = written(tmp_path)
    strict = scanner.find_duplicates(files, Settings(jaccard=0.99, floor=0.99)).frame()
    assert strict["group"].to_list() == [0, 0, None, None]
    with pytest.raises(InputError, match=r"no\.jsonl"):
        scanner.find_duplicates([tmp_path / "no.jsonl"])
