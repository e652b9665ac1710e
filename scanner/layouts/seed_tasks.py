"""Seed tasks of self-instruct: an instruction with instances of input and output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scanner.errors import LayoutError
from scanner.jsontext import type_name
from scanner.layouts._fields import ID_FIELDS as ID_FIELDS
from scanner.layouts._fields import require_object, text_at
from scanner.objects import Segment
from scanner.settings import Settings

NAME = "seed_tasks"
DESCRIPTION = "self-instruct tasks: instruction with instances of input and output"
FLAT = False
EXAMPLES: tuple[Any, ...] = (
    {"instruction": "Add.", "instances": [{"input": "1 2", "output": "3"}, {"input": "2 2", "output": "4"}]},
)


def matches(record: Any) -> float:
    """How well a record fits, 0 to 1."""
    is_task = isinstance(record, Mapping) and isinstance(record.get("instances"), list)
    return 0.95 if is_task and isinstance(record.get("instruction"), str) else 0.0


def segments(record: Any, settings: Settings) -> list[Segment]:
    """The instruction opens the first turn; every instance adds a question and an answer."""
    record = require_object(record)
    out = []
    if (instruction := text_at(record, "instruction")) is not None:
        out.append(Segment(("instruction",), "user", 0, False, instruction))
    instances = record.get("instances") or []
    if not isinstance(instances, list):
        raise LayoutError(f"instances is {type_name(instances)}, expected a list")
    for i, instance in enumerate(instances):
        if not isinstance(instance, Mapping):
            raise LayoutError(f"instances[{i}] is {type_name(instance)}, expected an object with input and output")
        for key, role, turn in (("input", "user", 2 * i), ("output", "assistant", 2 * i + 1)):
            if (text := text_at(instance, key)) is not None:
                out.append(Segment(("instances", i, key), role, turn, role == "assistant", text))
    return out
