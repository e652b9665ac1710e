"""Memory for what grows: arrays that take rows at their end, in large pages.

Memory is cleared by the system when it is first touched, a page at a time; in small pages that takes longer than
what is then written into it. numpy asks for large ones from LARGE bytes on, so arrays that belong together share one
block.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from scanner.objects import UInt8

LARGE = 4 << 20
"""Bytes from which numpy asks the system for large pages (NUMPY_MADVISE_HUGEPAGE)."""
_SMALL = 1 << 19
"""Bytes up to which a block may well lie in small pages."""
_ALIGNED = 64


def block(size: int) -> UInt8:
    """`size` bytes or more, not set to anything; in large pages where there are many of them."""
    return np.empty(size if size <= _SMALL else max(size, LARGE), np.uint8)


class Growing:
    """Arrays of one length, by name, that take rows at their end."""

    def __init__(self) -> None:
        self._arrays: dict[str, np.ndarray] = {}
        self._rows = 0
        self._room = -1

    def append(self, parts: Mapping[str, np.ndarray], expected: int = 0) -> None:
        """Put rows at the end; the first parts say which arrays there are, and of what kind.

        parts: (n, ...) each · expected: how many rows there will be in all, as far as is known. Room that is never
        written costs nothing, while moving what was written does.
        """
        after = self._rows + len(next(iter(parts.values())))
        if after > self._room:
            self._make_room(parts, max(after, expected + expected // 16, 2 * self._rows))
        for name, part in parts.items():
            self._arrays[name][self._rows : after] = part
        self._rows = after

    def _make_room(self, parts: Mapping[str, np.ndarray], rows: int) -> None:
        width = {name: part.dtype.itemsize * int(np.prod(part.shape[1:], dtype=int)) for name, part in parts.items()}
        memory = block(sum(rows * size + _ALIGNED for size in width.values()))
        at, before = 0, self.arrays()
        for name, part in parts.items():
            self._arrays[name] = memory[at : at + rows * width[name]].view(part.dtype).reshape(rows, *part.shape[1:])
            self._arrays[name][: self._rows] = before.get(name, part[:0])
            at += -(-rows * width[name] // _ALIGNED) * _ALIGNED
        self._room = rows

    def __len__(self) -> int:
        return self._rows

    def arrays(self) -> dict[str, np.ndarray]:
        """What was put in, as views."""
        return {name: array[: self._rows] for name, array in self._arrays.items()}
