"""Benchmarks: multiple choice (question, choices, answer), bare lists of user turns, MMLU's columns without header.

Also tasks under their names in one object ({"Mbpp/2": "Write ..."}), and test cases beside the training texts they
were compared with ({"test": ..., "train": [...], "results": [...]}, as llm-decontaminator writes them).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from scanner.errors import LayoutError
from scanner.layouts._fields import ID_FIELDS as ID_FIELDS
from scanner.layouts._fields import leaves, require_object
from scanner.objects import Segment
from scanner.settings import Settings

NAME = "benchmark"
DESCRIPTION = "benchmark items: question with choices, lists of user turns, MMLU tables, tasks by name"
FLAT = True
EXAMPLES: tuple[Any, ...] = (
    {"question": "1 + 2?", "choices": ["3", "4"], "answer": 0},
    {"turns": ["Write a poem.", "Make it rhyme."], "reference": ["Roses.", "Red."]},
    {"column_1": "1 + 2?", "column_2": "3", "column_3": "4", "column_4": "5", "column_5": "6", "column_6": "A"},
    {"Task/1": "Write a function that adds.", "Task/2": "Write a function that doubles."},
    {"test": "def add(a, b): return a + b", "train": ["def plus(a, b): return a + b"], "results": [True]},
)

_CHOICES = ("choices", "options")
_TASK = re.compile(r"[A-Za-z][\w.-]*/\d+\Z")
_MMLU = tuple(f"column_{i}" for i in range(1, 7))


def matches(record: Any) -> float:
    """How well a record fits, 0 to 1."""
    if not isinstance(record, Mapping):
        return 0.0
    turns = record.get("turns")
    if isinstance(turns, list) and turns and all(isinstance(turn, str) for turn in turns):
        return 0.9
    if isinstance(record.get("question"), str) and any(isinstance(record.get(key), list | dict) for key in _CHOICES):
        return 0.95
    if _is_compared(record) or _is_by_name(record):
        return 0.9
    return 0.9 if tuple(record) == _MMLU and record[_MMLU[-1]] in tuple("ABCD") else 0.0


def choice_of(path: str) -> int:
    """Which choice the string at this JSON pointer is, from 0; -1 where it is none."""
    parts = path.split("/")[1:]
    if parts[0] in _MMLU[1:-1]:
        return _MMLU.index(parts[0]) - 1
    return int(parts[-1]) if len(parts) > 1 and parts[0] in _CHOICES and parts[-1].isdigit() else -1


def _is_compared(record: Mapping[Any, Any]) -> bool:
    return isinstance(record.get("test"), str) and isinstance(record.get("train"), list) and "results" in record


def _is_by_name(record: Mapping[Any, Any]) -> bool:
    return len(record) > 1 and all(
        isinstance(key, str) and _TASK.match(key) and isinstance(value, str) for key, value in record.items()
    )


def segments(record: Any, settings: Settings) -> list[Segment]:
    """Question and choices are one turn, the answer (a text, or the right choice's letter) the next."""
    record = require_object(record)
    if tuple(record) == _MMLU:
        return [
            Segment((key,), "assistant" if key == _MMLU[-1] else "user", int(key == _MMLU[-1]), key == _MMLU[-1], text)
            for key in _MMLU
            if isinstance(text := record[key], str)
        ]
    if _is_compared(record):
        found = [Segment(("test",), "user", 0, False, record["test"])]
        return found + [Segment(path, "text", 1, False, text) for path, text in leaves(record["train"], ("train",))]
    if _is_by_name(record):
        return [Segment((key,), "user", i, False, text) for i, (key, text) in enumerate(record.items())]
    if not isinstance(record.get("question"), str) and not isinstance(record.get("turns"), list):
        raise LayoutError("neither a question that is text nor a list of turns nor named tasks were found")
    out = []
    for key, role in (("turns", "user"), ("reference", "assistant")):
        value = record.get(key)
        for i, text in enumerate(value if isinstance(value, list) else ()):
            if isinstance(text, str):
                out.append(Segment((key, i), role, 2 * i + (role == "assistant"), role == "assistant", text))
    out.sort(key=lambda segment: segment.turn)
    if isinstance(record.get("question"), str):
        out.append(Segment(("question",), "user", 0, False, record["question"]))
    for key in _CHOICES:
        out += [Segment(path, "user", 0, False, text) for path, text in leaves(record.get(key), (key,))]
    if isinstance(record.get("answer"), str):
        out.append(Segment(("answer",), "assistant", 1, True, record["answer"]))
    return out
