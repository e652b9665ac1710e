"""How well trodden the beginning of an answer is, beside a slow twin."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.kernels import openings
from scanner.kernels.openings import CONTEXT, HEAD, OPENING_STEP

# texts of a few words, of which rows are copies; a row's text is cut into answers
TEXTS = st.lists(st.lists(st.integers(1, 4), max_size=40), min_size=1, max_size=8)
ROWS = st.lists(st.tuples(st.integers(0, 7), st.lists(st.integers(0, 40), max_size=3)), max_size=30)


def laid_out(texts: list[list[int]], rows: list[tuple[int, list[int]]]) -> tuple[np.ndarray, ...]:
    """Tokens, then row, start and end of each answer, and group; rows of one text are cut as the first of them is."""
    tokens, answers, group, cuts = [], [], [], {}
    for number, (text, edges) in enumerate(rows):
        words = texts[text % len(texts)]
        known = cuts.setdefault(text % len(texts), sorted({0, len(words), *(min(e, len(words)) for e in edges)}))
        answers += [(number, len(tokens) + a, len(tokens) + b) for a, b in pairwise(known)]
        tokens += words
        group.append(text % len(texts))
    row, start, end = np.array(answers, np.int64).reshape(-1, 3).T
    return np.array(tokens, np.uint64) * np.uint64(0x9E3779B97F4A7C15), row, start, end, np.array(group, np.int64)


def by_hand(tokens, row, start, end, group) -> list[float]:
    """The openings in doublings, not yet in steps."""
    stretches = []
    for a, b in zip(start, end, strict=True):
        words = [0] * CONTEXT + tokens[a : min(b, a + HEAD)].tolist()
        stretches.append([tuple(words[i : i + CONTEXT + 1]) for i in range(len(words) - CONTEXT)])
    found = []
    for i, mine in enumerate(stretches):
        others = Counter(s for r, some in zip(row, stretches, strict=True) if group[r] != group[row[i]] for s in some)
        found.append(float(np.mean([np.log2(1 + others[s]) for s in mine])) if mine else 0.0)
    return found


@given(TEXTS, ROWS, st.sampled_from([1, 2]))
def test_openings_equal_a_count_by_hand(texts, rows, threads):
    given_ = laid_out(texts, rows)
    found = openings.openings(*given_, threads)
    np.testing.assert_allclose(found * OPENING_STEP, by_hand(*given_), atol=OPENING_STEP / 2 + 1e-9)


def test_partitions_and_threads_change_nothing(monkeypatch):
    rng = np.random.default_rng(0)
    texts = [rng.integers(1, 5, rng.integers(0, 60)).tolist() for _ in range(300)]
    given_ = laid_out(texts, [(int(t), rng.integers(0, 60, 2).tolist()) for t in rng.integers(0, 300, 900)])
    whole = openings.openings(*given_, 1)
    monkeypatch.setattr(openings, "_PARTITION", 40)
    assert openings.openings(*given_, 1).tolist() == openings.openings(*given_, 3).tolist() == whole.tolist()
    assert len(set(whole.tolist())) > 50


@pytest.mark.parametrize("others", [0, 1, 3, 7])
def test_a_shared_beginning_counts_the_others(others):
    """Same first words behind other prompts: log2(1 + others), whatever stands behind the first HEAD tokens."""
    words = list(range(1, HEAD + 1))
    rows = [[900 + i, *words, 500 + i] for i in range(others + 1)]
    tokens = np.array([t for row in rows for t in row], np.uint64)
    start = np.arange(len(rows)) * len(rows[0]) + 1
    number = np.arange(len(rows))
    found = openings.openings(tokens, number, start, start + len(rows[0]) - 1, number)
    assert found.tolist() == [round(np.log2(1 + others) / OPENING_STEP)] * len(rows)


def test_copies_of_a_row_are_no_others_and_no_answer_has_none():
    tokens = np.tile(np.arange(1, 31, dtype=np.uint64), 4)
    start = np.array([0, 30, 60, 90, 119])
    end = np.array([30, 60, 90, 119, 119])
    row = np.array([0, 1, 2, 3, 3])
    assert openings.openings(tokens, row, start, end, np.zeros(4, np.int64)).tolist() == [0] * 5
    none = np.zeros(0, np.int64)
    assert len(openings.openings(tokens, none, none, none, np.zeros(4, np.int64))) == 0
    many = openings.openings(np.tile(tokens, 20_000)[: 30 * 80_000], *(
        np.arange(80_000), np.arange(80_000) * 30, np.arange(80_000) * 30 + 30, np.arange(80_000)
    ))  # fmt: skip
    assert set(many.tolist()) == {255}  # more than can be told: at least so many
