"""What the rules by which a plan acts say, in words: of any row that they are about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from scanner.decontaminating import HOW_WORDS
from scanner.reports import _words as words

WORDS = {
    **{f"contamination/{how}": f"an evaluation item, {told}" for how, told in HOW_WORDS.items()},
    "contamination/copy": "a near copy of a row that is dropped for an evaluation item",
    "risk/high": "a high risk of being memorized",
    "repeated/leakage": "an answer of which half or more stands in another row",
    "conflicts/answers": "a prompt that has other answers",
    "duplicates/earlier": "a copy of a row of an earlier run",
    "duplicates/earlier-prompt": "the prompt of a row of an earlier run, with another answer",
    "duplicates/earlier-near": "text much like that of a row of an earlier run",
    "duplicates/exact": "the same training text as another row",
    "duplicates/near": "a near copy of another row",
    "duplicates/alike": "text like another row's, but for prompt, answer, system prompt or tools",
    "duplicates/semantic": "nearly the same meaning as another row",
}
"""The most urgent first: what spoils a measurement or is recited, what contradicts or repeats, what is merely alike."""
MEANING = "duplicates/semantic"
MANY = 0.05
"""Share of the rows from which on those of like meaning are worth a word on how they may go."""
ACTIONS = ("drop", "redact", "review")


def of(rule_id: str) -> str:
    """What a rule of the plan is about; a rule for private data or secrets by its name."""
    return WORDS.get(rule_id, words.of_rule(rule_id))


def grouped(by_rule: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The plan's lines (action, rule, rows) by action; those for review the most urgent first, others the commonest.

    A rule that has no words here, as those for private data, is the most urgent.
    """

    def place(line: Mapping[str, Any]) -> tuple[int, int, int]:
        action = ACTIONS.index(line["action"]) if line["action"] in ACTIONS else len(ACTIONS)
        known = line["action"] == "review" and line["rule"] in WORDS
        return action, list(WORDS).index(line["rule"]) if known else -1, -line["rows"]

    return sorted(by_rule, key=place)


def for_review(scan: dict[str, Any]) -> list[str]:
    """Why rows are left for review, the most urgent reasons first, and how those of like meaning may go as well."""
    reviewed = [line for line in grouped(scan["summary"]["plan"]["by_rule"]) if line["action"] == "review"]
    if not reviewed:
        return []
    told = ", ".join(f"{words.number(line['rows'])} for {of(line['rule'])}" for line in reviewed)
    said = [f"to review, and kept meanwhile{', the most urgent first' if len(reviewed) > 1 else ''}: {told}"]
    alike = sum(line["rows"] for line in reviewed if line["rule"] == MEANING)
    pairs = scan["summary"]["found"]["semantic"]
    may_go = pairs["pairs"] > pairs.get("differing", 0) and not scan["settings"].get("drop_semantic")
    if may_go and alike >= MANY * scan["summary"]["rows"]:
        said.append("--drop-semantic drops those of the same meaning, too, unless their numbers or negations differ")
    return said
