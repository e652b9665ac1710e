"""JSON: an array of records, one object that holds such an array, or records one after another.

Broken elements do not end the reading: it goes on at the next object that begins with the same key as the others,
and the broken one is listed with its line and reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np

from scanner import jsonediting, jsontext
from scanner.figures import plural
from scanner.formats._elements import Elements, require_records, span_runs, write_elements
from scanner.formats._files import BOM, content
from scanner.objects import Edits, Records, Source, UInt8, Written
from scanner.settings import Settings

NAME = "json"
DESCRIPTION = "a JSON array of records, or an object that holds one under a key such as data, train or rows"
EXTENSIONS = (".json",)
FOLDER = False

WRAPPERS = ("data", "train", "rows", "examples", "records", "items", "samples", "dataset")
"""Keys under which a single object keeps its list of records; the first that fits is taken."""
_ROOM = 1 << 16
_FAR = 1 << 16  # bytes between the start of a broken element and the place where that shows
_MOST_FAR_WALKS = 16  # after as many, each element is walked up to the next start of a record only: linear time
_SPACE = b" \t\r\n"
_FIRST_KEY = re.compile(rb'\{\s*("(?:[^"\\]|\\.)*")')
_LIST_START = re.compile(rb"\[\s*\{")
_OPENING = re.compile(rb'\s*(?:\{\s*"[^"]*"\s*:\s*)?\[?\s*')
"""What begins a file of records and holds nothing: a bracket, or the one key that a list stands under."""


def sniff(path: Path, first: bytes, extension: str) -> float:
    """How sure these first bytes are JSON that spans lines, 0 to 1."""
    text = first.removeprefix(BOM).lstrip()
    if text[:1] not in (b"[", b"{"):
        return 0.3 if extension in EXTENSIONS and text else 0.0
    end = text.find(b"\n") % (len(text) + 1)  # the text's own end where there is no other
    line = text[:end]
    if text[:1] == b"[":
        # An array on one line with more lines after it is JSON Lines whose first record is an array.
        return 0.6 if text[end:].strip() and _parses(line) else 0.95
    if extension in EXTENSIONS:
        return 0.85
    return 0.7 if not _parses(line) else 0.6


def _parses(line: bytes) -> bool:
    try:
        jsontext.parse(line)
    except jsontext.RecordError:
        return False
    return True


def elements(source: Source, settings: Settings) -> Elements:
    """Where the records stand, and which of them are broken."""
    data = content(source, settings.max_decompressed_bytes)
    at = len(BOM) if data[:3].tobytes() == BOM else 0
    at, line = _skip_space(data, at, 1)
    if at == len(data):
        return require_records(source, Elements(data, *_empty()))
    if data[at] == ord("["):
        found = _Walker(data).walk(at + 1, line, in_array=True)
    else:
        wrapped = _wrapped_list(data, at) if data[at] == ord("{") else -1
        if wrapped >= 0:
            line += int(np.count_nonzero(data[at:wrapped] == 10))
            found = _Walker(data).walk(wrapped + 1, line, in_array=True)
        else:
            found = _Walker(data).walk(at, line, in_array=False)
    return replace(require_records(source, found), notes=tuple(_beside(found)))


def read(source: Source, settings: Settings, first_row: int) -> Iterator[Records]:
    """Spans of the records; nothing is parsed."""
    yield from span_runs(source, elements(source, settings), first_row)


def write(source: Source, settings: Settings, edits: Edits, sink: IO[bytes]) -> Written:
    """The file with its records dropped or changed; brackets, separators and indents of the others as they were."""
    return write_elements(elements(source, settings), edits, sink, jsonediting.replace_strings)


def _beside(found: Elements) -> Iterator[str]:
    """What stands in the file before and after all records, other than brackets: nobody reads it."""
    if not len(found):
        return
    before = found.data[: found.start[0]].tobytes().removeprefix(BOM)
    after = found.data[found.end[-1] :].tobytes().strip(b" \t\r\n,]}")
    if not _OPENING.fullmatch(before):
        yield f"line 1: {plural(len(before), 'byte')} before the records, not read and left as they are"
    if found.is_container and b"]" not in found.data[found.end[-1] :].tobytes():
        yield f"line {found.line[-1]}: no bracket at the end of the list: the file may be cut short"
    if after:
        count = plural(len(after), "byte")
        yield f"line {found.line[-1]}: {count} after the last record, not read and left as they are"


def _empty() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64)


def _skip_space(data: UInt8, at: int, line: int) -> tuple[int, int]:
    while at < len(data) and data[at] in _SPACE:
        line += int(data[at] == 10)
        at += 1
    return at, line


def _wrapped_list(data: UInt8, at: int) -> int:
    """Where the '[' of a list of objects under one of WRAPPERS stands, in a file that is a single object; else -1."""
    from scanner.kernels import records as kernel

    stack = np.zeros(kernel.MAX_DEPTH, np.uint8)
    found: dict[str, int] = {}
    at += 1
    while True:
        at, _ = _skip_space(data, at, 1)
        if at >= len(data) or data[at] != ord('"'):
            break
        state = kernel.new_state()
        key_end = kernel.json_value_end(data, at, len(data), stack, state)
        if key_end < 0:
            break
        key = data[at:key_end].tobytes()[1:-1].decode("utf-8", "replace")
        colon, _ = _skip_space(data, key_end, 1)
        value, _ = _skip_space(data, colon + 1, 1)
        if key in WRAPPERS and _LIST_START.match(data[value : value + 256].tobytes()):
            found[key] = value
        end = kernel.json_value_end(data, value, len(data), stack, kernel.new_state(lenient=True))
        if end < 0:
            break
        at, _ = _skip_space(data, end, 1)
        if at < len(data) and data[at] == ord(","):
            at += 1
    return next((found[key] for key in WRAPPERS if key in found), -1)


class _Walker:
    """Collects spans run by run, and finds the way back after a broken element."""

    def __init__(self, data: UInt8):
        from scanner.kernels import records as kernel

        self.kernel = kernel
        self.data = data
        self.stack = np.zeros(kernel.MAX_DEPTH, np.uint8)
        self.starts: list[np.ndarray] = []
        self.ends: list[np.ndarray] = []
        self.lines: list[np.ndarray] = []
        self.count = 0
        self.broken: dict[int, str] = {}
        self.signature: re.Pattern[bytes] | None = None
        self.far_walks = 0

    def walk(self, at: int, line: int, in_array: bool) -> Elements:
        """Every element from `at` on, until the array closes or the bytes end."""
        kernel, data = self.kernel, self.data
        state = kernel.new_state(at, line, in_array)
        start, end, lines = (np.empty(_ROOM, np.int64) for _ in range(3))
        while True:
            size = len(data) if self.far_walks < _MOST_FAR_WALKS else self._next_record(int(state[kernel.AT]) + 1)
            n = kernel.json_elements(data, size, self.stack, state, start, end, lines)
            self._add(start[:n], end[:n], lines[:n])
            status = int(state[kernel.STATUS])
            if status == kernel.ENDED and size == len(data):
                break
            if status == kernel.CLOSED:
                if not self._goes_on_after_array(state):
                    break
            elif status not in (kernel.FULL, kernel.ENDED):
                self._recover(state, status)
        parts = [np.concatenate(p) if p else np.zeros(0, np.int64) for p in (self.starts, self.ends, self.lines)]
        return Elements(data, parts[0], parts[1], parts[2], self.broken, is_container=in_array)

    def _add(self, start: np.ndarray, end: np.ndarray, line: np.ndarray) -> None:
        if len(start):
            if self.signature is None:
                self._learn(int(start[0]))
            self.starts.append(start.copy())
            self.ends.append(end.copy())
            self.lines.append(line.copy())
            self.count += len(start)

    def _learn(self, at: int) -> None:
        """How records of this file begin: with an object whose first key is that of the record at `at`."""
        match = _FIRST_KEY.match(self.data[at : at + 4096].tobytes())
        if match:
            self.signature = re.compile(rb"\{\s*" + re.escape(match[1]) + rb"\s*:")

    def _goes_on_after_array(self, state: np.ndarray) -> bool:
        """Whether another array follows at once, as when files were concatenated; other bytes stay outside."""
        at, line = _skip_space(self.data, int(state[self.kernel.AT]) + 1, int(state[self.kernel.LINE]))
        if at < len(self.data) and self.data[at] == ord("["):
            state[self.kernel.AT], state[self.kernel.LINE] = at + 1, line
            return True
        return False

    def _recover(self, state: np.ndarray, status: int) -> None:
        """Take the element as a lenient reader would, or list it as broken, and set `state` behind it."""
        kernel, data = self.kernel, self.data
        at, line = int(state[kernel.AT]), int(state[kernel.LINE])
        if self.signature is None:
            self._learn(at)
        resume = self._next_record(at + 1)
        self.far_walks += int(state[kernel.WHERE]) - at > _FAR
        end = self._lenient_end(at, resume) if status == kernel.LINE_BREAK else -1
        if end < 0:
            end = at + len(data[at:resume].tobytes().rstrip(b" \t\r\n," + (b"]" if resume == len(data) else b"")))
            end = max(end, at + 1)
            where = int(state[kernel.WHERE_LINE])
            place = f" (noticed in line {where})" if where != line else ""
            self.broken[self.count] = kernel.REASONS[status] + place
        self._add(np.array([at]), np.array([end]), np.array([line]))
        state[kernel.AT] = end
        state[kernel.LINE] = line + int(np.count_nonzero(data[at:end] == 10))

    def _next_record(self, at: int) -> int:
        """Where the next object with the usual first key begins; the end of the data where there is none."""
        if self.signature is not None:
            match = self.signature.search(self.data.data, at)
            if match:
                return match.start()
        return len(self.data)

    def _lenient_end(self, at: int, resume: int) -> int:
        """The end of an element whose strings hold raw line breaks, if it is whole before `resume`; else -1."""
        state = self.kernel.new_state(lenient=True)
        end = int(self.kernel.json_value_end(self.data, at, resume, self.stack, state))
        if end >= 0:
            try:
                jsontext.parse(self.data[at:end].tobytes())
            except jsontext.RecordError:
                return -1
        return end
