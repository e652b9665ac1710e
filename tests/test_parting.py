"""Where answers to one prompt part, beside a slow twin that compares them token by token."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from scanner.prediction import Answers
from scanner.prediction.parting import conflicts

ROWS = st.lists(
    st.tuples(st.integers(-1, 2), st.lists(st.lists(st.integers(0, 1), min_size=1, max_size=4), max_size=2)), max_size=8
)
"""Of each row: which prompt it has (-1: nobody answers it otherwise), and the tokens of its answers."""


def slow(rows: list[tuple[int, list[list[int]]]]) -> list[int]:
    """The first place at which not all first answers to the prompt have the same token, or where one ends."""
    places = []
    for asked, answers in rows:
        others = [mine[0] for theirs, mine in rows if theirs == asked and mine]
        if asked < 0 or not answers:
            places.append(-1)
            continue
        at = 0
        while all(at < len(text) for text in others) and len({text[at] for text in others}) == 1:
            at += 1
        places.append(at)
    return places


@given(ROWS)
def test_answers_part_where_the_first_of_them_differs_or_ends(rows):
    flat = [(row, text) for row, (_, texts) in enumerate(rows) for text in texts]
    ends = np.cumsum([len(text) for _, text in flat]).astype(np.int64)
    starts = ends - np.array([len(text) for _, text in flat], np.int64)
    tokens = np.array([token for _, text in flat for token in text], np.uint64)
    answers = Answers(np.array([row for row, _ in flat], np.int64), starts, ends)
    share = np.linspace(0, 1, len(rows))
    found = conflicts(tokens, answers, np.array([asked for asked, _ in rows], np.int64), share)
    assert found.place.tolist() == slow(rows)
    assert found.share is share
