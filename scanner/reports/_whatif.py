"""The plan and its neighbours in words: more epochs, other batches, fewer copies; and what an audit by hand takes."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

from scanner.reports._words import about, about_many, number, plural, plural_g
from scanner.trust import is_outside

PLANNED, DEDUPLICATED, GOLDFISH = "as planned", "after deduplication", "goldfish loss"
TO_FORGET = 10.0
"""Rows as planned from which on it is told what a goldfish loss would do: fewer are not worth a line of the screen."""
TIMES = (2.0, 8.0)
"""Multiples of the plan's epochs that the sentence names, where the table has them."""


def curve(rows: Sequence[dict[str, Any]], scan: dict[str, Any]) -> str:
    """3 epochs, as planned: 35 rows (20 to 60); 24 epochs: 640 (410 to 980); after deduplication: 21.

    Empty without a table, and where no answer is long enough.
    """
    if not ((scan.get("summary") or {}).get("prediction") or {}).get("rows_measured", 1):
        return ""
    planned = float(((scan.get("settings") or {}).get("plan") or {}).get("epochs") or 0)
    usable = [r for r in rows if r.get("expected_rows") is not None]
    mine = {r["epochs"]: r for r in usable if r.get("variant") == PLANNED}
    if planned not in mine:
        return ""
    now, later = mine[planned], [mine[planned * times] for times in TIMES if planned * times in mine and planned]
    parts = [f"{plural_g(planned, 'epoch')}, as planned: {_sure_to(now, about_many(now['expected_rows'], 'row'))}"]
    parts += [f"{plural_g(r['epochs'], 'epoch')}: {_sure_to(r, about(r['expected_rows']))}" for r in later]
    told = [r for r in usable if r["variant"] != PLANNED]
    if mine[planned]["expected_rows"] < TO_FORGET:
        told = [r for r in told if not r["variant"].startswith(GOLDFISH)]
    others = sorted(told, key=lambda r: r["variant"] != DEDUPLICATED)
    for said, alike in itertools.groupby(others, key=lambda r: about(r["expected_rows"])):
        parts.append(f"{', '.join(r['variant'] for r in alike)}: {said}")
    return "; ".join(parts)


def audit(scan: dict[str, Any]) -> str:
    """How many answers a person would have to read to meet one that is recited; empty where nothing was measured."""
    told = ((scan.get("notes") or {}).get("prediction") or {}).get("audit_size") or {}
    if not told.get("rows"):
        return ""
    answers, certainty = plural(told["rows"], "answer"), f"{100 * told['certainty']:g} %"
    if told["sample"] is None:
        least = "" if told["sample_if_high"] is None else (
            f" (at the high end of the interval {number(told['sample_if_high'])} drawn at random would hold one with "
            f"{certainty} probability)"
        )  # fmt: skip
        return f"fewer than one of {answers} is expected to be recited, so no sample is sure to show one{least}"
    low, high = told["sample_if_high"], told["sample_if_low"]
    between = f"{number(low)} to {number(high)}" if high is not None else f"{number(low)} at least"
    return (
        f"an audit by hand needs {number(told['sample'])} of {answers}, drawn at random, to hold at least one "
        f"of the about {about(told['expected_rows'])} recited ones with {certainty} probability ({between} over the "
        "interval)"
    )


def lines(rows: Sequence[dict[str, Any]], scan: dict[str, Any]) -> list[str]:
    """Both sentences, without what cannot be said."""
    what, by_hand = curve(rows, scan), audit(scan)
    opening = "answers recited for 16 tokens or more, with the 90 % interval"
    if is_outside(scan.get("summary") or {}):
        opening = "answers recited for 16 tokens or more, outside what was validated (90 % interval)"
    return [line for line in (f"{opening}: {what}" if what else "", by_hand) if line]


def _sure_to(row: dict[str, Any], expected: str) -> str:
    """The expected number with its interval, where there is one."""
    if row.get("low") is None or row.get("high") is None:
        return expected
    return f"{expected} ({about(row['low'])} to {about(row['high'])})"
