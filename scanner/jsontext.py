"""JSON text to Python values and back, without losing a byte that nobody asked to change.

orjson reads what is strict JSON; what it refuses (NaN, lone surrogates, invalid UTF-8, raw control characters) goes
to the standard library, which reads it tolerantly. Reasons name positions and types, never values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from scanner.errors import FormatError, OutputError

Path = tuple[str | int, ...]

_TOO_DEEP = "nested more than about 1,000 levels deep, expected fewer"  # the limit of orjson and of Python
_SPACE = re.compile(r"[ \t\n\r]*")
_BARE_PLACEHOLDER = re.compile(r"(?<=[:\[,\s])<[A-Z_0-9]+>(?=[\s,\]}])")
_REASONS = {
    "Expecting value": "expected a value",
    "Unexpected UTF-8 BOM (decode using utf-8-sig)": "a byte order mark stands before the record, expected none; take "
    "it out, for example with `sed 's/\\xEF\\xBB\\xBF//g' OLD > NEW`",
    "Extra data": "expected nothing more after the record",
    "Unterminated string starting at": "unterminated string, expected '\"' before the end of the record",
    "Expecting ',' delimiter": "expected ',' between two values",
    "Expecting ':' delimiter": "expected ':' after a key",
    "Expecting property name enclosed in double quotes": "expected a key in double quotes",
    "Illegal trailing comma before end of object": "expected no ',' before '}'",
}


class RecordError(FormatError):
    """One record that is not JSON. `reason` and `position` (byte or character, from 0) hold no values of the data."""

    def __init__(self, reason: str, position: int = 0):
        super().__init__(f"{reason} (at character {position + 1})" if position else reason)
        self.reason = reason
        self.position = position


def parse(raw: bytes, notes: list[str] | None = None) -> Any:
    """The value of one record.

    notes: filled, where given, with what had to be tolerated: invalid UTF-8, duplicate keys (the last one wins),
    NaN or Infinity, raw control characters. Raises RecordError.
    """
    try:
        value = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        if "depth" in str(error):
            raise RecordError(_TOO_DEEP) from None
        return _parse_tolerantly(raw, notes)
    if _may_hold_big_integer(raw):
        return _parse_tolerantly(raw, notes)
    if notes is not None and _count_keys(value) < raw.count(b'":') + raw.count(b'" :'):
        # Only a suspicion (a string may hold '":'); the slow parse decides.
        _parse_tolerantly(raw, notes)
    return value


def _may_hold_big_integer(raw: bytes) -> bool:
    """Whether orjson may have rounded an integer of more than 64 bits to a float."""
    # translate and find run at memory speed; the pattern decides on the few records that hold long digits at all
    return _LONG in raw.translate(_ALL_DIGITS_ALIKE) and _BIG_INTEGER.search(raw) is not None


_LONG = b"0" * 19
_ALL_DIGITS_ALIKE = bytes(48 if 48 <= i <= 57 else i for i in range(256))
_BIG_INTEGER = re.compile(rb"(?:^|[:\[,\s])-?[1-9][0-9]{18,}(?:$|[\s,\]}])")


def _count_keys(value: Any) -> int:
    count, stack = 0, [value]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            count += len(item)
            stack.extend(item.values())
        elif isinstance(item, list):
            stack.extend(item)
    return count


def _parse_tolerantly(raw: bytes, notes: list[str] | None) -> Any:
    seen: list[str] = []
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        text = raw.decode("utf-8", "replace")
        seen.append(f"bytes that are not UTF-8, the first at byte {error.start + 1}, read as U+FFFD")

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        record = dict(items)
        if len(record) < len(items):
            seen.append("duplicate keys; the last one counts")
        return record

    def constant(name: str) -> float:
        seen.append(f"{name}, which is not JSON")
        return float(name)

    try:
        value = json.loads(text, strict=True, object_pairs_hook=pairs, parse_constant=constant)
    except json.JSONDecodeError as error:
        if not error.msg.startswith("Invalid control character"):
            raise _record_error(error) from None
        seen = [note for note in seen if "UTF-8" in note] + ["control characters inside a string"]
        try:
            value = json.loads(text, strict=False, object_pairs_hook=pairs, parse_constant=constant)
        except json.JSONDecodeError as second:
            raise _record_error(second) from None
    except RecursionError:
        raise RecordError(_TOO_DEEP) from None
    except ValueError:
        raise RecordError("an integer of more than 4,300 digits, expected fewer") from None
    if notes is not None:
        notes.extend(dict.fromkeys(seen))
    return value


def _record_error(error: json.JSONDecodeError) -> RecordError:
    reason = _REASONS.get(error.msg)
    if reason is None:
        reason = "expected a valid escape after '\\'" if "escape" in error.msg else "not valid JSON"
    return RecordError(reason, error.pos)


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and no spaces, as orjson.dumps(OPT_SORT_KEYS) writes it; total for any value.

    Lone surrogates are written as escapes, integers beyond 64 bits as digits, types JSON lacks as text.
    """
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    except TypeError:
        return _canonical_slowly(value)


