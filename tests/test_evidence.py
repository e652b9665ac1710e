"""Excerpts, contexts and differences: what is hidden stays hidden, the rest is shown as it is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.append(str(Path(__file__).parent / "reports"))

import synthetic

from scanner.evidence import Evidence, difference, label_of, shortened
from scanner.store import RunFolder

VALUE = "jane.roe@northwind-traders.net"


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    made = synthetic.small(6)
    made.texts[1] = ("Who wrote?", "", f"It was {VALUE}, I think, and nobody else.")
    made.texts[2] = ("Who wrote?", "", f"It was ({VALUE}) and 😀 somebody else.")
    made.mark(1, VALUE)
    return synthetic.write(made, tmp_path / "a.scan")


def test_masks_where_a_rule_found_it(run: RunFolder) -> None:
    assert Evidence(run).answer(1) == "It was [EMAIL], I think, and nobody else."


def test_masks_the_same_value_where_no_rule_found_it(run: RunFolder) -> None:
    assert Evidence(run).answer(2) == "It was ([EMAIL]) and 😀 somebody else."


def test_cutting_never_uncovers_a_part_of_a_value(run: RunFolder) -> None:
    evidence = Evidence(run)
    shown = {evidence.answer(1, limit) for limit in range(2, 60)}
    assert not [text for text in shown if "jane" in text or "northwind" in text]
    parts = [part for around in range(40) for part in evidence.in_context(1, 2, 12, 20, around)]
    assert not [text for text in parts if "jane" in text or "northwind" in text]


def test_difference_of_masked_texts(run: RunFolder) -> None:
    told = Evidence(run).difference(1, 2)
    assert told is not None
    sides = "".join(piece.text for piece in (*told.left, *told.right))
    assert VALUE not in sides
    assert "[EMAIL]" in sides


def test_policies(run: RunFolder) -> None:
    assert VALUE in Evidence(run, "full").answer(1)
    nothing = Evidence(run, "none")
    assert nothing.missing == "text not shown (--text none)"
    assert (nothing.answer(1), nothing.prompt(1), nothing.difference(1, 2)) == ("", "", None)
    run.segments_path.unlink()
    assert "purged" in Evidence(run).missing


def test_prompt_is_what_stands_before_the_answer(run: RunFolder) -> None:
    assert Evidence(run).prompt(1) == "Who wrote?"


@pytest.mark.parametrize(
    ("rule", "preview", "label"),
    [("private/email", "[EMAIL] 21 chars", "EMAIL"), ("private/us-ssn", None, "US_SSN"), ("", "[<b>]", "PRIVATE")],
)
def test_labels(rule: str, preview: str | None, label: str) -> None:
    assert label_of(rule, preview) == label


@given(st.text(), st.integers(2, 40))
def test_shortened_is_a_beginning(text: str, limit: int) -> None:
    shown = shortened(text, limit)
    assert len(shown) <= limit or shown == text
    assert text.startswith(shown.removesuffix("…").rstrip()) or shown == text


WORDS = st.lists(st.sampled_from(["red", "green", "blue", "中", "文", ",", "a1"]), max_size=30).map(" ".join)


@given(WORDS, WORDS)
def test_difference_keeps_each_side(left: str, right: str) -> None:
    told = difference(left, right)
    for side, text in ((told.left, left), (told.right, right)):
        if not any(piece.kind == "cut" for piece in side):
            assert "".join(piece.text for piece in side).rstrip() == text.rstrip()
    assert told.complete
    if left == right:
        assert all(piece.kind != "changed" for piece in (*told.left, *told.right))
