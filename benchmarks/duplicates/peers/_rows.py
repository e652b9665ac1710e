"""Reading and shingling for the tools that bring none: as few Python operations per row as we could find.

JSON Lines -> text per row (every string that is trained on, joined) -> runs of three lower-case words
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

FIELDS = (("instruction", "input", "output"), ("prompt", "response"), ("text",))


def text_of(record: dict[str, Any]) -> str:
    """The text of one row: its fields or messages, one below the other."""
    if "messages" in record:
        return "\n".join(message["content"] for message in record["messages"])
    for fields in FIELDS:
        if fields[0] in record:
            return "\n".join([record[field] for field in fields if record.get(field)])
    raise KeyError(f"no known field among {', '.join(record)}")


def texts(paths: list[Path]) -> list[str]:
    """The text of every row of every file."""
    found: list[str] = []
    for path in paths:
        with path.open("rb") as file:
            found.extend(map(text_of, map(orjson.loads, file)))
    return found


def shingles(text: str) -> list[str]:
    """Runs of three words; a shorter text is one shingle."""
    words = text.lower().split()
    if len(words) < 4:
        return [" ".join(words)]
    return list(map(" ".join, zip(words, words[1:], words[2:], strict=False)))
