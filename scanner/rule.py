"""One rule: what it says of a kind of value, and how it finds its values in a text.

The value of a match is its first capturing group that took part, or the whole match; the rest of the pattern is
context. A rule may also name fields: what stands in one is a value by the name of the field alone, if it looks like
one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import re2

from scanner import fieldnames
from scanner.checksums import VALIDATORS, Validator

KINDS = ("private", "secret")
CONTEXT_BYTES = 48
"""How far before a value `not_after` looks."""
LONGEST_FIELD_VALUE = 256  # characters: a longer text is no single value


class Example(NamedTuple):
    """A text that a rule must fire on, and exactly what it must find there, in order."""

    text: str
    spans: tuple[str, ...]


class Said(NamedTuple):
    """What a rule says to the people who read its findings, each on one line."""

    advice: str
    known_problems: str

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Said:
        """What the fields of a rule file say of it."""
        return cls(*(_one_line(str(values.get(name, ""))) for name in cls._fields))


@dataclass(frozen=True)
class Rule:
    """One rule file. `regex` is RE2 syntax; `literals` and `gate` say cheaply which texts are worth a look."""

    id: str
    kind: str  # one of KINDS
    title: str
    what: str
    why: str
    level: str  # name in bands.toml
    severity: float
    confidence: float  # score where no validator proves the value
    known_problems: str
    advice: str
    placeholder: str  # "[EMAIL]": A-Z, 0-9, _ in brackets
    regex: str
    fires: tuple[Example, ...]
    quiet: tuple[str, ...]
    literals: tuple[str, ...] = ()  # the text holds at least one of them ...
    ignore_case: bool = True  # ... in any case (ASCII)
    gate: str = ""  # ... and matches this (Rust regex syntax)
    validator: str = ""  # name in checksums.VALIDATORS
    not_after: str = ""  # RE2; a value right after such text stays quiet
    fields: tuple[str, ...] = ()  # names of fields whose whole text is a value, in any case and with any separators ...
    field_value: str = ""  # ... where it is this from end to end (RE2)
    field_validator: str = ""  # ... and this, a name in checksums.VALIDATORS, accepts it
    field_fires: tuple[tuple[str, str], ...] = ()  # (name, text)
    field_quiet: tuple[tuple[str, str], ...] = ()
    path: Path = field(default=Path(), compare=False)

    @cached_property
    def pattern(self) -> Any:
        return compiled(self.regex)

    @cached_property
    def _forbidden_before(self) -> Any:
        return compiled(f"(?:{self.not_after})$") if self.not_after else None

    @property
    def _validator(self) -> Validator | None:
        return VALIDATORS[self.validator] if self.validator else None

    @property
    def score(self) -> float:
        return 1.0 if self._validator and self._validator.proves else self.confidence

    @cached_property
    def needs_context(self) -> bool:
        """True where some value of its own examples would not be found if it stood alone."""
        values = (value for example in self.fires for value in example.spans)
        return any(self.spans(value) != [(0, len(value))] for value in values)

    def in_words(self) -> str:
        """Everything that a reader needs to judge what it finds, a line for each thing."""
        said = Said.of({"advice": self.advice, "known_problems": self.known_problems})
        return "\n".join([
            f"{self.id} · {self.kind} · {self.title}",
            f"  finds      {_one_line(self.what)}",
            f"  why        {_one_line(self.why)}",
            f"  severity   {self.severity:g} ({self.level}); score {self.score:g}"
            + (" (a check proves the value)" if self.score == 1 else " where nothing proves the value"),
            f"  becomes    {self.placeholder}",
            f"  advice     {said.advice}",
            f"  problems   {said.known_problems}",
        ])  # fmt: skip

    def prefilter(self) -> pl.Expr:
        """True where the column `text` can hold a match; never false for one that does."""
        text = pl.col("text").str
        parts = []
        if self.literals:
            parts.append(text.contains_any(list(self.literals), ascii_case_insensitive=self.ignore_case))
        if self.gate:
            parts.append(text.contains(self.gate))
        return pl.all_horizontal(parts)

    def byte_spans(self, data: bytes) -> Iterator[tuple[int, int]]:
        """Start and end of every accepted value in UTF-8 text, ascending, not overlapping."""
        at = 0
        while match := self.pattern.search(data, at):
            spans = (match.span(group) for group in range(1, self.pattern.groups + 1))
            start, end = next((span for span in spans if span[0] >= 0), match.span())
            if self._accepts(data, start, end):
                yield start, end
                at = end  # subtle: not the match's end, so that one character can bound two values
            else:
                at = start + 1

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Start and end of every accepted value, in code points; the prefilter is not asked."""
        data = text.encode("utf-8", "replace")
        return list(in_code_points(data, self.byte_spans(data)))

    @cached_property
    def _field_pattern(self) -> Any:
        return compiled(self.field_value)

    def in_field(self, text: str) -> tuple[int, int] | None:
        """Where the value stands in the text of a field of one of the names, in code points; None if there is none."""
        value = text.strip()
        if len(value) > LONGEST_FIELD_VALUE or not fieldnames.is_value(value):
            return None
        if not any(self._is_field_value(form) for form in dict.fromkeys((value, fieldnames.whole_number(value)))):
            return None
        start = len(text) - len(text.lstrip())
        return start, start + len(value)

    def _is_field_value(self, value: str) -> bool:
        if self._field_pattern.fullmatch(value.encode("utf-8", "replace")) is None:
            return False
        return not self.field_validator or VALIDATORS[self.field_validator].accepts(value)

    def _accepts(self, data: bytes, start: int, end: int) -> bool:
        if end <= start:
            return False
        before = self._forbidden_before
        if before is not None and before.search(data[max(0, start - CONTEXT_BYTES) : start]):
            return False
        validator = self._validator
        return validator is None or validator.accepts(data[start:end].decode("utf-8", "replace"))


def in_code_points(data: bytes, spans: Iterator[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Byte spans, ascending, as code points; the text is gone through once."""
    if data.isascii():
        yield from spans
        return
    byte = point = 0
    for start, end in spans:
        point += len(data[byte:start].decode("utf-8", "replace"))
        width = len(data[start:end].decode("utf-8", "replace"))
        yield point, point + width
        byte, point = end, point + width


def compiled(regex: str) -> Any:
    """The pattern over UTF-8 bytes; positions are bytes where the text searched is bytes."""
    options = re2.Options()
    options.log_errors = False
    return re2.compile(regex, options)


def _one_line(text: str) -> str:
    return " ".join(text.split())
