"""Places inside a record, and new texts put there without losing a byte that nobody asked to change.

A place is a path of keys and indexes; runs store it as a JSON pointer (RFC 6901).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from scanner.errors import OutputError
from scanner.jsontext import dumps, encodable, parse, quoted, type_name
from scanner.redaction import is_json_container

Path = tuple[str | int, ...]

_SPACE = re.compile(r"[ \t\n\r]*")
_BARE_PLACEHOLDER = re.compile(r"(?<=[:\[,\s])<[A-Z_0-9]+>(?=[\s,\]}])")


def get_at(value: Any, path: Path) -> Any:
    """The value that a path leads to; KeyError or IndexError where it leads nowhere."""
    for part in path:
        value = value[part]
    return value


def set_at(value: Any, path: Path, new: str | None) -> Any:
    """Put `new` at `path`, in place, and return the value (the new one itself for the empty path).

    Tuples, which stand for the entries of a map, are made anew.
    """
    holders = [value]
    for part in path[:-1]:
        holders.append(holders[-1][part])
    made: Any = new
    for holder, part in zip(reversed(holders), reversed(path), strict=False):
        if not isinstance(holder, tuple):
            holder[part] = made
            return value
        made = tuple(made if i == part else old for i, old in enumerate(holder))
    return made


def pointer_of(path: tuple[str | int, ...]) -> str:
    """A path as JSON pointer (RFC 6901): ("turns", 3, "a/b") -> "/turns/3/a~1b"."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def parts_of(pointer: str) -> list[str]:
    """The parts of a JSON pointer, all as text: "/turns/3/a~1b" -> ["turns", "3", "a/b"]."""
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def path_of(pointer: str, record: Any) -> Path:
    """The path that a JSON pointer (RFC 6901) means in `record`: the inverse of `pointer`.

    A part is an index where the record holds a list at that place, and a key otherwise. Lone surrogates in keys are
    stored as U+FFFD (see encodable); where several keys are stored alike, none of them is meant for sure: OutputError.
    """
    path: list[str | int] = []
    for part in parts_of(pointer):
        try:
            step: str | int = int(part) if isinstance(record, list | tuple) else _key_of(part, record)
            record = record[step]
        except (KeyError, IndexError, TypeError, ValueError):
            raise OutputError(
                f"a stored field path of {len(path) + 1} or more parts leads nowhere in the record; expected the "
                "record that was audited; audit the data set again"
            ) from None
        path.append(step)
    return tuple(path)


def _key_of(part: str, record: Any) -> str:
    """The key of `record` that is stored as `part`."""
    if "\N{REPLACEMENT CHARACTER}" not in part or not isinstance(record, Mapping):
        return part
    alike = [key for key in record if encodable(key) == part]
    if len(alike) > 1:
        raise OutputError(
            f"{len(alike)} keys of a record differ only in characters that UTF-8 cannot hold (lone surrogates), and "
            "the one that holds a text to be replaced cannot be told; expected keys of valid text; mend the record"
        )
    return alike[0] if alike else part


def replace_strings(raw: bytes, texts: Mapping[Path, str]) -> bytes:
    """The record `raw` with new texts at some paths; every byte outside those strings and numbers stays.

    A number becomes a string. A record with duplicate keys is written anew, since the hidden occurrence would keep
    the old text. A string that holds a JSON object or array holds one afterwards too, or OutputError is raised.
    """
    notes: list[str] = []
    value = parse(raw, notes)
    safe = {}
    for path, text in texts.items():
        old = _leaf_at(value, path)
        safe[path] = keep_json(old, text) if isinstance(old, str) else text
    ascii_only = raw.isascii()
    if any("duplicate" in note for note in notes):
        for path, text in safe.items():
            value = set_at(value, path, text)
        return dumps(value, ascii_only)
    text = raw.decode("utf-8", "surrogateescape")
    spans = literal_spans(text, safe)
    out, at = [], 0
    for path, (start, end) in sorted(spans.items(), key=lambda item: item[1]):
        out += [text[at:start].encode("utf-8", "surrogateescape"), quoted(safe[path], ascii_only)]
        at = end
    out.append(text[at:].encode("utf-8", "surrogateescape"))
    return b"".join(out)


def _leaf_at(value: Any, path: Path) -> str | int | float:
    try:
        found = get_at(value, path)
    except (KeyError, IndexError, TypeError):
        found = None
    if not isinstance(found, str | int | float) or isinstance(found, bool):
        raise OutputError(
            f"a new text is meant for a place that holds {type_name(found)}, expected text or a number; audit the data "
            "set again"
        )
    return found


def keep_json(old: str, new: str) -> str:
    """`new`, valid JSON where `old` is a JSON object or array: bare placeholders get quotes; OutputError else."""
    if not is_json_container(old) or is_json_container(new):
        return new
    repaired = _BARE_PLACEHOLDER.sub(lambda m: f'"{m[0]}"', new)
    if is_json_container(repaired):
        return repaired
    if "{" not in old:  # a list in prose, such as "[1]", is no interface that could break
        return new
    raise OutputError(
        f"a text of {len(old)} characters held JSON and would no longer be JSON after its spans are replaced; "
        "expected spans inside its strings or whole numbers; leave this row out or exclude the rule"
    )


def literal_spans(text: str, paths: Iterable[Path]) -> dict[Path, tuple[int, int]]:
    """Where the strings and numbers at some paths stand in a record's text, in characters, quotes included."""
    wanted = set(paths)
    prefixes = {path[:i] for path in wanted for i in range(len(path))}
    spans: dict[Path, tuple[int, int]] = {}
    # Keys of the path may hold U+FFFD where the text holds undecodable bytes.
    _Walk(text, wanted, prefixes, spans).value(_skip(text, 0), ())
    return spans


class _Walk:
    """Walks only towards the wanted paths; everything else is skipped by the C scanner."""

    def __init__(self, text: str, wanted: set[Path], prefixes: set[Path], spans: dict[Path, tuple[int, int]]):
        self.text, self.wanted, self.prefixes, self.spans = text, wanted, prefixes, spans
        self.decode = json.JSONDecoder(strict=False).raw_decode  # the C scanner of the standard library

    def value(self, at: int, path: Path) -> int:
        """The position after the value at `at`."""
        text = self.text
        if path in self.wanted and text[at] not in "{[":
            end = self.decode(text, at)[1]
            self.spans[path] = (at, end)
            return end
        if path not in self.prefixes or text[at] not in "{[":
            return self.decode(text, at)[1]
        closing = "}" if text[at] == "{" else "]"
        at, index = _skip(text, at + 1), 0
        while text[at] != closing:
            part: str | int = index
            if closing == "}":
                end = self.decode(text, at)[1]
                # subtle: bytes that are no UTF-8 became surrogates in `text`, while an escaped surrogate stays one
                part = self.decode(text[at:end].encode("utf-8", "surrogateescape").decode("utf-8", "replace"), 0)[0]
                at = _skip(text, _skip(text, end) + 1)
            at = _skip(text, self.value(at, (*path, part)))
            if text[at] == ",":
                at = _skip(text, at + 1)
            index += 1
        return at + 1


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at
