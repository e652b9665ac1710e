"""Conflicts, boilerplate and relations in the reports: complete, with shares, masked, the same for none and many."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import polars as pl
import pytest

sys.path.append(str(Path(__file__).parent))

import synthetic

from scanner.evidence import Evidence
from scanner.reports import _partners, _relations, render
from scanner.store import RunFolder

VALUE = "jane.roe@northwind-traders.net"
LONG = "I am sorry, but nobody here can help with that request today."


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    made = synthetic.small(30)
    for i in range(7):
        made.texts[i] = ("Who wrote?", "", f"It was {VALUE}, or number {i} of the others.")
        made.mark(i, VALUE)
    for i in range(10, 13):
        made.texts[i] = (f"What is the weather in town {i}?", "", LONG)
    made.pairs += [(0, i, "exact", "same_prompt", 0.6) for i in range(1, 7)]
    made.pairs += [(10, i, "exact", "same_response", 0.5) for i in (11, 12)]
    return synthetic.write(made, tmp_path_factory.mktemp("relations") / "a.scan")


def test_answers_of_a_prompt_are_listed_with_their_shares(run: RunFolder) -> None:
    (conflict,) = _relations.gather(run, Evidence(run)).conflicts
    assert (conflict.rows, conflict.answers_total, conflict.more) == (7, 7, 7 - _relations.ANSWERS_SHOWN)
    assert conflict.prompt == "Who wrote?"
    assert [a.row_id for a in conflict.answers] == [0, 1, 2, 3, 4]
    assert conflict.answers[0].share == pytest.approx(1 / 7)
    assert conflict.answers[0].excerpt == "It was [EMAIL], or number 0 of the others."
    assert conflict.difference is not None
    assert any(piece.kind == "changed" for piece in conflict.difference.left)


def test_boilerplate_is_told_with_its_prompts(run: RunFolder) -> None:
    (found,) = _relations.gather(run, Evidence(run)).boilerplate
    assert (found.rows, found.prompts_total, found.answer) == (3, 3, LONG)
    assert [row_id for row_id, _, _ in found.prompts] == [10, 11, 12]
    page = render(run, "html").decode()
    assert "3 rows give this same answer to different prompts" in page
    assert "Showing 1 of 1 answer" in page
    assert VALUE not in page


def test_without_text_the_figures_stay(run: RunFolder) -> None:
    found = _relations.gather(run, Evidence(run, "none"))
    assert [len(found.conflicts), len(found.boilerplate)] == [1, 1]
    assert found.conflicts[0].answers[0].excerpt == ""
    assert found.conflicts[0].difference is None
    assert "text not shown" in render(run, "html", "none").decode()


def test_json_has_them_too(run: RunFolder) -> None:
    document = json.loads(render(run, "json"))
    assert [len(document[name]) for name in ("conflicts", "boilerplate", "aligned")] == [1, 1, 0]
    assert document["summary"]["relations"]["same_answer"]["long"] == {"rows": 3, "share": 0.1, "groups": 1}
    assert VALUE not in json.dumps(document)


ROWS = pl.DataFrame({
    "row_id": [0, 1, 2, 3, 4, 5], "source": ["a", "a", "b", "b", "b", "c"],
    "script.answer": ["Latin", "Latin", "Latin", "Han", "Latin", "Latin"],
    "conflicts.group": [None, 0, None, 0, None, None], "turns.opening_group": [1, 1, None, None, None, 1],
})  # fmt: skip
PAIRS = pl.DataFrame(
    [
        (0, 2, "exact", "same_both", 1.0), (2, 3, "minhash", "near", 0.9), (4, 5, "semantic", "semantic", 0.95),
        (1, 4, "minhash", "contained", 0.1), (1, 3, "exact", "same_prompt", 0.2),
    ],
    schema=["row_a", "row_b", "signal", "relation", "similarity"], orient="row",
)  # fmt: skip


def test_partners_across_sources_are_counted_in_rows() -> None:
    table = {(e["part"], e["other"]): e for e in _partners.figures(ROWS, PAIRS)["across_sources"]}

    def counts(part: str, other: str) -> list[int]:
        return [table[part, other][kind] for kind in _partners.ACROSS]

    # row 0 equals row 2, so what is near row 2 is near row 0 as well
    assert counts("a", "b") == [1, 1, 0, 1, 0]
    assert counts("b", "a") == [1, 1, 0, 1, 0]
    assert counts("b", "b") == [0, 2, 0, 0, 0]
    assert counts("b", "c") == [0, 0, 1, 0, 0]
    assert counts("a", "a") == [0, 0, 0, 0, 2]
    assert counts("a", "c") == [0, 0, 0, 0, 2]
    assert ("c", "c") not in table


def test_partners_across_scripts_and_no_table_for_one_part() -> None:
    found = _partners.figures(ROWS, PAIRS)
    assert {(e["part"], e["other"]): e["near"] for e in found["across_scripts"]}["Han", "Latin"] == 1
    assert found["scripts"] == [{"script": "Latin", "rows": 5}, {"script": "Han", "rows": 1}]
    assert _partners.figures(ROWS.with_columns(source=pl.lit("a")), PAIRS)["across_sources"] == []


def test_answers_inside_answers_say_which_way_round(tmp_path: Path) -> None:
    made = synthetic.small(8)
    made.pairs += [(1, 2, "minhash", "near", 0.9), (3, 4, "exact", "same_prompt", 0.4), (5, 6, "minhash", "near", 0.8)]
    run = synthetic.write(made, tmp_path / "a.scan")
    pairs = run.read_table("pairs").with_columns(
        answer_containment_ab=pl.Series([1.0, 0.5, 1.0]), answer_containment_ba=pl.Series([0.6, 0.96, 1.0])
    )
    run.write_table("pairs", pairs)
    said = [pair.said for pair in _relations.gather(run, Evidence(run)).aligned]
    assert said == [
        "row 1's answer stands inside row 2's",
        "row 4's answer stands inside row 3's (96 % of it); both answer the same prompt",
    ]


def test_long_equal_beginnings_do_not_hide_the_difference() -> None:
    from scanner.evidence import difference

    start = "word " * 5000
    told = difference(f"{start}the end is near", f"{start}the end was far")
    assert told.complete
    assert [piece.text for piece in told.left if piece.kind == "changed"] == ["is near"]
    assert told.left[0].kind == told.right[0].kind == "cut"
    same = difference(start, start)
    assert not [piece for piece in (*same.left, *same.right) if piece.kind == "changed"]
