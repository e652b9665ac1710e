"""Plain text: a record that is a text, or an object with one, learned as a whole.

Rows of presidio's generator ({"full_text", "masked", "spans", ...}) belong here: only full_text is learned.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scanner.errors import LayoutError
from scanner.jsontext import type_name
from scanner.layouts._fields import ID_FIELDS as ID_FIELDS
from scanner.layouts._fields import text_at
from scanner.objects import Segment
from scanner.settings import Settings

NAME = "text"
DESCRIPTION = "plain text, learned as a whole (text, content, full_text, document, or a bare string)"
FLAT = True
EXAMPLES: tuple[Any, ...] = (
    {"text": "Once upon a time."},
    {"full_text": "Ann called.", "masked": "{{PERSON}} called.", "spans": []},
    "Once upon a time.",
)

_FIELDS = ("text", "full_text", "content", "document", "raw_content", "body")


def matches(record: Any) -> float:
    """How well a record fits, 0 to 1."""
    if isinstance(record, str):
        return 0.9
    if not isinstance(record, Mapping):
        return 0.0
    return 0.7 if any(isinstance(record.get(key), str) for key in _FIELDS) else 0.0


def segments(record: Any, settings: Settings) -> list[Segment]:
    """One segment, supervised."""
    if isinstance(record, str):
        return [Segment((), "text", 0, True, record)]
    if not isinstance(record, Mapping):
        raise LayoutError(f"the record is {type_name(record)}, expected text or an object with a text field")
    for key in _FIELDS:
        if key in record:
            text = text_at(record, key)
            return [] if text is None else [Segment((key,), "text", 0, True, text)]
    raise LayoutError(f"no text field was found; expected one of {', '.join(_FIELDS)}")
