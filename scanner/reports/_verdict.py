"""The verdict: one sentence at the head of every report, and the facts that a reviewer should know first."""

from __future__ import annotations

from typing import Any

from scanner.figures import listed
from scanner.reports import _private
from scanner.reports._heat import exposed as inside_memorized
from scanner.reports._words import (
    brake,
    expectation,
    number,
    of_alike,
    plural,
    renames,
    sentence,
    skew,
)

MANY_SKIPPED = 0.05
"""Share of the records from which on the verdict says that they could not be read, or not as they were meant."""
MANY_DROPPED = 0.2
"""Share of the rows that the plan would drop from which on the verdict says so, whatever else it says."""
FEW_ITEMS = 0.01
"""Share of a benchmark's items below which the rest of it can still be asked: those few can be left out."""
MANY_ASKED = 10
"""Items of a benchmark that must be asked in other words to be worth a word here: fewer may be chance."""


def headline(summary: dict[str, Any]) -> str:
    """The verdict in one sentence, and one each on rows and records that it is silent about or errs on, where many."""
    rows, skipped, garbled = (summary.get(key) or 0 for key in ("rows", "rows_skipped", "rows_not_utf8"))
    said = []
    if garbled and garbled >= MANY_SKIPPED * rows:
        many = f"{number(garbled)} of {plural(rows, 'row')} {'is' if garbled == 1 else 'are'}"
        said.append(f"{many} not valid UTF-8: convert the file (iconv -f ENCODING -t UTF-8) and audit it again.")
    if call := _call(summary):
        said.append(call)
        gone = _should_go(summary)
        if gone not in call and summary["plan"]["drop"] >= max(1, MANY_DROPPED * rows):
            said.append(f"{gone}.")
    if renames(summary):
        many = f"{number(summary['found']['names']['rows'])} of {plural(rows, 'row')}"
        said.append(f"Rename fields before training: in {many} their names hold private values, which stay unmasked.")
    if not said:
        where = "the records that could be read" if skipped else "this data set"
        said.append(f"Nothing in {where} calls for action.")
    if rows and skipped >= MANY_SKIPPED * (rows + skipped):
        said.append(f"{number(skipped)} of {plural(rows + skipped, 'record')} could not be read.")
    return " ".join(said)


def _should_go(summary: dict[str, Any]) -> str:
    return f"{number(summary['plan']['drop'])} of {plural(summary['rows'], 'row')} should go"


def _call(summary: dict[str, Any]) -> str:
    """What is to be done, or why nothing can be; empty where nothing calls for action."""
    found, plan = summary["found"], summary["plan"]
    if not summary["rows"]:
        return "There is nothing to judge: no row could be read."
    held = [name for name, kind in (("private data", "private"), ("secrets", "secret")) if found[kind]["rows"]]
    if held and summary["exposed_private"]["rows_medium_or_high"]:
        return f"Do not train on this data set as it is: it holds {listed(held)} that a model may recite."
    if not held and found.get("unread", {}).get("rows"):
        held = ["private data in fields that no trainer reads"]
    most, share, items = _items(summary)
    if held:
        return f"Clean this data set before training on it: it holds {listed([*held, *([items] if items else [])])}."
    if items and share < FEW_ITEMS:
        return f"Leave out what this data set and its benchmarks share before you measure with them: {items}."
    if items:
        return f"A model trained on this data set cannot be measured with {most}: the data set holds {items}."
    asked = asked_in_other_words(summary)
    if asked:
        return f"Look at the overlap with benchmarks before training on this data set: {asked}."
    why = []
    if plan["drop"]:
        why.append(_should_go(summary))
    if risky := summary["prediction"]["bands"]["high"]:
        why.append(f"the risk of {plural(risky, 'row')} is high")
    if why:
        return f"Clean this data set before training on it: {' and '.join(why)}."
    if plan["review"] or found["conflicts"]["rows"]:
        return "Have a look at some rows before training on this data set."
    if summary["prediction"].get("rows_without_answer") == summary["rows"]:
        return "There is nothing to learn in this data set: no row has text that is trained on."
    return ""


def _items(summary: dict[str, Any]) -> tuple[str, float, str]:
    """The benchmark of whose items the data set holds the largest share, that share, and how many items of which.

    Empty texts where it holds none.
    """
    seen = {name: found for name, found in (summary.get("contamination") or {}).items() if found["matched"]}
    if not seen:
        return "", 0.0, ""
    share = {name: found["matched"] / found["items"] for name, found in seen.items()}
    most = max(seen, key=lambda name: (share[name], seen[name]["matched"]))
    others = f" and of {plural(len(seen) - 1, 'other benchmark')}" if len(seen) > 1 else ""
    return most, share[most], f"{plural(seen[most]['matched'], 'item')} of {most}{others}"


def asked_in_other_words(summary: dict[str, Any]) -> str:
    """Of which benchmark most items seem to be asked in other words; empty where these are fewer than MANY_ASKED."""
    alike = {name: found.get("semantic_only", 0) for name, found in (summary.get("contamination") or {}).items()}
    name = max(alike, key=lambda name: alike[name], default="")
    if not name or alike[name] < MANY_ASKED:
        return ""
    found = summary["contamination"][name]
    whole = plural(found["items"], "item")
    return f"{number(alike[name])} of {whole} of {name} seem to be asked in other words{of_alike(found)}"


def verdict(scan: dict[str, Any]) -> list[str]:
    """What a reviewer should know, most important first."""
    summary = scan["summary"]
    if not summary["rows"]:
        return [f"{plural(scan.get('rows_skipped', 0), 'record')} could not be read; the reasons stand below."]
    lines = [*inside_memorized(summary), sentence(expectation(summary)), sentence(skew(summary))]
    asked = asked_in_other_words(summary)
    if asked:
        lines.append(sentence(asked))
    lines += filter(None, [_private.exposed(summary)])
    actions = summary["plan"]
    lines.append(
        f"The plan drops {plural(actions['drop'], 'row')}, redacts {number(actions['redact'])} and leaves "
        f"{number(actions['review'])} for you to review; {plural(actions['rows_left'], 'row remains', 'rows remain')}."
    )
    return lines + [sentence(line) for line in (renames(summary), *brake(scan)) if line]
