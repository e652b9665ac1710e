"""What differs between two runs apart from their rows: inputs, versions, settings, the figures of scan.json."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from scanner import trust
from scanner.comparing._sides import Side
from scanner.figures import about, number
from scanner.settings import option_name
from scanner.text import OWN_UNIT
from scanner.versions import PREDICTING

RUNNING = ("threads", "text")
"""Settings that no table depends on."""
UNSET = "not set"
UNRECORDED = "not recorded"


@dataclass(frozen=True)
class Changed:
    """One setting, version or entry of the training plan that is not the same."""

    name: str  # as it is given: --epochs
    a: str
    b: str


@dataclass(frozen=True)
class Figure:
    """One number of both runs; None where it was not measured."""

    part: str  # Rows, Found, Overlap, Predicted, Plan
    what: str  # with its unit
    a: float | None
    b: float | None
    interval_a: tuple[float, float] | None = None  # 90 %, of predicted numbers
    interval_b: tuple[float, float] | None = None
    one_unit: bool = True  # both count the same thing; False: tokens of two kinds

    @property
    def difference(self) -> float | None:
        return self.b - self.a if self.one_unit and self.a is not None and self.b is not None else None

    @property
    def overlaps(self) -> bool | None:
        """Whether the intervals do; None where there are none, or they are of two kinds of tokens."""
        if self.interval_a is None or self.interval_b is None or not self.one_unit:
            return None
        return self.interval_a[0] <= self.interval_b[1] and self.interval_b[0] <= self.interval_a[1]

    def written(self, side: str) -> str:
        value = self.a if side == "A" else self.b
        write = number if self.part != "Predicted" or value is None or value == int(value) else about
        return write(value)

    def interval(self, side: str) -> str:
        low_high = self.interval_a if side == "A" else self.interval_b
        return "not measured" if low_high is None else f"{about(low_high[0])} to {about(low_high[1])}"


def changed_settings(a: Side, b: Side) -> tuple[Changed, ...]:
    """Versions, settings and entries of the plan that differ, in the order in which runs list them."""
    found = [
        Changed(f"{name} (version)", *(UNRECORDED if told == UNSET else told for told in both))
        for name, *both in _differing(a, b, lambda s: s.get("versions"))
    ]
    found += [
        Changed(option_name(name), *told)
        for name, *told in _differing(a, b, lambda s: s.get("settings"))
        if name not in (*RUNNING, "plan")
    ]
    found += [
        Changed(option_name(name), *told) for name, *told in _differing(a, b, lambda s: s["settings"].get("plan"))
    ]
    return tuple(found) + (() if same_tokens(a, b) else (Changed("a token is", *map(_unit, (a, b))),))


def same_tokens(a: Side, b: Side) -> bool:
    """Whether both predict in tokens of one kind: what is learned, recited or memorized is counted in these."""
    return _unit(a) == _unit(b)


def _unit(side: Side) -> str:
    return str(side.scan.get("token_unit"))


def same_weights(a: Side, b: Side) -> bool | None:
    """Whether both were predicted by the same weights and background table; None where one does not say."""
    told = [[(side.scan.get("versions") or {}).get(name) for name in PREDICTING] for side in (a, b)]
    return None if None in told[0] + told[1] else told[0] == told[1]


def same_inputs(a: Side, b: Side) -> bool:
    """Whether both read the same bytes, whatever the files are called."""
    return _digests(a) == _digests(b)


def shared_inputs(a: Side, b: Side) -> int:
    """Files of A whose bytes B read too."""
    there = set(_digests(b))
    return sum(digest in there for digest in _digests(a))


def figures(a: Side, b: Side) -> tuple[Figure, ...]:
    """Every figure that one of the runs has, in the order of an audit's screen."""
    return tuple(_figures(a, b))


