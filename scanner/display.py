"""What a screen can show: text that cannot steer it, and progress, one line per stage while it runs."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO, cast

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.text import Text

from scanner import progress

_ASCII = str.maketrans({
    "≈": "~", "·": "-", "→": "->", "–": "-", "…": "...", "≥": ">=", "█": "#", "░": ".",
})  # fmt: skip
"""What stands for the signs of our own sentences where a console has no Unicode."""


def shows_unicode(console: Console) -> bool:
    """Whether a console can write all characters."""
    return (console.encoding or "").lower().replace("-", "").startswith("utf")


def plain(text: str, unicode: bool, style: str = "") -> Text:
    """Text that is never read as markup ([red] in a row is text); without Unicode it becomes ASCII."""
    return Text(text if unicode else text.translate(_ASCII).encode("ascii", "replace").decode(), style=style)


class Page:
    """A console, and how sentences and headings are put on it."""

    def __init__(self, console: Console):
        self.console = console
        self.unicode = shows_unicode(console)

    def plain(self, text: str, style: str = "") -> Text:
        """Text that cannot steer the terminal, in what the console can write (see `plain`)."""
        return plain(text, self.unicode, style)

    def say(self, text: str, style: str = "") -> None:
        """Print a line."""
        self.console.print(self.plain(text, style))

    def heading(self, text: str) -> None:
        """Print a heading, after an empty line."""
        self.say(f"\n{text}", "bold")


class _Trimmed:
    """A text stream whose lines get no spaces at their ends, with which rich fills the columns of a table."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        return self._stream.write(re.sub(" +(?=\n)", "", text))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def screen() -> Console:
    """Standard output; a file or a pipe gets lines without spaces at their ends."""
    if sys.stdout is None or sys.stdout.isatty():
        return Console()
    return Console(file=cast(TextIO, _Trimmed(sys.stdout)))


class ShownProgress(progress.Progress):
    """Stages as rich progress bars; finished stages stay as one line with their time."""

    def __init__(self, bars: Progress):
        super().__init__()
        self._bars = bars
        self._task: TaskID | None = None

    def begin(self, name: str, total: int) -> None:
        self._task = self._bars.add_task(name, total=total or None)

    def advance(self, steps: int = 1) -> None:
        if self._task is not None:
            self._bars.advance(self._task, steps)

    def end(self, name: str) -> None:
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None

    def say(self, message: str) -> None:
        self._bars.console.print(message, markup=False, highlight=False, soft_wrap=True)  # a command stays whole


@contextmanager
def shown_progress() -> Iterator[ShownProgress]:
    """A progress display on standard error that cleans up after itself."""
    columns = (SpinnerColumn(), TextColumn("{task.description:<34}", markup=False), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        yield ShownProgress(bars)
