"""One row in words."""

from __future__ import annotations

import io
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from rich.console import Console

sys.path.append(str(Path(__file__).parent / "reports"))

import synthetic

from scanner import pipeline, rulefiles
from scanner.errors import RunError
from scanner.explain import Explanation, explain
from scanner.explain._found import relatives_of
from scanner.explain._heat import Heated
from scanner.pairing import by_meaning_alone
from scanner.settings import Settings
from scanner.store import RunFolder


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[RunFolder, dict[str, Any]]:
    made, truth = synthetic.from_demo()
    for skip in made.skipped:
        skip["row_id"] = skip["line"] - 1
    return synthetic.write(made, tmp_path_factory.mktemp("explain") / "demo.scan"), truth


def printed(told: Explanation, width: int = 100, encoding: str = "utf-8") -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    told.render(Console(file=file, width=width, color_system=None))
    file.flush()
    return raw.getvalue().decode(encoding)


def test_a_dropped_near_copy(demo: tuple[RunFolder, dict[str, Any]]) -> None:
    run, truth = demo
    kept, dropped = sorted(member["row_id"] for member in truth["near"][0])
    told = explain(run, dropped)
    assert told.place == f"demo.jsonl:{dropped + 1}"
    assert (told.action, told.keep_row_id) == ("drop", kept)
    assert [(r.row_id, r.relation) for r in told.relatives] == [(kept, "near")]
    assert told.difference is not None
    assert any(piece.kind == "changed" for piece in told.difference.right)
    shown = " ".join(printed(told).split())
    assert f"row {kept} is kept in its place" in shown
    assert "nearly the same" in shown
    assert "predictions were not validated on this data" in shown


def test_a_copy_is_not_said_to_be_the_same_in_other_words() -> None:
    lines = [
        (1, 2, "semantic", "semantic", 1.0),
        (1, 2, "exact", "same_both", 1.0),
        (0, 1, "semantic", "semantic", 0.9),
    ]
    pairs = pl.DataFrame(lines, schema=["row_a", "row_b", "signal", "relation", "similarity"], orient="row")
    pairs = pairs.with_columns(containment_ab=pl.lit(1.0), containment_ba=pl.lit(1.0))
    rows = pl.DataFrame({"row_id": range(3), "source": ["d"] * 3, "line": [1, 2, 3]})
    told = [(r.row_id, r.relation) for r in relatives_of(pairs, 1, rows)]
    assert told == [(2, "same_both"), (0, "semantic")]


def test_a_near_copy_of_a_copy_is_told_as_one_and_not_as_the_same_in_other_words() -> None:
    lines = [
        (1, 3, "exact", "same_both", 1.0, 1.0, 1.0),
        (3, 4, "exact", "same_both", 1.0, 1.0, 1.0),
        (2, 3, "minhash", "near", 0.8, 0.7, 0.9),  # of one of the three
        (1, 2, "semantic", "semantic", 0.95, 1.0, 1.0),
        (2, 4, "semantic", "semantic", 0.95, 1.0, 1.0),
        (0, 4, "semantic", "semantic", 0.9, 1.0, 1.0),
    ]
    names = ["row_a", "row_b", "signal", "relation", "similarity", "containment_ab", "containment_ba"]
    pairs = pl.DataFrame(lines, schema=names, orient="row")
    rows = pl.DataFrame({"row_id": range(5), "source": ["d"] * 5, "line": range(1, 6)})
    for row_id in (1, 3, 4):
        told = {r.row_id: r for r in relatives_of(pairs, row_id, rows)}
        assert told[2].relation == "near"
        assert (told[2].inside, told[2].holds) == (0.9, 0.7)
        assert {r.relation for r in told.values()} == {"near", "same_both"} | ({"semantic"} if row_id == 4 else set())
    assert [(r.row_id, r.relation) for r in relatives_of(pairs, 2, rows)] == [(3, "near")]
    assert [(r.row_id, r.relation) for r in relatives_of(pairs, 0, rows)] == [(4, "semantic")]
    assert by_meaning_alone(pairs).select("row_a", "row_b").rows() == [(0, 4)]


def test_a_chance_is_no_round_zero_and_counts_of_one_are_told_as_one(demo: tuple[RunFolder, dict[str, Any]]) -> None:
    told = explain(demo[0], 0)
    rare = replace(told, prediction={**told.prediction, "p_whole": 0.004, "p_counterfactual": 0.0, "p_extract": 0.997})
    shown = " ".join(printed(rare).split())
    assert "The whole answer is recited with probability < 0.01; " in shown
    assert "p_extract > 0.99, the chance" in shown
    assert "Without this row, 0.00 of p_extract would vanish." in shown
    later = Heated((), ((9, 0.5),) * 6, 0, 0.0, ())
    assert later.sentence().endswith("9 tokens (0.50) and 1 more stretch.")


def test_private_values_stay_masked(demo: tuple[RunFolder, dict[str, Any]]) -> None:
    run, truth = demo
    for group in truth["private"]:
        member = group[0]
        told = explain(run, member["row_id"])
        assert told.spans_total >= 1
        assert told.spans[0].field == f"/{member['field']}"
        assert member["value"] not in printed(told)
        assert member["value"] in printed(explain(run, member["row_id"], "full"), 4000)


def test_each_rule_says_once_what_to_do_and_where_it_errs(demo: tuple[RunFolder, dict[str, Any]]) -> None:
    run, truth = demo
    told = explain(run, truth["private"][0][0]["row_id"])
    assert set(told.rules) == {span.rule_id for span in told.spans}
    shown = " ".join(printed(told).split())
    for name in told.rules:
        said = rulefiles.said_of(name)
        assert said is not None
        assert shown.count(f"{name}: {said.advice} Known problems: {said.known_problems}") == 1