def _figures(a: Side, b: Side) -> Iterator[Figure]:
    def both(part: str, what: str, path: str, one_unit: bool = True) -> Figure:
        return Figure(part, what, _at(a.summary, path), _at(b.summary, path), one_unit=one_unit)

    def names(path: str) -> list[str]:
        found = [name for side in (a, b) for name in _at(side.summary, path, dict) or {}]
        return list(dict.fromkeys(found))

    yield both("Rows", "rows read", "rows")
    yield both("Rows", "records skipped", "rows_skipped")
    words_a, words_b = (float(side.table["length.tokens"].sum()) for side in (a, b))  # the scan's own, always
    yield Figure("Rows", "tokens (words)", words_a, words_b)
    alike = same_tokens(a, b)
    named = "words" if _unit(a) == OWN_UNIT else f"each a {_unit(a)}"
    what = f"tokens that are learned ({named if alike else 'of two kinds'})"
    yield both("Rows", what, "read/learned_tokens", alike)
    yield both("Found", "exact copies more than needed", "found/exact/surplus_rows")
    yield both("Found", "rows with a near copy", "found/near/rows")
    yield both("Found", "clusters of duplicates", "clusters/count")
    yield both("Found", "rows with the same meaning as another", "found/semantic/rows")
    yield both("Found", "prompts with different answers", "found/conflicts/groups")
    yield both("Found", "rows with a repeated passage", "found/repeated/rows")
    for kind in ("private", "secret"):
        for rule in names(f"found/{kind}/by_rule"):
            seen = [(_at(side.summary, f"found/{kind}/by_rule", dict) or {}).get(rule) or {} for side in (a, b)]
            yield Figure(
                "Found", f"findings of {rule}", _number(seen[0].get("findings", 0)), _number(seen[1].get("findings", 0))
            )
    for name in names("contamination"):
        seen = [(side.summary.get("contamination") or {}).get(name) or {} for side in (a, b)]
        yield Figure("Overlap", f"items of {name}", _number(seen[0].get("matched")), _number(seen[1].get("matched")))
    for name in names("earlier"):
        seen = [(side.summary.get("earlier") or {}).get(name) or {} for side in (a, b)]
        yield Figure(
            "Overlap",
            f"rows that {name} holds in some way",
            _number(seen[0].get("matched")),
            _number(seen[1].get("matched")),
        )
    expected = both("Predicted", _recited(a), "prediction/expected_rows_extracted")
    yield replace(expected, interval_a=_interval(a), interval_b=_interval(b), one_unit=alike)
    yield both("Predicted", "memorized tokens", "prediction/expected_tokens", alike)
    for band in ("high", "medium", "low"):
        yield both("Predicted", f"rows of risk band {band}", f"prediction/bands/{band}")
    yield both("Predicted", "memorized spans", "memorized/spans")
    for action in ("drop", "redact", "review", "keep"):
        yield both("Plan", f"rows to {action}", f"plan/{action}")
    yield both("Plan", "rows with a loss mask", "plan/loss_masked")


def _recited(side: Side) -> str:
    tokens = (side.summary.get("prediction") or {}).get("extracted_tokens", 16)
    return f"answers recited for {tokens} tokens or more"


def _interval(side: Side) -> tuple[float, float] | None:
    measured = _at(side.summary, "prediction/expected_rows_extracted") is not None
    return trust.interval_of(side.summary) if measured else None


def _at(values: Any, path: str, kind: type = float) -> Any:
    """What stands under a path of a summary; None where an older run has no such thing."""
    for name in path.split("/"):
        values = values.get(name) if isinstance(values, dict) else None
    return _number(values) if kind is float else values if isinstance(values, kind) else None


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _digests(side: Side) -> list[str]:
    return sorted(f"{source.get('sha256')} {source.get('member') or ''}" for source in side.scan.get("inputs") or [])


def _differing(a: Side, b: Side, of: Callable[[dict[str, Any]], Any]) -> Iterator[tuple[str, str, str]]:
    mine, theirs = of(a.scan) or {}, of(b.scan) or {}
    for name in dict.fromkeys([*mine, *theirs]):
        if mine.get(name) != theirs.get(name):
            yield name, _told(mine.get(name)), _told(theirs.get(name))


def _told(value: Any) -> str:
    if value is None or value == []:
        return UNSET
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(" ".join(map(str, v)) if isinstance(v, list) else str(v) for v in value)
    return f"{value:g}" if isinstance(value, float) else str(value)
