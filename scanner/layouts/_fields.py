"""What the layouts share: names of fields, and how a value becomes text or a reason."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from scanner.errors import LayoutError
from scanner.jsontext import type_name
from scanner.objects import Segment

Path = tuple[str | int, ...]

ID_FIELDS = frozenset(
    {
        "id", "_id", "idx", "index", "uid", "uuid", "guid", "row_id", "record_id", "sample_id", "example_id",
        "data_id", "item_id", "task_id", "question_id", "prompt_id", "conversation_id", "dialogue_id", "dialog_id",
        "message_id", "__index_level_0__", "Unnamed: 0",
    }
)  # fmt: skip
"""Top-level fields that number a record and say nothing of its content."""

SYSTEMS = ("system", "system_prompt", "system_message")
PROMPTS = ("prompt", "question", "problem", "query", "input", "source", "instruction", "text")
RESPONSES = (
    "response", "answer", "completion", "solution", "output", "target", "reply", "canonical_solution", "ground_truth",
    "code", "summary",
)  # fmt: skip
CONTEXTS = ("context", "passage", "input")


NAMES_SHOWN = 12
PLAIN_NAME = re.compile(r"(?!(?:.*\d){5})[\w .-]{1,40}")  # no address, number or key: of digits four at most


def plain_names(names: Iterable[Any]) -> list[str]:
    """The first few keys that a message may show; what is no plain name may be data."""
    return [name for name in names if isinstance(name, str) and PLAIN_NAME.fullmatch(name)][:NAMES_SHOWN]


def require_object(record: Any) -> Mapping[str, Any]:
    """The record, if it is an object; LayoutError else."""
    if not isinstance(record, Mapping):
        raise LayoutError(f"the record is {type_name(record)}, expected an object")
    return record


def text_at(record: Mapping[str, Any], key: str) -> str | None:
    """The text under a key; None where it is missing or null; LayoutError for any other type."""
    value = record.get(key)
    if value is None or isinstance(value, str):
        return value
    raise LayoutError(f"{key} is {type_name(value)}, expected text")


def leaves(value: Any, path: Path, without: frozenset[str] = frozenset()) -> Iterator[tuple[Path, str]]:
    """Every string below `value` with its path; keys named in `without` are passed over. No depth is too deep."""
    stack: list[tuple[Any, Path]] = [(value, path)]
    while stack:
        item, at = stack.pop()
        if isinstance(item, str):
            yield at, item
        elif isinstance(item, Mapping):
            stack.extend((item[key], (*at, key)) for key in reversed(list(item)) if key not in without)
        elif isinstance(item, list | tuple):
            stack.extend((item[i], (*at, i)) for i in range(len(item) - 1, -1, -1))


def systems(record: Mapping[str, Any]) -> list[Segment]:
    """The system prompt that stands beside the turns, as turn 0."""
    return [Segment((key,), "system", 0, False, text) for key in SYSTEMS if (text := text_at(record, key)) is not None]


def tools(record: Mapping[str, Any], turn: int = 0) -> list[Segment]:
    """Tool schemas offered to the model: one text, or every string of a list of schemas."""
    return [
        Segment(path, "tools", turn, False, text)
        for key in ("tools", "functions")
        if record.get(key)
        for path, text in leaves(record.get(key), (key,))
    ]
