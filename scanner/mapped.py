"""Files mapped into memory that others may cut short meanwhile: what is gone reads as zeros, and is told.

The system answers a read beyond the end of a mapped file with the signal SIGBUS, which ends the process. Copying every
input first would be safe and takes an eighth of the time in which duplicates are found; so the file stays mapped, and
where the signal comes, zeros are mapped over what is gone. Whoever reads does so while the files are `steady`, which
refuses what was torn, and what was written to, meanwhile.
Python's own signal handlers cannot do it: they run after the instruction, which here would be repeated for ever.
Elsewhere than on Linux with 64 bits a file that is cut short while it is read still ends the process.
"""

from __future__ import annotations

import ctypes
import mmap
import signal
import struct
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, Any

import numpy as np

from scanner.errors import InputError
from scanner.objects import Source, UInt8

SA_SIGINFO = 4
ADDRESS_AT = 16
"""Byte of siginfo_t where the address stands that could not be read (sigaction(2), Linux with 64 bits)."""
ACTION_BYTES = 152
"""sizeof(struct sigaction): handler 8, mask 128, flags 4 and padding 4, restorer 8; see FLAGS_AT."""
FLAGS_AT = 8 + 128
PROT_READ, MAP_PRIVATE, MAP_FIXED, MAP_ANONYMOUS = 1, 2, 0x10, 0x20

_mapped: dict[int, tuple[int, Path]] = {}  # where a mapping begins: where it ends, and its file
_torn: set[Path] = set()

Files = dict[Path, tuple[int, int, int] | None]
"""Inode, bytes and time of the last change (ns) of a source's files; None of those that are not there."""
State = dict[Source, Files]


class _Mapping(mmap.mmap):
    begin = 0

    def __del__(self) -> None:
        _mapped.pop(self.begin, None)  # before it is unmapped, since others may be mapped there next


def mapped(file: IO[bytes], path: Path) -> UInt8:
    """All bytes of an open file, read-only; they are not read until they are looked at."""
    try:
        memory = _Mapping(file.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError:  # it is empty
        return np.zeros(0, np.uint8)
    found = np.frombuffer(memory, np.uint8)
    if sys.platform == "linux" and sys.maxsize > 1 << 32:
        _watch()
        memory.begin = found.ctypes.data
        _mapped[memory.begin] = memory.begin + len(found), path
    return found


@contextmanager
def steady(sources: Iterable[Source], before: State | None = None) -> Iterator[None]:
    """Read these sources while this lasts; InputError where one changes meanwhile, whatever went wrong through that.

    before: their `state` when something else was made of them (a hash) that must be of the same bytes.
    """
    before = before or state(sources)
    try:
        yield
    except Exception:
        _refuse_changed(before)
        raise
    _refuse_changed(before)


def state(sources: Iterable[Source]) -> State:
    """How the files of these sources are now."""
    return {source: _files(source) for source in sources}


def _files(source: Source) -> Files:
    folder = source.path / source.member
    paths = sorted(folder.glob("*.arrow")) if source.path.is_dir() else [source.path]
    found: Files = {}
    for path in paths:
        try:
            stat = path.stat()
            found[path] = stat.st_ino, stat.st_size, stat.st_mtime_ns
        except OSError:
            found[path] = None
    return found


def _refuse_changed(before: State) -> None:
    for source, files in before.items():
        now = _files(source)
        torn = _torn & files.keys()
        _torn.difference_update(torn)
        if now == files and not torn:
            continue
        old, new = (sum(stat[1] for stat in stats.values() if stat) for stats in (files, now))
        seen = f"it had {old:,} bytes and has {new:,} now" if old != new else f"it still has {new:,} bytes"
        if not all(now.values()):
            seen = "it is no longer there"
        raise InputError(
            f"{source.name}: changed while it was read ({seen}); expected a file that nobody writes to; wait until it "
            "is written, or give a copy of it"
        )


@cache
def _watch() -> Any:
    """Install the handler, once; what it returns must live as long as the process."""
    libc = ctypes.CDLL(None, use_errno=False)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    before = ctypes.create_string_buffer(ACTION_BYTES)  # what was to be done so far

    def on_gone(number: int, info: int, context: int) -> None:
        # The thread that reads waits in here: it holds no lock of the allocator, since that never reads such memory.
        (address,) = struct.unpack("Q", ctypes.string_at(info + ADDRESS_AT, 8))
        for begin, (end, path) in list(_mapped.items()):
            if begin <= address < end + mmap.PAGESIZE:
                page = address - address % mmap.PAGESIZE
                rest = -(-end // mmap.PAGESIZE) * mmap.PAGESIZE - page
                flags = MAP_PRIVATE | MAP_FIXED | MAP_ANONYMOUS
                if libc.mmap(page, rest, PROT_READ, flags, -1, 0) == page:
                    _torn.add(path)
                    return
        libc.sigaction(number, before, None)  # none of ours: the read is repeated, and ends as it did before

    handler = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(on_gone)
    action = ctypes.create_string_buffer(ACTION_BYTES)
    ctypes.memmove(action, struct.pack("P", ctypes.cast(handler, ctypes.c_void_p).value), 8)
    ctypes.memmove(ctypes.addressof(action) + FLAGS_AT, struct.pack("i", SA_SIGINFO), 4)
    libc.sigaction(signal.SIGBUS, action, before)
    return handler, libc, before
