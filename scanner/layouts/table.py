"""Tables whose columns mean nothing to a trainer: every text cell is read, none is learned.

They can still be searched for private data and duplicates. Name --prompt-field and --response-field to learn some.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scanner.layouts._fields import ID_FIELDS as ID_FIELDS
from scanner.layouts._fields import require_object
from scanner.objects import Segment
from scanner.settings import Settings

NAME = "table"
DESCRIPTION = "columns of unknown meaning (csv, parquet): each text cell is read, none is learned"
FLAT = True
EXAMPLES: tuple[Any, ...] = ({"Name": "Ann", "City": "Rome"},)


def matches(record: Any) -> float:
    """How well a record fits, 0 to 1: everything flat does, a little."""
    return 0.1 if isinstance(record, Mapping) and any(isinstance(value, str) for value in record.values()) else 0.0


def segments(record: Any, settings: Settings) -> list[Segment]:
    """One segment per text cell, in the order of the columns."""
    return [
        Segment((key,), "text", 0, False, value)
        for key, value in require_object(record).items()
        if isinstance(value, str)
    ]
