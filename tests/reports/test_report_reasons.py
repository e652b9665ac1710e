"""Why rows are left for review, said on every page; every rule that a plan acts by has words."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import scanner
from scanner.decontaminating import HOWS
from scanner.reports import _reasons

RULE = re.compile(r"(duplicates|conflicts|repeated|risk|contamination)/[a-z-]+")


def scan(*by_rule: tuple[str, str, int], drop_semantic: bool = False, rows: int = 4_535, differing: int = 0) -> dict:
    lines = [{"action": action, "rule": rule, "rows": rows} for action, rule, rows in by_rule]
    found = {"semantic": {"pairs": 60, "differing": differing}}
    return {
        "summary": {"rows": rows, "plan": {"by_rule": lines}, "found": found},
        "settings": {"drop_semantic": drop_semantic},
    }


def rules_in_the_code() -> set[str]:
    root = Path(scanner.__file__).parent
    files = [*(root / "planning").glob("*.py"), root / "decontaminating.py"]
    constants = (
        node.value
        for file in files
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    )
    return {value for value in constants if RULE.fullmatch(value)} | {f"contamination/{how}" for how in HOWS}


def test_every_rule_of_the_planner_has_words_and_no_other_has():
    assert rules_in_the_code() == set(_reasons.WORDS)


def test_a_rule_for_private_data_goes_by_its_name():
    assert _reasons.of("private/credit-card") == "credit card"


@pytest.mark.parametrize("dropping", [False, True])
def test_rows_to_review_are_told_by_kind_the_most_urgent_first(dropping):
    told = _reasons.for_review(
        scan(
            ("review", "duplicates/semantic", 1758),
            ("drop", "duplicates/near", 39),
            ("review", "repeated/leakage", 38),
            ("review", "risk/high", 3),
            ("review", "conflicts/answers", 2),
            ("review", "duplicates/alike", 1),
            drop_semantic=dropping,
        )
    )
    assert told[0] == (
        "to review, and kept meanwhile, the most urgent first: 3 for a high risk of being memorized, 38 for an answer "
        "of which half or more stands in another row, 2 for a prompt that has other answers, 1 for text like another "
        "row's, but for prompt, answer, system prompt or tools, 1,758 for nearly the same meaning as another row"
    )
    assert ["--drop-semantic" in line for line in told[1:]] == ([] if dropping else [True])


def test_a_few_rows_of_like_meaning_need_no_word_on_how_they_go():
    assert len(_reasons.for_review(scan(("review", "duplicates/semantic", 51), rows=2_234))) == 1
    assert len(_reasons.for_review(scan(("review", "duplicates/semantic", 51), rows=1_000))) == 2
    assert len(_reasons.for_review(scan(("review", "duplicates/semantic", 51), rows=1_000, differing=60))) == 1


def test_the_plan_is_told_by_action_and_what_to_review_by_urgency():
    by_rule = scan(
        ("review", "duplicates/semantic", 90),
        ("drop", "duplicates/near", 20),
        ("redact", "private/email", 9),
        ("drop", "duplicates/semantic", 30),
        ("review", "contamination/semantic", 2),
        ("review", "private/email", 1),
        ("review", "risk/high", 1),
    )["summary"]["plan"]["by_rule"]
    assert [(line["action"], line["rule"], line["rows"]) for line in _reasons.grouped(by_rule)] == [
        ("drop", "duplicates/semantic", 30),
        ("drop", "duplicates/near", 20),
        ("redact", "private/email", 9),
        ("review", "private/email", 1),
        ("review", "contamination/semantic", 2),
        ("review", "risk/high", 1),
        ("review", "duplicates/semantic", 90),
    ]


def test_nothing_to_review_says_nothing():
    assert _reasons.for_review(scan(("drop", "duplicates/near", 39))) == []
