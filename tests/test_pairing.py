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
