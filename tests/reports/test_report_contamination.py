"""Evaluation items beside the rows that hold them."""

from __future__ import annotations

import json

from scanner import pipeline
from scanner.evidence import Evidence
from scanner.reports._contamination import matches_shown
from scanner.settings import Settings


def test_the_report_shows_question_and_answer_where_both_were_found(tmp_path):
    item = {
        "question": "Which lantern does the keeper of the pier light first when the fog comes in?",
        "answer": "The green one at the far end.",
    }
    (tmp_path / "b.jsonl").write_text(json.dumps(item) + "\n")
    rows = [
        {"instruction": item["question"], "output": item["answer"]},
        {"instruction": item["question"], "output": "None."},
    ]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = pipeline.audit([str(tmp_path / "d.jsonl")], Settings(evaluation=(tmp_path / "b.jsonl",)), tmp_path / "d.scan")
    shown = matches_shown(run, run.read_table("rows", ["row_id", "source", "line"]), Evidence(run))
    sides = {
        m.row_id: ("".join(p.text for p in m.difference.left), "".join(p.text for p in m.difference.right))
        for m in shown
    }
    assert all("The green one" in side for side in sides[0])
    assert not any("green one" in side or "None." in side for side in sides[1])
