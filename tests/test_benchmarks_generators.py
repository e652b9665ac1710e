"""What the duplicate benchmark counts as true: similarity by construction, known groups, the join, the measures."""

from __future__ import annotations

import json
import sys
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks" / "duplicates"))

import constructed
import templated
import truth

words_of = st.frozensets(st.sampled_from("abcdefgh"), min_size=1)


def three_words(text: str) -> set[tuple[str, ...]]:
    words = text.split()
    return set(zip(words, words[1:], words[2:], strict=False))


@pytest.fixture(scope="module")
def data() -> templated.Templated:
    return templated.generate(rows=1_500, seed=3)


def test_similarity_by_construction_is_exact():
    made = constructed.generate(per_cell=2)
    assert set(made.level.tolist()) == set(constructed.LEVELS)
    assert set(made.size.tolist()) == set(constructed.SIZES)
    for pair, expected in enumerate(made.jaccard.tolist()):
        first, second = (three_words(text) for text in made.texts[2 * pair : 2 * pair + 2])
        assert len(first) == len(second) == made.size[pair]
        assert len(first & second) / len(first | second) == expected
        assert made.level[pair] <= expected <= made.level[pair] + constructed.NEAREST


def test_arrangements_differ():
    made = constructed.generate(per_cell=3)
    moved = [
        made.texts[2 * pair].split()[:3] != made.texts[2 * pair + 1].split()[:3]
        for pair, kind in enumerate(made.arrangement)
        if kind != "aligned" and made.level[pair] == 0.8 and made.size[pair] > 100
    ]
    assert all(moved)


def test_groups_are_what_the_payloads_say(data: templated.Templated):
    """Every two rows, compared: duplicates at .8 and above, all others below .7."""
    sets = [templated.shingles(row.payload) for row in data.rows]
    owners: dict[tuple[str, ...], list[int]] = {}
    for place, own in enumerate(sets):
        for shingle in own:
            owners.setdefault(shingle, []).append(place)
    sharing = {pair for places in owners.values() for pair in combinations(places, 2)}
    for a, b in sharing:
        same = data.rows[a].group == data.rows[b].group
        jaccard = templated.jaccard(sets[a], sets[b])
        assert jaccard >= templated.SAME if same else jaccard < templated.OTHER
    assert {tuple(pair) for pair in data.pairs().tolist()} <= sharing


def test_every_family_has_duplicates_and_hard_negatives(data: templated.Templated):
    for family in templated.FAMILIES:
        edits = {row.edit for row in data.rows if row.family == family}
        assert edits >= {"original", "negative", "exact"}


def test_rows_are_written_in_their_order(data: templated.Templated, tmp_path: Path):
    files = templated.write(data, tmp_path)
    assert files == sorted(files)
    lines = [json.loads(line) for file in files for line in file.read_text("utf-8").splitlines()]
    assert lines == [row.record for row in data.rows]


def test_the_same_seed_gives_the_same_rows():
    assert templated.generate(300, seed=5) == templated.generate(300, seed=5)
    assert templated.generate(300, seed=5) != templated.generate(300, seed=6)


@given(st.lists(words_of, max_size=12), st.sampled_from([0.5, 0.7, 0.8, 0.9, 1.0]))
def test_the_join_finds_every_pair(sets: list[frozenset[str]], level: float):
    expected = {
        (i, j): len(a & b) / len(a | b)
        for (i, a), (j, b) in combinations(enumerate(sets), 2)
        if len(a & b) / len(a | b) >= level
    }
    assert truth.similar_pairs(sets, level) == expected


def test_measures_of_a_case_worked_out_by_hand():
    groups = np.array([0, 0, 0, 1, 2])
    clusters = np.array([7, 7, 8, 8, 9])  # {a a} {a b} {c}
    found = truth.agreement(clusters, groups)
    assert (found.precision, found.recall) == (1 / 2, 1 / 3)
    assert found.b_cubed_precision == pytest.approx((1 + 1 + 1 / 2 + 1 / 2 + 1) / 5)
    assert found.b_cubed_recall == pytest.approx((2 / 3 + 2 / 3 + 1 / 3 + 1 + 1) / 5)
    assert found.exact_sets == 1 / 5
    assert (found.removed_rows, found.lost_groups) == (2, 1)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=20))
def test_the_true_groups_agree_with_themselves(groups: list[int]):
    found = truth.agreement(np.array(groups), np.array(groups))
    assert (found.precision, found.recall, found.f1, found.b_cubed_f1, found.exact_sets) == (1, 1, 1, 1, 1)
    assert found.lost_groups == 0
