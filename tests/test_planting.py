"""What is planted is what its level says, for rows that stand alone, whatever their order in the input."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanner import planting
from scanner.objects import Segment
from scanner.planting import CONFLICTS, COPIES, LEVELS, REPLACED
from scanner.text import normalise, token_spans

WORDS = [f"w{i}" for i in range(200)]


def row(rng, tokens: int, prompt: int = 6) -> list[Segment]:
    return [
        Segment((), "user", 0, False, " ".join(rng.choice(WORDS, prompt)) + "?"),
        Segment((), "assistant", 1, True, " ".join(rng.choice(WORDS, tokens)) + "."),
    ]


def rows(count: int, seed: int = 0) -> list[list[Segment]]:
    rng = np.random.default_rng(seed)
    return [row(rng, 20 + i % 40) for i in range(count)]


def everyone(count: int) -> np.ndarray:
    return np.ones(count, np.bool_)


def words(segment: Segment) -> list[str]:
    return [segment.text[a:b] for a, b in token_spans(segment.text)]


def test_every_treatment_is_given_to_short_and_long_answers():
    data = rows(96)
    made = planting.plant(data, everyone(96), 0.5, 3)
    given_ = {(t.kind, t.level, t.length) for t in made.treated}
    assert given_ == {
        (k, level, length) for k, levels in LEVELS.items() for level in levels for length in ("short", "long")
    }
    assert len(made.treated) == len({t.member for t in made.treated}) == 48
    longest_short = max(len(words(data[t.member][1])) for t in made.treated if t.length == "short")
    assert longest_short <= min(len(words(data[t.member][1])) for t in made.treated if t.length == "long")
    by_member = {t.member: [r for r in made.rows if r.member == t.member] for t in made.treated}
    for t in made.treated:
        expected = {COPIES: t.level - 1, REPLACED: planting.NEAR_COPIES, CONFLICTS: t.level}[t.kind]
        assert len(by_member[t.member]) == expected
        assert all((r.kind, r.level) == (t.kind, t.level) for r in by_member[t.member])


def test_planted_rows_are_what_their_level_says():
    data = rows(96)
    for planted in planting.plant(data, everyone(96), 0.9, 1).rows:
        own = data[planted.member]
        if planted.is_copy:
            assert list(planted.segments) == own
        elif planted.kind == REPLACED:
            for before, after in zip(own, planted.segments, strict=True):
                old, new = words(before), words(after)
                assert len(old) == len(new)
                assert sum(a != b for a, b in zip(old, new, strict=True)) == pytest.approx(
                    len(old) * planted.level / 100, abs=1
                )
        else:
            assert planted.segments[0] == own[0]
            assert normalise(planted.segments[1].text) != normalise(own[1].text)
            assert any(planted.segments[1].text == other[1].text for other in data)


def test_only_rows_that_stand_alone_and_are_long_enough_are_chosen():
    data = rows(30)
    data[4] = row(np.random.default_rng(5), 9)
    alone = everyone(30)
    alone[7] = False
    chosen = {t.member for t in planting.plant(data, alone, 1.0, 0).treated}
    assert chosen == set(range(30)) - {4, 7}
    assert planting.plant(data, ~everyone(30), 1.0, 0) == planting.NOTHING
    assert planting.plant(data, everyone(30), 0.0, 0) == planting.NOTHING


def test_rows_without_a_prompt_get_no_other_answer():
    data = [[Segment((), "text", 0, True, " ".join(f"w{i}{j}" for j in range(30)))] for i in range(24)]
    made = planting.plant(data, everyone(24), 1.0, 0)
    assert {t.kind for t in made.treated} == {COPIES, REPLACED}


def test_another_answer_ends_the_row():
    rng = np.random.default_rng(0)
    data = [[*row(rng, 20), Segment((), "user", 2, False, "more"), Segment((), "assistant", 3, True, "yes it is")]
            for _ in range(24)]  # fmt: skip
    made = [r for r in planting.plant(data, everyone(24), 1.0, 0).rows if r.kind == CONFLICTS]
    assert made
    assert all([s.role for s in r.segments] == ["user", "assistant"] for r in made)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 50), st.sampled_from([0.1, 0.3, 0.8]), st.integers(2, 40))
def test_the_same_seed_plants_the_same(seed, share, count):
    data = rows(count, seed)
    one, again = (planting.plant(data, everyone(count), share, seed) for _ in range(2))
    assert one == again
    assert len(one.treated) <= round(share * count)


def test_similarity_is_that_of_the_answers_where_those_are_less_alike():
    rng = np.random.default_rng(2)
    a = row(rng, 30, prompt=40)
    b = [a[0], row(rng, 30)[1]]
    assert planting.similarity(a, a, 3) == 1.0
    assert planting.similarity(a, b, 3) == pytest.approx(0.0, abs=0.05)
    system = Segment((), "system", 0, False, "be brief and kind to all who ask")
    assert planting.similarity([system, *a], a, 3) == 1.0
    short = [Segment((), "user", 0, False, "hi"), Segment((), "assistant", 1, True, "yes")]
    assert planting.similarity(short, short, 3) == 1.0
