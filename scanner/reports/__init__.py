"""Reports: a finished run folder -> bytes.

Every file here offers `NAME`, `EXTENSION` and `render(run, text) -> bytes`, with text one of masked, none, full; the
terminal also offers `show(run, console, text)`. `summarise` makes the figures that scan.json keeps.
"""

from __future__ import annotations

from pathlib import Path

from scanner.plugins import load
from scanner.reports._summary import summarise
from scanner.store import RunFolder
from scanner.writing import write_bytes

__all__ = ["render", "summarise", "write"]


def render(run: RunFolder, name: str, text: str = "masked") -> bytes:
    """One report of a finished run; an unknown name is answered with the known ones (SettingsError)."""
    content: bytes = load("scanner.reports", name).render(run, text)
    return content


def write(run: RunFolder, name: str, text: str = "masked") -> Path:
    """Write RUN/report.<extension> atomically; returns where."""
    path = run.path / f"report.{load('scanner.reports', name).EXTENSION}"
    write_bytes(path, render(run, name, text))
    return path
