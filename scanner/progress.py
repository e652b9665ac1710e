"""How a long run tells what it is doing: stages with a number of steps. The command line shows them with rich."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from scanner.objects import Timing


class Progress:
    """Silent progress that measures each stage; `scanner.display` shows one on the screen."""

    def __init__(self) -> None:
        self.timings: list[Timing] = []

    @contextmanager
    def stage(self, name: str, total: int = 0) -> Iterator[None]:
        """A stage of the run; `total` is its number of steps, 0 when unknown. Stages do not nest."""
        started = time.perf_counter()
        self.begin(name, total)
        try:
            yield
        finally:
            self.timings.append(Timing(name, time.perf_counter() - started, total))
            self.end(name)

    def begin(self, name: str, total: int) -> None:
        """A stage starts."""

    def advance(self, steps: int = 1) -> None:
        """The running stage has done some steps."""

    def end(self, name: str) -> None:
        """A stage is over, finished or not."""

    def say(self, message: str) -> None:
        """Something the user should know now."""


def peak_rss_bytes() -> int:
    """The process's largest resident set so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
