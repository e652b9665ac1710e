"""Stretches of high chance against their slow, obvious twin."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scanner.kernels.stretches import stretches

NODE, SHARE = np.exp(np.array([-0.8, 0.0, 0.9])), np.array([0.25, 0.5, 0.25])
FIRST_NODE = NODE**2


def chance_of(odds: np.ndarray, cap: np.ndarray, first: int, last: int, kept: np.ndarray, lost: np.ndarray,
              node: np.ndarray = NODE) -> float:  # fmt: skip
    """Chance of the tokens [first, last) in a row."""
    here = slice(first, last)
    each = kept[here] / (1 + odds[here] * node[:, None]) + (1 - kept[here]) / (1 + lost[here] * node[:, None])
    return float(SHARE @ np.minimum(cap[here], each).prod(axis=1))


def twin(
    odds: np.ndarray, first_odds: np.ndarray, cap: np.ndarray, kept: np.ndarray, lost: np.ndarray,
    first_lost: np.ndarray, least: int, chance: float,
) -> list[tuple[int, int, float]]:  # fmt: skip
    """All stretches of one turn: the beginning first, then again and again the longest that is left."""
    n = len(odds)
    free = np.ones(n, bool)
    found = []

    def take(first: int, last: int, score: float) -> None:
        free[first:last] = False
        found.append((first, last, score))

    first = (first_odds, cap), (kept, first_lost, FIRST_NODE)
    from_start = max((b for b in range(n + 1) if chance_of(*first[0], 0, b, *first[1]) >= chance), default=0)
    if from_start >= least:
        take(0, from_start, chance_of(*first[0], 0, from_start, *first[1]))
    free[:1] = False
    while True:
        left = [
            (b - a, -a)
            for a in range(n)
            for b in range(a + least, n + 1)
            if free[a:b].all() and chance_of(odds, cap, a, b, kept, lost) >= chance
        ]
        if not left:
            return sorted(found)
        length, a = max(left)
        take(-a, length - a, chance_of(odds, cap, -a, length - a, kept, lost))


def by_kernel(turns: list[tuple[np.ndarray, ...]], least: int, chance: float, forgets: bool = False) -> list[list]:
    bounds = np.cumsum([0, *(len(odds) for odds, *_ in turns)])
    odds, first, cap = (np.concatenate([np.zeros(0), *(t[i] for t in turns)]) for i in (0, 1, 2))
    kept, lost, first_lost = (np.concatenate([np.zeros(0), *(t[i] for t in turns if forgets)]) for i in (3, 4, 5))
    room = len(odds) // least + 1
    turn, begin, stop = (np.zeros(room, np.int64) for _ in range(3))
    score = np.zeros(room)
    count = stretches(
        bounds[:-1], bounds[1:], odds, NODE, first, FIRST_NODE, cap, kept, lost, first_lost, SHARE, least, chance,
        turn, begin, stop, score,
    )  # fmt: skip
    found: list[list[tuple]] = [[] for _ in turns]
    for i in range(count):
        at = int(turn[i])
        found[at].append((int(begin[i] - bounds[at]), int(stop[i] - bounds[at]), float(score[i])))
    return [sorted(part) for part in found]


ODDS = st.lists(st.sampled_from([1e-12, 0.01, 0.02, 0.05, 0.2, 1.0, 50.0, 1e12]), max_size=40).map(np.array)


@given(
    st.lists(ODDS, max_size=4), st.integers(1, 6), st.sampled_from([0.3, 0.5, 0.9]), st.integers(0, 2**32 - 1),
    st.booleans(),
)  # fmt: skip
def test_the_kernel_equals_its_twin(answers, least, chance, seed, forgets):
    rng = np.random.default_rng(seed)
    turns = [
        (
            odds.astype(float),
            odds * rng.choice([0.1, 1, 10], len(odds)),
            np.where(rng.random(len(odds)) < 0.1, 0.6, 1.0),
            rng.uniform(0.8, 1.0, len(odds)) if forgets else np.ones(len(odds)),
            odds * rng.choice([1, 50], len(odds)),
            odds * rng.choice([1, 50], len(odds)),
        )
        for odds in answers
    ]
    for turn, found in zip(turns, by_kernel(turns, least, chance, forgets), strict=True):
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
