"""ShareGPT: conversations of {"from", "value"}, with function calls, observations, tools and a system prompt."""

from __future__ import annotations

from typing import Any

from scanner.errors import LayoutError
from scanner.layouts._fields import ID_FIELDS as ID_FIELDS
from scanner.layouts._fields import require_object, systems, tools
from scanner.layouts._turns import container, dialogue, fit
from scanner.objects import Segment
from scanner.settings import Settings

NAME = "sharegpt"
DESCRIPTION = "ShareGPT conversations with from and value, function calls, tools"
FLAT = False
EXAMPLES: tuple[Any, ...] = (
    {
        "conversations": [
            {"from": "human", "value": "Weather in Rome?"},
            {"from": "function_call", "value": '{"name": "weather", "arguments": {"city": "Rome"}}'},
            {"from": "observation", "value": '{"sky": "clear"}'},
            {"from": "gpt", "value": "Sunny."},
        ],
        "system": "Be brief.",
        "tools": '[{"name": "weather"}]',
    },
)


def matches(record: Any) -> float:
    """How well a record fits, 0 to 1."""
    return fit(record, sharegpt=True)


def segments(record: Any, settings: Settings) -> list[Segment]:
    """Every string of the dialogue; what gpt says and the functions it calls are supervised."""
    record = require_object(record)
    key = container(record)
    if not key:
        raise LayoutError(
            "no list of turns was found; expected a list of objects with 'from' and 'value' under conversations"
        )
    first = systems(record)
    return first + tools(record) + dialogue(record[key], (key,), int(bool(first)))
