"""Plain text: every line that is not blank is one document, read as {"text": line}."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from scanner.errors import OutputError
from scanner.formats._elements import (
    Elements,
    Texts,
    line_elements,
    value_runs,
    write_elements,
)
from scanner.formats._files import content
from scanner.objects import Edits, Records, Source, Written
from scanner.settings import Settings

NAME = "text"
DESCRIPTION = "plain text, one document per line"
EXTENSIONS = (".txt", ".text")
FOLDER = False


def sniff(path: Path, first: bytes, extension: str) -> float:
    """How sure these first bytes are plain text, 0 to 1."""
    if extension in EXTENSIONS:
        return 0.8
    return 0.0 if b"\0" in first else 0.1


def elements(source: Source, settings: Settings) -> Elements:
    """Where the lines stand."""
    return line_elements(source, content(source, settings.max_decompressed_bytes))


def read(source: Source, settings: Settings, first_row: int) -> Iterator[Records]:
    """Lines as {"text": line}; bytes that are not UTF-8 become U+FFFD."""
    yield from value_runs(source, elements(source, settings), first_row, _parse)


def _parse(raw: bytes) -> tuple[dict[str, Any], str]:
    return {"text": raw.decode("utf-8", "replace")}, ""


def write(source: Source, settings: Settings, edits: Edits, sink: IO[bytes]) -> Written:
    """The file with lines dropped or changed, every other byte as it was."""
    return write_elements(elements(source, settings), edits, sink, _replace)


def _replace(raw: bytes, texts: Texts) -> bytes:
    text = texts[("text",)]
    if "\n" in text or "\r" in text:
        raise OutputError(
            f"a new text of {len(text)} characters holds a line break, which would make two documents of one; "
            "expected one line"
        )
    return text.encode("utf-8", "replace")
