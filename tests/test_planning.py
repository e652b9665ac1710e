"""Findings to a plan: one action per row, the strongest that applies, each with a reason."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from corpora import pair, places_of
from hypothesis import given
from hypothesis import strategies as st

from scanner import planning
from scanner.errors import BrakeError
from scanner.objects import Clusters
from scanner.planning import PLAN_SCHEMA, Findings, brake, check_brake, make_plan, may_drop, priority
from scanner.settings import Settings

PAIRS = {
    "row_a": pl.Int64, "row_b": pl.Int64, "signal": pl.String, "relation": pl.String, "similarity": pl.Float32,
}  # fmt: skip
SPANS = {
    "row_id": pl.Int64, "segment": pl.Int32, "start": pl.Int32, "end": pl.Int32, "rule_id": pl.String,
    "kind": pl.String,
}  # fmt: skip


def findings(n=6, *, ids=None, keep=None, pairs=(), spans=(), bands=None, answers=None, texts=None):
    """Findings of n rows; keep: position of the row kept for each."""
    ids = list(range(n)) if ids is None else ids
    rows = places_of([pair("q", t) for t in (texts or map(str, range(n)))], ids)
    if texts is None:  # content order is row order, unless a test brings texts of its own
        rows = replace(rows, digest=np.arange(2 * n, dtype=np.uint64).reshape(n, 2))
    keep = np.arange(n) if keep is None else np.array(keep)
    clusters = Clusters(np.full(n, -1), np.bincount(keep, minlength=n)[keep], keep)
    answers = answers or [1] * n
    return Findings(
        rows,
        clusters,
        pl.DataFrame(list(pairs), schema=PAIRS, orient="row"),
        pl.DataFrame(list(spans), schema=SPANS, orient="row"),
        pl.DataFrame({"row_id": ids, "band": bands or ["none"] * n, "reasons": ["seen often"] * n}),
        pl.DataFrame(
            {"row_id": ids, "conflicts.answers": answers, "conflicts.share": [1 / a for a in answers]},
            schema_overrides={"conflicts.answers": pl.Int32, "conflicts.share": pl.Float32},
        ),
    )


def actions(plan):
    return plan["action"].to_list()


def by_row(plan, row_id):
    return plan.filter(pl.col("row_id") == row_id).row(0, named=True)


MAIL = ("private/email", "private")


def test_a_quiet_data_set_is_kept():
    plan = make_plan(findings(3, ids=[4, 7, 9]), Settings())
    assert plan.schema == pl.Schema(PLAN_SCHEMA)
    assert plan["row_id"].to_list() == [4, 7, 9]
    assert actions(plan) == ["keep"] * 3
    assert plan["why"].to_list() == ["nothing found that calls for a change"] * 3
    assert plan["sample_weight"].to_list() == [1.0] * 3
    assert plan["loss_mask"].to_list() == [[]] * 3
    assert plan["keep_row_id"].to_list() == plan["rule_id"].to_list() == [None] * 3


def test_each_action_says_why():
    found = findings(
        9,
        keep=[0, 0, 0, 3, 4, 5, 6, 7, 8],
        pairs=[
            (0, 1, "exact", "same_both", 1.0), (0, 1, "minhash", "same_both", 1.0), (0, 2, "minhash", "near", 0.875),
            (4, 5, "semantic", "semantic", 0.934), (3, 6, "minhash", "contained", 0.3), (6, 7, "minhash", "near", 0.9),
        ],
        spans=[(3, 0, 0, 5, *MAIL), (3, 1, 0, 5, "secret/jwt", "secret")],
        bands=["none"] * 8 + ["high"],
        answers=[1, 1, 1, 1, 4, 1, 1, 1, 1],
    )  # fmt: skip
    plan = make_plan(found, Settings())
    assert actions(plan) == ["keep", "drop", "drop", "redact", "review", "review", "review", "review", "review"]
    assert plan["why"].to_list()[1:] == [
        "the same training text as row 0, which is kept",
        "a near copy of row 0, which is kept: 88 % of their shingles are shared (Jaccard)",
        "2 private or secret spans (private/email, secret/jwt)",
        "its prompt has 4 different answers in this data set; 25 % of those rows give this one",
        "means nearly the same as row 4 (cosine 0.93)",
        "its text contains, or is contained in, row 3",
        "reads like row 6 but differs in prompt or answer (Jaccard 0.9)",
        "predicted to be memorized: seen often",
    ]
    assert plan["rule_id"].to_list()[1:] == [
        "duplicates/exact", "duplicates/near", "private/email", "conflicts/answers", "duplicates/semantic",
        "duplicates/alike", "duplicates/alike", "risk/high",
    ]  # fmt: skip
    assert plan["keep_row_id"].to_list() == [None, 0, 0, *[None] * 6]


def test_the_strongest_action_wins():
    """Row 1 is everything at once; then one finding less each time."""
    everything = {
        "keep": [0, 0], "spans": [(1, 0, 0, 3, *MAIL)], "bands": ["none", "high"], "answers": [1, 2],
        "pairs": [(0, 1, "exact", "same_both", 1.0)],
    }  # fmt: skip
    assert actions(make_plan(findings(2, **everything), Settings())) == ["keep", "drop"]
    everything.update(keep=[0, 1], pairs=[])
    assert actions(make_plan(findings(2, **everything), Settings())) == ["keep", "redact"]
    everything.update(spans=[])
    plan = make_plan(findings(2, **everything), Settings())
    assert by_row(plan, 1)["rule_id"] == "conflicts/answers"
    everything.update(answers=[1, 1])
    plan = make_plan(findings(2, **everything), Settings())
    assert by_row(plan, 1)["rule_id"] == "risk/high"
    everything.update(bands=["none", "medium"])
    assert actions(make_plan(findings(2, **everything), Settings())) == ["keep", "keep"]


def test_a_dropped_row_calls_nobody_to_review():
    pairs = [(0, 1, "exact", "same_both", 1.0), (1, 2, "minhash", "near", 0.95), (1, 3, "semantic", "semantic", 0.95)]
    plan = make_plan(findings(4, keep=[0, 0, 2, 3], pairs=pairs), Settings())
    assert actions(plan) == ["keep", "drop", "keep", "keep"]


def test_semantic_duplicates_that_are_dropped_say_so():
    found = findings(2, keep=[0, 0], pairs=[(0, 1, "semantic", "semantic", 0.934)])
    dropped = by_row(make_plan(found, Settings(drop_semantic=True)), 1)
    assert dropped["rule_id"] == "duplicates/semantic"
    assert dropped["why"] == "means nearly the same as row 0, which is kept (cosine 0.93)"


def test_without_redaction_private_spans_are_not_learned():
    spans = [(1, 1, 8, 9, *MAIL), (1, 0, 5, 7, *MAIL), (2, 0, 0, 4, "memorized", "memorized")]
    plan = make_plan(findings(3, spans=spans), Settings(redact=False))
    assert actions(plan) == ["keep"] * 3
    assert plan["loss_mask"].to_list() == [
        [], [{"segment": 0, "start": 5, "end": 7}, {"segment": 1, "start": 8, "end": 9}], [],
    ]  # fmt: skip
    assert make_plan(findings(3, spans=spans), Settings())["loss_mask"].list.len().sum() == 0


places = st.integers(0, 5)


@given(
    st.lists(st.booleans(), min_size=6, max_size=6),
    st.lists(
        st.tuples(places, places, st.sampled_from(["minhash", "semantic"]), st.sampled_from([0.5, 0.8, 1.0])),
        max_size=8,
    ),
    st.lists(st.integers(0, 5), max_size=6),
    st.lists(st.sampled_from(["none", "low", "medium", "high"]), min_size=6, max_size=6),
    st.lists(st.integers(1, 3), min_size=6, max_size=6),
    st.booleans(),
)  # fmt: skip
def test_exactly_one_action_per_row_and_a_reason_for_each(gone, pairs, private, bands, answers, redact):
    ids = [2, 3, 5, 8, 9, 11]
    keep = [i if i == 0 or not away else 0 for i, away in enumerate(gone)]
    pairs = [(min(a, b), max(a, b), s, "near", v) for a, b, s, v in pairs if a != b]
    pairs += [(0, i, "exact", "same_both", 1.0) for i in range(1, 6) if keep[i] == 0]
    found = findings(
        ids=ids, keep=keep, spans=[(ids[i], 0, 0, 1, *MAIL) for i in private],
        bands=bands, answers=answers, pairs=[(ids[a], ids[b], *r) for a, b, *r in pairs],
    )  # fmt: skip
    plan = make_plan(found, Settings(redact=redact))
    assert plan["row_id"].to_list() == ids
    assert plan.schema == pl.Schema(PLAN_SCHEMA)
    assert all(plan["why"].to_list())
    quiet = "nothing found that calls for a change"
    for i, line in enumerate(plan.iter_rows(named=True)):
        assert (line["action"] == "drop") == (keep[i] != i)
        assert (line["keep_row_id"] is not None) == (line["action"] == "drop")
        assert (line["action"] == "keep") == (line["rule_id"] is None) == (line["why"] == quiet)
        if line["action"] != "drop":
            assert (line["action"] == "redact") == (redact and i in private)
        assert bool(line["loss_mask"]) == (not redact and i in private)


@pytest.mark.parametrize(
    ("signal", "similarity", "answers", "context", "payload", "default", "with_semantic"),
    [
        ("minhash", 0.8, 0.8, True, math.nan, True, True),
        ("minhash", 1.0, 1.0, True, math.nan, True, True),
        ("minhash", 0.79, 1.0, True, 1.0, False, False),
        ("minhash", 0.9, 0.2, True, math.nan, False, False),  # the same long prompt with another answer
        ("minhash", 0.9, math.nan, True, math.nan, True, True),  # neither row has an answer
        ("minhash", 1.0, 1.0, False, math.nan, False, False),  # another system prompt
        ("minhash", 0.99, 1.0, True, 0.79, False, False),  # the same wrapper around another payload
        ("minhash", 0.99, 1.0, True, 0.8, True, True),
        ("semantic", 0.95, None, None, None, False, True),
        ("exact", 1.0, None, None, None, False, False),  # exact copies are one node already
    ],
)
def test_what_may_be_dropped(signal, similarity, answers, context, payload, default, with_semantic):
    given = {"similarity": similarity, "answer_similarity": answers, "payload_similarity": payload}
    frame = pl.DataFrame(
        {"signal": [signal], **{k: [v] for k, v in given.items()}, "same_context": [context]},
        schema_overrides={**dict.fromkeys(given, pl.Float32), "same_context": pl.Boolean},
    )
    assert len(frame.filter(may_drop(Settings()))) == default
    assert len(frame.filter(may_drop(Settings(drop_semantic=True)))) == with_semantic


def test_source_order_comes_before_every_policy():
    rows = places_of([pair("q", str(i)) for i in range(4)], range(4), [0, 0, 1, 1])
    quality, tokens = np.array([0.1, 0.2, 0.4, 0.3]), np.array([9, 8, 7, 99])
    assert np.argsort(priority(rows, "best", quality, tokens)).tolist() == [1, 0, 2, 3]
    assert np.argsort(priority(rows, "longest", quality, tokens)).tolist() == [0, 1, 3, 2]
    assert np.argsort(priority(rows, "first", quality, tokens)).tolist() == [0, 1, 2, 3]


def test_ties_are_broken_by_content_not_by_place():
    texts = ["a", "b", "c", "d"]
    rows = [pair("q", t) for t in texts]
    flat, equal = np.zeros(4), np.zeros(4, np.int64)
    straight = [texts[i] for i in np.argsort(priority(places_of(rows, range(4)), "best", flat, equal))]
    back = [texts[::-1][i] for i in np.argsort(priority(places_of(rows[::-1], range(4)), "best", flat, equal))]
    assert straight == back


def plan_with_drops(*gone):
    keep = [i if i not in gone else 0 for i in range(10)]
    return make_plan(findings(10, keep=keep, pairs=[(0, i, "exact", "same_both", 1.0) for i in gone]), Settings())


def test_the_brake_looks_at_each_source():
    source = np.array([0] * 6 + [1] * 4)
    plan = plan_with_drops(1, 2, 3, 6, 7, 8)
    assert brake(plan, source, Settings(), ["a.jsonl", "b.jsonl"]) == [
        "b.jsonl: the plan would drop 3 of 4 rows (75%), more than --max-removal-share 0.5 allows"
    ]
    assert brake(plan, source, Settings(max_removal_share=0.75), ["a", "b"]) == []
    assert brake(plan, source, Settings(max_removal_share=1), ["a", "b", "empty"]) == []
    assert len(brake(plan, source, Settings(max_removal_share=0), ["a", "b"])) == 2


def test_the_brake_says_what_to_do():
    check_brake([], "r.scan")
    message = r"a: too many; b: too many\. Look at the clusters .* `scan plan r\.scan --max-removal-share 1` and apply"
    with pytest.raises(BrakeError, match=message):
        check_brake(["a: too many", "b: too many"], "r.scan")


def test_the_docstring_names_every_action():
    assert all(f"\n    {action} " in planning.__doc__ for action in ("drop", "redact", "review", "keep"))
