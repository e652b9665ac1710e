"""How every kernel is compiled: explicit signature, no GIL, cached on disk.

The cache is keyed by the source of all kernels together: numba itself looks at one file only and would go on using
machine code that inlined an older version of another. It lies beside the source where that is writable, else in the
user's cache folder, else in a folder of the temporary one that nobody else may write to, for what lies there is run;
NUMBA_CACHE_DIR overrides all.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from numba import config, njit, types

from scanner.running import uncollected

# Read-only array types accept writable arrays too; memory-mapped Arrow buffers are read-only.
U8R = types.Array(types.uint8, 1, "C", readonly=True)
U32R = types.Array(types.uint32, 1, "C", readonly=True)
U64R = types.Array(types.uint64, 1, "C", readonly=True)
I32R = types.Array(types.int32, 1, "C", readonly=True)
I64R = types.Array(types.int64, 1, "C", readonly=True)
B1R = types.Array(types.boolean, 1, "C", readonly=True)
U8 = types.Array(types.uint8, 1, "C")
U64 = types.Array(types.uint64, 1, "C")
I32 = types.Array(types.int32, 1, "C")
I64 = types.Array(types.int64, 1, "C")
U32_2D = types.Array(types.uint32, 2, "C")
U64_2D = types.Array(types.uint64, 2, "C")
F32 = types.Array(types.float32, 1, "C")
INT = types.int64
VOID = types.void


# What kernels call counts no references: numba would count those to every array that it is given, one by one and with
# locked instructions: more than half of the time of reading JSON on an Intel Xeon. Its caller holds the arrays.
# `_nrt` is numba's own switch for that; what makes arrays does not compile without the counts, and is a `maker`.
shared = njit(nogil=True, _nrt=False)
"""Called by Python, too."""
_only_inside = {"nogil": True, "error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
helper = njit(**_only_inside, _nrt=False)
"""No entry for Python or C, which is a tenth of the compiler's work."""
maker = njit(**_only_inside)
"""A helper that makes arrays or sorts them: without counts that compiles only if the same sort was compiled before."""


def kernel(signature: Any) -> Callable[[Any], Any]:
    """Compile for one signature, release the GIL, cache the machine code."""

    def compile_now(function: Any) -> Any:
        with _own_cache_folder(), uncollected():  # a tenth of the time
            return njit(signature, nogil=True, cache=True, error_model="numpy", no_cfunc_wrapper=True)(function)

    return compile_now


@contextmanager
def _own_cache_folder() -> Iterator[None]:
    """numba reads its setting when a function is decorated; other users of numba keep theirs."""
    before = config.CACHE_DIR
    config.CACHE_DIR = str(cache_folder())
    try:
        yield
    except OSError as error:  # numba does not say where
        if error.filename or error.errno is None:
            raise
        place = f"{cache_folder()}; NUMBA_CACHE_DIR names another place"
        raise OSError(error.errno, os.strerror(error.errno), place) from None
    finally:
        config.CACHE_DIR = before


@cache
def cache_folder() -> Path:
    """Where the machine code of these very sources is kept; older sources' folders beside it are removed."""
    here = Path(__file__).parent
    state = hashlib.blake2b(digest_size=8)
    for source in sorted(here.glob("*.py")):
        state.update(source.read_bytes())
    name = f"kernels-{state.hexdigest()}"
    for base in (*_chosen(), here / "__pycache__", *_of_the_user()):
        try:
            (base / name).mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError:
            continue
        if os.access(base / name, os.W_OK):
            for old in base.glob("kernels-*"):
                if old.name != name:
                    shutil.rmtree(old, ignore_errors=True)
            return base / name
    return Path(tempfile.mkdtemp(prefix="sftscan-")) / name


def _chosen() -> list[Path]:
    """What the user chose, if anything."""
    return [Path(os.environ["NUMBA_CACHE_DIR"])] if os.environ.get("NUMBA_CACHE_DIR") else []


def _of_the_user() -> Iterator[Path]:
    """The user's cache folder, and one of theirs alone in the temporary folder."""
    with suppress(RuntimeError):  # a user without a home, as containers have them
        yield Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sftscan"
    if not hasattr(os, "getuid"):  # Windows, where the temporary folder is the user's own
        yield Path(tempfile.gettempdir()) / "sftscan"
        return
    last = Path(tempfile.gettempdir()) / f"sftscan-{os.getuid()}"
    with suppress(OSError):
        last.mkdir(mode=0o700)
    with suppress(OSError):
        state = last.lstat()
        if stat.S_ISDIR(state.st_mode) and state.st_uid == os.getuid() and not state.st_mode & 0o022:
            yield last


def is_compiled() -> bool:
    """Whether the kernels were compiled before, by this or an earlier process."""
    return any(cache_folder().rglob("*.nbi"))


def source_bytes(name: str) -> int:
    """Size of a kernel module's source, a rough measure of how long it compiles."""
    return (Path(__file__).parent / f"{name}.py").stat().st_size
