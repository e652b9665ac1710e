"""Take private spans out of a text: typed, numbered placeholders for data sets, plain ones for reports.

    "Ask jane@roe.net or bob@roe.net, best jane@roe.net"  ->  "Ask [EMAIL_1] or [EMAIL_2], best [EMAIL_1]"

The same value gets the same number within a row, so that the text keeps its sense. A text that is a JSON object or
array stays one: spans are fitted to its tokens, and a bare number becomes a string.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple


class Span(NamedTuple):
    """A part of one text to be taken out, in code points, and what stands in its place ("[EMAIL]")."""

    start: int
    end: int
    placeholder: str


@dataclass
class Numbering:
    """Numbers of the values of one row; hand the same object to `redact` for all of the row's segments."""

    _numbers: dict[tuple[str, str], int] = field(default_factory=dict)
    _last: dict[str, int] = field(default_factory=dict)

    def label(self, placeholder: str, value: str) -> str:
        """("[EMAIL]", value) -> "[EMAIL_1]"; case and, in numbers, separators make no other value."""
        digits = re.sub(r"\D", "", value)
        key = (placeholder, digits if digits and not re.search(r"[^\W\d_]", value) else value.casefold())
        if key not in self._numbers:
            self._last[placeholder] = self._last.get(placeholder, 0) + 1
            self._numbers[key] = self._last[placeholder]
        return f"{placeholder[:-1]}_{self._numbers[key]}]"


def redact(text: str, spans: Iterable[Span], numbering: Numbering | None = None) -> str:
    """The text with each span replaced by its numbered placeholder; everything outside the spans stays as it is.

    Overlapping spans become one, named by the longest. In JSON, a span that cuts an escape sequence is fitted to it,
    one that crosses strings is replaced in each, and a number that is touched is replaced whole, as a string.
    Raises ValueError for a span outside the text.
    """
    merged = _merged(text, spans)
    if not merged:
        return text
    numbers = numbering if numbering is not None else Numbering()
    fitted = _fit_to_json(text, merged) if is_json_container(text) else [(span, span, "") for span in merged]
    out, at = [], 0
    for part, whole, quote in fitted:
        label = numbers.label(whole.placeholder, text[whole.start : whole.end])
        out += [text[at : part.start], quote, label, quote]
        at = part.end
    return "".join(out) + text[at:]


def mask(text: str, spans: Iterable[Span]) -> str:
    """The text with each span replaced by its plain placeholder, for excerpts in reports; JSON is not looked after."""
    out, at = [], 0
    for span in _merged(text, spans):
        out += [text[at : span.start], span.placeholder]
        at = span.end
    return "".join(out) + text[at:]


def is_json_container(text: str) -> bool:
    """True where the whole text is one JSON object or array (a tool call's arguments, for example)."""
    if text.lstrip()[:1] not in ("{", "[") or text.rstrip()[-1:] not in ("}", "]"):
        return False
    try:
        json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return False
    return True


def _merged(text: str, spans: Iterable[Span]) -> list[Span]:
    """Ascending, not overlapping: overlapping spans become their union, with the longest one's placeholder."""
    out: list[tuple[Span, int]] = []  # union, length of the span that names it
    for span in sorted(spans):
        if not 0 <= span.start < span.end <= len(text):
            raise ValueError(f"span {span.start}:{span.end} does not lie in a text of {len(text)} characters")
        length = span.end - span.start
        if out and span.start < out[-1][0].end:
            last, longest = out[-1]
            name = span.placeholder if length > longest else last.placeholder
            out[-1] = Span(last.start, max(last.end, span.end), name), max(length, longest)
        else:
            out.append((span, length))
    return [span for span, _ in out]


JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*|-?[A-Za-z]+', re.DOTALL)
"""Strings, numbers and names (true, null, NaN) of a text that is known to be JSON."""


def _fit_to_json(text: str, spans: list[Span]) -> list[tuple[Span, Span, str]]:
    """(part to replace, span it comes from, quote to put around) such that the text stays JSON, ascending."""
    out: list[tuple[Span, Span, str]] = []
    i = 0
    for token in JSON_TOKEN.finditer(text):
        while i < len(spans) and spans[i].end <= token.start():
            i += 1
        j = i
        while j < len(spans) and spans[j].start < token.end():
            span = spans[j]
            if text[token.start()] == '"':
                part = _within_string(text, span, token.start() + 1, token.end() - 1)
                if part is not None and part.end > part.start and not (out and part.start < out[-1][0].end):
                    out.append((part, span, ""))
            elif not (out and out[-1][0].end > token.start()):  # a second span in the same number: already replaced
                out.append((Span(*token.span(), span.placeholder), span, '"'))
            j += 1
        if i == len(spans):
            break
    return out


def _within_string(text: str, span: Span, first: int, last: int) -> Span | None:
    """The part of a span between a string's quotes, fitted to its escapes; None where only the quotes are touched.

    A cut escape that stands for an ASCII letter or digit (\\u0041) is taken in whole; another (\\n) is left out, since
    a pattern can only have met its letter by accident.
    """
    start, end = max(span.start, first), min(span.end, last)
    if start >= end:
        return None
    if (cut := _escape_around(text, start, first)) is not None:
        a, b = cut
        start = a if b >= end or _is_alphanumeric(text[a:b]) else b
    if (cut := _escape_around(text, end, first)) is not None:
        end = cut[1]
    return Span(start, end, span.placeholder)


def _escape_around(text: str, at: int, first: int) -> tuple[int, int] | None:
    """The escape sequence of a JSON string that a cut at `at` would split; the string's content begins at `first`."""
    for start in range(at - 1, max(first, at - 5) - 1, -1):
        if text[start] == "\\":
            run = start  # subtle: of a run of backslashes each pair is one escape, only an odd last one begins another
            while run > first and text[run - 1] == "\\":
                run -= 1
            end = start + (6 if text[start + 1] == "u" else 2)
            return (start, end) if (start - run) % 2 == 0 and at < end else None
    return None


def _is_alphanumeric(escape: str) -> bool:
    character = json.loads(f'"{escape}"')
    return bool(character.isascii() and character.isalnum())
