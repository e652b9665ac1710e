"""Made-up questions with words of their own, and rows that hold them in several ways."""

from __future__ import annotations

import random

SYLLABLES = ["ba", "ke", "li", "mo", "nu", "ra", "se", "ti", "vo", "zu", "pa", "do"]


def sentence(rng: random.Random, count: int) -> str:
    """`count` random words of three syllables."""
    return " ".join("".join(rng.choices(SYLLABLES, k=3)) for _ in range(count))


def items(count: int = 12, seed: int = 1) -> list[dict[str, str]]:
    """Items with a question of 30 words and an answer of 25."""
    rng = random.Random(seed)
    return [{"question": sentence(rng, 30) + "?", "answer": sentence(rng, 25) + "."} for _ in range(count)]


def clean_rows(count: int = 40, seed: int = 2) -> list[dict[str, str]]:
    rng = random.Random(seed)
    return [{"instruction": sentence(rng, 25), "input": "", "output": sentence(rng, 40)} for _ in range(count)]
