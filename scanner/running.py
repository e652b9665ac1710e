"""Work on all threads: threads that stay, and none where there is too little to do for more than one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import TypeVar

Part = TypeVar("Part")
Result = TypeVar("Result")

WORTH_A_THREAD = 1 << 18
"""Tokens, or as much other work, for which another thread is worth waking: about two milliseconds."""


def run(work: Callable[[Part], Result], parts: Iterable[Part], threads: int) -> list[Result]:
    """`work` on every part, in order; on this thread where there is one part. `work` must not call this itself."""
    known = list(parts)
    if threads == 1 or len(known) < 2:
        return [work(part) for part in known]
    return list(_threads(threads).map(work, known))


def parts_for(size: int, threads: int) -> int:
    """Into how many parts work of this size (tokens, or like them) is cut."""
    return max(1, min(threads, size // WORTH_A_THREAD))


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    """Starting threads takes longer than many a piece of work, so they are started once."""
    return ThreadPoolExecutor(count, thread_name_prefix="scan")
