"""What confirmations of the run measured, as lines of a report."""

from __future__ import annotations

from typing import Any

from scanner.figures import plural


def lines(summary: dict[str, Any]) -> list[str]:
    """Sentences, confirmation by confirmation; none where nothing was confirmed."""
    told: list[str] = []
    for one in summary.get("confirmed") or []:
        told += [] if one["is_of_plan"] else [
            f"What follows was measured after another training than the one predicted here: {one['plan']}."
        ]  # fmt: skip
        told += one["told"]
    return told


def short(summary: dict[str, Any]) -> list[str]:
    """One line for each confirmation: rate, model, and what was predicted when it was made."""
    told = []
    for one in summary.get("confirmed") or []:
        found, beside = one["rates"]["extracted"], one["beside"]
        if found is None:
            continue
        doubt = found["high"] > found["low"]
        between = f", 90 % interval {_percent(found['low'])} to {_percent(found['high'])}" if doubt else ""
        predicted = "" if "missing" in beside else f"; predicted then {beside['expected_of_run']:,.1f}"
        other = "" if one["is_of_plan"] else f"; trained otherwise: {one['plan']}"
        told.append(
            f"about {found['expected_rows']:,.0f} of {plural(round(found['rows']), 'row')} recited for 16 tokens or "
            f"more by {one['called']} ({_percent(found['share'])}{between}; {found['measured']:,} measured)"
            f"{predicted}{other}"
        )
    return told


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
