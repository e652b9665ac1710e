"""How figures are written: thousands apart, shares in percent, nothing rounded to a 0 or 1 that it is not."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def number(value: float | None, digits: int = 0) -> str:
    """A count with thousands separated; "not measured" for None and NaN."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "not measured"
    return f"{value:,.{digits}f}"


def about(value: float | None) -> str:
    """An expected count: a decimal below ten, because 0.4 rows is not 0 rows."""
    if value is None:
        return "not measured"
    return "fewer than 0.1" if 0 < value < 0.05 else number(value, 1 if value < 10 and value != round(value) else 0)


def about_many(value: float | None, one: str, many: str = "") -> str:
    """An expected count and its noun: "1 row", "0.4 rows"."""
    return f"{about(value)} {one if value == 1 else many or one + 's'}"


def percent(share: float | None) -> str:
    """A share: "4.9 %", "12 %", "< 0.1 %", "> 99.9 %"; "not measured" for None."""
    if share is None or not math.isfinite(share):
        return "not measured"
    value = 100 * share
    if 0 < value < 0.1:
        return "< 0.1 %"
    if 99.5 <= value < 100:
        return "> 99.9 %" if value > 99.9 else f"{math.floor(10 * value) / 10:g} %"
    return f"{value:.1f}".removesuffix(".0") + " %" if value < 10 else f"{value:.0f} %"


def percent_above(share: float, limit: float) -> str:
    """A share that is larger than a limit, with as many digits as it takes to see that: "50.5 %" above .5."""
    plain = percent(share)
    digits = 1
    while float(plain.strip("<> %")) <= round(100 * limit, 9) and digits < 9:
        plain = f"{100 * share:.{digits}f} %"
        digits += 1
    return plain


def probability(value: float | None) -> str:
    """Two digits; never a round 0 or 1 for what is merely close to it."""
    if value is None or not math.isfinite(value):
        return "–"
    return "< 0.01" if 0 < value < 0.005 else "> 0.99" if 0.995 < value < 1 else f"{value:.2f}"


def plural(count: float | None, one: str, many: str = "") -> str:
    """A count and its noun: "1 row", "2,134 rows"."""
    return f"{number(count)} {one if count == 1 else many or one + 's'}"


def size(count: float) -> str:
    """Bytes in decimal units."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:,.0f} {unit}" if unit == "bytes" or count >= 10 else f"{count:,.1f} {unit}"
        count /= 1000
    return ""


def amount(value: float) -> str:
    """4.2 M, 1 B, 350 k."""
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= 0.9995 * size:
            return f"{value / size:.3g} {unit}" if value < 99.95 * size else f"{value / size:,.0f} {unit}"
    return f"{value:,.3g}"


def plural_g(count: float, one: str, many: str = "") -> str:
    """A count that may be a fraction, and its noun: "1.5 epochs"."""
    return f"{count:g} {one if count == 1 else many or one + 's'}"


def as_given(value: Any) -> str:
    """A value as a command line takes it, exactly: "6" for 6.0, "1.5", "1e-05", "tuned"."""
    return repr(value).removesuffix(".0") if isinstance(value, float) else str(value)


def listed(names: Sequence[str]) -> str:
    """a; a and b; a, b and c."""
    return " and ".join((", ".join(names[:-1]), names[-1])) if len(names) > 1 else "".join(names)


def tolerated(damage: Iterable[Mapping[str, Any]]) -> list[str]:
    """What was read although it was damaged (entries of objects.Damage), most frequent first."""
    ordered = sorted(damage, key=lambda d: -d["records"])
    counted = ((plural(d["records"], d.get("of", "record")), d) for d in ordered)
    return [f"{count} read with {d['what']} (first: {d['first']})" for count, d in counted]


def left_out(files: Iterable[tuple[str, str]], most: int = 3) -> list[str]:
    """Files that were found and not read, (name, why) each, as one line for each reason that names the first few."""
    by_reason: dict[str, list[str]] = {}
    for name, why in files:
        by_reason.setdefault(why, []).append(name)
    lines = []
    for why, names in by_reason.items():
        last = [f"{number(len(names) - most)} more"] if len(names) > most else []
        lines.append(f"left out ({why}): {listed([*names[:most], *last])}")
    return lines
