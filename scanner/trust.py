"""How far the prediction can be trusted, in words: statements that lie under prediction.validity of the summary."""

from __future__ import annotations

from typing import Any

OUTSIDE = ("count", "order")
"""Severities that take the number of rows out of what was validated."""
NAMED = 3
"""Topics that the short line names; the rest are counted."""
FOLLOWS = {
    "inside": "as fitted",
    "note": "worth knowing",
    "count": "number of rows: a guess",
    "order": "number and order of rows: unchecked",
}
TRUST = {
    "": "Trust the order of the rows more than the counts.",
    "count": "Trust the order of the rows, not the counts.",
    "order": "Neither the number of rows nor their order was ever checked for such a training.",
}
CURE = "To measure it instead: scan rehearse on your base, then scan calibrate."

NOT_CALIBRATED = "Not calibrated: predictions were not validated on this data; weights from a small rehearsal."


def of(summary: dict[str, Any]) -> dict[str, Any]:
    """The verdict on the prediction; empty for runs of versions that gave none."""
    return (summary.get("prediction") or {}).get("validity") or {}


def is_outside(summary: dict[str, Any]) -> bool:
    """Whether the number of rows lies outside what was validated."""
    return of(summary).get("severity") in OUTSIDE


def interval_of(summary: dict[str, Any]) -> tuple[float, float] | None:
    """The 90 % interval of the number of rows."""
    found = of(summary).get("interval")
    return (float(found[0]), float(found[1])) if found else None


def in_words(summary: dict[str, Any]) -> list[str]:
    """What lies outside, the worst first, and what can be trusted; sentences."""
    severity = of(summary).get("severity", "")
    outside = [s["short"] for s in of(summary).get("statements") or [] if s["severity"] in OUTSIDE]
    trust = TRUST[severity if severity in OUTSIDE else ""]
    if not outside or (summary.get("calibrated") and severity not in OUTSIDE):
        return [] if summary.get("calibrated") else [trust]
    named, more = outside[:NAMED], len(outside) - NAMED
    listed = ", ".join(named) + (f" and {more} more" if more > 0 else "")
    opening = "What lies outside" if severity in OUTSIDE else "Outside what was validated"
    cure = [] if summary.get("calibrated") or severity not in OUTSIDE else [CURE]
    return [f"{opening}: {listed}.", trust, *cure]


def table(summary: dict[str, Any]) -> list[dict[str, Any]]:
    """Every statement with what follows from it, the worst first."""
    return [{**s, "follows": FOLLOWS[s["severity"]]} for s in of(summary).get("statements") or []]
