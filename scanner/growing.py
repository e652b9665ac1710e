"""Memory for what grows: arrays that take rows at their end, in large pages.

Memory is cleared by the system when it is first touched, a page at a time; in small pages that takes longer than
what is then written into it. numpy asks for large ones from LARGE bytes on, so arrays that belong together share one
block.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from scanner.objects import UInt8

LARGE = 4 << 20
"""Bytes from which numpy asks the system for large pages (NUMPY_MADVISE_HUGEPAGE)."""
_SMALL = 1 << 21
"""Bytes up to which memory may well lie in small pages."""
_ALIGNED = 64


def block(size: int) -> UInt8:
    """`size` bytes or more, not set to anything; in large pages where there are many of them."""
    return np.empty(size if size <= _SMALL else max(size, LARGE), np.uint8)


@dataclass(frozen=True)
class Place:
    """Room for some rows, to be written by any thread."""

    first: int  # where it begins
    arrays: dict[str, np.ndarray]  # (rows, ...) each


class Growing:
    """Arrays of one length, by name, that take rows at their end."""

    def __init__(self, kinds: Mapping[str, np.ndarray]):
        """kinds: arrays of the names, types and shapes wanted, whatever their length."""
        self._kinds = {name: (kind.dtype, kind.shape[1:]) for name, kind in kinds.items()}
        self._arrays = {name: kind[:0] for name, kind in kinds.items()}
        self._room = self._reserved = self._rows = 0

    def reserve(self, rows: int, expected: int = 0) -> Place:
        """Room for so many rows, behind all that was reserved.

        expected: how many rows there will be in all, as far as is known. Room that is never written costs nothing,
        while moving what was written does.
        """
        first = self._reserved
        self._reserved += rows
        if self._reserved > self._room:
            self._make_room(max(self._reserved, expected + expected // 16, 2 * self._rows))
        return Place(first, {name: array[first : self._reserved] for name, array in self._arrays.items()})

    def settle(self, place: Place, rows: int) -> None:
        """The first `rows` of a place are written. Places are settled in the order in which they were reserved."""
        after = self._rows + rows
        for name, array in self._arrays.items():
            made = place.arrays[name]
            if place.first != self._rows or made.base is not array.base:  # fewer rows came, or more room was made
                array[self._rows : after] = made[:rows]
        self._rows = after

    def append(self, parts: Mapping[str, np.ndarray], expected: int = 0) -> None:
        """Put rows (n, ...) at the end; not while others are reserved."""
        rows = len(next(iter(parts.values())))
        place = self.reserve(rows, expected)
        for name, array in place.arrays.items():
            array[:] = parts[name]
        self.settle(place, rows)

    def _make_room(self, rows: int) -> None:
        size = {name: kind.itemsize * int(np.prod(shape, dtype=int)) for name, (kind, shape) in self._kinds.items()}
        memory = block(sum(rows * wide + _ALIGNED for wide in size.values()))
        at, before = 0, self.arrays()
        for name, (kind, shape) in self._kinds.items():
            self._arrays[name] = memory[at : at + rows * size[name]].view(kind).reshape(rows, *shape)
            self._arrays[name][: self._rows] = before[name]
            at += -(-rows * size[name] // _ALIGNED) * _ALIGNED
        self._room = rows

    def __len__(self) -> int:
        return self._rows

    def arrays(self) -> dict[str, np.ndarray]:
        """What was settled, as views."""
        return {name: array[: self._rows] for name, array in self._arrays.items()}