def _canonical_slowly(value: Any) -> bytes:
    """The same bytes by a stack of our own, so that no depth is too deep."""
    out: list[bytes] = []
    stack: list[Any] = [_Value(value)]
    while stack:
        item = stack.pop()
        if isinstance(item, bytes):
            out.append(item)
            continue
        item = item.value
        if isinstance(item, Mapping):
            keys = sorted((key if isinstance(key, str) else str(key), key) for key in item)
            stack.append(b"}")
            for i, (name, key) in reversed(list(enumerate(keys))):
                stack += [_Value(item[key]), (b"," if i else b"") + _leaf(name) + b":"]
            stack.append(b"{")
        elif isinstance(item, list | tuple):
            stack.append(b"]")
            for i in range(len(item) - 1, -1, -1):
                stack.append(_Value(item[i]))
                if i:
                    stack.append(b",")
            stack.append(b"[")
        else:
            out.append(_leaf(item))
    return b"".join(out)


class _Value:
    """Marks a value on the stack, which also holds finished bytes."""

    __slots__ = ("value",)

    def __init__(self, value: Any):
        self.value = value


def _leaf(value: Any) -> bytes:
    if isinstance(value, str):
        try:
            return orjson.dumps(value)
        except TypeError:  # lone surrogates
            return quoted(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value).encode()
    if isinstance(value, bytes):
        value = value.hex()
    try:
        return orjson.dumps(value, default=str)
    except TypeError:
        return orjson.dumps(f"{type(value).__name__}")


def quoted(text: str, ascii_only: bool = False) -> bytes:
    """A JSON string literal; lone surrogates stand as escapes, other characters too where `ascii_only`."""
    if ascii_only:
        return json.dumps(text).encode("ascii")
    literal = json.dumps(text, ensure_ascii=False)
    try:
        return literal.encode("utf-8")
    except UnicodeEncodeError:
        return re.sub(r"[\ud800-\udfff]", lambda m: f"\\u{ord(m[0]):04x}", literal).encode("utf-8")


def dumps(value: Any, ascii_only: bool = False) -> bytes:
    """One line of JSON in the key order given, with ", " and ": " as Python writes it; total for any JSON value."""
    text = json.dumps(value, ensure_ascii=ascii_only, default=_plain)
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        return re.sub(r"[\ud800-\udfff]", lambda m: f"\\u{ord(m[0]):04x}", text).encode("utf-8")


def _plain(value: Any) -> Any:
    return value.hex() if isinstance(value, bytes) else str(value)


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


def path_of(pointer: str, record: Any) -> Path:
    """The path that a JSON pointer (RFC 6901) means in `record`: the inverse of store.pointer.

    A part is an index where the record holds a list at that place, and a key otherwise. Lone surrogates in keys are
    stored as U+FFFD (see encodable); where several keys are stored alike, none of them is meant for sure: OutputError.
    """
    path: list[str | int] = []
    for part in pointer.split("/")[1:]:
        part = part.replace("~1", "/").replace("~0", "~")
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


def encodable(text: str) -> str:
    """Lone surrogates, which UTF-8 cannot hold, replaced by U+FFFD one for one, so that positions stay true."""
    if text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text):
        return text
    return "".join("\N{REPLACEMENT CHARACTER}" if "\ud800" <= c <= "\udfff" else c for c in text)


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
    if not _holds_json(old) or _holds_json(new):
        return new
    repaired = _BARE_PLACEHOLDER.sub(lambda m: f'"{m[0]}"', new)
    if _holds_json(repaired):
        return repaired
    if "{" not in old:  # a list in prose, such as "[1]", is no interface that could break
        return new
    raise OutputError(
        f"a text of {len(old)} characters held JSON and would no longer be JSON after its spans are replaced; "
        "expected spans inside its strings or whole numbers; leave this row out or exclude the rule"
    )


def _holds_json(text: str) -> bool:
    if text.lstrip()[:1] not in ("{", "["):
        return False
    try:
        json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return False
    return True


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


def type_name(value: Any) -> str:
    """What a message calls a value's type: "nothing", "an integer", "a list"."""
    names = {
        "NoneType": "nothing", "bool": "true or false", "int": "an integer", "float": "a number", "str": "text",
        "list": "a list", "tuple": "a list", "dict": "an object", "bytes": "bytes",
    }  # fmt: skip
    name = type(value).__name__
    return names.get(name, f"a {name}")
