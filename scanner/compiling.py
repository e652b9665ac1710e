"""The first run after an install: every kernel compiled at once, by two processes, and said so."""

from __future__ import annotations

import subprocess
import sys

from scanner.plugins import load, names
from scanner.progress import Progress


def load_kernels(progress: Progress) -> None:
    """Import every kernel now, so that a first run after an install says what it is doing.

    To be called before anything that imports kernels of its own: importing one compiles it, in silence.
    numba compiles one function at a time per process, so a second process compiles half of the modules meanwhile and
    leaves them in the cache.
    """
    from scanner.kernels import _jit

    modules = sorted(names("scanner.kernels"), key=lambda name: -_jit.source_bytes(name))
    if not _jit.is_compiled():
        progress.say("first run after an install: compiling the kernels, once, for about 30 seconds")
        others = ", ".join(f"scanner.kernels.{name}" for name in modules[1::2])
        helper = subprocess.Popen([sys.executable, "-c", f"import {others}"], stderr=subprocess.DEVNULL)
        for name in modules[::2]:
            load("scanner.kernels", name)
        helper.wait()  # if it failed, its half is compiled here
    for name in modules:
        load("scanner.kernels", name)
