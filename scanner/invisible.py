"""Characters that show nothing: a private value is found where they stand inside it, too.

e<zero width space>vil@mail.org -> evil@mail.org -> found -> its place in the text as it stands
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from scanner.objects import Int64

RANGES = ((0xAD, 0xAD), (0x61C, 0x61C), (0x180E, 0x180E), (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x2069),
          (0xFEFF, 0xFEFF))  # fmt: skip
"""Soft hyphen, zero width spaces and joiners, directional marks, invisible operators, byte order mark; both ends in."""
_CLASS = "[" + "".join(f"\\x{{{first:X}}}-\\x{{{last:X}}}" for first, last in RANGES) + "]"
_POINTS = np.concatenate([np.arange(first, last + 1, dtype=np.uint32) for first, last in RANGES])


@dataclass(frozen=True)
class SeenThrough:
    """The texts of one frame that hold such characters, without them."""

    frame: pl.DataFrame  # the other columns as they were
    places: list[Int64]  # of each text: where each character that is left stands in the text as it was

    def as_it_stands(self, found: pl.DataFrame) -> pl.DataFrame:
        """Spans of the texts without, columns place, start and end among others, as spans of the texts with them."""
        of = zip(found["place"].to_list(), found["start"].to_list(), found["end"].to_list(), strict=True)
        spans = [(int(self.places[i][start]), int(self.places[i][end - 1]) + 1) for i, start, end in of]
        start, end = ([span[side] for span in spans] for side in (0, 1))
        return found.with_columns(start=pl.Series(start, dtype=pl.Int64), end=pl.Series(end, dtype=pl.Int64))


def seen_through(frames: Iterable[pl.DataFrame]) -> list[SeenThrough]:
    """One for each frame that has such a text, column `text`."""
    found = []
    for frame in frames:
        held = frame.filter(pl.col("text").str.contains(_CLASS))
        if len(held):
            places = [np.flatnonzero(~np.isin(_code_points(text), _POINTS)) for text in held["text"]]
            found.append(SeenThrough(held.with_columns(pl.col("text").str.replace_all(_CLASS, "")), places))
    return found


def _code_points(text: str) -> npt.NDArray[np.uint32]:
    return np.frombuffer(text.encode("utf-32-le"), "<u4")
