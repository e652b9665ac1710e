"""The contract of rules/: whatever lies there is read, complete, and does on its own examples what it says."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from scanner import rulebook
from scanner.redaction import Span, redact
from scanner.rulebook import KINDS, RULES_FOLDER, Rule
from scanner.rulefiles import EXAMPLES_AT_LEAST

BOOK = rulebook.load()
FILES = [p for kind in KINDS for p in sorted((RULES_FOLDER / kind).rglob("*.toml"))]

each_rule = pytest.mark.parametrize("rule", BOOK.rules, ids=[rule.id for rule in BOOK.rules])


def test_every_file_is_a_rule_and_its_path_is_its_id() -> None:
    assert [rule.id for rule in BOOK.rules] == sorted(
        p.relative_to(RULES_FOLDER).with_suffix("").as_posix() for p in FILES
    )
    assert len(BOOK.rules) >= 20
    assert BOOK.by_id["private/email"].path == RULES_FOLDER / "private" / "email.toml"


@each_rule
def test_a_rule_is_complete(rule: Rule) -> None:
    assert rule.kind == Path(rule.id).parts[0]
    assert len(rule.fires) >= EXAMPLES_AT_LEAST
    assert len(rule.quiet) >= EXAMPLES_AT_LEAST
    assert all(len(text) >= 10 for text in (rule.what, rule.why, rule.advice, rule.known_problems))
    assert 0 < rule.score <= 1
    assert rule.severity > 1


@each_rule
def test_its_examples_fire_and_stay_quiet(rule: Rule) -> None:
    rulebook.check(rule)


@each_rule
def test_an_example_has_letters_of_another_script_before_a_span(rule: Rule) -> None:
    """Positions are code points: at least one example would show it if they were bytes."""
    texts = [(example.text, span) for example in rule.fires for span in example.spans]
    assert any(not text[: text.index(span)].isascii() for text, span in texts)


@each_rule
def test_the_prefilter_loses_nothing(rule: Rule) -> None:
    for example in rule.fires:
        assert [example.text[a:b] for a, b in rule.spans(example.text)] == list(example.spans)
        passed = pl.DataFrame({"text": [example.text]}).select(rule.prefilter().alias("hit"))["hit"]
        assert passed.to_list() == [True]


@each_rule
def test_the_whole_book_covers_the_examples_too(rule: Rule) -> None:
    """Another rule may win a span, but it is found and nothing of it is left after redaction."""
    for example in rule.fires:
        found = BOOK.find_in(example.text)
        spans = [Span(f.start, f.end, f.rule.placeholder) for f in found]
        cleaned = redact(example.text, spans)
        for value in example.spans:
            assert value not in cleaned


@each_rule
def test_the_placeholder_is_found_by_no_rule(rule: Rule) -> None:
    label = f"{rule.placeholder[:-1]}_12]"
    assert BOOK.find_in(f'api_key = "{label}", password: {label}, call {label}, {label}@{label}') == []