def test_many_copies_are_counted(demo: tuple[RunFolder, dict[str, Any]]) -> None:
    run, truth = demo
    group = max(truth["exact"], key=len)
    told = explain(run, group[0]["row_id"])
    assert told.relatives_total == len(group) - 1
    assert len(told.relatives) == 12
    assert f"and {len(group) - 13} more" in " ".join(told.sentences())


def test_unknown_and_skipped_rows(demo: tuple[RunFolder, dict[str, Any]]) -> None:
    run, truth = demo
    ids = run.read_table("rows", ["row_id"])["row_id"]
    with pytest.raises(RunError, match=rf"no row 99999: .* rows with ids from {ids.min()} to {ids.max()}"):
        explain(run, 99_999)
    broken = truth["broken"][0]
    with pytest.raises(RunError, match=rf"row {broken} was skipped: demo.jsonl:{broken + 1}: not a JSON object"):
        explain(run, broken)


def test_every_row_can_be_explained_and_printed(tmp_path: Path) -> None:
    made = synthetic.small(8)
    made.supervised = False
    run = synthetic.write(made, tmp_path / "thin.scan")
    for row_id in range(8):
        shown = printed(explain(run, row_id), 40, "ascii")
        assert "not measured" in shown


def test_purged_and_hidden_text(demo: tuple[RunFolder, dict[str, Any]], tmp_path: Path) -> None:
    run, truth = demo
    row_id = truth["private"][0][0]["row_id"]
    assert "text not shown (--text none)" in printed(explain(run, row_id, "none"))
    copy = tmp_path / "purged.scan"
    shutil.copytree(run.path, copy)
    shutil.rmtree(copy / "private")
    assert "purged" in printed(explain(RunFolder(copy), row_id))


def test_hostile_text_cannot_steer_the_terminal(demo: tuple[RunFolder, dict[str, Any]]) -> None:
    run, truth = demo
    for member in truth["hostile"][0]:
        shown = printed(explain(run, member["row_id"]), 400)
        assert "\x1b" not in shown
        assert "\u202e" not in shown
    assert "[red]markup[/red]" in shown or "<script>" in shown


def test_loss_masks_in_words(demo: tuple[RunFolder, dict[str, Any]], tmp_path: Path) -> None:
    run, _ = demo
    copy = tmp_path / "masked.scan"
    shutil.copytree(run.path, copy)
    spans = pl.List(pl.Struct({"segment": pl.Int32, "start": pl.Int32, "end": pl.Int32}))
    plan = run.read_table("plan").with_columns(
        loss_mask=pl.lit([{"segment": 2, "start": 0, "end": 4}], spans), sample_weight=pl.lit(0.25)
    )
    RunFolder(copy).write_table("plan", plan)
    told = explain(RunFolder(copy), plan["row_id"][0])
    assert "a loss mask over 1 span of the answer and sampling weight 0.25" in told.sentences()[-1]


def test_an_empty_run_says_so(tmp_path: Path) -> None:
    made = synthetic.small(0)
    made.skipped = [{"row_id": 0, "file": "demo.jsonl", "line": 1, "reason": "not a JSON object"}]
    run = synthetic.write(made, tmp_path / "empty.scan")
    with pytest.raises(RunError, match="no row of this run could be read"):
        explain(run, 5)
    assert json.loads((run.path / "skipped.jsonl").read_text())["row_id"] == 0


def test_the_template_of_a_row_and_what_stands_in_its_slots(tmp_path: Path) -> None:
    wrapper = "Decide which department shall answer the message of jane.roe@northwind-shop.com and reply with its name:"
    rows = [
        {"instruction": f"{wrapper}\n{place} word{place * 7919} {place * 104729}\nDepartment:", "output": "billing"}
        for place in range(1, 61)
    ]
    rows.append(rows[4] | {"instruction": rows[4]["instruction"].replace("word39595", "word39595,")})
    file = tmp_path / "wrapped.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    run = pipeline.audit([str(file)], Settings(semantic=False, threads=1), tmp_path / "wrapped.scan")
    told = explain(run, 4)
    assert told.template is not None
    assert [(slot, "word39595" in text) for slot, text in told.template.parts] == [
        (False, False), (True, True), (False, False)
    ]  # fmt: skip
    assert told.template.parts[2][1] == "Department:"
    shown = printed(told, 200)
    assert "text is shared by 61 rows, 100 % of its file; copies are judged by what stands in its slots." in shown
    assert "slot      5 word39595 523645" in shown
    assert "payload 1.00" in shown
    assert "jane.roe" not in shown
    assert explain(run, 4, "none").template.parts == ()  # type: ignore[union-attr]


def test_copies_are_not_said_to_mean_the_same_besides(tmp_path: Path) -> None:
    row = {
        "instruction": "How does the keeper prepare for fog?",
        "output": "He counts every lantern on the pier twice.",
    }
    path = tmp_path / "d.jsonl"
    path.write_text("".join(f"{json.dumps(one)}\n" for one in (row, row, {"instruction": "Sky?", "output": "Blue."})))
    told = explain(pipeline.audit([str(path)], Settings(), tmp_path / "d.scan"), 1)
    assert [(r.row_id, r.relation) for r in told.relatives] == [(0, "same_both")]
    assert told.relatives_total == 1
    shown = printed(told)
    assert "Related rows: 1 × the same prompt and answer." in shown
    assert "p_extract 0.00" not in shown  # unlikely, not impossible
    with pytest.raises(RunError, match="the run holds 3 rows with ids"):
        explain(RunFolder(tmp_path / "d.scan"), 9)
