"""Multiple choice: under which names benchmarks keep question, passage, choices and answer, and which choice is right.

question + choices + answer           MMLU, RACE, AGIEval        a list of texts; the right one's number or letter
question.stem + question.choices      ARC, CommonsenseQA         objects with text and label; the label
question(_stem) + choices             the same on Hugging Face   lists of texts and of labels; the label
ctx + endings + label                 HellaSwag                  a list of texts; a number, perhaps as text
question + mc1_targets                TruthfulQA                 a list of texts; 1 for the right one, 0 for others
sentence + option1 + option2          WinoGrande                 a field each; the number in its name
premise + choice1 + choice2 + label   COPA                       a field each; a number from 0
goal + sol1 + sol2 + label            PIQA                       a field each; a number from 0
question + opa ... opd + cop          MedMCQA                    a field each; a number from 0
question + options + answer_idx       MedQA                      texts under their letters; the text, or the letter
prompt + A ... E + answer             Kaggle's science exam      a field each; the letter
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from scanner.layouts._fields import Path

QUESTIONS: tuple[Path, ...] = (
    ("premise",), ("question",), ("question", "stem"), ("question_stem",), ("query",), ("goal",), ("ctx",),
    ("sentence",), ("Question",), ("Problem",), ("prompt",),
)  # fmt: skip
PASSAGES = ("context", "passage", "support", "Body")
LISTS: tuple[Path, ...] = (
    ("choices",),
    ("options",),
    ("endings",),
    ("question", "choices"),
    ("mc1_targets", "choices"),
)
FIELDS: tuple[tuple[str, ...], ...] = (
    ("option1", "option2", "option3", "option4", "option5"), ("sol1", "sol2"),
    ("ending0", "ending1", "ending2", "ending3"), ("A", "B", "C", "D", "E"), ("opa", "opb", "opc", "opd"),
    ("choice1", "choice2"),
)  # fmt: skip
"""Choices that are fields of their own."""
ANSWERS = (
    "answerKey", "answer", "label", "gold", "best_answer", "correct_answer", "correct_option", "cop", "Answer",
    "Best Answer", "Correct Answer",
)  # fmt: skip
LETTERS = "ABCDEFGHIJ"
_NUMBERED_FROM_1 = FIELDS[0]
HEADS = frozenset(
    [path[0] for path in (*QUESTIONS, *LISTS)] + [*PASSAGES, *ANSWERS, *(name for names in FIELDS for name in names)]
)
"""Names that a path into such a record begins with."""


class Choice(NamedTuple):
    """One choice of a question: where it stands, its text, and the label it is known by, if it has one."""

    path: Path
    text: str
    label: str


def question_of(record: Mapping[str, Any]) -> Path | None:
    """Where the question stands; None where there is none that is text."""
    return next((path for path in QUESTIONS if isinstance(at(record, path), str)), None)


def choices_of(record: Mapping[str, Any]) -> list[Choice]:
    """The choices of a record in their order; fewer than two are none."""
    found: list[Choice] = []
    for path in LISTS:
        found = found or list(_listed(at(record, path), path))
    for names in FIELDS:
        texts = [(name, record[name]) for name in names if isinstance(record.get(name), str)]
        is_counted = names is _NUMBERED_FROM_1
        found = found or [Choice((name,), text, name[-1] if is_counted else "") for name, text in texts]
    return found if len(found) > 1 else []


def right_of(record: Mapping[str, Any], choices: list[Choice]) -> int:
    """Which choice is right, from 0, by its number, its numbered label or its own text; -1 where nothing says so."""
    marks = at(record, ("mc1_targets", "labels"))
    if isinstance(marks, list) and len(marks) == len(choices) and marks.count(1) == 1:
        return marks.index(1)
    texts = [choice.text for choice in choices]
    for value in (record[key] for key in ANSWERS if key in record):
        if isinstance(value, str) and len(value) > 1 and texts.count(value) == 1:
            return texts.index(value)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 3:
            labels = [choice.label for choice in choices]
            if value in labels:
                return labels.index(value)
            value = int(value) if not any(labels) else None
        if type(value) is int:
            return value if 0 <= value < len(choices) else -1
    return -1


def number_of(parts: list[str]) -> int:
    """Which choice a path leads to, from 0; -1 for none."""
    for names in FIELDS:
        if parts[0] in names:
            return names.index(parts[0])
    for path in LISTS:
        if tuple(parts[: len(path)]) == path:
            for part in parts[len(path) :]:
                if part.isdigit():
                    return int(part)
                if len(part) == 1 and part in LETTERS:
                    return LETTERS.index(part)
    return -1


def at(record: Any, path: Path) -> Any:
    """The value at a path of keys; None where there is none."""
    for key in path:
        record = record.get(key) if isinstance(record, Mapping) else None
    return record


def _listed(value: Any, path: Path) -> Iterator[Choice]:
    """Choices that stand in a list, beside a list of their labels, or under their letters."""
    if isinstance(value, list):
        for i, one in enumerate(value):
            if isinstance(one, str):
                yield Choice((*path, i), one, "")
            elif isinstance(one, Mapping) and isinstance(one.get("text"), str):
                yield Choice((*path, i, "text"), one["text"], _label(one.get("label")))
    elif isinstance(value, Mapping) and isinstance(value.get("text"), list):
        labels = value.get("label")
        labels = labels if isinstance(labels, list) else []
        for i, text in enumerate(value["text"]):
            if isinstance(text, str):
                yield Choice((*path, "text", i), text, _label(labels[i]) if i < len(labels) else "")
    elif isinstance(value, Mapping):
        for key, text in value.items():
            if isinstance(key, str) and isinstance(text, str):
                yield Choice((*path, key), text, key)


def _label(value: Any) -> str:
    return str(value) if isinstance(value, str | int) else ""
