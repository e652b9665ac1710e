"""The demo's truth, checked against its text, and the audit checked against the truth."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import polars as pl
import pytest

sys.path.append(str(Path(__file__).parent / "reports"))

import synthetic

ROWS = 320
Records = dict[int, dict[str, str]]


@pytest.fixture(scope="module")
def built() -> tuple[list[bytes], dict[str, Any], Records]:
    lines, truth = synthetic.demo_module().build(ROWS, 5)
    records = {i: json.loads(line) for i, line in enumerate(lines) if i not in truth["broken"]}
    return lines, truth, records


def shingles(record: dict[str, str]) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+|[^\w\s]", " ".join(record.values()).lower())
    return set(zip(words, words[1:], words[2:], strict=False))


def jaccard(a: dict[str, str], b: dict[str, str]) -> float:
    left, right = shingles(a), shingles(b)
    return len(left & right) / len(left | right)


def pairs_of(truth: dict[str, Any], kind: str) -> list[tuple[int, int]]:
    found = []
    for group in truth[kind]:
        a, b = sorted(member["row_id"] for member in group)
        found.append((a, b))
    return found


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    script = synthetic.ROOT / "examples" / "make_demo.py"
    for name in "ab":
        subprocess.run([sys.executable, script, tmp_path / name, "--rows", "300"], check=True, capture_output=True)
    assert (tmp_path / "a" / "demo.jsonl").read_bytes() == (tmp_path / "b" / "demo.jsonl").read_bytes()
    assert (tmp_path / "a" / "truth.json").read_bytes() == (tmp_path / "b" / "truth.json").read_bytes()


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="10 rows are too few to plant in; at least 280"):
        synthetic.demo_module().build(10, 1)


def test_broken_lines_are_broken_and_no_others(built: tuple[list[bytes], dict[str, Any], Records]) -> None:
    lines, truth, records = built
    assert len(lines) == truth["records"] == len(records) + 2
    assert all(set(record) == {"instruction", "input", "output"} for record in records.values())
    with pytest.raises(json.JSONDecodeError):
        json.loads(lines[truth["broken"][0]])


def test_copies_are_copies_and_all_of_them_are_named(built: tuple[list[bytes], dict[str, Any], Records]) -> None:
    _, truth, records = built
    named = sorted(sorted(member["row_id"] for member in group) for group in truth["exact"])
    by_text: dict[str, list[int]] = {}
    for row_id, record in records.items():
        by_text.setdefault(json.dumps(record), []).append(row_id)
    assert sorted(ids for ids in by_text.values() if len(ids) > 1) == named
    assert {len(ids) for ids in named} == {2, 4, 6, 8, 16}


def test_near_copies_lie_where_they_should(built: tuple[list[bytes], dict[str, Any], Records]) -> None:
    _, truth, records = built
    near = [jaccard(records[a], records[b]) for a, b in pairs_of(truth, "near")]
    loose = [jaccard(records[a], records[b]) for a, b in pairs_of(truth, "loose")]
    assert min(near) >= 0.8
    assert max(near) < 1
    assert min(loose) >= 0.5
    assert max(loose) < 0.8
    assert max(jaccard(records[a], records[b]) for a, b in pairs_of(truth, "paraphrase")) < 0.6


def test_conflicts_share_the_prompt_only(built: tuple[list[bytes], dict[str, Any], Records]) -> None:
    _, truth, records = built
    for group in truth["conflict"]:
        rows = [records[member["row_id"]] for member in group]
        assert len({(row["instruction"], row["input"]) for row in rows}) == 1
        assert len({row["output"] for row in rows}) == len(rows)


def test_prompts_are_unique_but_for_what_was_planted(built: tuple[list[bytes], dict[str, Any], Records]) -> None:
    _, truth, records = built
    planted = {m["row_id"] for kind in ("exact", "near", "loose", "conflict") for g in truth[kind] for m in g}
    asked = Counter((r["instruction"], r["input"]) for i, r in records.items() if i not in planted)
    assert max(asked.values()) == 1


def test_private_values_stand_where_the_truth_says(built: tuple[list[bytes], dict[str, Any], Records]) -> None:
    _, truth, records = built
    for group in truth["private"]:
        for member in group:
            assert member["value"] in records[member["row_id"]][member["field"]]
    values = {m["kind"]: m["value"] for group in truth["private"] for m in group}
    digits = [int(d) for d in values["card"].replace(" ", "")][::-1]
    assert sum(sum(divmod(2 * d, 10)) if i % 2 else d for i, d in enumerate(digits)) % 10 == 0
    moved = values["iban"][4:] + values["iban"][:4]
    assert int("".join(str(int(c, 36)) for c in moved)) % 97 == 1


def test_the_audit_finds_what_was_planted(built: tuple[list[bytes], dict[str, Any], Records], tmp_path: Path) -> None:
    from scanner import pipeline
    from scanner.settings import Settings

    lines, truth, records = built
    path = tmp_path / "demo.jsonl"
    path.write_bytes(b"\n".join(lines) + b"\n")
    run = pipeline.audit([str(path)], Settings(), tmp_path / "demo.scan")
    summary = run.read_json("scan.json")["summary"]
    skipped = [json.loads(line)["row_id"] for line in (run.path / "skipped.jsonl").read_bytes().splitlines()]
    assert skipped == truth["broken"]

    pairs = run.read_table("pairs").with_columns(pl.col("signal", "relation").cast(pl.String))
    near = pairs.filter((pl.col("signal") == "minhash") & (pl.col("similarity") >= 0.8))
    assert set(pairs_of(truth, "near")) <= set(near.select("row_a", "row_b").rows())
    meaning = set(pairs.filter(pl.col("signal") == "semantic").select("row_a", "row_b").rows())
    paraphrases = pairs_of(truth, "paraphrase")
    assert sum(pair in meaning for pair in paraphrases) >= 0.9 * len(paraphrases)

    exact = [sorted(member["row_id"] for member in group) for group in truth["exact"]]
    assert summary["found"]["exact"]["rows"] == sum(map(len, exact))
    assert summary["found"]["exact"]["groups"] == len(exact)
    plan = dict(run.read_table("plan").select("row_id", "action").iter_rows())
    for ids in exact:
        assert sum(plan[row_id] != "drop" for row_id in ids) == 1

    spans = run.read_table("spans").filter(pl.col("kind").cast(pl.String).is_in(["private", "secret"]))
    fields = ("instruction", "input", "output")
    text = run.segments().frame(["row_id", "segment", "field_path", "text"])
    found = spans.join(text, on=["row_id", "segment"]).select("row_id", "field_path", "start", "end", "text")
    seen = {(row, field[1:], text[a:b]) for row, field, a, b, text in found.iter_rows()}
    wanted = {(m["row_id"], m["field"], m["value"]) for group in truth["private"] for m in group}
    assert seen == wanted
    assert all(field in fields for _, field, _ in seen)

    torn = {member["row_id"] for group in truth["conflict"] for member in group}
    table = run.read_table("rows").filter(pl.col("row_id").is_in(torn))
    assert (table["conflicts.answers"] > 1).all()
    page = (run.path / "report.html").read_text("utf-8")
    assert not [value for _, _, value in wanted if value in page]
    assert len(records) == summary["rows"]
