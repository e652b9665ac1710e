"""Answers inside others: all that brute force finds, however long the other is, and none besides."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scanner.pairing import CONTAINED
from scanner.signals import _inside as inside
from scanner.signals._measures import CONTAINED_SHINGLES
from signals.test_minhash import parts_of


def found_in(corpus, width=3, threads=2) -> inside.Inside:
    return inside.find(corpus.rows, corpus.prints(width), corpus.reader(), width, threads)


def pairs_of(found: inside.Inside) -> set[tuple[int, int]]:
    return set(zip(found.inner.tolist(), found.outer.tolist(), strict=True))


def brute(rows, width=3) -> set[tuple[int, int]]:
    """(inner, outer) by comparing every answer with every other; equal answers are each other's copies."""
    answers = [parts_of(row, width)[1] for row in rows]
    pairs = set()
    for i, a in enumerate(answers):
        for j, b in enumerate(answers):
            if i != j and len(a) >= CONTAINED_SHINGLES and len(b):
                shared = len(a & b)
                if shared / len(a) >= CONTAINED > shared / len(b):
                    pairs.add((i, j))
    return pairs


def corpus_of_parts(seed: int, rows: int = 60) -> list[tuple[str, str]]:
    """Answers of which some are pieces of others, with a word changed or none, before and behind other words."""
    rng = random.Random(seed)

    def words(count):
        return [f"w{rng.randrange(900)}" for _ in range(count)]

    long = [words(rng.randint(30, 200)) for _ in range(rows // 3)]
    made = [(f"question {i}", " ".join(answer)) for i, answer in enumerate(long)]
    for i in range(rows // 3, rows):
        whole = rng.choice(long)
        start = rng.randrange(len(whole) - 14)
        piece = whole[start : start + rng.randint(12, 60)]
        if rng.random() < 0.4:
            piece[rng.randrange(len(piece))] = "other"
        made.append((f"question {i}", " ".join([*words(rng.choice((0, 0, 1, 5))), *piece])))
    return list({answer: (prompt, answer) for prompt, answer in made}.values())


@pytest.mark.parametrize("seed", range(4))
def test_what_brute_force_finds_and_nothing_else(segments_of, seed):
    corpus = segments_of(corpus_of_parts(seed), per_batch=17)
    expected = brute(corpus.segments)
    assert len(expected) > 8
    found = found_in(corpus)
    assert pairs_of(found) == expected
    assert (found.left_out, found.common) == (0, 0)


def words(first: int, after: int) -> str:
    return " ".join(f"v{i}" for i in range(first, after))


def test_a_short_answer_within_a_very_long_one(segments_of):
    """Of 700 tokens 14: no sketch sees that, and too short for a passage."""
    corpus = segments_of(
        [("Name it.", words(300, 314)), ("All of it, please.", words(0, 700)), ("And?", words(800, 900))]
    )
    assert pairs_of(found_in(corpus)) == {(0, 1)}


@pytest.mark.parametrize(("shared", "expected"), [(37, False), (38, True), (39, True)])
def test_exactly_at_the_share(segments_of, shared, expected):
    """38 of 40 words are .95 of them."""
    own = words(500, 500 + 40 - shared)
    corpus = segments_of([("Name it.", f"{words(0, shared)} {own}"), ("All of it, please.", words(0, 200))])
    assert (pairs_of(found_in(corpus, width=1)) == {(0, 1)}) == expected


def test_how_many_shingles_are_needed():
    size = np.arange(1, 5000)
    assert inside.needed(size).tolist() == [-(-95 * n // 100) for n in size.tolist()]


@pytest.mark.parametrize(("tokens", "expected"), [(CONTAINED_SHINGLES - 1, False), (CONTAINED_SHINGLES, True)])
def test_what_is_too_short_stands_in_anything(segments_of, tokens, expected):
    corpus = segments_of([("Name it.", words(0, tokens)), ("All of it, please.", words(0, 100))])
    assert bool(pairs_of(found_in(corpus, width=1))) == expected


def test_near_copies_and_prompts_are_no_matter_of_one_inside_the_other(segments_of):
    rows = [
        ("Name it.", words(0, 60)), ("Name it, please.", words(0, 61)),  # each in the other
        ("Name them.", words(0, 60)),  # the same answer
        (words(0, 200), "Yes."), ("Who asks?", "", words(0, 100)),  # in a prompt and in a system prompt
    ]  # fmt: skip
    assert not pairs_of(found_in(segments_of(rows)))


def test_common_phrases_are_cut_and_say_so(segments_of, monkeypatch):
    phrase = words(0, 14)
    rows = [("Well?", phrase), *((f"What is {i}?", f"{phrase} {words(100 * i, 100 * i + i)}") for i in range(3, 43))]
    cut = found_in(segments_of(rows))
    assert len(cut.inner) == inside.PARTNERS
    assert cut.left_out == 40 - inside.PARTNERS
    assert sorted(cut.outer.tolist()) == list(range(1, 1 + inside.PARTNERS))  # which it makes up the most of
    monkeypatch.setattr(inside, "HOLDERS", 8)
    less = found_in(segments_of(rows))
    assert 0 < len(less.inner) <= inside.PARTNERS
    assert pairs_of(less) < brute(segments_of(rows).segments)
    assert (cut.common, less.common) == (0, 1)


def test_no_answers(segments_of):
    found = found_in(segments_of([("Name it.", ""), ("And this?", "")]))
    assert (len(found.inner), found.left_out, found.common) == (0, 0, 0)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=10)
@given(order=st.permutations(range(30)), batch=st.integers(1, 40))
def test_neither_order_nor_batches_nor_copies_matter(segments_of, order, batch):
    rows = corpus_of_parts(9, rows=30)
    order = [i for i in order if i < len(rows)]
    here = found_in(segments_of(rows), threads=1)
    there = found_in(segments_of([rows[i] for i in order], per_batch=batch))
    assert {(order[a], order[b]) for a, b in pairs_of(there)} == pairs_of(here)
    assert len(found_in(segments_of([*rows, *rows])).inner) == len(here.inner)
