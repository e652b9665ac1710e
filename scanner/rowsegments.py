"""The segments of chosen rows, as places in the text of the run: what is taken of them or split copies no text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scanner.objects import Bool, Int32, Int64, UInt8
from scanner.ranges import laid_out


@dataclass(frozen=True)
class RowSegments:
    """The segments of some rows, wherever they stand in private/segments.arrow.

    Text i is data[begin[i]:end[i]]; row r of those asked for has segments row_start[r]:row_start[r + 1].
    """

    data: UInt8  # the whole file
    begin: Int64  # (s,)
    end: Int64  # (s,)
    row_start: Int64  # (m + 1,)
    segment: Int32  # (s,) from 0 within the row
    role: UInt8  # (s,) index into ROLES
    supervised: Bool  # (s,)

    def take(self, which: Int64) -> RowSegments:
        """Some of these rows, by their place among them; each as often as it is named."""
        counts = np.diff(self.row_start)[which]
        starts = np.concatenate(([0], np.cumsum(counts))).astype(np.int64)
        at = laid_out(self.row_start[which], self.row_start[which] + counts)
        return RowSegments(
            self.data, self.begin[at], self.end[at], starts, self.segment[at], self.role[at], self.supervised[at]
        )

    def without_empty(self) -> RowSegments:
        """The same rows, without segments that hold no text."""
        there = self.end > self.begin
        if there.all():
            return self
        starts = np.concatenate(([0], np.cumsum(there))).astype(np.int64)[self.row_start]
        return RowSegments(
            self.data, self.begin[there], self.end[there], starts, self.segment[there], self.role[there],
            self.supervised[there],
        )  # fmt: skip

    def split(self, parts: int) -> list[tuple[slice, RowSegments]]:
        """The rows in at most `parts` runs of about as much text, each with its place."""
        size = np.concatenate(([0], np.cumsum(self.end - self.begin)))[self.row_start]
        edges = np.searchsorted(size, size[-1] * np.arange(parts + 1) / parts)
        edges[-1] = len(self.row_start) - 1
        return [
            (slice(a, b), self._run(a, b))
            for a, b in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True)
            if a < b
        ]

    def _run(self, first: int, after: int) -> RowSegments:
        """Rows first to after, as views."""
        starts = self.row_start[first : after + 1]
        at = slice(starts[0], starts[-1])
        return RowSegments(
            self.data, self.begin[at], self.end[at], starts - starts[0], self.segment[at], self.role[at],
            self.supervised[at],
        )  # fmt: skip
