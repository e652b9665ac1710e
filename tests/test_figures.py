"""Figures in words."""

from __future__ import annotations

import pytest

from scanner import figures


@pytest.mark.parametrize(
    ("names", "words"), [([], ""), (["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_names_are_listed(names, words):
    assert figures.listed(names) == words
