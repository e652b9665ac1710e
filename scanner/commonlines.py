"""Lines that most rows of a source wear, such as the wrapper around every prompt: they say nothing about a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

FEWEST_ROWS = 20
"""Rows of a source, or of all, below which no line is called common."""
_ALL = -1  # beside the numbers of the sources

Line = tuple[int, str]
"""A source and a line in it, stripped."""


def common_lines(texts: Sequence[list[str]], sources: Sequence[list[int]]) -> frozenset[str]:
    """Lines, stripped, that stand in at least half of all rows, or of the rows of one source.

    texts: part by part, one per row; sources: the number of the source of each.
    """
    rows: Counter[int] = Counter()
    hopeful: set[Line] = set()
    # subtle: a line of half of a source's rows is one of half of its rows in some part: only those are counted on
    for part, of in zip(texts, sources, strict=True):
        here = Counter({_ALL: len(of)}) + Counter(of)
        rows.update(here)
        held = Counter(line for lines in _lines(part, of) for line in lines)
        hopeful |= {line for line, count in held.items() if 2 * count >= here[line[0]]}
    among = {line for line in hopeful if rows[line[0]] >= FEWEST_ROWS}
    total = Counter(
        line for part, of in zip(texts, sources, strict=True) for lines in _lines(part, of) for line in lines & among
    )
    return frozenset(line for (source, line), count in total.items() if 2 * count >= rows[source])


def _lines(texts: list[str], sources: list[int]) -> Iterator[set[Line]]:
    """The lines of each row, as one of its source and one of all."""
    for text, source in zip(texts, sources, strict=True):
        stripped = {line.strip() for line in text.split("\n")} - {""}
        yield {(number, line) for number in (_ALL, source) for line in stripped}
