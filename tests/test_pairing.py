"""pairs.parquet: groups of rows are the connected components, and what is learned decides how near a copy is."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from scanner import pairing


@given(st.sets(st.integers(0, 60)), st.data())
def test_groups_are_the_connected_components(ids, data):
    row_id = sorted(ids)
    member = st.sampled_from(row_id)
    edges = data.draw(st.lists(st.tuples(member, member), max_size=40)) if row_id else []
    parent = {i: i for i in row_id}

    def root(i: int) -> int:
        return i if parent[i] == i else root(parent[i])

    for a, b in edges:
        low, high = sorted((root(a), root(b)))
        parent[high] = low
    pairs = pl.DataFrame(edges, schema={"row_a": pl.Int64, "row_b": pl.Int64}, orient="row")
    found = pairing.groups_of(np.array(row_id, np.int64), pairs)
    assert [row_id[place] for place in found.group.tolist()] == [root(i) for i in row_id]
    assert found.size.tolist() == [sum(root(j) == root(i) for j in row_id) for i in row_id]


def test_a_long_prompt_in_common_makes_no_copy():
    near = pl.DataFrame({"similarity": [0.9, 0.9, 0.6], "answer_similarity": [0.4, math.nan, None]})
    assert pairing.jaccard_of_learned(near).tolist() == [0.4, 0.9, 0.6]


PLACE = st.integers(0, (1 << 32) - 1)


@given(st.lists(st.tuples(PLACE, PLACE), max_size=20))
def test_pairs_in_words_come_back_and_sort_as_pairs_do(pairs):
    a, b = np.array(pairs, np.int64).reshape(-1, 2).T
    words = pairing.packed(a, b)
    assert words.dtype == np.uint64
    assert list(zip(*(side.tolist() for side in pairing.unpacked(words)), strict=True)) == pairs
    assert list(zip(*(side.tolist() for side in pairing.unpacked(np.sort(words))), strict=True)) == sorted(pairs)


def test_near_pairs_are_alike_by_their_words_or_where_one_stands_inside_the_other():
    near = pl.DataFrame({"similarity": [0.8, 0.79, 0.2], "relation": ["near", "near", "contained"]})
    assert near.select(pairing.alike_by_words(0.8)).to_series().to_list() == [True, False, True]
