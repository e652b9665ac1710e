"""Plans where an earlier run holds rows already, and where --keep leaves more than one of a cluster."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
from planned import MAIL, actions, by_row, findings

from scanner.keeping import preference
from scanner.planning import brake, make_plan
from scanner.settings import Settings

KNOWN = {
    "row_id": pl.Int64, "source": pl.String, "item": pl.String, "part": pl.String, "how": pl.String,
    "similarity": pl.Float32, "same_context": pl.Boolean, "first_turn": pl.Boolean,
}  # fmt: skip


def with_earlier(found, copied=(), known=()):
    return replace(
        found,
        copied=pl.DataFrame([(r, "old.scan", str(i)) for r, i in copied], orient="row",
                            schema={"row_id": pl.Int64, "source": pl.String, "item": pl.String}),
        matches=pl.DataFrame(list(known), schema=KNOWN, orient="row").with_columns(kind=pl.lit("earlier")),
    )  # fmt: skip


def test_a_row_that_an_earlier_run_holds_is_dropped_and_names_it():
    plan = make_plan(with_earlier(findings(3), copied=[(1, 77)]), Settings())
    line = by_row(plan, 1)
    assert (line["action"], line["rule_id"], line["keep_row_id"]) == ("drop", "duplicates/earlier", None)
    assert line["why"] == "a copy of row 77 of the earlier run old.scan, up to case and spacing"
    assert actions(plan) == ["keep", "drop", "keep"]


def test_what_was_verified_against_such_a_row_goes_with_it_and_nothing_is_kept_for_it():
    found = findings(4, keep=[0, 0, 0, 3], pairs=[(0, 1, "minhash", "near", 0.9), (0, 2, "exact", "same_both", 1)])
    plan = make_plan(with_earlier(found, copied=[(0, 77), (2, 77)]), Settings())
    assert actions(plan) == ["drop", "drop", "drop", "keep"]
    assert plan["keep_row_id"].to_list() == [None] * 4
    assert by_row(plan, 1)["why"] == (
        "a near copy of row 0: 90 % of their shingles are shared (Jaccard), a copy of row 77 of the earlier run "
        "old.scan"
    )


def test_what_is_not_verified_against_an_earlier_run_is_for_review():
    known = [
        (0, "old.scan", "5", "question", "exact", 1.0, None, False),
        (1, "old.scan", "6", "both", "near", 0.86, None, False),
        (2, "old.scan", "7", "both", "near", 0.6, None, False),  # below --jaccard
        (3, "old.scan", "8", "question", "exact", 1.0, None, True),  # a greeting in common is no reason
        (4, "old.scan", "9", "answer", "exact", 1.0, None, False),
        (5, "old.scan", "3", "both", "exact", 1.0, False, False),
    ]
    plan = make_plan(with_earlier(findings(6), known=known), Settings())
    assert actions(plan) == ["review", "review", "keep", "keep", "keep", "review"]
    assert plan["rule_id"].to_list() == [
        "duplicates/earlier-prompt", "duplicates/earlier-near", None, None, None, "duplicates/earlier",
    ]  # fmt: skip
    assert by_row(plan, 0)["why"] == "its prompt stands in row 5 of the earlier run old.scan too, with another answer"
    assert by_row(plan, 1)["why"] == (
        "reads like row 6 of the earlier run old.scan: Jaccard about 0.86, estimated from signatures"
    )


def preferring(found):
    flat = np.zeros(len(found.rows))
    return replace(found, preferred=preference(found.rows, "first", ["a.jsonl"], flat, flat))


def test_keep_leaves_so_many_of_a_cluster_and_says_so():
    pairs = [(0, i, "exact", "same_both", 1.0) for i in (1, 2, 3)]
    found = preferring(findings(5, keep=[0, 0, 0, 0, 4], pairs=pairs, spans=[(1, 0, 0, 4, *MAIL)]))
    assert actions(make_plan(found, Settings())) == ["keep", "drop", "drop", "drop", "keep"]
    plan = make_plan(found, Settings(keep=3))
    assert actions(plan) == ["keep", "redact", "keep", "drop", "keep"]  # a copy that stays is redacted like any other
    assert by_row(plan, 2)["why"] == "a copy of row 0 that stays too: --keep 3 leaves so many of a cluster"
    assert by_row(plan, 3)["kept_because"] == "it comes first"
    assert plan["kept_because"].null_count() == 4


def test_copies_that_keep_leaves_call_nobody_to_review():
    found = findings(3, keep=[0, 0, 0], pairs=[(0, 1, "minhash", "near", 0.9), (0, 2, "minhash", "near", 0.85)])
    found = preferring(found)
    assert actions(make_plan(found, Settings(keep=2))) == ["keep", "keep", "drop"]


def test_a_copy_in_an_earlier_run_counts_as_one_that_is_kept():
    pairs = [(0, i, "minhash", "near", 0.9) for i in (1, 2)]
    found = preferring(findings(3, keep=[0, 0, 0], pairs=pairs))
    assert actions(make_plan(with_earlier(found, copied=[(0, 7)]), Settings(keep=2))) == ["drop", "keep", "drop"]


def test_the_brake_tells_how_much_of_it_earlier_runs_hold_already():
    plan = make_plan(with_earlier(findings(4), copied=[(0, 1), (1, 2), (3, 4)]), Settings())
    assert brake(plan, np.zeros(4, int), Settings(), ["new.jsonl"]) == [
        "the plan would drop 3 of 4 rows of new.jsonl (75 %), more than --max-removal-share 0.5 allows, 3 of them "
        "because earlier runs (--against) hold them already"
    ]
    alone = make_plan(with_earlier(findings(1), copied=[(0, 1)]), Settings())
    (one,) = brake(alone, np.zeros(1, int), Settings(), ["new.jsonl"])
    assert one.endswith("1 of them because earlier runs (--against) hold it already")
