"""ShareGPT: conversations of {"from", "value"}, with function calls, observations, tools and a system prompt."""

from __future__ import annotations

from typing import Any

from scanner.layouts._fields import ID_FIELDS as ID_FIELDS
from scanner.layouts._turns import fit, of_record
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
    return of_record(record, "expected a list of objects with 'from' and 'value' under conversations")
