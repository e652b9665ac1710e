"""A run beside that of its cleaned data: redacted rows are known by what they become."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

import scanner
from scanner import comparing, pipeline
from scanner.comparing import _matching
from scanner.errors import RuleError
from tests.test_cli import rows
from tests.test_comparing import QUICK, audited, told
from tests.test_comparing_matching import lines


def letters(names: str, place: str) -> list[dict[str, str]]:
    """Rows with an address in prompt and answer, and one without."""
    rows = [
        {"instruction": f"Write to {n}@roe-clinic.net", "output": f"Wrote to {n}@roe-clinic.net in {place} for {n}."}
        for n in names.split()
    ]
    return [*rows, {"instruction": f"Where is {place}?", "output": f"{place} lies behind the hills."}]


def written(path: Path, records: list[dict[str, str]]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return str(path)


def test_redacted_rows_of_a_folder_are_known_in_whatever_order_its_files_come(tmp_path: Path) -> None:
    files = {"west.jsonl": letters("ann.lee joe.roe", "Weston"), "east.jsonl": letters("may.day kim.fox", "Easton")}
    paths = [written(tmp_path / name, records) for name, records in files.items()]
    run = scanner.audit(paths, QUICK, tmp_path / "a.scan").path
    pipeline.apply(run, tmp_path / "clean")  # read as a folder: east before west
    after = scanner.audit([str(tmp_path / "clean")], QUICK, tmp_path / "b.scan").path
    found = comparing.diff(run, after)
    assert [found.rows(status) for status in _matching.STATUSES] == [2, 0, 0, 4, 0, 0]
    places = found.pairs.select("source_a", "line_a", "source_b", "line_b").rows()
    assert all((a, line_a) == (b, line_b) for a, line_a, b, line_b in places)
    assert found.carried_out
    back = comparing.diff(after, run)
    assert lines(back.pairs) == lines(found.pairs, turned=True)
    assert not back.carried_out


def test_redacted_rows_are_known_by_what_they_become_in_any_order(tmp_path: Path) -> None:
    run = audited(tmp_path, "all", letters("ann.lee joe.roe may.day", "Weston"))
    pipeline.apply(run, tmp_path / "clean.jsonl")
    turned = [json.loads(line) for line in (tmp_path / "clean.jsonl").read_text("utf-8").splitlines()][::-1]
    found = comparing.diff(run, audited(tmp_path, "turned", turned))
    assert found.pairs.select("row_id_a", "row_id_b", "status").rows() == [
        *((i, 3 - i, "text changed") for i in range(3)),
        (3, 0, "both"),
    ]
    assert not found.carried_out


def test_without_its_rules_a_run_is_still_compared(tmp_path: Path) -> None:
    rule = (
        'kind = "private"\ntitle = "Badge"\nwhat = "A badge."\nwhy = "It opens doors."\nseverity = "moderate"\n'
        'confidence = 0.9\nknown_problems = "None."\nadvice = "Redact it."\nplaceholder = "[BADGE]"\n'
        "literals = [\"BDG\"]\nregex = '(BDG[0-9]{6})'\nquiet = " + json.dumps([f"BDG{n}" for n in range(6)]) + "\n"
    )
    rule += "".join(f'[[fires]]\ntext = "BDG12345{n}"\nspans = ["BDG12345{n}"]\n' for n in range(4))
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "badge.toml").write_text(rule)
    records = [{"instruction": f"Badge of {n}?", "output": f"It is BDG12345{n}, and {n} is it."} for n in range(4)]
    run = audited(tmp_path, "badges", [*records, *rows(8)], replace(QUICK, rules=(tmp_path / "own",)))
    pipeline.apply(run, tmp_path / "clean.jsonl")
    after = scanner.audit([str(tmp_path / "clean.jsonl")], QUICK, tmp_path / "b.scan").path
    there = comparing.diff(run, after)
    shutil.rmtree(tmp_path / "own")
    gone = comparing.diff(run, after)
    assert (there.carried_out, gone.carried_out) == (True, False)
    assert there.rows("answer changed") == gone.rows("answer changed") >= 4
    with pytest.raises(RuleError, match=r"--rules .*own: there is no such folder"):
        pipeline.apply(run, tmp_path / "again.jsonl")
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "other.toml").write_text(rule)
    with pytest.raises(
        RuleError, match=r"badges\.scan holds findings of badge, and there is no such rule any more; put"
    ):
        pipeline.apply(run, tmp_path / "again.jsonl")


def test_what_is_redacted_only_where_nobody_reads_does_not_count_as_left(tmp_path: Path) -> None:
    records = [record | {"meta": f"joe.roe{i}@roe-clinic.net"} for i, record in enumerate(rows(8)[:4])]
    records += letters("ann.lee", "Weston")
    run = audited(tmp_path, "meta", records)
    pipeline.apply(run, tmp_path / "clean.jsonl")
    after = scanner.audit([str(tmp_path / "clean.jsonl")], QUICK, tmp_path / "b.scan").path
    shown = told(comparing.diff(run, after))
    assert "B still holds" not in shown
    assert "4 rows are to be redacted only in fields that no trainer reads, which are not compared" in shown
