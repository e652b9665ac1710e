"""Duplicates alone are the duplicates of an audit, with nothing stored."""

from __future__ import annotations

import gc
import json
from pathlib import Path

import polars as pl
import pytest

import scanner
from scanner import deduplicating
from scanner.errors import InputError, OutputError
from scanner.progress import Progress
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


def test_records_that_share_a_line_are_told_by_their_numbers(tmp_path):
    """Of JSON in one line, line 1 would name every row; a skipped record counts, and another file keeps its lines."""
    rows = [{"instruction": f"Say {n}.", "output": f"{n} {LONG}"} for n in range(3)]
    one, two = tmp_path / "one.json", tmp_path / "two.jsonl"
    one.write_text("[" + ", ".join([json.dumps(rows[0]), '"no record"', *map(json.dumps, rows[1:])]) + "]")
    two.write_text("\n" + json.dumps(rows[0]) + "\n")
    table = scanner.find_duplicates([one, two]).frame()
    assert table.select("row_id", "source", "line").rows() == [
        (0, "one.json", 1), (2, "one.json", 3), (3, "one.json", 4), (4, "two.jsonl", 2),
    ]  # fmt: skip
    run = scanner.audit([str(one), str(two)], Settings(semantic=False), tmp_path / "one.scan")
    assert run.read_table("rows")["line"].to_list() == [1, 3, 4, 2]


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


def test_the_verb_says_what_an_audit_would_keep_and_writes_it(tmp_path):
    files = written(tmp_path)
    files[1].write_text(files[1].read_text() + files[1].read_text().splitlines()[0] + "\n")
    run = scanner.audit([str(f) for f in files], Settings(semantic=False), tmp_path / "r.scan")
    clusters, pairs = tmp_path / "clusters.csv", tmp_path / "pairs.parquet"
    found = scanner.duplicates(files, Settings(), clusters, pairs)
    table = pl.read_csv(clusters)
    assert table["row_id"].to_list() == [0, 1, 3, 5]
    assert table["action"].to_list() == ["keep", "drop", "drop", "drop"]
    assert table["cluster_size"].to_list() == [4, 4, 4, 4]
    assert table["keep_source"].to_list() == [None, "a.jsonl", "a.jsonl", "a.jsonl"]
    assert table["keep_line"].to_list() == [None, 1, 1, 1]
    plan = pl.read_parquet(run.path / "plan.parquet").filter(pl.col("action") == "drop")
    same = ["row_id", "keep_row_id", "rule_id", "why", "kept_because"]
    assert table.filter(pl.col("action") == "drop").select(same).equals(plan.select(same))
    columns = "row_a source_a line_a row_b source_b line_b signal relation similarity containment_ab containment_ba"
    stored = pl.read_parquet(pairs)
    assert stored.columns == [*columns.split(), "prompt_similarity", "answer_similarity"]
    assert stored.select("row_a", "source_a", "line_a", "row_b", "source_b", "line_b", "signal").rows() == [
        (0, "a.jsonl", 1, 1, "a.jsonl", 2, "exact"),
        (0, "a.jsonl", 1, 3, "b.jsonl", 1, "minhash"),
        (0, "a.jsonl", 1, 5, "b.jsonl", 3, "minhash"),
        (3, "b.jsonl", 1, 5, "b.jsonl", 3, "exact"),
    ]
    assert found.in_words().splitlines() == [
        "5 rows from 2 inputs; 1 record could not be read (the first: a.jsonl:3 expected a key in double quotes "
        "(at character 2))",
        "4 rows (80 %) in 1 cluster of copies and near copies (Jaccard 0.8 or more)",
        "An audit would keep 1 of them and drop 3: 1 exact copy, 2 near copies",
        "Of each cluster of duplicates the row with the best answer stays, rows of earlier inputs first "
        "(--keep-policy best)",
        "The plan would drop 2 of 3 rows of b.jsonl (67 %), more than --max-removal-share 0.5 allows, so that its "
        "plan would not be applied",
        "  b.jsonl: 2 of 3 rows in clusters, 2 to drop",
        "  a.jsonl: 2 of 2 rows in clusters, 1 to drop",
        "The largest clusters, by row_id:",
        "  4 rows: 0, 1, 3, 5 of a.jsonl and 1 more input",
        "Nothing was removed: scan DATASET --fix FILE audits and writes cleaned data",
    ]  # fmt: skip


