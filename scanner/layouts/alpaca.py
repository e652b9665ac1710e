"""Alpaca: instruction, input and output, with an optional system prompt and a history of earlier pairs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scanner.errors import LayoutError
from scanner.jsontext import type_name
from scanner.layouts._fields import ID_FIELDS as ID_FIELDS
from scanner.layouts._fields import require_object, systems, text_at
from scanner.objects import Segment
from scanner.settings import Settings

NAME = "alpaca"
DESCRIPTION = "Alpaca rows: instruction, input, output (or response), with system and history"
FLAT = True
EXAMPLES: tuple[Any, ...] = (
    {"instruction": "Add.", "input": "1 2", "output": "3"},
    {"instruction": "Add.", "input": "", "output": "3", "history": [["Hi", "Hello"]], "system": "Be brief."},
    {"instruction": "Add 1 and 2.", "response": "3"},
)

_INPUTS = ("input", "context", "inputs")
_OUTPUTS = ("output", "response", "answer", "completion", "target", "outputs")


def matches(record: Any) -> float:
    """How well a record fits, 0 to 1."""
    if not isinstance(record, Mapping) or "instances" in record:
        return 0.0
    if not isinstance(record.get("instruction"), str):
        return 0.0
    answers = [record[key] for key in _OUTPUTS if key in record]
    if not answers:
        return 0.4
    return 0.95 if all(answer is None or isinstance(answer, str) for answer in answers) else 0.5


def segments(record: Any, settings: Settings) -> list[Segment]:
    """Instruction and input are one turn, the output the next; history comes before them.

    The first field of _OUTPUTS that is not null is the answer. Another one beside it (most often a
    copy under an older name) is a field that no trainer reads: no part of the row's text.
    """
    record = require_object(record)
    instruction = text_at(record, "instruction")
    if instruction is None:
        raise LayoutError("instruction is missing or null, expected text")
    out = systems(record)
    out += _history(record.get("history"), int(bool(out)))
    turn = out[-1].turn + 1 if out else 0
    if isinstance(record.get("history"), str):
        out.append(Segment(("history",), "user", turn, False, record["history"]))
    out.append(Segment(("instruction",), "user", turn, False, instruction))
    for key in _INPUTS:
        if (text := text_at(record, key)) is not None:
            out.append(Segment((key,), "user", turn, False, text))
    answer = next((key for key in _OUTPUTS if record.get(key) is not None), "")
    if answer and (text := text_at(record, answer)) is not None:
        out.append(Segment((answer,), "assistant", turn + 1, True, text))
    return out


def _history(value: Any, turn: int) -> list[Segment]:
    """Earlier pairs of question and answer; an empty text or null is no history."""
    if value is None or isinstance(value, str):
        return []
    if not isinstance(value, list):
        raise LayoutError(f"history is {type_name(value)}, expected a list of pairs of question and answer")
    out = []
    for i, pair in enumerate(value):
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise LayoutError(f"history[{i}] is {type_name(pair)}, expected a pair of question and answer")
        for j, role in ((0, "user"), (1, "assistant")):
            if isinstance(pair[j], str):
                out.append(Segment(("history", i, j), role, turn + 2 * i + j, role == "assistant", pair[j]))
            elif pair[j] is not None:
                raise LayoutError(f"history[{i}][{j}] is {type_name(pair[j])}, expected text")
    return out
