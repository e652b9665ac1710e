"""Which rows of a cluster stay, said in the reports, and which would stay after an audit."""

from __future__ import annotations

from typing import Any

from scanner.reports import _words as words


def lines(scan: dict[str, Any]) -> list[str]:
    """The policy, where the plan drops copies of other rows, and how many rows its field could not order."""
    said = (scan.get("notes") or {}).get("keep")
    rules = {line["rule"] for line in scan["summary"]["plan"]["by_rule"] if line["action"] == "drop"}
    if not said or not any(rule.startswith("duplicates/") for rule in rules):
        return []
    found = [said["policy"], *_lowered(scan)]
    if "field" in said:
        of = words.plural(said["rows_with_duplicates"], "row with duplicates", "rows with duplicates")
        missing, odd = said["rows_without_the_field"], said["rows_not_comparable"]
        if missing or odd:
            found.append(
                f"field {said['field']}, compared as {said['compared_as']}: of {of}, {words.number(missing)} "
                f"{'lacks' if missing == 1 else 'lack'} it and {words.number(odd)} "
                f"{'holds' if odd == 1 else 'hold'} something that cannot be compared; these come last"
            )
    return found


def _lowered(scan: dict[str, Any]) -> list[str]:
    """That templates of few rows were looked for above a higher threshold than that of `scan plan`; empty if not."""
    audited, now = scan["notes"].get("minhash", {}).get("threshold"), scan["settings"]["jaccard"]
    if audited is None or now >= audited:
        return []
    return [
        f"templates of few rows were looked for among pairs at or above Jaccard {audited:g}, the audit's threshold: "
        f"between {now:g} and that, rows of one wrapper may be dropped for one another; audit again with --jaccard "
        f"{now:g} to keep them"
    ]
