"""What was looked for as private, what was not, and how likely a model is to recite what was found."""

from __future__ import annotations

from typing import Any

from scanner.figures import listed, number, plural
from scanner.reports._words import of_rule
from scanner.rulebook import NOT_LOOKED_FOR


def exposed(summary: dict[str, Any]) -> str:
    """Of the rows with private data or secrets how many have a high risk, and of how many nobody knows.

    Empty where there are none: a risk that was not measured is not a small one.
    """
    rows = summary["exposed_private"]
    if not rows["rows"]:
        return ""
    unmeasured = rows.get("rows_not_measured", 0)  # runs of an earlier version do not count them
    held = f"{plural(rows['rows'], 'row')} with private data or secrets"
    if unmeasured == rows["rows"]:
        return f"{held}; their risk is not measured: no supervised answer of 16 tokens or more."
    said = f"{held}; the risk is medium or high in {number(rows['rows_medium_or_high'])} of them"
    if unmeasured:
        said += f" and not measured in {number(unmeasured)}, which have no supervised answer of 16 tokens or more"
    return f"{said}."


NOT_SOUGHT = "Not looked for is what no rule describes, such as names (scan rules)."
"""The first sentence of `scope`, where there is room for a line."""


def scope(summary: dict[str, Any]) -> list[str]:
    """What no rule looked for, which kinds were looked for and stand nowhere, and where nobody looked."""
    said = [f"{NOT_LOOKED_FOR}."]
    found = {rule for kind in ("private", "secret", "unread") for rule in summary["found"].get(kind, {})["by_rule"]}
    nowhere = [of_rule(rule) for rule in summary.get("looked_for", ()) if rule not in found]
    named = (summary["found"].get("names") or {}).get("rows")
    if nowhere:
        where = "in no text of a field (of names of fields it is not counted by kind)" if named else "nowhere"
        said.append(f"Looked for and found {where}: {listed(nowhere)}.")
    unseen = "binary columns"
    if named is None:  # in runs of an earlier version
        unseen = f"names of fields (scan verify looks into them) and {unseen}"
    said.append(f"Not looked into are {unseen}.")
    return said
