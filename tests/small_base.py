"""A small base as people save them, and the ear of what an audit says."""

from __future__ import annotations

from pathlib import Path

import pytest

from scanner import models
from scanner.progress import Progress

WORDS = [f"w{i}" for i in range(40)]
PLAIN_WORDS = [
    "red",
    "green",
    "blue",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "sun",
    "moon",
]


def shrink(patch: pytest.MonkeyPatch) -> None:
    """Make every tiny base that is built from now on one that trains in moments."""
    for name, value in {"WIDTH": 32, "LAYERS": 1, "HEAD": 16, "VOCABULARY": 320}.items():
        patch.setattr(models, f"TINY_{name}", value)


def saved(path: Path) -> Path:
    """A model of 22,752 parameters, untrained, that knows WORDS and 96 tokens of context, saved in a folder."""
    base = models.tiny([" ".join(WORDS)] * 3, seed=0, context=96, width=32, layers=1)
    base.model.save_pretrained(path)
    base.tokenizer.save_pretrained(path)
    return path


class Listening(Progress):
    """Keeps what it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    def say(self, message: str) -> None:
        self.said.append(message)
