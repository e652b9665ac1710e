"""One screen, in any console."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import synthetic
from rich.console import Console

from scanner.reports import terminal
from scanner.store import RunFolder


def printed(run: RunFolder, width: int, encoding: str = "utf-8", color: bool = False) -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding, errors="strict")
    console = Console(file=file, width=width, color_system="truecolor" if color else None, force_terminal=color)
    terminal.show(run, console)
    file.flush()
    return raw.getvalue().decode(encoding)


def test_one_screen(demo: RunFolder) -> None:
    lines = terminal.render(demo).decode().splitlines()
    assert len(lines) <= 42
    assert max(len(line) for line in lines if not line.startswith("  ")) <= 100


def test_says_what_to_do_next(demo: RunFolder) -> None:
    shown = " ".join(terminal.render(demo).decode().split())
    assert "-o clean.jsonl" in shown
    assert "scan explain" in shown
    assert "carry" in shown
    assert "2 records skipped: demo.jsonl:" in shown
    assert "Not calibrated" in shown


@pytest.mark.parametrize("width", [30, 60, 80, 200])
def test_fits_any_width(demo: RunFolder, width: int) -> None:
    screen, commands = printed(demo, width).split("\nNext\n")
    assert max(map(len, screen.splitlines())) <= width
    assert f"  scan explain {demo.path} " in commands


def test_console_without_unicode(demo: RunFolder) -> None:
    assert "private data" in printed(demo, 100, "ascii")


def test_hostile_text_is_shown_harmlessly(tmp_path: Path) -> None:
    made = synthetic.small(1)
    hostile = "\x1b[2J\x1b]0;title\x07[red]markup[/red] [/] [link=x]\u202eabc"
    answer = "The quick brown fox jumps over the lazy dog and on and on it goes until the end of the long day"
    made.texts[0] = (hostile, "", answer)
    run = synthetic.write(made, tmp_path / "[bold]run.scan")
    shown = printed(run, 140, color=True)
    assert "\x1b[2J" not in shown
    assert "\x1b]" not in shown
    assert "\u202e" not in shown
    assert "[red]markup[/red]" in shown
    assert "[bold]run.scan" in shown
