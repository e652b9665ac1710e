"""What a rule file may say: reading it, and checking every field of it.

A rule is one TOML file; its path below its folder is its id: rules/private/email.toml is "private/email".
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl
import re2

from scanner import fieldnames
from scanner.checksums import VALIDATORS
from scanner.errors import RuleError
from scanner.rule import KINDS, Example, Rule, Said, compiled

RULES_FOLDER = Path(__file__).resolve().parent.parent / "rules"
"""Beside the package `scanner`, in a checkout and in an installed wheel alike."""
BANDS_FILE = "bands.toml"
BANDS = ("none", "low", "medium", "high")
FILES_KEPT = 256
"""Files whose values are kept, several times as many as there are rules: every stage asks for them."""


class RuleFile(NamedTuple):
    """A file as it stood when it was read: what is kept of it is kept for this very text."""

    path: Path
    text: str


def read(path: Path) -> RuleFile:
    """The file as it stands now; RuleError where it cannot be read."""
    try:
        return RuleFile(path, path.read_text("utf-8"))
    except (UnicodeDecodeError, OSError) as error:
        raise _unreadable(path, error) from error


@lru_cache(FILES_KEPT)
def _values(file: RuleFile) -> dict[str, Any]:
    """What the file says; it is shared, so nothing is written into it."""
    try:
        return tomllib.loads(file.text)
    except tomllib.TOMLDecodeError as error:
        raise _unreadable(file.path, error) from error


def _unreadable(path: Path, error: Exception) -> RuleError:
    return RuleError(f"{path.name}: not readable as TOML: {error}")


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
    return scale_of(read(folder / BANDS_FILE))


def scale_of(file: RuleFile) -> Bands:
    """What bands.toml says; RuleError naming the table that breaks the contract."""
    path, values = file.path, _values(file)
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
                return Said.of(_values(read(path)))
    return None


REQUIRED = ("kind", "title", "what", "why", "severity", "known_problems", "regex", "placeholder", "advice")
OPTIONAL = {"confidence", "literals", "ignore_case", "gate", "validator", "not_after", "fires", "quiet", "fields"}
OPTIONAL |= {"field_value", "field_validator", "field_fires", "field_quiet"}
EXAMPLES_AT_LEAST = 4
FIELD_EXAMPLES_AT_LEAST = 3


def parse(file: RuleFile, folder: Path, scale: Bands) -> Rule:
    """Check what a rule file says; every complaint names the file, the field, what was seen and what was expected."""
    path, values = file.path, _values(file)

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
    if compiled(values["regex"]).search(b"") is not None:
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


def _try_re2(path: Path, name: str, regex: str) -> None:
    try:
        compiled(regex)
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
