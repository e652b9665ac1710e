"""Fixtures that put bytes into a file and read or rewrite it."""

from pathlib import Path
from typing import Any

import pytest
from reading import Contents, read_source

from scanner import formats
from scanner.objects import Edits, Written
from scanner.settings import Settings


@pytest.fixture
def contents(tmp_path):
    """contents(name, bytes) -> Contents of the one source in a file of that name."""

    def read(name: str, raw: bytes, first_row: int = 0, **settings: Any) -> Contents:
        path = tmp_path / name
        path.write_bytes(raw)
        (source,) = formats.discover([str(path)])
        return read_source(source, Settings(**settings), first_row)

    return read


@pytest.fixture
def rewritten(tmp_path):
    """rewritten(name, bytes, edits) -> (bytes written, Written)."""

    def write(name: str, raw: bytes, edits: Edits | None = None) -> tuple[bytes, Written]:
        path = tmp_path / name
        path.write_bytes(raw)
        (source,) = formats.discover([str(path)])
        out = Path(tmp_path / "written")
        with out.open("wb") as sink:
            done = formats.load(source.format).write(source, Settings(), edits or Edits(), sink)
        return out.read_bytes(), done

    return write
