"""OpenAI messages: a list of {"role", "content"}, content a text or parts, with tool calls and tools."""

from __future__ import annotations

from typing import Any

from scanner.layouts._fields import ID_FIELDS as ID_FIELDS
from scanner.layouts._turns import fit, of_record
from scanner.objects import Segment
from scanner.settings import Settings

NAME = "messages"
DESCRIPTION = "OpenAI messages with role and content (text or parts), tool calls, tools"
FLAT = False
EXAMPLES: tuple[Any, ...] = (
    {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Weather in Rome?"}]},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "c1", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}],
            },
            {"role": "tool", "content": "sunny"},
            {"role": "assistant", "content": "Sunny."},
        ],
        "tools": '[{"name": "weather"}]',
    },
)


def matches(record: Any) -> float:
    """How well a record fits, 0 to 1."""
    return fit(record, sharegpt=False)


def segments(record: Any, settings: Settings) -> list[Segment]:
    """Every string of the dialogue; assistant turns are supervised unless their own weight is 0."""
    return of_record(record, _EXPECTED)


_EXPECTED = (
    "expected a list of objects with 'role' and 'content' (or 'from' and 'value') under messages, conversations or "
    "dialogue"
)
