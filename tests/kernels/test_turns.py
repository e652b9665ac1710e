"""Runs of tokens and scripts against plain Python."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from strategies import texts

from scanner.kernels.turns import DENSE_WEIGHT, FIRST_DENSE, HAN, KANA, KANA_SHARE, LAST_DENSE, hash_runs, scripts
from scanner.text import SCRIPTS, code_point_scripts


@given(st.lists(st.lists(st.integers(0, 3), max_size=4), max_size=6))
def test_runs_have_one_hash_where_they_are_one(runs):
    tokens = np.array([t for run in runs for t in run], np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    hashes = np.empty(len(runs), np.uint64)
    hash_runs(tokens, np.array([len(run) for run in runs], np.int64), hashes)
    known = [tuple(run) for run in runs]
    assert len(set(hashes.tolist())) == len(set(known)) == len(set(zip(known, hashes.tolist(), strict=True)))


def script(text: str) -> int:
    table = code_point_scripts()
    counts = [0] * len(SCRIPTS)
    for character in text:
        counts[table[ord(character)]] += 1
    counts[0] = 0
    for kind in range(FIRST_DENSE, LAST_DENSE + 1):
        counts[kind] *= DENSE_WEIGHT
    if counts[KANA] and 100 * counts[KANA] >= KANA_SHARE * (counts[KANA] + counts[HAN]):
        counts[KANA], counts[HAN] = counts[KANA] + counts[HAN], 0
    return max(range(len(counts)), key=lambda kind: (counts[kind], -kind))


rows = st.lists(st.lists(st.tuples(st.integers(0, 2), texts), max_size=4), max_size=5)


@given(rows)
def test_the_script_of_a_side_is_that_of_most_letters(packed, given_rows):
    data, offsets = packed([text for row in given_rows for _, text in row])
    part = np.array([kind for row in given_rows for kind, _ in row], np.uint8)
    starts = np.cumsum([0, *map(len, given_rows)]).astype(np.int64)
    found = np.empty(2 * len(given_rows), np.uint8)
    measured = scripts(data, offsets, starts, part, code_point_scripts(), len(SCRIPTS), found)
    expected = [script("".join(t for kind, t in row if kind == side)) for row in given_rows for side in (1, 2)]
    assert found.tolist() == expected
    assert measured == sum(kind > 0 for kind in expected)


def test_the_dense_scripts_come_first():
    assert SCRIPTS[HAN] == "Han"
    assert SCRIPTS[KANA] == "Kana"
    assert SCRIPTS[FIRST_DENSE : LAST_DENSE + 1] == ("Han", "Kana", "Hangul")
