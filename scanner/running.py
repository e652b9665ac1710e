"""Work on all threads: threads that stay, and none where there is too little to do for more than one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from typing import Any, TypeVar

Part = TypeVar("Part")
Result = TypeVar("Result")

WORTH_A_THREAD = 1 << 14
"""Tokens, or as much other work, for which another thread is worth waking: some tenths of a millisecond."""


def run(work: Callable[[Part], Result], parts: Iterable[Part], threads: int) -> list[Result]:
    """`work` on every part, in order. The calling thread takes its share, and all where the others are busy."""
    known = list(parts)
    if threads == 1 or len(known) < 2:
        return [work(part) for part in known]
    pool = _threads(threads)
    jobs = [pool.submit(work, part) for part in known[:-1]]
    try:
        done = [work(known[-1])]
        for part, job in zip(known[-2::-1], reversed(jobs), strict=True):
            done.append(work(part) if job.cancel() else job.result())
    finally:
        _end(jobs)
    return done[::-1]


def parts_for(size: int, most: int) -> int:
    """Into how many parts work of this size (tokens, or like them) is cut, at most `most`."""
    return max(1, min(most, size // WORTH_A_THREAD))


def shares(count: int, parts: int) -> list[slice]:
    """range(count) in so many runs, all but empty ones."""
    edges = [count * i // parts for i in range(parts + 1)]
    return [slice(a, b) for a, b in pairwise(edges) if a < b]


@contextmanager
def submitting(threads: int) -> Iterator[Callable[..., Future[Any]]]:
    """What hands work to the threads; when the block is left, in whatever way, all of it is over."""
    open_: list[Future[Any]] = []

    def submit(work: Callable[..., Any], *given: Any) -> Future[Any]:
        nonlocal open_
        open_ = [job for job in open_ if not job.done()]
        open_.append(_threads(threads).submit(work, *given))
        return open_[-1]

    try:
        yield submit
    finally:
        _end(open_)


def _end(jobs: list[Future[Any]]) -> None:
    """Wait for what runs; what has not begun never will."""
    for job in jobs:
        job.cancel()
    wait(jobs)


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    """Starting threads takes longer than many a piece of work, so they are started once."""
    return ThreadPoolExecutor(count, thread_name_prefix="scan")
