"""Stretches of high chance against their slow, obvious twin."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scanner.kernels.stretches import stretches

NODE, SHARE = np.exp(np.array([-0.8, 0.0, 0.9])), np.array([0.25, 0.5, 0.25])
FIRST_NODE = NODE**2


def chance_of(odds: np.ndarray, cap: np.ndarray, first: int, last: int, node: np.ndarray = NODE) -> float:
    """Chance of the tokens [first, last) in a row."""
    each = np.minimum(cap[first:last], 1 / (1 + odds[first:last] * node[:, None]))
    return float(SHARE @ each.prod(axis=1))


def twin(
    odds: np.ndarray, first_odds: np.ndarray, cap: np.ndarray, least: int, chance: float
) -> list[tuple[int, int, float]]:
    """All stretches of one turn: the beginning first, then again and again the longest that is left."""
    n = len(odds)
    free = np.ones(n, bool)
    found = []

    def take(first: int, last: int, score: float) -> None:
        free[first:last] = False
        found.append((first, last, score))

    from_start = max((b for b in range(n + 1) if chance_of(first_odds, cap, 0, b, FIRST_NODE) >= chance), default=0)
    if from_start >= least:
        take(0, from_start, chance_of(first_odds, cap, 0, from_start, FIRST_NODE))
    free[:1] = False
    while True:
        left = [
            (b - a, -a)
            for a in range(n)
            for b in range(a + least, n + 1)
            if free[a:b].all() and chance_of(odds, cap, a, b) >= chance
        ]
        if not left:
            return sorted(found)
        length, a = max(left)
        take(-a, length - a, chance_of(odds, cap, -a, length - a))


def by_kernel(turns: list[tuple[np.ndarray, np.ndarray, np.ndarray]], least: int, chance: float) -> list[list[tuple]]:
    bounds = np.cumsum([0, *(len(odds) for odds, *_ in turns)])
    odds, first, cap = (np.concatenate([np.zeros(0), *(t[i] for t in turns)]) for i in (0, 1, 2))
    room = len(odds) // least + 1
    turn, begin, stop = (np.zeros(room, np.int64) for _ in range(3))
    score = np.zeros(room)
    count = stretches(
        bounds[:-1], bounds[1:], odds, NODE, first, FIRST_NODE, cap, SHARE, least, chance, turn, begin, stop, score
    )
    found: list[list[tuple]] = [[] for _ in turns]
    for i in range(count):
        at = int(turn[i])
        found[at].append((int(begin[i] - bounds[at]), int(stop[i] - bounds[at]), float(score[i])))
    return [sorted(part) for part in found]


ODDS = st.lists(st.sampled_from([1e-12, 0.01, 0.02, 0.05, 0.2, 1.0, 50.0, 1e12]), max_size=40).map(np.array)


@given(st.lists(ODDS, max_size=4), st.integers(1, 6), st.sampled_from([0.3, 0.5, 0.9]), st.integers(0, 2**32 - 1))
def test_the_kernel_equals_its_twin(answers, least, chance, seed):
    rng = np.random.default_rng(seed)
    turns = [
        (
            odds.astype(float),
            odds * rng.choice([0.1, 1, 10], len(odds)),
            np.where(rng.random(len(odds)) < 0.1, 0.6, 1.0),
        )
        for odds in answers
    ]
    for turn, found in zip(turns, by_kernel(turns, least, chance), strict=True):
        expected = twin(*turn, least, chance)
        assert [f[:2] for f in found] == [e[:2] for e in expected]
        np.testing.assert_allclose([f[2] for f in found], [e[2] for e in expected], rtol=1e-9)


def test_by_hand():
    """Eight sure tokens, a miss, nine sure ones: two stretches; the miss lies in neither."""
    odds = np.array([1e-6] * 8 + [1e6] + [1e-6] * 9)
    (found,) = by_kernel([(odds, odds, np.ones(18))], 8, 0.5)
    assert [f[:2] for f in found] == [(0, 8), (9, 18)]
    assert found[0][2] > 0.9999
    assert by_kernel([(odds[:7], odds[:7], np.ones(7)), (odds[:0], odds[:0], odds[:0])], 8, 0.5) == [[], []]
