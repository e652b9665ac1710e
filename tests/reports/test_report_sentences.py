"""Sentences of the reports, one by one: endings, what is left out where there is nothing to say, widths."""

from __future__ import annotations

from rich.cells import cell_len

from scanner import pipeline
from scanner.reports import _whatif, markdown, terminal
from scanner.reports import _words as words
from scanner.reports.terminal import _fitting
from scanner.settings import Settings


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


def skewed(rows: int, measured: int) -> dict:
    tops = [{"percent": percent, "rows": max(1, -(-measured * percent // 100)), "share": 0.5} for percent in (1, 10)]
    return {"rows": rows, "skew": {"rows": measured, "top": tops}}


def test_one_row_of_a_few_is_not_called_a_percent():
    assert words.skew(skewed(1, 1)) == "the only row carries 50 % of the expected memorized tokens"
    assert words.skew(skewed(3, 1)) == "the only row with an answer carries 50 % of the expected memorized tokens"
    assert words.skew(skewed(6, 6)) == "1 of 6 rows carries 50 % of the expected memorized tokens"
    assert words.skew(skewed(99, 50)) == (
        "1 of the 50 rows with an answer carries 50 % of the expected memorized tokens, 10 % (5) carry 50 %"
    )
    assert words.skew(skewed(200, 200)).startswith("1 % of rows (2) carry 50 %")


def test_one_is_told_as_one():
    one = {"rows_measured": 1, "rows_not_measured": 0, "extracted_tokens": 16, "expected_rows_extracted": 0.4}
    summary = {"prediction": one | {"validity": None}, "rows": 1}
    assert "of 1 answer (40 %) is predicted" in words.expectation(summary)
    told = {"rows": 1, "certainty": 0.95, "sample": None, "sample_if_high": None}
    scan = {"notes": {"prediction": {"audit_size": told}}}
    assert _whatif.audit(scan).startswith("fewer than one of 1 answer is expected")
    none = {"rows": 0, "groups": 0, "surplus_rows": 0, "share": 0.0, "pairs": 1, "jaccard": 0.8, "findings": 0}
    kinds = ("exact", "near", "loose", "semantic", "conflicts", "private", "secret")
    found = dict.fromkeys(kinds, none | {"by_rule": {}})
    details = [line[3] for line in words.findings({"found": found, "rows": 2})]
    assert details[2] == "1 pair less alike; it adds to what is memorized, and is kept"


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


def test_a_text_without_a_prompt_is_shown_without_an_arrow(tmp_path):
    texts = [" ".join(f"word{i * j % 97}" for j in range(40)) for i in (3, 5, 7)]
    (tmp_path / "t.jsonl").write_text("".join(f'{{"text": "{text}"}}\n' for text in texts), "utf-8")
    run = pipeline.audit([str(tmp_path / "t.jsonl")], Settings(semantic=False), tmp_path / "t.scan")
    for report in (terminal, markdown):
        shown = report.render(run).decode()
        assert "word0 word3" in shown
        assert "→" not in shown
