"""Sentences of the reports, one by one: endings, what is left out where there is nothing to say, widths."""

from __future__ import annotations

from rich.cells import cell_len

from scanner.reports import _whatif
from scanner.reports import _words as words
from scanner.reports.terminal import _fitting


def measured(rows: int, missing: int) -> dict:
    return {"prediction": {"rows_measured": rows, "rows_not_measured": missing, "extracted_tokens": 16}}


def test_where_no_answer_is_long_enough_it_is_said_once():
    summary = measured(0, 3)
    planned = [{"variant": "as planned", "epochs": 3.0, "expected_rows": 0.0, "low": 0.0, "high": 0.0}]
    scan = {"settings": {"plan": {"epochs": 3}}, "summary": summary}
    assert words.expectation(summary).startswith("No answer is long enough")
    assert words.not_measured(summary) == ""
    assert _whatif.curve(planned, scan) == ""
    assert words.not_measured(measured(2, 1)) == "1 row not measured: no supervised answer of 16 tokens or more"
    assert _whatif.curve(planned, scan | {"summary": measured(2, 1)}) == "3 epochs, as planned: 0 rows (0 to 0)"


def test_probabilities_are_written_one_way():
    shown = [words.probability(value) for value in (None, 0.0, 0.004, 0.01, 0.994, 0.999, 1.0)]
    assert shown == ["–", "0.00", "< 0.01", "0.01", "0.99", "> 0.99", "1.00"]


def test_a_purged_run_is_not_offered_for_cleaning(tmp_path):
    scan = {"inputs": [{"path": "d.jsonl"}], "notes": {}}
    (tmp_path / "index").mkdir()
    assert [what for what, _ in words.commands(tmp_path, scan, 3)] == ["everything about one row"]
    (tmp_path / "private").mkdir()
    assert words.commands(tmp_path, scan, 3)[0][1] == f"scan apply {tmp_path} -o clean.jsonl"


def test_chinese_text_fits_its_line():
    assert _fitting("机器学习是人工智能的一种形式", 11) == "机器学习…"
    assert _fitting("one\ntwo  three", 20) == "one two three"
    for cells in range(1, 30):
        for text in ("机器学习 is 人工 and more of it", "a plain sentence of several words", "\x1b[31m机器\n学习"):
            assert cell_len(_fitting(text, cells)) <= cells
