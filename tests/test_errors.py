"""Errors that nobody foresaw: told without what they say themselves."""

from __future__ import annotations

import errno
import os

import polars as pl
import pyarrow as pa
import pytest

from scanner.errors import is_interrupt, limited, of_the_system, unforeseen


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


@pytest.mark.parametrize(
    ("number", "cure"),
    [
        (errno.ENOTDIR, "a file stands where a folder is expected: choose another name"),
        (errno.EEXIST, "a file stands where a folder is expected: choose another name"),
        (errno.EISDIR, "a folder stands where a file is expected: choose another name"),
        (errno.ENAMETOOLONG, "choose a shorter name"), (errno.EMFILE, "raise it (ulimit -n 1024)"),
        (errno.EROFS, "choose another place with --out or -o, or ask for the right to write there"),
    ],
)  # fmt: skip
def test_what_the_system_refuses_is_told_with_the_cure(number, cure):
    told = of_the_system(OSError(number, os.strerror(number), "a/b.jsonl"))
    assert told.startswith(f"{os.strerror(number)}: a/b.jsonl; ")
    assert told.endswith(cure)


def test_the_missing_right_is_named(tmp_path, monkeypatch):
    closed = {tmp_path / "in", tmp_path / "secret.parquet"}
    (tmp_path / "in").mkdir()
    (tmp_path / "secret.parquet").touch()
    (tmp_path / "full.parquet").touch()
    monkeypatch.setattr(os, "access", lambda path, mode: path not in closed)  # root may do anything

    def told(name):
        return of_the_system(PermissionError(errno.EACCES, "Permission denied", str(tmp_path / name)))

    assert f"in/a.jsonl; ask for the right to enter {tmp_path}/in (chmod u+x)" in told("in/a.jsonl")
    assert told("secret.parquet").endswith(
        "secret.parquet; ask for the right to read it (chmod u+r), or choose another"
    )
    assert told("full.parquet").endswith("; choose another place with --out or -o, or ask for the right to write there")


@pytest.mark.parametrize("read", [pl.read_parquet, pa.memory_map])
def test_the_system_speaks_through_polars_and_arrow_too(read, tmp_path):
    with pytest.raises(OSError, match="gone") as raised_by:
        read(str(tmp_path / "gone.arrow"))
    assert of_the_system(raised_by.value) == f"No such file or directory: {tmp_path}/gone.arrow"


@pytest.mark.parametrize(
    ("most", "said"),
    [(1_500_000 << 10, "is limited to 1.5 GB, and an audit takes about 3.3 GB"), (4 << 30, ""), (-1, "")],
)
def test_a_limit_of_the_address_space_is_told_where_an_audit_takes_more(monkeypatch, most, said):
    resource = pytest.importorskip("resource")
    monkeypatch.setattr(resource, "getrlimit", lambda what: (most, -1))
    told = limited()
    assert said in told
    assert bool(told) == bool(said)
