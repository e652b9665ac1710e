"""What is said of one topic of a plan or of the data: how severe it is, in words, and the numbers in them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

INSIDE, NOTE, COUNT, ORDER = SEVERITIES = ("inside", "note", "count", "order")
MEANING = {
    INSIDE: "as fitted",
    NOTE: "worth knowing",
    COUNT: "the number of rows is a guess",
    ORDER: "the number of rows is a guess, and their order was never checked",
}


@dataclass(frozen=True)
class Statement:
    """One topic: what the plan or the data are, what was validated, and what follows."""

    topic: str
    severity: str  # of SEVERITIES
    short: str  # a few words, for a line that names several
    text: str  # a sentence
    rows: int | None = None  # concerned; None: all of them

    def as_dict(self) -> dict[str, Any]:
        """As it stands in scan.json."""
        return asdict(self)


def amount(value: float) -> str:
    """4.2 M, 1 B, 350 k."""
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= 0.9995 * size:
            return f"{value / size:.3g} {unit}" if value < 99.95 * size else f"{value / size:,.0f} {unit}"
    return f"{value:,.3g}"


def times(factor: float) -> str:
    """1.5 times, 1,650 times: two or three digits."""
    if factor >= 100:
        digits = -(len(str(int(factor))) - 3)
        return f"{round(factor, digits):,.0f} times"
    return f"{factor:.2g} times"


def visits(dose: float) -> str:
    """3.4, 212, 1,010."""
    return f"{dose:,.0f}" if dose >= 10 else f"{dose:.2g}"
