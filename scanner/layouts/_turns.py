"""Dialogues, in the dialect of OpenAI (role, content) and of ShareGPT (from, value), told apart turn by turn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scanner.errors import LayoutError
from scanner.figures import plural
from scanner.jsontext import type_name
from scanner.layouts._fields import Path, leaves, require_object, systems, tools
from scanner.objects import Segment

CONTAINERS = ("messages", "conversations", "conversation", "dialogue", "dialog", "turns", "chat")

ROLE_NAMES = {
    "system": "system", "developer": "system",
    "user": "user", "human": "user", "prompter": "user",
    "assistant": "assistant", "gpt": "assistant", "model": "assistant", "bot": "assistant", "chatgpt": "assistant",
    "bing": "assistant", "bard": "assistant", "claude": "assistant", "function_call": "assistant",
    "tool_call": "assistant", "tool_calls": "assistant",
    "tool": "tool", "function": "tool", "observation": "tool", "function_response": "tool", "tool_response": "tool",
    "ipython": "tool", "environment": "tool",
    "tools": "tools",
}  # fmt: skip
ROLE_KEYS = ("role", "from")
_TEXT_KEYS = ("content", "value", "text")
_THOUGHT_KEYS = ("reasoning_content", "reasoning", "thinking")
_CALL_KEYS = ("tool_calls", "function_call")
_PART_KEYS = ("text", "value", "thinking", "reasoning", "name", "input", "arguments", "content", "refusal")
_CALL_LABELS = frozenset({"id", "type", "index", "call_id"})


def container(record: Any) -> str:
    """The key under which a record keeps its dialogue; "" where it has none."""
    if isinstance(record, Mapping):
        for key in CONTAINERS:
            if is_dialogue(record.get(key)):
                return key
    return ""


def of_record(record: Any, expected: str) -> list[Segment]:
    """Every string of a record's system prompt, tools and dialogue; LayoutError, with what was `expected`, without."""
    record = require_object(record)
    key = container(record)
    if not key:
        raise LayoutError(f"no list of turns was found; {expected}")
    first = systems(record)
    return first + tools(record) + dialogue(record[key], (key,), int(bool(first)))


def is_dialogue(value: Any) -> bool:
    """Whether this is a list of turns: the first ones are objects that name a speaker."""
    return isinstance(value, list) and bool(value) and all(is_turn(turn) for turn in value[:3])


def is_turn(value: Any) -> bool:
    return isinstance(value, Mapping) and any(isinstance(value.get(key), str) for key in ROLE_KEYS)


def is_sharegpt(value: Any) -> bool:
    """Whether a dialogue is in the dialect with `from`."""
    return is_dialogue(value) and "from" in value[0]


def fit(record: Any, sharegpt: bool) -> float:
    """How well a record fits as a dialogue in one dialect, 0 to 1; half where it holds a preference too."""
    key = container(record)
    if not key or is_sharegpt(record[key]) != sharegpt:
        return 0.0
    return 0.5 if "chosen" in record or "rejected" in record or isinstance(record.get("label"), bool) else 1.0


def dialogue(value: Any, path: Path, first_turn: int = 0, answers: str = "assistant") -> list[Segment]:
    """Segments of a list of turns, numbered from `first_turn`.

    answers: the role of what the assistant says; "rejected" for the worse dialogue of a pair, in which every turn
    gets that role, since it only repeats the prompt.
    """
    out: list[Segment] = []
    if not isinstance(value, list):
        raise LayoutError(f"{_at(path)} is {type_name(value)}, expected a list of turns")
    for i, turn in enumerate(value):
        out.extend(message(turn, (*path, i), first_turn + i, answers))
    return out


def message(turn: Any, path: Path, number: int, answers: str = "assistant") -> Iterator[Segment]:
    """Segments of one turn: reasoning, content and tool calls, each string by itself."""
    if not isinstance(turn, Mapping):
        raise LayoutError(f"{_at(path)} is {type_name(turn)}, expected an object with a role and its content")
    role = _role(turn, path)
    learned = role == "assistant" and answers == "assistant" and _is_learned(turn)
    role = answers if role == "assistant" or answers == "rejected" else role
    if len(turn) == 2:  # nearly always: a speaker and a text
        for key in _TEXT_KEYS:
            text = turn.get(key)
            if isinstance(text, str):
                yield Segment((*path, key), role, number, learned, text)
                return
    for key in _THOUGHT_KEYS:
        if isinstance(turn.get(key), str):
            yield Segment((*path, key), role, number, learned, turn[key])
    for key in _TEXT_KEYS:
        if key in turn:
            for where, text in _content(turn[key], (*path, key)):
                yield Segment(where, role, number, learned, text)
            break
    for key in _CALL_KEYS:
        if turn.get(key):
            for where, text in leaves(turn[key], (*path, key), _CALL_LABELS):
                yield Segment(where, role, number, learned, text)


def _role(turn: Mapping[str, Any], path: Path) -> str:
    said = turn.get("role")
    if not isinstance(said, str):
        said = turn.get("from")
    if not isinstance(said, str):
        raise LayoutError(f"{_at(path)} names no speaker; expected 'role' or 'from' with a text")
    role = ROLE_NAMES.get(said) or ROLE_NAMES.get(said.strip().lower())
    if role is None:
        raise LayoutError(
            f"{_at(path)} names a speaker of {plural(len(said), 'character')} that is not known; expected one of "
            f"{', '.join(sorted(ROLE_NAMES))}"
        )
    return role


def _is_learned(turn: Mapping[str, Any]) -> bool:
    """False where the record itself takes the turn out of the loss."""
    return turn.get("loss_weight") != 0 and turn.get("weight") != 0 and turn.get("train") is not False


def _content(value: Any, path: Path) -> Iterator[tuple[Path, str]]:
    """The strings of a turn's content: a text, or a list of parts; images and other references are passed over."""
    if value is None:
        return
    if isinstance(value, str):
        yield path, value
        return
    if isinstance(value, Mapping):
        value, paths = [value], [path]
    elif isinstance(value, list):
        paths = [(*path, i) for i in range(len(value))]
    else:
        raise LayoutError(f"{_at(path)} is {type_name(value)}, expected text or a list of parts")
    for part, where in zip(value, paths, strict=True):
        if isinstance(part, str):
            yield where, part
        elif isinstance(part, Mapping):
            for key in _PART_KEYS:
                yield from leaves(part.get(key), (*where, key), _CALL_LABELS)
        elif part is not None:
            raise LayoutError(f"{_at(where)} is {type_name(part)}, expected text or an object")


def _at(path: Path) -> str:
    """A path for a message: keys of the data are shown only where they are well-known names."""
    known = {*CONTAINERS, *_TEXT_KEYS, "chosen", "rejected", "chosen_messages", "rejected_messages", "prompt"}
    parts = [f"[{p}]" if isinstance(p, int) else f".{p}" if p in known or len(p) < 20 else ".?" for p in path]
    return "".join(parts).lstrip(".") or "the record"
