"""Which rows of a cluster stay, said in the reports."""

from __future__ import annotations

from typing import Any

from scanner.reports import _words as words


def lines(scan: dict[str, Any]) -> list[str]:
    """The policy, where the plan drops copies of other rows, and how many rows its field could not order."""
    said = (scan.get("notes") or {}).get("keep")
    rules = {line["rule"] for line in scan["summary"]["plan"]["by_rule"] if line["action"] == "drop"}
    if not said or not any(rule.startswith("duplicates/") for rule in rules):
        return []
    found = [said["policy"]]
    if "field" in said:
        of = words.plural(said["rows_with_duplicates"], "row with duplicates", "rows with duplicates")
        missing, odd = said["rows_without_the_field"], said["rows_not_comparable"]
        if missing or odd:
            found.append(
                f"field {said['field']}, compared as {said['compared_as']}: of {of}, {words.number(missing)} lack it "
                f"and {words.number(odd)} hold something that cannot be compared; these come last"
            )
    return found
