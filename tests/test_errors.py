"""Errors that nobody foresaw: told without what they say themselves."""

from __future__ import annotations

import pytest

from scanner.errors import is_interrupt, unforeseen


def raised(cause: BaseException | None, problem: Exception) -> Exception:
    try:
        raise problem from cause
    except Exception as error:
        return error


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (KeyboardInterrupt(), True), (ValueError(), False), (raised(KeyboardInterrupt(), SystemError()), True),
        (raised(raised(KeyboardInterrupt(), SystemError()), OSError()), True), (raised(ValueError(), OSError()), False),
    ],
)  # fmt: skip
def test_an_interrupt_is_known_behind_other_errors(error, is_one):
    assert is_interrupt(error) is is_one


def test_an_unforeseen_error_is_placed_and_not_repeated():
    told = unforeseen(raised(None, ValueError("jane@roe.net")))
    assert told.startswith("a fault of sftscan (ValueError at test_errors.py:")
    assert "roe" not in told
