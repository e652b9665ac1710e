"""Which row of a cluster stays: every policy, keep-N, and the reason that is given."""

from __future__ import annotations

import math

import numpy as np
import pytest
from corpora import pair, places_of
from hypothesis import given
from hypothesis import strategies as st

from scanner import keeping
from scanner.errors import SettingsError
from scanner.keeping import Policy, because, in_words, parse, preference, spared
from scanner.objects import Clusters
from scanner.settings import Settings

NAMES = ["a.jsonl", "b.jsonl"]


def rows_of(n, sources=None, texts=None):
    return places_of([pair("q", t) for t in (texts or map(str, range(n)))], range(n), sources)


def order(policy, quality=(0, 0, 0, 0), tokens=(0, 0, 0, 0), sources=(0, 0, 1, 1), **more):
    rows = rows_of(4, list(sources))
    found = preference(rows, policy, NAMES, np.array(quality, float), np.array(tokens), **more)
    return np.argsort(found.rank).tolist()


def test_source_order_comes_before_best_longest_and_first():
    quality, tokens = (0.1, 0.2, 0.4, 0.3), (9, 8, 7, 99)
    assert order("best", quality, tokens) == [1, 0, 2, 3]
    assert order("longest", quality, tokens) == [0, 1, 3, 2]
    assert order("first", quality, tokens) == [0, 1, 2, 3]


def test_sources_stay_in_the_order_that_is_asked_for_and_the_best_of_each():
    quality = (0.1, 0.2, 0.4, 0.3)
    assert order("source:b.jsonl,a.jsonl", quality) == [2, 3, 1, 0]
    assert order("source: b.jsonl", quality) == [2, 3, 1, 0]  # those not named come after
    assert order("source:a.jsonl", quality) == [1, 0, 2, 3]


def test_a_field_comes_before_the_order_of_the_inputs():
    values = np.array([2.0, math.nan, 7.0, 2.0])
    quality = (0.1, 0.9, 0.5, 0.8)
    assert order("field:votes", quality, field_rank=values) == [2, 0, 3, 1]
    assert order("field:-votes", quality, field_rank=values) == [0, 3, 2, 1]


def test_rows_of_an_earlier_run_stand_before_all_others():
    assert order("best", (0.1, 0.2, 0.4, 0.3), is_earlier=np.array([False, False, False, True])) == [3, 1, 0, 2]


def test_ties_are_broken_by_content_not_by_place():
    texts = ["a", "b", "c", "d"]
    flat, equal = np.zeros(4), np.zeros(4, np.int64)

    def kept(given_texts):
        rank = preference(rows_of(4, texts=given_texts), "best", ["one"], flat, equal).rank
        return [given_texts[i] for i in np.argsort(rank)]

    assert kept(texts) == kept(texts[::-1])


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("best", Policy("best")),
        ("source:b.jsonl, a.jsonl", Policy("source", ("b.jsonl", "a.jsonl"))),
        ("field:meta.date", Policy("field", field="meta.date")),
        ("field:-loss", Policy("field", field="loss", smaller=True)),
    ],
)
def test_policies_are_taken_apart(text, policy):
    assert Settings(keep_policy=text).keep_policy == text
    assert parse(text) == policy


@pytest.mark.parametrize("text", ["worst", "source:", "source:,", "field:", "field:-", "field", "best:x", ""])
def test_other_policies_are_refused_with_the_choices(text):
    choices = r"it must be one of best, first, longest, source:A.jsonl,B.jsonl .* field:NAME .* field:-NAME"
    with pytest.raises(SettingsError, match=f"--keep-policy is '{text}'; {choices}"):
        Settings(keep_policy=text)


def test_an_unknown_source_lists_the_inputs():
    message = r"source: names c.jsonl, which is no input; the inputs are a.jsonl, b.jsonl"
    with pytest.raises(SettingsError, match=message):
        order("source:b.jsonl,c.jsonl")


# ------------------------------------------------------------------------------------------------------------- keep-N


def stars_of(keep):
    keep = np.array(keep)
    return Clusters(np.zeros(len(keep), np.int64), np.bincount(keep, minlength=len(keep))[keep], keep)


