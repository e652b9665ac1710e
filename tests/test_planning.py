"""Findings to a plan: one action per row, the strongest that applies, each with a reason."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from planned import MAIL, PAIRS, actions, by_row, findings

from scanner import planning
from scanner.errors import BrakeError
from scanner.planning import PLAN_SCHEMA, brake, check_brake, make_plan, may_drop
from scanner.settings import Settings


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
        "its text stands inside row 3",
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


def test_a_row_dropped_for_its_meaning_is_not_told_the_words_it_shares_with_the_kept_one():
    pairs = [(0, 1, "minhash", "near", 0.56), (0, 1, "semantic", "semantic", 0.934)]
    dropped = by_row(make_plan(findings(2, keep=[0, 0], pairs=pairs), Settings(drop_semantic=True)), 1)
    assert dropped["rule_id"] == "duplicates/semantic"
    assert dropped["why"] == "means nearly the same as row 0, which is kept (cosine 0.93)"


@pytest.mark.parametrize(("payload", "action"), [(0.79, "keep"), (0.8, "review"), (math.nan, "review")])
@pytest.mark.parametrize("relation", ["near", "contained"])
def test_a_template_in_common_calls_nobody_to_review(payload, action, relation):
    found = findings(2, pairs=[(0, 1, "minhash", relation, 0.9)], answer_alike=0.1)
    found = replace(found, pairs=found.pairs.with_columns(payload_similarity=pl.lit(payload, pl.Float32)))
    assert actions(make_plan(found, Settings())) == ["keep", action]


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
    left_for = {ids[k]: sum(other == k != i for i, other in enumerate(keep)) for k in set(keep)}
    for i, line in enumerate(plan.iter_rows(named=True)):
        gone = left_for.get(line["row_id"], 0)
        quiet = (
            f"it stays for {gone} rows that are dropped".replace("1 rows that are", "1 row that is")
            if gone
            else ("nothing found that calls for a change")
        )
        assert (line["action"] == "drop") == (keep[i] != i)
        assert (line["keep_row_id"] is not None) == (line["action"] == "drop")
        assert (line["action"] == "keep") == (line["rule_id"] is None) == (line["why"] == quiet)
        if line["action"] != "drop":
            assert (line["action"] == "redact") == (redact and i in private)
        assert bool(line["loss_mask"]) == (not redact and i in private)


@pytest.mark.parametrize(
    ("signal", "similarity", "answers", "context", "payload", "words", "default", "with_semantic"),
    [
        ("minhash", 0.8, 0.8, True, math.nan, None, True, True),
        ("minhash", 1.0, 1.0, True, math.nan, None, True, True),
        ("minhash", 0.79, 1.0, True, 1.0, None, False, False),
        ("minhash", 0.9, 0.2, True, math.nan, None, False, False),  # the same long prompt with another answer
        ("minhash", 0.9, math.nan, True, math.nan, None, True, True),  # neither row has an answer
        ("minhash", 1.0, 1.0, False, math.nan, None, False, False),  # another system prompt
        ("minhash", 0.99, 1.0, True, 0.79, None, False, False),  # the same wrapper around another payload
        ("minhash", 0.99, 1.0, True, 0.8, None, True, True),
        ("minhash", 0.75, 0.6, True, math.nan, 0.8, True, True),  # punctuation keeps them apart
        ("minhash", 0.75, 0.6, True, math.nan, 0.79, False, False),
        ("minhash", 0.99, 1.0, False, 1.0, 1.0, False, False),
        ("minhash", 0.99, 0.5, True, math.nan, math.nan, False, False),
        ("semantic", 0.95, None, None, None, None, False, True),
        ("exact", 1.0, None, None, None, None, False, False),  # exact copies are one node already
    ],
)
def test_what_may_be_dropped(signal, similarity, answers, context, payload, words, default, with_semantic):
    given = {"similarity": similarity, "answer_similarity": answers, "payload_similarity": payload,
             "words_similarity": words}  # fmt: skip
    frame = pl.DataFrame(
        {"signal": [signal], **{k: [v] for k, v in given.items()}, "same_context": [context], "differs": ""},
        schema_overrides={**dict.fromkeys(given, pl.Float32), "same_context": pl.Boolean},
    )
    assert len(frame.filter(may_drop(Settings()))) == default
    assert len(frame.filter(may_drop(Settings(drop_semantic=True)))) == with_semantic


def test_rows_alike_under_another_system_prompt_say_so():
    found = findings(2, pairs=[(0, 1, "minhash", "same_both", 1.0)])
    other = replace(found, pairs=found.pairs.with_columns(same_context=pl.lit(False)))
    why = "reads like row 0 but differs in system prompt, tools or rejected answer (Jaccard 1.0)"
    assert by_row(make_plan(other, Settings()), 1)["why"] == why


def test_a_copy_but_for_punctuation_says_so():
    pairs = [(0, 1, "minhash", "near", 0.75)]
    told = by_row(make_plan(findings(2, keep=[0, 0], pairs=pairs, answer_alike=0.6, words=0.9), Settings()), 1)
    assert told["why"].endswith("without punctuation and templates 90 % of their shingles are shared (Jaccard)")


def test_a_shared_side_is_no_reason_to_drop():
    """A star of a conflict or of boilerplate may stand between the same two rows as the pair that was verified."""
    for relation in ("same_prompt", "same_response"):
        found = findings(2, keep=[0, 0], pairs=[(0, 1, "exact", relation, 0.3), (0, 1, "minhash", "near", 0.9)])
        told = by_row(make_plan(found, Settings()), 1)
        assert (told["action"], told["rule_id"]) == ("drop", "duplicates/near")
        assert "90 %" in told["why"]


@pytest.mark.parametrize(
    ("differs", "dropped"),
    [("", True), ("names", True), ("code", True), ("numbers", False), ("negation, names", False), (None, False)],
)
def test_pairs_by_meaning_are_dropped_only_where_numbers_and_negation_were_seen_to_agree(differs, dropped):
    frame = pl.DataFrame(
        {"signal": ["semantic"], "similarity": [0.95], "answer_similarity": None, "same_context": None,
         "payload_similarity": None, "words_similarity": None, "differs": [differs]},
        schema_overrides={"answer_similarity": pl.Float32, "same_context": pl.Boolean, "differs": pl.String,
                          "payload_similarity": pl.Float32, "words_similarity": pl.Float32},
    )  # fmt: skip
    assert len(frame.filter(may_drop(Settings(drop_semantic=True)))) == dropped
    assert not len(frame.filter(may_drop(Settings())))


def test_a_reviewer_is_told_what_differs():
    found = findings(2, pairs=[(0, 1, "semantic", "semantic", 0.934)], differs="numbers, names")
    said = by_row(make_plan(found, Settings()), 1)
    assert said["action"] == "review"
    assert said["why"] == "means nearly the same as row 0 (cosine 0.93), but they differ in numbers, names"


def plan_with_drops(*gone):
    keep = [i if i not in gone else 0 for i in range(10)]
    return make_plan(findings(10, keep=keep, pairs=[(0, i, "exact", "same_both", 1.0) for i in gone]), Settings())


@pytest.mark.parametrize(("similarity", "action"), [(0.74, "keep"), (0.75, "review"), (0.76, "review")])
def test_rows_as_alike_as_the_threshold_are_for_review(similarity, action):
    found = findings(2, pairs=[(0, 1, "minhash", "near", similarity)], answer_alike=0.1)
    assert make_plan(found, Settings(jaccard=0.75))["action"].to_list() == ["keep", action]


def test_the_brake_looks_at_each_source():
    source = np.array([0] * 6 + [1] * 4)
    plan = plan_with_drops(1, 2, 3, 6, 7, 8)
    assert brake(plan, source, Settings(), ["a.jsonl", "b.jsonl"]) == [
        "the plan would drop 3 of 4 rows of b.jsonl (75 %), more than --max-removal-share 0.5 allows"
    ]
    assert brake(plan, source, Settings(max_removal_share=0.75), ["a", "b"]) == []
    assert brake(plan, source, Settings(max_removal_share=1), ["a", "b", "empty"]) == []
    assert len(brake(plan, source, Settings(max_removal_share=0), ["a", "b"])) == 2


def test_the_brake_says_what_to_do():
    check_brake([], "r.scan")
    message = r"a: too many; b: too many\. Look at the clusters .* `scan plan r\.scan --max-removal-share 1` and apply"
    with pytest.raises(BrakeError, match=message):
        check_brake(["a: too many", "b: too many"], "r.scan")
    with pytest.raises(BrakeError, match=r"`scan plan 'my runs/r\.scan' --max-removal-share 1`"):
        check_brake(["a: too many"], "my runs/r.scan")


def test_the_docstring_names_every_action():
    assert all(f"\n    {action} " in planning.__doc__ for action in ("drop", "redact", "review", "keep"))


def test_an_answer_that_stands_in_another_row_is_for_review():
    given = findings(4, keep=[0, 1, 2, 0])
    shares = [(0, 1, 0.2, 0.9), (1, 2, 0.5, 0.5), (0, 2, 0.49, math.nan), (2, 3, 0.9, 0.9)]
    table = pl.DataFrame(
        [(a, b, "span", "near", 0.3, x, y) for a, b, x, y in shares],
        schema={**PAIRS, "answer_containment_ab": pl.Float32, "answer_containment_ba": pl.Float32},
        orient="row",
    )
    plan = make_plan(replace(given, pairs=pl.concat([given.pairs, table], how="diagonal")), Settings())
    assert actions(plan) == ["keep", "review", "review", "drop"]
    assert by_row(plan, 1)["why"] == "90 % of its answer stands word for word in row 0"
    # equal shares: the later row; row 3, which is dropped, is no reason
    assert by_row(plan, 2)["why"] == "50 % of its answer stands word for word in row 1"
    assert by_row(plan, 2)["rule_id"] == "repeated/leakage"
