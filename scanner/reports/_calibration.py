"""What a calibration file did to the predictions, in sentences: on what it rests, and what speaks against it."""

from __future__ import annotations

from typing import Any


def in_words(summary: dict[str, Any]) -> str:
    """Sentences; empty without --calibration."""
    told = summary.get("calibration") or {}
    if not told:
        return ""
    if told.get("mismatch"):
        return (
            f"Not calibrated: {told['file']} is {told['mismatch']}. The number of rows rests on weights from a small "
            "rehearsal; trust the order of the rows more than the counts."
        )
    said = [f"Calibrated on {told['on']}"]
    if told.get("with_base"):
        said.append("It is the level for predictions with the base's own losses")
    if told.get("plan"):
        said.append(f"It was {told['plan']}")
    if told.get("caution"):
        said.append(f"Its own test says: {told['caution']}")
    return " ".join(f"{sentence}." for sentence in said)
