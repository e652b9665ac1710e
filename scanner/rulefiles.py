"""What a rule file may say: reading it, checking it, and the matching of one rule.

A rule is one TOML file; its path below its folder is its id: rules/private/email.toml is "private/email". The value of
a match is its first capturing group that took part, or the whole match; the rest of the pattern is context. A rule may
also name fields: what stands in one is a value by the name of the field alone, if it looks like one.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import re2

from scanner import fieldnames
from scanner.checksums import VALIDATORS, Validator
from scanner.errors import RuleError

RULES_FOLDER = Path(__file__).resolve().parent.parent / "rules"
"""Beside the package `scanner`, in a checkout and in an installed wheel alike."""
KINDS = ("private", "secret")
BANDS = ("none", "low", "medium", "high")
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
        return _compiled(self.regex)

    @cached_property
    def _forbidden_before(self) -> Any:
        return _compiled(f"(?:{self.not_after})$") if self.not_after else None

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
        said = _said({"advice": self.advice, "known_problems": self.known_problems})
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
        return _compiled(self.field_value)

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


@dataclass(frozen=True)
class Bands:
    """The severity scale and the cut points of the risk bands (rules/bands.toml, with their sources)."""

    severity: dict[str, float]  # level -> factor
    cuts: tuple[tuple[str, float], ...]  # (band, least risk), ascending; below the first is "none"

    def band(self, risk: npt.ArrayLike) -> npt.NDArray[Any]:
        """(n,) of str: the band of each risk; NaN (not measured) is "none"."""
        values = np.nan_to_num(np.asarray(risk, dtype=np.float64), nan=0.0)
        names = np.array(["none", *(name for name, _ in self.cuts)])
        return names[np.searchsorted([least for _, least in self.cuts], values, side="right")]


def bands(folder: Path = RULES_FOLDER) -> Bands:
    """Read bands.toml."""
    path = folder / "bands.toml"
    values = _read_toml(path)
    severity, cuts = values.get("severity"), values.get("cuts")
    for name, table in (("severity", severity), ("cuts", cuts)):
        if not isinstance(table, dict) or not all(type(v) in (int, float) for v in table.values()):
            raise RuleError(f"{path.name}: [{name}] is {_seen(table)}; expected a table of numbers")
    assert isinstance(severity, dict)
    assert isinstance(cuts, dict)
    ordered = tuple(sorted(cuts.items(), key=lambda item: item[1]))
    if tuple(name for name, _ in ordered) != BANDS[1:]:
        raise RuleError(f"{path.name}: [cuts] names {', '.join(cuts)}; expected low < medium < high")
    return Bands({name: float(v) for name, v in severity.items()}, ordered)


def said_of(rule_id: str, folders: Iterable[Path | str] = ()) -> Said | None:
    """Advice and known problems of a rule by its id; None where its folder (ours, or one of these) lost it since."""
    for folder in (RULES_FOLDER, *folders):
        path = Path(folder) / f"{rule_id}.toml"
        if path.is_file():
            with suppress(RuleError):
                return _said(_read_toml(path))
    return None


def _said(values: dict[str, Any]) -> Said:
    return Said(*(_one_line(str(values.get(name, ""))) for name in Said._fields))


def _one_line(text: str) -> str:
    return " ".join(text.split())


REQUIRED = ("kind", "title", "what", "why", "severity", "known_problems", "regex", "placeholder", "advice")
OPTIONAL = {"confidence", "literals", "ignore_case", "gate", "validator", "not_after", "fires", "quiet", "fields"}
OPTIONAL |= {"field_value", "field_validator", "field_fires", "field_quiet"}
EXAMPLES_AT_LEAST = 4
FIELD_EXAMPLES_AT_LEAST = 3


def parse(path: Path, folder: Path, scale: Bands) -> Rule:
    """Read and check one rule file; every complaint names the file, the field, what was seen and what was expected."""
    values = _read_toml(path)

    def wrong(name: str, expected: str, seen: object = None) -> RuleError:
        return RuleError(
            f"{path.name}: {name}: {_seen(values.get(name)) if seen is None else seen}; expected {expected}"
        )

    for name in REQUIRED:
        if not isinstance(values.get(name), str) or not values[name].strip():
            raise wrong(name, "a text that is not empty")
    if unknown := sorted(set(values) - set(REQUIRED) - OPTIONAL):
        raise wrong(unknown[0], f"one of {', '.join(sorted((*REQUIRED, *OPTIONAL)))}", "an unknown field")
    if values["kind"] not in KINDS:
        raise wrong("kind", f"one of {', '.join(KINDS)}", repr(values["kind"]))
    if values["severity"] not in scale.severity:
        raise wrong("severity", f"a level of bands.toml: {', '.join(scale.severity)}", repr(values["severity"]))
    if not re.fullmatch(r"\[[A-Z][A-Z0-9_]*\]", values["placeholder"]):
        raise wrong("placeholder", "A-Z, 0-9 and _ in brackets, such as [EMAIL]", repr(values["placeholder"]))
    confidence = values.get("confidence", 0.5)
    if type(confidence) not in (int, float) or not 0 < confidence < 1:
        raise wrong("confidence", "a number between 0 and 1, both excluded; 1 is for proved values")
    for name in ("gate", "validator", "not_after", "field_value", "field_validator"):
        if not isinstance(values.get(name, ""), str):
            raise wrong(name, "a text")
    for name in ("validator", "field_validator"):
        if values.get(name, "") not in ("", *VALIDATORS):
            raise wrong(name, f"one of {', '.join(VALIDATORS)}", repr(values[name]))
    if type(values.get("ignore_case", True)) is not bool:
        raise wrong("ignore_case", "true or false")
    literals = values.get("literals", [])
    if not isinstance(literals, list) or not all(isinstance(word, str) and word for word in literals):
        raise wrong("literals", "a list of texts that are not empty")
    if not literals and not values.get("gate"):
        raise wrong("literals", "literals or a gate, so that not every text has to be searched", "neither is given")
    for name in ("regex", "not_after", "field_value"):
        if values.get(name):
            _try_re2(path, name, values[name])
    fields = values.get("fields", [])
    if not isinstance(fields, list) or not all(isinstance(word, str) and fieldnames.squeezed(word) for word in fields):
        raise wrong("fields", "a list of names of fields, such as phone number")
    if fields and not values.get("field_value"):
        raise wrong("field_value", "what a value in one of the fields looks like from end to end")
    if _compiled(values["regex"]).search(b"") is not None:
        raise wrong("regex", "a pattern that needs at least one character", "it matches the empty text")
    _try_gate(path, values.get("gate", ""))
    return Rule(
        id=path.relative_to(folder).with_suffix("").as_posix(),
        level=values["severity"],
        fires=_fires(path, values.get("fires")),
        quiet=_quiet(path, values.get("quiet")),
        literals=tuple(literals),
        fields=tuple(fields),
        field_fires=_pairs(path, "field_fires", values, bool(fields)),
        field_quiet=_pairs(path, "field_quiet", values, bool(fields)),
        confidence=float(confidence),
        path=path,
        **{name: values[name] for name in REQUIRED if name != "severity"},
        **{
            name: values[name]
            for name in ("ignore_case", "gate", "validator", "not_after", "field_value", "field_validator")
            if name in values
        },
        severity=scale.severity[values["severity"]],
    )


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise RuleError(f"{path.name}: not readable as TOML: {error}") from error


def _fires(path: Path, entries: object) -> tuple[Example, ...]:
    expected = f"at least {EXAMPLES_AT_LEAST} tables [[fires]] with text and spans (the exact values to be found in it)"
    if not isinstance(entries, list) or len(entries) < EXAMPLES_AT_LEAST:
        raise RuleError(f"{path.name}: fires: {_seen(entries)}; expected {expected}")
    examples = []
    for i, entry in enumerate(entries, 1):
        text, spans = (entry.get("text"), entry.get("spans")) if isinstance(entry, dict) else (None, None)
        if not isinstance(text, str) or not isinstance(spans, list) or not spans:
            raise RuleError(f"{path.name}: fires: example {i} lacks text or spans; expected {expected}")
        if not all(isinstance(span, str) and span in text for span in spans):
            raise RuleError(f"{path.name}: fires: example {i} names a span that does not stand in its text")
        examples.append(Example(text, tuple(spans)))
    return tuple(examples)


def _quiet(path: Path, entries: object) -> tuple[str, ...]:
    if (
        not isinstance(entries, list)
        or len(entries) < EXAMPLES_AT_LEAST
        or not all(isinstance(t, str) for t in entries)
    ):
        raise RuleError(f"{path.name}: quiet: {_seen(entries)}; expected at least {EXAMPLES_AT_LEAST} texts")
    return tuple(entries)


def _pairs(path: Path, name: str, values: dict[str, Any], needed: bool) -> tuple[tuple[str, str], ...]:
    """Examples of fields: their name and their text."""
    entries = values.get(name, [])
    well = isinstance(entries, list) and all(
        isinstance(entry, list) and len(entry) == 2 and all(isinstance(part, str) for part in entry)
        for entry in entries
    )
    if not well or (needed and len(entries) < FIELD_EXAMPLES_AT_LEAST):
        raise RuleError(
            f"{path.name}: {name}: {_seen(values.get(name))}; expected at least {FIELD_EXAMPLES_AT_LEAST} pairs of a "
            "field's name and its text, since the rule names fields"
        )
    return tuple((field, text) for field, text in entries)


def _compiled(regex: str) -> Any:
    """The pattern over UTF-8 bytes; positions are bytes where the text searched is bytes."""
    options = re2.Options()
    options.log_errors = False
    return re2.compile(regex, options)


def _try_re2(path: Path, name: str, regex: str) -> None:
    try:
        _compiled(regex)
    except re2.error as error:
        hint = ""
        if re.search(r"\(\?<?[=!]", regex):
            hint = (
                " RE2 has no lookahead or lookbehind: put the context into the pattern and the value into a group ( )."
            )
        elif re.search(r"\\[1-9]|\(\?P=", regex):
            hint = " RE2 has no backreferences: write the alternatives out, or leave the comparison to a validator."
        elif re.search(r"[*+?}]\+|\(\?>", regex):
            hint = " RE2 has no possessive quantifiers or atomic groups, and needs none: it never backtracks."
        reason = error.args[0].decode() if error.args and isinstance(error.args[0], bytes) else str(error)
        raise RuleError(
            f"{path.name}: {name}: not RE2 syntax: {reason}; expected a pattern RE2 can compile.{hint}"
        ) from None


def _try_gate(path: Path, gate: str) -> None:
    try:
        pl.Series([""]).str.contains(gate)
    except pl.exceptions.ComputeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise RuleError(
            f"{path.name}: gate: not Rust regex syntax: {reason}; expected a cheap necessary pattern"
        ) from None


def _seen(value: object) -> str:
    if value is None:
        return "missing"
    if isinstance(value, (list, dict)):
        return f"a {type(value).__name__} of {len(value)}"
    return f"{type(value).__name__} {value!r}" if not isinstance(value, str) else f"a text of {len(value)} characters"
