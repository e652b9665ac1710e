"""Repeated passages from the text to the report, on a run of the whole audit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from scanner import pipeline
from scanner.evidence import Evidence
from scanner.explain import explain
from scanner.repeats import KINDS, passages
from scanner.reports import html
from scanner.reports import json as json_report
from scanner.reports._spans import in_words
from scanner.settings import Settings
from scanner.store import RunFolder

MAIL = "wilhelmina.oakes@harbour-mill.net"
PASSAGE = (
    "The harbour master of the northern port keeps three ledgers: one for ships, one for cargo and one for storms. "
    f"Whoever wants to read them writes to {MAIL} and waits until the tide has turned twice, because nobody answers "
    "letters while the water is still rising over the old stone steps."
)
CLAUSE = " ".join(f"clause{i}" for i in range(60))


def build(folder: Path, **options: Any) -> RunFolder:
    """12 rows: a passage with an address in an answer and in a prompt, boilerplate, an answer that repeats itself."""
    rows = [
        {"instruction": "Describe the harbour.", "input": "", "output": f"Gladly! {PASSAGE} That is all."},
        {"instruction": f"Shorten this text: {PASSAGE}", "input": "", "output": "Write to the master and wait."},
        {"instruction": "Say it twice.", "input": "", "output": f"{CLAUSE} and once more {CLAUSE}"},
        {"instruction": "Nothing to see here.", "input": "", "output": "Indeed."},
    ]
    notice = " ".join(f"notice{i}" for i in range(55))
    rows += [{"instruction": f"Topic number {i}?", "input": "", "output": f"{notice} topic {i * 37}"} for i in range(8)]
    data = folder / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    # near copies are kept, so that the notice stands in eight rows of the plan
    settings = Settings(semantic=False, jaccard=1.0, threads=1, **options)
    return pipeline.audit([str(data)], settings, folder / "run.scan")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return build(tmp_path_factory.mktemp("repeats"))


def repeated(run: RunFolder) -> pl.DataFrame:
    return run.read_table("spans").filter(pl.col("kind") == "repeated")


def test_spans_stand_in_the_table_beside_private_ones(run: RunFolder) -> None:
    spans = run.read_table("spans")
    assert {"private", "repeated"} <= set(spans["kind"]) <= {"private", "repeated", "memorized"}
    assert spans.equals(spans.sort("row_id", "segment", "start", "end", "rule_id"))
    of_row = dict(repeated(run).select("row_id", "rule_id").iter_rows())
    assert of_row == {0: "repeated/leakage", 1: "repeated/leakage", 2: "repeated/within"} | dict.fromkeys(
        range(4, 12), "repeated/boilerplate"
    )
    rows = run.read_table("rows")
    assert rows["spans.leaked_share"][0] > 0.8
    assert rows["spans.repeated_share"][3] == 0
    assert rows["spans.longest_tokens"][2] == 60
    assert (rows["patterns.severity"][2:] == rows["patterns.severity"][3]).all()


def test_a_row_that_is_mostly_another_row_is_for_review_and_never_dropped(run: RunFolder) -> None:
    pair = run.read_table("pairs").filter(pl.col("signal") == "span").row(0, named=True)
    assert (pair["row_a"], pair["row_b"]) == (0, 1)
    assert pair["answer_containment_ab"] > 0.9
    assert pair["answer_containment_ba"] == 0
    plan = run.read_table("plan")
    assert "drop" not in plan["action"].to_list()
    # the address in it comes first: a row gets one action
    assert plan["action"][0] == "redact"
    again = pipeline.judge(run.path, {"redact": False})
    why = again.read_table("plan").row(0, named=True)
    assert (why["action"], why["rule_id"]) == ("review", "repeated/leakage")
    assert "% of its answer stands word for word in row 1" in why["why"]
    pipeline.judge(run.path, {"redact": True})


def test_nothing_private_is_shown(run: RunFolder) -> None:
    shown = [html.render(run).decode(), json_report.render(run).decode(), (run.path / "scan.json").read_text("utf-8")]
    shown += [repr(run.read_table("spans").to_dicts())]
    for text in shown:
        assert MAIL not in text
        assert "wilhelmina" not in text
    assert "The harbour master of the northern port" in shown[0]
    assert all(word not in shown[3] for word in ("harbour", "clause1", "notice1"))
    assert MAIL in html.render(run, "full").decode()
    assert "harbour master" not in html.render(run, "none").decode()


def test_passages_of_the_report(run: RunFolder) -> None:
    rows = run.read_table("rows", ["row_id", "source"])
    found = {p.kind: p for p in passages(run, rows, run.read_table("plan"), Evidence(run))}
    assert set(found) == {"leakage", "boilerplate", "within"} <= set(KINDS)
    assert found["leakage"].row_ids == (0, 1)
    assert found["leakage"].told == "in a few rows: answers and prompts"
    assert found["boilerplate"].rows == 8
    assert found["boilerplate"].more == 2
    assert found["within"].spans == 2
    dropped = run.read_table("plan").with_columns(action=pl.when(pl.col("row_id") == 1).then(pl.lit("drop")))
    left = passages(run, rows, dropped.with_columns(pl.col("action").fill_null("keep")), Evidence(run))
    assert {p.kind for p in left} == {"boilerplate", "within"}  # nobody else holds it any more


def test_the_line_of_findings(run: RunFolder) -> None:
    found = run.read_json("scan.json")["summary"]["found"]
    assert found["repeated"]["rows"] == 3
    assert in_words(found["repeated"]) == (
        "1 of 50 tokens or more in a few rows each; 1 row repeats itself; 8 rows with boilerplate"
    )
    assert found["near"]["pairs"] == 0  # a passage in common makes no near copy


def test_explain_names_the_other_rows(run: RunFolder) -> None:
    told = explain(run, 0)
    assert [s.told for s in told.repeated] == [f"{told.repeated[0].tokens} tokens in answers, also in row 1"]
    assert all(span.kind != "repeated" for span in told.spans)
    assert [s.told for s in explain(run, 2).repeated] == ["60 tokens in answers, twice in one text"]
    assert "boilerplate, also in rows 4, 6, 7, 8, 9, 10 and 1 more" in explain(run, 5).repeated[0].told
    assert explain(run, 3).repeated == ()
    alone = replace(explain(run, 5).repeated[0], others=(), others_total=0)  # the plan drops all the others
    assert alone.told.endswith(", boilerplate, in no other row that the plan keeps")


def test_none_are_looked_for(tmp_path: Path) -> None:
    run = build(tmp_path, span_tokens=0)
    assert len(repeated(run)) == 0
    assert run.read_table("rows")["spans.repeated_share"].is_nan().all()
    assert in_words(run.read_json("scan.json")["summary"]["found"]["repeated"]) == "not looked for"
    assert "Repeated passages were not looked for" in html.render(run).decode()
    assert explain(run, 0).repeated == ()
    assert pipeline.judge(run.path, {"redact": False}).read_table("plan")["action"][0] == "keep"
