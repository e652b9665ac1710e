"""What two rows that read alike may differ in: worked examples, and laws."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.contrast import KINDS, differences, traits


def differ(a, b, answers=("", "")):
    return differences((traits(a), traits(b)), (traits(answers[0]), traits(answers[1])))


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("Name three rivers.", "List 3 rivers.", ""),
        ("Name three rivers.", "Name five rivers.", "numbers"),
        ("Name three rivers.", "Name rivers.", "numbers"),
        ("Add 1,000 and 2.50", "What is 1000 plus 2.5?", ""),
        ("1. Boil water\n2. Add tea", "- Boil water\n- Add tea", ""),  # numbering is not content
        ("Is it safe?", "Is it not safe?", "negation"),
        ("Why doesn't it rain?", "Why is there no rain?", ""),
        ("Sort in ascending order.", "Sort in descending order.", "negation"),
        ("Which is the largest lake?", "Is the largest lake the smallest sea?", ""),  # nothing stands in its place
        ("What is the capital of Austria?", "What is the capital of Australia?", "names"),
        ("What is the capital of Austria?", "Which city is the Austrian capital, in Austria?", ""),
        ("Name the author of Faust.", "Who wrote it?", ""),  # only one side names anything
        ("Nicht rauchen!", "Rauchen!", "negation"),
    ],
)
def test_prompts(a, b, expected):
    assert differ(a, b) == expected
    assert differ(b, a) == expected


def test_answers():
    assert differ("How long?", "How long?", ("Five minutes.", "Ten minutes.")) == "numbers"
    assert differ("How long?", "How long?", ("Five minutes.", "Five minutes, 300 seconds.")) == ""  # a detail more
    assert differ("May I?", "May I?", ("Yes, you may.", "No, you may not.")) == "negation"
    assert differ("Add", "Add", ("def add(a, b):\n    return a + b", "Put them together.")) == "code"


def test_several_kinds_stand_in_one_order():
    told = differ("Give 2 reasons for Rome", "Give 4 reasons against Paris", ("x = {\n};", "No."))
    assert told == "numbers, negation, names, code"
    assert told.split(", ") == [kind for kind in KINDS if kind in told]


words = st.lists(
    st.sampled_from(
        ["the", "sun", "3", "three", "not", "Rome", "isn't", "4.0", "def", "f(x):", ";", "1.", "ascending"]
    ),
    max_size=8,
)


@given(words, words)
def test_a_text_never_differs_from_itself_and_the_order_of_rows_does_not_matter(a, b):
    a, b = " ".join(a), " ".join(b)
    assert differ(a, a, (b, b)) == ""
    assert differ(a, b, (b, a)) == differ(b, a, (a, b))


@given(st.text(max_size=60))
def test_any_text_has_traits(text):
    assert traits(text) == traits(text)


@pytest.mark.parametrize("piece", ["\n", " ", "\n ", "; ", "import ", "import\n", "1. ", "- \n", "{\t", " A", "1,"])
def test_hostile_texts_end(piece):
    assert traits(piece * 300_000).code == ("import" in piece or "{" in piece or "; " in piece)


@pytest.mark.parametrize(
    ("text", "is_code"),
    [
        ("say\n\n   \n  import os", True), ("import\n\nos", True), ("import", False), ("import  \n ", False),
        ("x = 1; \ny", True), ("x = 1; y", False), ("a\n\n\tSELECT a", True), ("we import tea", False),
        ("it returns\n\nreturn  ", False),
    ],
)  # fmt: skip
def test_code_is_seen_at_the_beginning_or_end_of_a_line(text, is_code):
    assert traits(text).code is is_code


def test_numbers_of_a_list_are_none_of_its_content():
    assert traits("Rain:\n\n\n 1. falls\n  2) in 3 drops\n- 4 clouds").numbers == {"3", "4"}