def test_keep_and_the_brake_count_here_too(tmp_path):
    files = written(tmp_path)
    table = scanner.duplicates(files, Settings(keep=2)).members()
    assert table["action"].to_list() == ["keep", "keep", "drop"]
    assert table["why"][1] == "a copy of row 0 that stays too: --keep 2 leaves so many of a cluster"
    words = scanner.duplicates(files, Settings(max_removal_share=0.4)).in_words()
    assert "The plan would drop 1 of 2 rows of a.jsonl (50 %), more than --max-removal-share 0.4 allows, " in words
    assert "so that its plan would not be applied" in words


def test_no_duplicates_are_said_and_written_with_the_same_columns(tmp_path):
    files = written(tmp_path)[1:]
    found = scanner.duplicates(files, Settings(), tmp_path / "none.parquet", tmp_path / "none.csv")
    assert found.in_words() == (
        "2 rows from 1 input\nNo duplicates: no two rows are the same, or near copies (Jaccard 0.8 or more)"
    )
    assert pl.read_parquet(tmp_path / "none.parquet").columns == scanner.duplicates(files, Settings()).members().columns
    assert (tmp_path / "none.csv").read_text().startswith("row_a,source_a,line_a,row_b")


def test_what_was_not_compared_is_said(tmp_path):
    wrapper = " ".join(f"word{i}" for i in range(60))
    rows = [{"instruction": f"{wrapper} now say {i}", "output": f"here is the number {i}"} for i in range(80)]
    (tmp_path / "w.jsonl").write_text("".join(json.dumps(row) + "\n" for row in [*rows, rows[7]]), "utf-8")
    found = scanner.duplicates([tmp_path / "w.jsonl"], Settings())
    cut = found.likeness.notes["minhash"]["pairs_not_compared_at_least"]
    assert cut > 0
    told = f"At least so many: {cut:,} pairs or more were not compared, of rows that share much with many others"
    assert told in found.in_words().splitlines()


def test_outputs_that_make_no_sense_are_refused(tmp_path):
    files = written(tmp_path)
    with pytest.raises(OutputError, match=r"pairs\.txt: expected a name that ends in \.parquet or \.csv"):
        scanner.duplicates([tmp_path / "never-read.jsonl"], Settings(), pairs=tmp_path / "pairs.txt")
    with pytest.raises(OutputError, match=r"both\.csv is named for the rows and for the pairs; expected two names"):
        scanner.duplicates(files, Settings(), output=tmp_path / "both.csv", pairs=tmp_path / "both.csv")
    data = files[1].rename(tmp_path / "b.csv")
    with pytest.raises(OutputError, match=r"b\.csv is one of the inputs; expected another name"):
        scanner.duplicates([files[0], data], Settings(), data)
    assert data.read_text().startswith("{")


def test_damage_that_was_tolerated_is_said(tmp_path):
    data = tmp_path / "data.jsonl"
    data.write_bytes(b'{"prompt": "one", "response": "caf\xe9"}\n{"prompt": "two", "response": "tea"}\n')
    said: list[str] = []
    listening = Progress()
    listening.say = said.append  # type: ignore[method-assign]
    found = deduplicating.find_duplicates([data], progress=listening)
    (damage,) = found.rows.damage
    assert said == [f"1 record read with {damage.what} (first: data.jsonl:1)"]


def test_columns_of_one_name_are_said_of_the_file_that_has_them(tmp_path):
    rows = "".join(f"Why {i}?,Since {i} is odd.,It is so {i}.\n" for i in range(9))
    for name in ("a.csv", "b.csv"):
        (tmp_path / name).write_text(f"prompt,response,response\n{rows}", "utf-8")
    said: list[str] = []
    listening = Progress()
    listening.say = said.append  # type: ignore[method-assign]
    deduplicating.find_duplicates([tmp_path / "a.csv", tmp_path / "b.csv"], progress=listening)
    assert said == [
        "2 headers read with repeated names: columns 2 and 3 are read as response and response.1; rename them to "
        "choose (first: a.csv:1)"
    ]


def test_no_garbage_is_looked_for_meanwhile(tmp_path, monkeypatch):
    """Else some stage takes longer by chance, whenever the turn of all objects comes; afterwards all is as before."""
    file, seen = tmp_path / "rows.jsonl", []
    file.write_text('{"instruction": "Why?", "output": "Because it is so."}\n' * 2)
    survey = deduplicating.formats.survey
    monkeypatch.setattr(deduplicating.formats, "survey", lambda files: seen.append(gc.isenabled()) or survey(files))
    assert deduplicating.find_duplicates([file]).clusters.size.tolist() == [2, 2]
    assert (seen, gc.isenabled()) == ([False], True)
