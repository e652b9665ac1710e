"""What is said of one topic of a plan or of the data: how severe it is, in words, and the numbers in them.

The factors are judgement, not measurement: how far one may go beyond a range before its name changes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from scanner.prediction.validated import Range, Transfer

INSIDE, NOTE, COUNT, ORDER = SEVERITIES = ("inside", "note", "count", "order")
MEANING = {
    INSIDE: "as fitted",
    NOTE: "worth knowing",
    COUNT: "the number of rows is a guess",
    ORDER: "the number of rows is a guess, and their order was never checked",
}


FACTORS = {
    "parameters": (2.0, 10.0), "learning_rate": (1.5, 30.0), "epochs": (1.25, 3.0), "mean_answer": (1.1, np.inf),
    "step_tokens": (1.5, 30.0),
}  # fmt: skip
"""Times beyond the range from which on the number, and from which on the order too, is outside."""


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


def times(factor: float) -> str:
    """1.5 times, 1,650 times: two or three digits."""
    if factor >= 100:
        digits = -(len(str(int(factor))) - 3)
        return f"{round(factor, digits):,.0f} times"
    return f"{factor:.2g} times"


def visits(dose: float) -> str:
    """3.4, 212, 1,010."""
    return f"{dose:,.0f}" if dose >= 10 else f"{dose:.2g}"


def beyond(value: float, span: Range | None) -> tuple[float, str]:
    """How far outside of a range, as a factor from 1 on, and on which side."""
    if span is None:
        return np.inf, "above"
    if value > span[1]:
        return (value / span[1] if span[1] else np.inf), "above"
    return (span[0] / value if value else np.inf) if value < span[0] else 1.0, "below"


def by_factor(factor: float, name: str) -> str:
    """How severe it is to lie outside of the range `name` by this factor."""
    near, far = FACTORS[name]
    return INSIDE if factor <= near else COUNT if factor <= far else ORDER


def unrecorded(topic: str) -> Statement:
    """What is said where the weights file has no range of this topic."""
    text = f"The weights file does not say which {topic} it was fitted on: nothing is validated."
    return Statement(topic, ORDER, f"{topic} (nothing recorded)", text)


def of_test(test: Transfer, topic: str, what: str, who: str) -> Statement:
    """What a test of a kind that was not fitted says."""
    severity = NOTE if test.order_holds and test.count_holds else COUNT if test.order_holds else ORDER
    ceiling = "" if np.isnan(test.ceiling) else f", where another seed reaches {test.ceiling:.3f}"
    verdict = {
        NOTE: "order and number held",
        COUNT: "the order held, the number did not",
        ORDER: "the order did not hold" if test.recited_rows >= 10 else "too few to say whether the order holds",
    }[severity]
    return Statement(
        topic, severity, what,
        f"{who} was tested and not fitted: {test.recited_rows:,} of {test.rows:,} rows "
        f"{'was' if test.recited_rows == 1 else 'were'} recited, "
        f"{test.expected_rows:,.0f} predicted, AUROC {test.auroc:.3f}{ceiling}: {verdict}.",
    )  # fmt: skip


def span(known: Range, show: Callable[[float], str]) -> str:
    """A range in words; show: a number in words."""
    low, high = show(known[0]), show(known[1])
    return low if low == high else f"{low} to {high}"
