"""What a console cannot write, or would take for a command, does not reach it."""

from __future__ import annotations

import io
import sys

import pytest
from rich.console import Console
from rich.table import Table

from scanner import display


@pytest.mark.parametrize(("unicode", "shown"), [(True, "≥ 0.8 · [red]é[/red] …"), (False, ">= 0.8 - [red]?[/red] ...")])
def test_text_is_no_markup_and_becomes_ascii_where_it_must(unicode, shown):
    assert display.plain("≥ 0.8 · [red]é[/red] …", unicode).plain == shown


@pytest.mark.parametrize(
    ("encoding", "unicode"), [("utf-8", True), ("UTF8", True), ("ascii", False), ("cp1252", False)]
)
def test_the_encoding_of_a_console_says_what_it_shows(encoding, unicode):
    console = Console(file=io.TextIOWrapper(io.BytesIO(), encoding=encoding))
    assert display.shows_unicode(console) == unicode


@pytest.mark.parametrize("is_terminal", [True, False])
def test_a_pipe_gets_no_spaces_at_the_ends_of_lines(is_terminal, monkeypatch):
    out = io.StringIO()
    out.isatty = lambda: is_terminal
    monkeypatch.setattr(sys, "stdout", out)
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_row("  a b", "long")
    table.add_row("longer", "c")
    display.screen().print(table)
    lines = out.getvalue().splitlines()
    assert [line.rstrip() for line in lines] == ["  a b   long", "longer  c"]
    assert any(line != line.rstrip() for line in lines) == is_terminal


def test_a_closed_standard_output_is_no_error(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    display.screen().print("nobody reads it")


def test_what_is_said_stays_on_one_line(capsys, monkeypatch):
    """It may end in a command, to be copied."""
    monkeypatch.setenv("COLUMNS", "40")
    command = f"to go on: scan rehearse {'folder/' * 20}demo.scan --rows 60"
    with display.shown_progress() as progress:
        progress.say(command)
    assert command in capsys.readouterr().err.splitlines()
