"""Complete before long before varied: the formula by hand, and against a slow twin."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import texts, words

from scanner.features.quality import CLOSING, qualities
from scanner.text import normalise


def quality(*answers: str) -> list[float]:
    return qualities(pl.Series(answers, dtype=pl.String)).tolist()


def twin(answer: str) -> float:
    tokens = normalise(answer).split(" ")
    if tokens == [""]:
        return 0.0
    complete = answer.rstrip().endswith(tuple(CLOSING))
    return complete + math.log2(1 + len(tokens)) / 10 + len(set(tokens)) / len(tokens)


def test_an_answer_without_tokens_has_no_quality():
    assert quality("", " \n", "\u200b", "a") == [0, 0, 0, pytest.approx(1.1)]
    assert quality() == []


def test_the_formula_by_hand():
    assert quality("a b a b") == [pytest.approx(math.log2(5) / 10 + 2 / 4)]
    assert quality("Yes yes.\n") == [pytest.approx(1 + math.log2(4) / 10 + 2 / 3)]


@given(st.lists(st.one_of(texts, words), max_size=8))
def test_equals_the_twin(answers):
    # \x1c to \x1f and \x85 are white space to Python alone, or to Unicode alone
    answers = ["".join(c for c in a if c not in "\x1c\x1d\x1e\x1f\x85") for a in answers]
    assert quality(*answers) == pytest.approx([twin(a) for a in answers])
    assert np.isfinite(quality(*answers)).all()


@pytest.mark.parametrize("ending", [".", "!", "？", "```", ")", "”", "…"])
def test_finished_text_outranks_longer_text_that_breaks_off(ending):
    finished, broken_off = quality(f"short answer{ending}", "word " * 30 + "and then")
    assert finished > broken_off


def test_length_and_variety_decide_between_finished_answers():
    long, short, monotonous = quality("a b c d e f.", "a b c.", "a a a a a a.")
    assert long > short > monotonous