def test_the_next_ones_by_rank_stay_too():
    clusters = stars_of([0, 0, 0, 0, 4, 4, 6])
    rank = np.array([0, 5, 1, 4, 2, 6, 3])
    may = np.ones(7, bool)
    assert np.flatnonzero(spared(clusters, rank, 1, may)).tolist() == []
    assert np.flatnonzero(spared(clusters, rank, 2, may)).tolist() == [2, 5]
    assert np.flatnonzero(spared(clusters, rank, 3, may)).tolist() == [2, 3, 5]
    may[2] = False
    assert np.flatnonzero(spared(clusters, rank, 2, may)).tolist() == [3, 5]


@given(st.integers(1, 30), st.integers(1, 5), st.randoms())
def test_every_cluster_leaves_so_many_rows_or_all_it_has(n, keep, random):
    centre = [random.randrange(i + 1) for i in range(n)]
    centre = np.array([c if centre[c] == c else i for i, c in enumerate(centre)])
    clusters = stars_of(centre)
    rank = np.array(random.sample(range(n), n))
    stays = (clusters.keep == np.arange(n)) | spared(clusters, rank, keep, np.ones(n, bool))
    for c in set(clusters.keep.tolist()):
        members = np.flatnonzero(clusters.keep == c)
        assert stays[members].sum() == min(keep, len(members))
        others = [i for i in members if i != c]
        best = sorted(others, key=lambda i: rank[i])[: keep - 1]
        assert {i for i in others if stays[i]} == set(best)


# ------------------------------------------------------------------------------------------------------------ reasons


@pytest.mark.parametrize(
    ("policy", "kept", "gone", "said"),
    [
        ("best", 1, 0, "its answer is better (quality 0.20 against 0.10)"),
        ("best", 4, 1, "its answer is better (quality 0.2004 against 0.2000)"),
        ("best", 0, 2, "it is from a.jsonl, which stands before b.jsonl among the inputs"),
        ("longest", 0, 1, "its answer is longer (1,200 against 8 tokens)"),
        ("first", 0, 1, "it comes first"),
        ("source:b.jsonl", 2, 0, "it is from b.jsonl, which --keep-policy prefers to a.jsonl"),
        ("field:votes", 2, 0, "its field votes is larger"),
        ("field:-votes", 0, 2, "its field votes is smaller"),
        ("field:votes", 0, 1, "the other has no comparable value in field votes"),
    ],
)
def test_the_reason_is_the_first_key_in_which_they_differ(policy, kept, gone, said):
    rows = rows_of(5, [0, 0, 1, 1, 0])
    values = np.array([2.0, math.nan, 7.0, 2.0, 2.0])
    quality, tokens = np.array([0.1, 0.2, 0.4, 0.4, 0.2004]), np.array([1200, 8, 7, 99, 1])
    found = preference(rows, policy, NAMES, quality, tokens, values)
    assert found.rank[kept] < found.rank[gone]
    assert because(found, np.array([kept]), np.array([gone])).to_list() == [said]


def test_equal_rows_are_told_from_copies_of_an_earlier_run():
    rows = rows_of(4)
    found = preference(rows, "best", ["a"], np.zeros(4), np.zeros(4, int), None, np.array([False, True, False, False]))
    a, b = sorted((2, 3), key=lambda i: found.rank[i])
    assert because(found, np.array([1, a]), np.array([0, b])).to_list() == [
        "an earlier run holds it",
        "the policy finds both equal; the hash of their content decides, then their place",
    ]


def test_policies_are_told_in_words():
    assert in_words("best", 1) == (
        "of each cluster of duplicates the row with the best answer stays, rows of earlier inputs first "
        "(--keep-policy best)"
    )
    assert in_words("field:-loss", 3) == (
        "of each cluster of duplicates up to 3 rows whose field loss is smallest stay (--keep-policy field --keep 3)"
    )
    assert "from b.jsonl, then a.jsonl, then the other inputs" in in_words("source:b.jsonl,a.jsonl", 1)


def test_the_docstring_names_every_policy():
    for name in ("first", "longest", "best", "source:A,B", "field:NAME"):
        assert f"\n    {name} " in keeping.__doc__
