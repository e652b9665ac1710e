"""The context counts against a slow, obvious twin, and the laws they must keep."""

from __future__ import annotations

import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.kernels import contexts
from scanner.kernels.context_counts import number_words
from scanner.kernels.contexts import COPIED, LEVELS, RARITY_STEP, SEEN, UNIFORM, LevelCounts, context_features

WORDS = np.random.default_rng(7).integers(1, 2**63, 50).astype(np.uint64)
FIELDS = ("log_probability", "known", "agreed", "rarity", "within", "entropy")

rows_of_tokens = st.lists(st.lists(st.integers(0, 4), max_size=20), min_size=1, max_size=8).filter(any)


def table(rows: list[list[int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Token hashes, offsets and exact-copy groups of rows of small integers."""
    tokens = np.array([WORDS[t] for row in rows for t in row], np.uint64)
    offsets = np.cumsum([0, *(len(row) for row in rows)]).astype(np.int64)
    group = np.array([rows.index(row) for row in rows], np.int64)
    return tokens, offsets, group


def twin(rows: list[list[int]], k: int) -> list[tuple[int, int, int]]:
    """(c, j, kinds) of every token by dictionaries; at level 0 the token is its own context."""
    total: Counter[tuple[int, ...]] = Counter()
    pairs: Counter[tuple[tuple[int, ...], int]] = Counter()
    kinds: defaultdict[tuple[int, ...], set[int]] = defaultdict(set)
    per_row = []
    for row in rows:
        own, own_pairs = Counter(), Counter()
        for t in range(k, len(row)):
            context = tuple(row[t - k : t]) if k else (row[t],)
            own[context] += 1
            own_pairs[context, row[t]] += 1
            kinds[context].add(row[t])
        total.update(own)
        pairs.update(own_pairs)
        per_row.append((own, own_pairs))
    found = []
    for row, (own, own_pairs) in zip(rows, per_row, strict=True):
        copies = rows.count(row)
        for t in range(len(row)):
            if t < k:
                found.append((-1, -1, -1))
                continue
            context = tuple(row[t - k : t]) if k else (row[t],)
            c = total[context] - copies * own[context]
            j = pairs[context, row[t]] - copies * own_pairs[context, row[t]]
            distinct = (len(kinds[context]) if k else 0) - (j == 0)
            found.append((c, j, distinct))
    return found


def probability(rows: list[list[int]]) -> list[float]:
    """Witten-Bell interpolation of the twin's counts, level by level."""
    kinds = len({t for row in rows for t in row})
    levels = {k: twin(rows, k) for k in LEVELS}
    chances = []
    at = 0
    total = sum(map(len, rows))
    for row in rows:
        others = total - rows.count(row) * len(row)
        for _ in row:
            p = (levels[0][at][0] + kinds * UNIFORM) / (others + kinds)
            for k in LEVELS[1:]:
                c, j, d = levels[k][at]
                if c > 0:
                    p = (j + d * p) / (c + d)
            chances.append(p)
            at += 1
    return chances


def watch_all(rows: list[list[int]], threads: int = 1) -> tuple[contexts.ContextFeatures, dict[int, LevelCounts]]:
    seen: dict[int, LevelCounts] = {}
    features = context_features(*table(rows), threads=threads, watch=lambda k, c: seen.update({k: c}))
    return features, seen


@given(rows_of_tokens)
def test_counts_equal_the_twin(rows):
    _, seen = watch_all(rows)
    ruled_out = np.zeros(
        sum(map(len, rows)), bool
    )  # a shorter context is unknown already, so this one is not looked up
    for k in LEVELS:
        expected = np.array(twin(rows, k)).reshape(-1, 3)
        found = np.stack([seen[k].contexts, seen[k].successes, seen[k].kinds], axis=1)
        np.testing.assert_array_equal(found[ruled_out], -1)
        assert (expected[ruled_out, 0] <= 0).all()
        np.testing.assert_array_equal(found[~ruled_out, :2], expected[~ruled_out, :2])
        if k:
            np.testing.assert_array_equal(found[~ruled_out, 2], expected[~ruled_out, 2])
            ruled_out |= expected[:, 0] == 0


@given(rows_of_tokens)
def test_features_equal_the_twin(rows):
    features, _ = watch_all(rows)
    levels = {k: np.array(twin(rows, k)).reshape(-1, 3) for k in LEVELS}
    known, agreed = np.zeros(len(features.known), int), np.zeros(len(features.known), int)
    for k in LEVELS[1:]:
        known[levels[k][:, 0] > 0] = k
        agreed[levels[k][:, 1] > 0] = k
    np.testing.assert_array_equal(features.known, known)
    np.testing.assert_array_equal(features.agreed, agreed)
    np.testing.assert_allclose(np.exp(features.log_probability), probability(rows), rtol=2e-5)
    at = 0
    for i, row in enumerate(rows):
        for t, word in enumerate(row):
            three = tuple(row[t - 2 : t + 1])
            earlier = [tuple(row[s - 2 : s + 1]) for s in range(2, t)]
            expected = SEEN * (word in row[:t]) | COPIED * (t >= 2 and three in earlier)
            assert features.within[at] == expected
            at += 1
        if len(row) > 1:
            entropy = -sum(c / len(row) * math.log(c / len(row)) for c in Counter(row).values()) / math.log(len(row))
            assert features.entropy[i] == pytest.approx(entropy, abs=1e-6)
        else:
            assert np.isnan(features.entropy[i])


@given(rows_of_tokens, st.integers(2, 5))
def test_threads_and_slices_change_nothing(rows, threads):
    one = context_features(*table(rows), threads=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contexts, "_SLICE", 3)
        many = context_features(*table(rows), threads=threads)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(one, name), getattr(many, name))


@given(rows_of_tokens, st.randoms(use_true_random=False))
def test_order_of_rows_changes_nothing(rows, random):
    order = list(range(len(rows)))
    random.shuffle(order)
    plain, shuffled = watch_all(rows)[0], watch_all([rows[i] for i in order])[0]
    before, after = table(rows)[1], table([rows[i] for i in order])[1]
    for place, i in enumerate(order):
        a, b = slice(before[i], before[i + 1]), slice(after[place], after[place + 1])
        for name in FIELDS[:-1]:
            np.testing.assert_array_equal(getattr(plain, name)[a], getattr(shuffled, name)[b])


@given(rows_of_tokens, st.integers(2, 5))
def test_copies_of_a_row_do_not_count_for_it(rows, copies):
    first = rows[0]
    alone = [first, *(row for row in rows[1:] if row != first)]
    one, many = watch_all(alone)[0], watch_all(alone + [first] * (copies - 1))[0]
    for name in FIELDS[:-1]:
        np.testing.assert_array_equal(getattr(one, name)[: len(first)], getattr(many, name)[: len(first)])


def test_a_row_on_its_own_knows_nothing():
    features = context_features(*table([[1, 2, 1, 2, 1, 2]]))
    assert not features.known.any()
    assert not features.agreed.any()
    np.testing.assert_allclose(features.log_probability, math.log(UNIFORM), rtol=1e-6)
    assert (features.rarity == int(-math.log(UNIFORM) / RARITY_STEP)).all()


def test_words_are_numbered_as_they_come():
    """More words than the table begins with, and the hash 0 among them."""
    words = np.random.default_rng(5).integers(0, 2**63, 20_000).astype(np.uint64)
    words[0] = 0
    tokens = words[np.random.default_rng(6).integers(0, 20_000, 50_000)]
    number = np.empty(50_000, np.int32)
    count = number_words(tokens, number)
    _, first, inverse, expected = np.unique(tokens, return_index=True, return_inverse=True, return_counts=True)
    rank = np.argsort(np.argsort(first))
    np.testing.assert_array_equal(number, rank[inverse])
    np.testing.assert_array_equal(count, expected[np.argsort(first)])


def test_many_partitions_count_as_one(monkeypatch):
    """Larger than one cache-sized partition: 40,000 tokens against numpy's own counting of pairs."""
    rng = np.random.default_rng(3)
    words = rng.integers(1, 2**63, 300).astype(np.uint64)
    drawn = rng.integers(0, 300, 40_000)
    offsets = np.arange(0, 40_001, 50)
    seen: dict[int, LevelCounts] = {}
    context_features(words[drawn], offsets, np.arange(800), watch=lambda k, c: seen.update({k: c}))
    inner = np.flatnonzero(np.arange(40_000) % 50 > 0)
    row = inner // 50
    pair = drawn[inner - 1] * 300 + drawn[inner]

    def others(key: np.ndarray) -> np.ndarray:
        _, everywhere, total = np.unique(key, return_inverse=True, return_counts=True)
        _, here, own = np.unique(row * 90_000 + key, return_inverse=True, return_counts=True)
        return total[everywhere] - own[here]

    np.testing.assert_array_equal(seen[1].contexts[inner], others(drawn[inner - 1]))
    np.testing.assert_array_equal(seen[1].successes[inner], others(pair))


def test_no_rows_and_empty_rows():
    none = context_features(np.zeros(0, np.uint64), np.zeros(1, np.int64), np.zeros(0, np.int64))
    assert len(none.known) == 0
    empty = context_features(np.zeros(0, np.uint64), np.zeros(4, np.int64), np.arange(3))
    assert np.isnan(empty.entropy).all()
