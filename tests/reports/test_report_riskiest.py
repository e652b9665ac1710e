"""The riskiest rows: those of one template are shown once."""

from __future__ import annotations

from pathlib import Path

import pytest
import synthetic

from scanner.reports import _riskiest, render
from scanner.reports._content import gather


@pytest.fixture
def made() -> synthetic.Made:
    """Twelve rows without any finding, all long enough to be predicted."""
    answer = "the thing stands on the shelf beside the door where all of us can see and take it any day"
    return synthetic.Made({i: (f"What is {i}?", "", f"{i}: {answer}") for i in range(12)})


def shown(made: synthetic.Made, path: Path, top: int = 20) -> list[tuple[int, int]]:
    """(row, rows that it is shown for beside itself and its cluster) of the riskiest."""
    return [(row.row_id, row.alike) for row in gather(synthetic.write(made, path), top=top, details=False).top]


def test_rows_of_verified_pairs_are_shown_once(made: synthetic.Made, tmp_path: Path) -> None:
    order = [row for row, _ in shown(made, tmp_path / "alone.scan")]
    first, second, third, fourth, *rest = order
    assert len(rest) == 6, "of rows without any risk ten are shown"
    made.pairs += [(*sorted((first, second)), "minhash", "near", 0.6)]
    made.pairs += [(*sorted((first, fourth)), "exact", "same_response", 0.4)]
    made.pairs += [(*sorted((second, rest[0])), "minhash", "near", 0.6)]  # like one that is not shown itself
    told = shown(made, tmp_path / "linked.scan")
    assert told[:3] == [(first, 2), (third, 0), (rest[0], 0)]
    assert len(shown(made, tmp_path / "short.scan", top=2)) == 2


def test_rows_with_other_answers_or_the_same_meaning_are_not_taken_for_one(
    made: synthetic.Made, tmp_path: Path
) -> None:
    before = shown(made, tmp_path / "alone.scan")
    a, b, c = sorted(row for row, _ in before[:3])
    made.pairs += [(a, b, "exact", "same_prompt", 0.4), (a, c, "semantic", "semantic", 0.95)]
    made.pairs += [(b, c, "minhash", "contained", 0.5)]
    assert shown(made, tmp_path / "linked.scan") == before


def test_where_not_all_rows_were_compared_it_says_at_least(
    made: synthetic.Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.pairs += [(a, b, "minhash", "near", 0.7) for a in range(12) for b in range(a + 1, 12)]
    run = synthetic.write(made, tmp_path / "all.scan")
    assert [row.and_more for row in gather(run, details=False).top] == ["and 11 more like it"]
    monkeypatch.setattr(_riskiest, "COMPARED_ROWS", 8)
    assert [row.and_more for row in gather(run, details=False).top] == ["and at least 7 more like it"]


@pytest.mark.parametrize("name", ["terminal", "markdown", "html"])
def test_where_no_answer_is_long_enough_for_a_risk_it_says_so(name: str, tmp_path: Path) -> None:
    made = synthetic.Made({i: (f"What is {i}?", "", f"It is the thing of shelf {i}.") for i in range(12)})
    told = b" ".join(render(synthetic.write(made, tmp_path / "short.scan"), name).split())
    assert b"o row has a predicted risk: it is that of 16 tokens or more, and no answer is so long" in told
