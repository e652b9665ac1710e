"""What a console cannot write, or would take for a command, does not reach it."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

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
