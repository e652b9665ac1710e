"""Files are written whole or not at all, and what stops it is told with the name that the user knows."""

from __future__ import annotations

import errno
import subprocess
import sys

import pytest

from scanner import writing
from scanner.writing import atomic, together, write_bytes


class BrokenError(Exception):
    pass


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    def write(text, problem=None):
        with atomic(tmp_path / "a.txt") as temporary:
            temporary.write_text(text)
            assert not (tmp_path / "a.txt").exists() or (tmp_path / "a.txt").read_text() != text
            if problem:
                raise problem

    with pytest.raises(BrokenError):
        write("half", BrokenError())
    assert not list(tmp_path.iterdir())
    write("whole")
    with pytest.raises(BrokenError):
        write("half", BrokenError())
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "whole"


def test_an_error_names_the_file_and_not_its_temporary_name(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        write_bytes(tmp_path / "gone" / "x.pkl", b"")
    assert caught.value.filename == str(tmp_path / "gone" / "x.pkl")


FULL = """
import os, resource, sys
import numpy as np, polars as pl, pyarrow as pa
from pathlib import Path
from scanner import storedtext, writing
folder = Path(sys.argv[1])
text = np.random.default_rng(0).bytes(100_000).hex()
frame = pl.DataFrame({"text": [text]})
batch = pa.RecordBatch.from_pylist([{"row_id": 1, "text": text}], storedtext.SEGMENT_SCHEMA)
def segments(path):
    with storedtext.SegmentWriter(path) as writer:
        writer.append(batch)
ways = {
    "a.json": lambda path: writing.write_bytes(path, text.encode()),
    "a.csv": lambda path: writing.write_table(path, frame),
    "a.parquet": lambda path: writing.write_table(path, frame),
    "a.arrow": segments,
}
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
for name, way in ways.items():
    try:
        way(folder / name)
    except OSError as error:
        print(name, error.errno, error.filename == str(folder / name))
"""


def test_what_a_full_disk_refuses_is_told_with_the_name_that_the_user_knows(tmp_path):
    """A limit on the size of files stands for the disk."""
    pytest.importorskip("resource")
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(tmp_path)], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines() == [f"{n} {errno.EFBIG} True" for n in ("a.json", "a.csv", "a.parquet", "a.arrow")]
    assert not list(tmp_path.iterdir())


def test_a_folder_that_must_not_be_written_to_is_told_without_temporary_names(tmp_path):
    told = "Permission denied (os error 13): /somewhere/.tmp-1-rows.parquet"
    with pytest.raises(PermissionError) as error, atomic(tmp_path / "rows.parquet"):
        raise PermissionError(told)  # as polars does
    assert (error.value.errno, error.value.filename) == (errno.EACCES, str(tmp_path / "rows.parquet"))
    with pytest.raises(OSError, match=r"^no such data$"), atomic(tmp_path / "rows.parquet"):
        raise OSError("no such data")


@pytest.mark.parametrize("error", [OSError(errno.EIO, "Input/output error"), KeyboardInterrupt()])
@pytest.mark.parametrize("failing", range(5))
def test_several_files_appear_together_or_none_does_at_whatever_renaming_it_stops(
    tmp_path, monkeypatch, failing, error
):
    """Three new files, two of which take the place of old ones: five renamings."""
    (tmp_path / "a").write_text("old a")
    (tmp_path / "c").write_text("old c")
    done = 0

    def replace(old, new):
        nonlocal done
        done += 1
        if done == failing + 1:
            raise error
        rename(old, new)

    def write():
        with together() as place:
            for name in ("a", "b", "c"):
                place(tmp_path / name).write_text(f"new {name}")

    def seen():
        return {path.name: path.read_text() for path in tmp_path.iterdir()}

    rename = writing.os.replace
    with monkeypatch.context() as patched:
        patched.setattr(writing.os, "replace", replace)
        with pytest.raises(type(error)):
            write()
    assert seen() == {"a": "old a", "c": "old c"}
    write()
    assert seen() == {name: f"new {name}" for name in ("a", "b", "c")}


def test_the_first_of_several_files_appears_last(tmp_path, monkeypatch):
    order = []
    rename = writing.os.replace
    monkeypatch.setattr(writing.os, "replace", lambda old, new: (order.append(new.name), rename(old, new)))
    with together() as place:
        for name in ("data", "manifest"):
            place(tmp_path / name).write_text(name)
    assert order == ["manifest", "data"]


def test_a_folder_that_stands_in_the_way_stays_and_nothing_appears(tmp_path):
    (tmp_path / "a" / "full").mkdir(parents=True)

    def write():
        with together() as place:
            for name in ("a", "b"):
                place(tmp_path / name).write_text("new")

    with pytest.raises(IsADirectoryError):
        write()
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a" / "full").is_dir()
