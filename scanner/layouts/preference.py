"""Preference: a better and a worse answer to one prompt (DPO, reward models), or a labelled one (KTO).

The better answer is supervised; the worse one has the role `rejected`. Where the worse one is a whole dialogue, its
copy of the prompt has that role too, so that a span found there can still be replaced.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scanner.errors import LayoutError
from scanner.jsontext import type_name
from scanner.layouts._fields import ID_FIELDS as ID_FIELDS
from scanner.layouts._fields import PROMPTS, require_object, systems, tools
from scanner.layouts._turns import container, dialogue, is_dialogue, is_turn, message
from scanner.objects import Segment
from scanner.settings import Settings

NAME = "preference"
DESCRIPTION = "chosen and rejected answers (text, turn or dialogue), lists of ranked outputs, KTO labels"
FLAT = True
EXAMPLES: tuple[Any, ...] = (
    {"prompt": "1 + 2?", "chosen": "3", "rejected": "4"},
    {
        "conversations": [{"from": "human", "value": "1 + 2?"}],
        "chosen": {"from": "gpt", "value": "3"},
        "rejected": {"from": "gpt", "value": "4"},
    },
    {
        "chosen": [{"role": "user", "content": "1 + 2?"}, {"role": "assistant", "content": "3"}],
        "rejected": [{"role": "user", "content": "1 + 2?"}, {"role": "assistant", "content": "4"}],
    },
    {"instruction": "1 + 2?", "input": "", "output": ["3", "4"]},
    {"messages": [{"role": "user", "content": "1 + 2?"}, {"role": "assistant", "content": "4"}], "label": False},
    {"prompt": "1 + 2?", "completion": "3", "label": True},
)

_CHOSEN = ("chosen", "chosen_messages", "response_chosen", "chosen_response", "better")
_REJECTED = ("rejected", "rejected_messages", "response_rejected", "rejected_response", "worse")
_LABELLED = ("completion", "response", "output", "answer")


def matches(record: Any) -> float:
    """How well a record fits, 0 to 1."""
    if not isinstance(record, Mapping):
        return 0.0
    if _key(record, _CHOSEN) and _key(record, _REJECTED):
        return 1.0
    if _is_ranked(record):
        return 1.0
    if isinstance(record.get("label"), bool) and (container(record) or _key(record, _LABELLED)):
        return 1.0
    return 0.0


def segments(record: Any, settings: Settings) -> list[Segment]:
    """The prompt, the better answer (supervised) and the worse ones."""
    record = require_object(record)
    chosen, rejected = _key(record, _CHOSEN), _key(record, _REJECTED)
    first = systems(record)
    out = first + tools(record)
    turn = int(bool(first))
    if chosen or rejected:
        out += _prompt(record, turn)
        turn = max((s.turn for s in out), default=-1) + 1
        if chosen:
            out += _answer(record[chosen], (chosen,), turn, "assistant")
        if rejected:
            out += _answer(record[rejected], (rejected,), turn, "rejected")
        return out
    if _is_ranked(record):
        out += _prompt(record, turn)
        turn = max((s.turn for s in out), default=-1) + 1
        for i, text in enumerate(record["output"]):
            if isinstance(text, str):
                out.append(Segment(("output", i), "rejected" if i else "assistant", turn, not i, text))
            elif text is not None:
                raise LayoutError(f"output[{i}] is {type_name(text)}, expected text")
        return out
    label = record.get("label")
    if not isinstance(label, bool):
        raise LayoutError("neither chosen and rejected answers nor a label that is true or false was found")
    answers = "assistant" if label else "rejected"
    if key := container(record):
        # Only what the assistant says is judged; the user's turns keep their role.
        for segment in dialogue(record[key], (key,), turn):
            judged = segment.role == "assistant"
            out.append(segment._replace(role=answers, supervised=segment.supervised and label) if judged else segment)
        return out
    out += _prompt(record, turn)
    key = _key(record, _LABELLED)
    return out + _answer(record[key], (key,), max((s.turn for s in out), default=-1) + 1, answers) if key else out


def _key(record: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return next((name for name in names if record.get(name) is not None), "")


def _is_ranked(record: Mapping[str, Any]) -> bool:
    output = record.get("output")
    return isinstance(output, list) and bool(output) and isinstance(output[0], str)


def _prompt(record: Mapping[str, Any], turn: int) -> list[Segment]:
    """What both answers answer: a dialogue, a list of messages, or texts."""
    if key := container(record):
        return dialogue(record[key], (key,), turn)
    out: list[Segment] = []
    history = record.get("history")
    if isinstance(history, list):
        for i, pair in enumerate(history):
            if not isinstance(pair, list | tuple) or len(pair) != 2:
                raise LayoutError(f"history[{i}] is {type_name(pair)}, expected a pair of question and answer")
            out += [
                Segment(("history", i, j), ("user", "assistant")[j], turn + 2 * i + j, False, pair[j])
                for j in (0, 1)
                if isinstance(pair[j], str)
            ]
    turn = max((s.turn for s in out), default=turn - 1) + 1
    for key in ("instruction", *(name for name in PROMPTS if name not in ("instruction", "text"))):
        value = record.get(key)
        if isinstance(value, str):
            out.append(Segment((key,), "user", turn, False, value))
        elif is_dialogue(value):
            out += dialogue(value, (key,), turn)
    return out


def _answer(value: Any, path: tuple[str | int, ...], turn: int, role: str) -> list[Segment]:
    if isinstance(value, str):
        return [Segment(path, role, turn, role == "assistant", value)]
    if is_dialogue(value):
        return dialogue(value, path, turn, role)
    if is_turn(value):
        return list(message(value, path, turn, role))
    raise LayoutError(f"{path[0]} is {type_name(value)}, expected text, a turn or a list of turns")
