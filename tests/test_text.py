"""Token classes, normalisation and masking."""

from __future__ import annotations

import itertools
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import any_texts, texts, words

from scanner.text import (
    CJK_RANGES,
    CODE_POINTS,
    PUNCTUATION,
    SEPARATOR,
    SINGLE,
    VARIATION_SELECTORS,
    WORD,
    code_point_classes,
    masked,
    normalise,
    one_line,
    token_spans,
    visible,
)  # fmt: skip


def test_classes_follow_the_general_category():
    """Every code point; the table takes a short cut over planes that hold no letters."""
    selectors = {p for first, last in VARIATION_SELECTORS for p in range(first, last + 1)}
    single = {p for first, last in CJK_RANGES for p in range(first, last + 1)}
    by_category = {"L": WORD, "M": WORD, "N": WORD, "Z": SEPARATOR, "Cc": SEPARATOR, "Cf": SEPARATOR, "Cs": SEPARATOR}
    table = code_point_classes().tolist()
    assert len(table) == CODE_POINTS
    for point, kind in enumerate(table):
        if point in single:
            assert kind == SINGLE
        elif point in selectors:
            assert kind == SEPARATOR
        else:
            category = unicodedata.category(chr(point))
            expected = by_category.get(category, by_category.get(category[0], PUNCTUATION))
            assert kind == expected, hex(point)


@given(st.one_of(texts, any_texts))
def test_tokens_are_ordered_apart_and_hold_all_but_separators(text):
    spans = token_spans(text)
    classes = code_point_classes()
    assert all(a < b for a, b in spans)
    assert all(b <= c for (_, b), (c, _) in itertools.pairwise(spans))
    inside = {i for a, b in spans for i in range(a, b)}
    assert inside == {i for i, c in enumerate(text) if classes[ord(c)] != SEPARATOR}
    for a, b in spans:
        assert b == a + 1 or all(classes[ord(c)] == WORD for c in text[a:b])


@given(st.one_of(texts, words))
def test_normalising_twice_changes_nothing(text):
    assert normalise(normalise(text)) == normalise(text)


@given(words)
def test_case_and_spacing_are_normalised_away(text):
    assert normalise(f"  {text.upper()}\n".replace(" ", " \t")) == normalise(text.lower())


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Don't stop!", ["Don", "'", "t", "stop", "!"]),
        ("中文abc", ["中", "文", "abc"]),
        ("한글 조사", ["한글", "조사"]),
        ("x²+1", ["x²", "+", "1"]),
        ("cafe\u0301", ["cafe\u0301"]),
        ("", []),
        (" \u200b\x00", []),
    ],
)
def test_tokens(text, tokens):
    assert [text[a:b] for a, b in token_spans(text)] == tokens


@given(st.text(st.sampled_from("abcdef"), max_size=12), st.data())
def test_masking_hides_the_union_of_the_spans(text, data):
    places = st.integers(0, len(text))
    spans = [
        (min(a, b), max(a, b), "X") for a, b in data.draw(st.lists(st.tuples(places, places), max_size=4)) if a != b
    ]
    hidden = {i for a, b, _ in spans for i in range(a, b)}
    shown = masked(text, spans)
    assert shown.replace("[X]", "") == "".join(c for i, c in enumerate(text) if i not in hidden)


def test_masking_names_the_first_of_overlapping_spans():
    assert masked("call Ann Lee now", [(5, 12, "NAME"), (9, 12, "LAST")]) == "call [NAME] now"
    assert masked("ab", [(0, 1, "A"), (1, 2, "B")]) == "[A][B]"


@given(st.one_of(texts, any_texts), st.integers(10, 60))
def test_a_line_is_short_printable_and_one(text, limit):
    line = one_line(text, limit)
    assert len(line) <= limit
    assert line.translate({0x200C: None, 0x200D: None}).isprintable()


def test_long_text_is_cut_in_the_middle():
    assert one_line("abcdefghijklmnopqrstuvwxyz", 13) == "abcdef … wxyz"
    assert one_line("a\nb\tc\x1b[31m") == "a b c\N{REPLACEMENT CHARACTER}[31m"


def test_a_line_keeps_the_joiners_of_letters_and_emoji():
    shown = "\U0001f469\u200d\U0001f467 \u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645"  # a family; Persian
    assert one_line(shown) == shown
    assert one_line("a\u202eb\u200bc\x1b[2J") == "a\ufffdb\ufffdc\ufffd[2J"


@given(st.text())
def test_visible_text_steers_nothing(text: str) -> None:
    shown = visible(text)
    assert not [c for c in shown if ord(c) < 0x20 and c not in "\n\t"]
    assert not set(shown) & set("\u202a\u202b\u202d\u202e\u2066\u2067\u2068\x7f\x9b")
    assert visible(shown) == shown
