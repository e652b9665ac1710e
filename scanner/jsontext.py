"""JSON text to Python values and back.

orjson reads what is strict JSON; what it refuses (NaN, lone surrogates, invalid UTF-8, raw control characters) goes
to the standard library, which reads it tolerantly. Reasons name positions and types, never values.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from scanner.errors import FormatError

NOT_UTF8 = "bytes that are not UTF-8, read as U+FFFD"
"""Of a record in another encoding, or a damaged one; the same words for all, so that they are counted together."""
_TOO_DEEP = "nested more than about 1,000 levels deep, expected fewer"  # the limit of orjson and of Python
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
    NaN or Infinity, raw control characters, halves of surrogate pairs. Raises RecordError.
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


def leaves(value: Any) -> Iterator[tuple[Any, bool]]:
    """Every name of a field (True) and every value that holds no others (False) of a value. No depth is too deep."""
    stack = [value]
    while stack:
        item = stack.pop()
        if isinstance(item, Mapping):
            yield from ((name, True) for name in item)
            stack.extend(item.values())
        elif isinstance(item, list | tuple):
            stack.extend(item)
        else:
            yield item, False


def names(value: Any) -> set[str]:
    """Every name of a field below a value; halves of surrogate pairs as `encodable` has them."""
    return {encodable(str(leaf)) for leaf, is_name in leaves(value) if is_name}


def _parse_tolerantly(raw: bytes, notes: list[str] | None) -> Any:
    seen: list[str] = []
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("utf-8", "replace")
        seen.append(NOT_UTF8)

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
        seen = [note for note in seen if note == NOT_UTF8] + ["control characters inside a string"]
        try:
            value = json.loads(text, strict=False, object_pairs_hook=pairs, parse_constant=constant)
        except json.JSONDecodeError as second:
            raise _record_error(second) from None
    except RecursionError:
        raise RecordError(_TOO_DEEP) from None
    except ValueError:
        raise RecordError("an integer of more than 4,300 digits, expected fewer") from None
    if rb"\u" in raw and any(isinstance(leaf, str) and encodable(leaf) != leaf for leaf, _ in leaves(value)):
        seen.append("half a surrogate pair, which is no character, read as U+FFFD")
    if notes is not None:
        notes.extend(dict.fromkeys(seen))
    return value


def _record_error(error: json.JSONDecodeError) -> RecordError:
    reason = _REASONS.get(error.msg)
    if reason is None:
        reason = "expected a valid escape after '\\'" if "escape" in error.msg else "not valid JSON"
    if error.msg == "Expecting value":
        reason += f", found {_kind(error.doc, error.pos)}"
    return RecordError(reason, error.pos)


def _kind(text: str, position: int) -> str:
    """What kind of character stands there; which letter or digit of the data it is, is not told."""
    if position >= len(text):
        return "the end"
    at = text[position]
    if at.isalnum():
        return "a digit" if at.isdigit() else "a letter"
    if at.isascii() and at.isprintable():
        return f'"{at}"' if at == "'" else f"'{at}'"
    return f"U+{ord(at):04X}"


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


def encodable(text: str) -> str:
    """Lone surrogates, which UTF-8 cannot hold, replaced by U+FFFD one for one, so that positions stay true."""
    if text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text):
        return text
    return "".join("\N{REPLACEMENT CHARACTER}" if "\ud800" <= c <= "\udfff" else c for c in text)


def type_name(value: Any) -> str:
    """What a message calls a value's type: "nothing", "an integer", "a list"."""
    names = {
        "NoneType": "nothing", "bool": "true or false", "int": "an integer", "float": "a number", "str": "text",
        "list": "a list", "tuple": "a list", "dict": "an object", "bytes": "bytes",
    }  # fmt: skip
    name = type(value).__name__
    return names.get(name, f"a {name}")
