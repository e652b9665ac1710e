"""Work on several threads: the one module that starts any, but for the two places that set up FAISS on each of theirs.

    run            parts that are all known            -> a list
    in_order       parts that are still being read     -> results as they come, a few ahead
    submitting     single pieces, handed on by hand    -> futures

Results stand in the order of the parts, whatever the number of threads; an error, or an interrupt, ends what has not
begun, waits for what has, and goes on to the caller. Threads stay, since starting one takes longer than many a piece of
work. Work may itself use the threads: whoever waits for a part that nobody has begun does it himself, so that nothing
waits in a circle. Only kernels and libraries that release the interpreter's lock gain by it.
"""

from __future__ import annotations

import gc
import os
from collections import deque
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
AHEAD = 2
"""Parts for each thread that `in_order` has under way or done before they are asked for."""


def thread_count(threads: int | None) -> int:
    """`threads`, or the cores that this process may use where none are named."""
    if threads:
        return threads
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run(work: Callable[[Part], Result], parts: Iterable[Part], threads: int) -> list[Result]:
    """`work` on every part. The calling thread is one of the threads, and does all where the others are busy."""
    known = list(parts)
    if threads <= 1 or len(known) < 2:
        return [work(part) for part in known]
    pool = _threads(threads - 1)
    jobs = [pool.submit(work, part) for part in known[:-1]]
    try:
        done = [work(known[-1])]
        for part, job in zip(known[-2::-1], reversed(jobs), strict=True):
            done.append(_done(job, work, part))
    finally:
        _end(jobs)
    return done[::-1]


def in_order(work: Callable[[Part], Result], parts: Iterable[Part], threads: int) -> Iterator[Result]:
    """`work` on every part; the calling thread reads the parts, takes the results, and helps where it would wait."""
    if threads <= 1:
        yield from map(work, parts)
        return
    waiting: deque[tuple[Future[Result], Part]] = deque()
    with submitting(threads) as submit:
        for part in parts:
            waiting.append((submit(work, part), part))
            if len(waiting) > AHEAD * threads:
                job, first = waiting.popleft()
                yield _done(job, work, first)
        while waiting:
            job, first = waiting.popleft()
            yield _done(job, work, first)


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


def parts_for(size: int, most: int) -> int:
    """Into how many parts work of this size (tokens, or like them) is cut, at most `most`."""
    return max(1, min(most, size // WORTH_A_THREAD))


def shares(count: int, parts: int) -> list[slice]:
    """range(count) in so many runs, all but empty ones."""
    edges = [count * i // parts for i in range(parts + 1)]
    return [slice(a, b) for a, b in pairwise(edges) if a < b]


def _done(job: Future[Result], work: Callable[[Part], Result], part: Part) -> Result:
    """What a job gives; done here where nobody has begun it."""
    return work(part) if job.cancel() else job.result()


def _end(jobs: list[Future[Any]]) -> None:
    """Wait for what runs; what has not begun never will."""
    # subtle: only what could not be cancelled; a cancelled job counts as over once a thread has come across it
    wait([job for job in jobs if not job.cancel()])


@cache
def _threads(count: int) -> ThreadPoolExecutor:
    """So many threads, started when they are first needed and kept."""
    return ThreadPoolExecutor(count, thread_name_prefix="scan")


@contextmanager
def uncollected() -> Iterator[None]:
    """Work that makes many objects and little garbage in circles: Python does not look for any while it lasts.

    Several threads may be in here; Python looks again when the one that came first has left, or a later one.
    """
    was = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was:
            gc.enable()
