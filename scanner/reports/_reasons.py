"""What the rules by which a plan acts say, in words: of any row that they are about."""

from __future__ import annotations

from typing import Any

from scanner.decontaminating import HOW_WORDS
from scanner.reports import _words as words

WORDS = {
    "duplicates/exact": "the same training text as another row",
    "duplicates/near": "a near copy of another row",
    "duplicates/semantic": "nearly the same meaning as another row",
    "duplicates/alike": "text like another row's, but for prompt, answer, system prompt or tools",
    "duplicates/earlier": "a copy of a row of an earlier run",
    "duplicates/earlier-prompt": "the prompt of a row of an earlier run, with another answer",
    "duplicates/earlier-near": "text much like that of a row of an earlier run",
    "conflicts/answers": "a prompt that has other answers",
    "repeated/leakage": "an answer of which half or more stands in another row",
    "risk/high": "a high risk of being memorized",
    "contamination/copy": "a near copy of a row that is dropped for an evaluation item",
    **{f"contamination/{how}": f"an evaluation item, {told}" for how, told in HOW_WORDS.items()},
}
MEANING = "duplicates/semantic"
MANY = 0.05
"""Share of the rows from which on those of like meaning are worth a word on how they may go."""
MOST = 3
"""Reasons for review that the screen names; the report has all of them."""


def of(rule_id: str) -> str:
    """What a rule of the plan is about; a rule for private data or secrets by its name."""
    return WORDS.get(rule_id, words.of_rule(rule_id))


def for_review(scan: dict[str, Any]) -> list[str]:
    """Why rows are left for review, the commonest reasons first, and how those of like meaning may go as well."""
    reviewed = [line for line in scan["summary"]["plan"]["by_rule"] if line["action"] == "review"]
    if not reviewed:
        return []
    told = [f"{words.number(line['rows'])} for {of(line['rule'])}" for line in reviewed[:MOST]]
    rest = sum(line["rows"] for line in reviewed[MOST:])
    others = f", {words.number(rest)} for other reasons" if rest else ""
    said = [f"to review, and kept meanwhile: {', '.join(told)}{others}"]
    alike = sum(line["rows"] for line in reviewed if line["rule"] == MEANING)
    pairs = scan["summary"]["found"]["semantic"]
    may_go = pairs["pairs"] > pairs.get("differing", 0) and not scan["settings"].get("drop_semantic")
    if may_go and alike >= MANY * scan["summary"]["rows"]:
        said.append("--drop-semantic drops those of the same meaning, too, unless their numbers or negations differ")
    return said
