"""The run folder: private, whole, and refused with a reason where it is not."""

from __future__ import annotations

import errno
import gc
import json
import math
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import any_texts

from scanner.errors import RunError
from scanner.store import SCHEMA_VERSION, RunFolder
from scanner.writing import TEMPORARY


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*"))


def test_opening_removes_what_a_killed_run_left_and_nothing_else(tmp_path):
    run = RunFolder.open_for_writing(tmp_path / "r")
    for place in (run.path, run.private, run.index):
        (place / f"{TEMPORARY}1-half").write_bytes(b"x")
        (place / "kept").write_bytes(b"x")
    nested = run.path / f"{TEMPORARY}folder"
    nested.mkdir()
    (nested / f"{TEMPORARY}2-inner").write_bytes(b"x")
    RunFolder.open_for_writing(run.path)
    assert names(run.path) == ["index", "kept", "kept", "kept", "lock", "private"]


def test_the_run_belongs_to_its_owner_alone(tmp_path):
    folder = tmp_path / "deep" / "r"
    run = RunFolder.open_for_writing(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(run.private.stat().st_mode) == 0o700
    folder.chmod(0o755)
    RunFolder.open_for_writing(folder)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_reading_creates_nothing(tmp_path):
    run = RunFolder(tmp_path / "r")
    assert not run.has_table("rows")
    with pytest.raises(RunError, match=r"is not a run folder: there is no such folder; create one with `scan DATASET`"):
        RunFolder.open_finished(run.path)
    (tmp_path / "data.jsonl").touch()
    with pytest.raises(RunError, match=r"data\.jsonl is not a run folder: it is a file; create one"):
        RunFolder.open_finished(tmp_path / "data.jsonl")
    run.path.mkdir()
    with pytest.raises(RunError, match=r"holds no finished run: scan\.json is missing; run `scan DATASET` again"):
        RunFolder.open_finished(run.path)
    with pytest.raises(RunError, match=r"has no rows\.parquet; run the audit again"):
        run.read_table("rows")
    with pytest.raises(RunError, match="no longer holds the text"):
        run.segments()
    assert names(run.path) == []


def test_json_has_null_for_what_was_not_measured(tmp_path):
    run = RunFolder.open_for_writing(tmp_path / "r")
    values = {
        "schema_version": SCHEMA_VERSION,
        "nan": math.nan, "inf": np.float32("inf"), "array": np.array([1.5, math.nan]), "int": np.int64(2**62), 3: True,
        "flag": np.bool_(False), "path": Path("a/b"), "tuple": (1, None), "text": "é中", "lone": "a\ud800",
    }  # fmt: skip
    run.write_json("scan.json", values)
    assert run.read_json("scan.json") == {
        "schema_version": SCHEMA_VERSION,
        "nan": None, "inf": None, "array": [1.5, None], "int": 2**62, "3": True, "flag": False, "path": "a/b",
        "tuple": [1, None], "text": "é中", "lone": "a?",
    }  # fmt: skip
    assert RunFolder.open_finished(run.path).path == run.path
    assert "NaN" not in (run.path / "scan.json").read_text()


def test_tables_and_arrays_round_trip(tmp_path):
    run = RunFolder.open_for_writing(tmp_path / "r")
    frame = pl.DataFrame({"row_id": [1, 2], "x": [0.5, None], "name": ["a", "é"]})
    run.write_table("rows", frame)
    assert run.read_table("rows").equals(frame)
    assert run.read_table("rows", ["name"]).columns == ["name"]
    assert run.read_table("rows", where=pl.col("x") > 0).equals(frame[:1])
    assert run.read_table("rows", ["name"], pl.col("x").is_null()).rows() == [("é",)]
    array = np.arange(6, dtype=np.uint32).reshape(2, 3)
    run.write_array("signature", array)
    mapped = run.read_array("signature")
    assert isinstance(mapped, np.memmap)
    assert not mapped.flags.writeable
    assert (mapped == array).all()
    assert names(run.path) == ["index", "lock", "private", "rows.parquet", "signature.npy"]


def test_an_array_that_does_not_fit_is_named_with_the_reason(tmp_path):
    resource = pytest.importorskip("resource")
    run = RunFolder.open_for_writing(tmp_path / "r")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(OSError, match="large") as caught:
            run.write_array("minhash", np.zeros(10_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(run.index / "minhash.npy"))
    assert names(run.index) == []


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), any_texts),
        lambda v: st.one_of(st.lists(v, max_size=3), st.dictionaries(any_texts, v, max_size=3)),
    )
)
def test_any_plain_value_can_be_written(tmp_path_factory, value):
    run = RunFolder(tmp_path_factory.mktemp("r"))
    run.write_json("v.json", value)
    json.loads((run.path / "v.json").read_text("utf-8"), parse_constant=lambda name: pytest.fail(name))


@pytest.mark.parametrize("name", ["rows.parquet", "scan.json", "index/row_id.npy", "private/segments.arrow"])
@pytest.mark.parametrize("content", [b"", b"PAR1 jane@roe.net", b'{"jane@roe.net', b"\x93NUMPY"])
@pytest.mark.parametrize("where", [None, pl.col("row_id") == 1])
def test_a_damaged_file_of_a_run_is_named_and_nothing_of_it_is_said(tmp_path, name, content, where):
    run = RunFolder.open_for_writing(tmp_path / "r")
    (run.path / name).write_bytes(content)

    def read():
        if name == "rows.parquet":
            run.read_table("rows", where=where)
        elif name == "scan.json":
            run.read_json("scan.json")
        elif name == "index/row_id.npy":
            run.read_array("row_id")
        else:
            run.segments()

    with pytest.raises(RunError, match=r"is damaged or cut short \(\w+\); copy the run folder again") as caught:
        read()
    assert name in str(caught.value)
    assert "roe" not in str(caught.value)


@pytest.mark.parametrize("facts", [{"schema_version": 1}, {}])
def test_a_run_of_another_version_is_refused_before_its_tables_are_read(tmp_path, facts):
    run = RunFolder.open_for_writing(tmp_path / "r")
    run.write_json("scan.json", facts)
    with pytest.raises(RunError, match="a version whose tables have other columns"):
        RunFolder.open_finished(run.path)


def test_two_processes_do_not_write_into_one_folder(tmp_path):
    run = RunFolder.open_for_writing(tmp_path / "r")
    (run.path / f"{TEMPORARY}rows.parquet").touch()
    other = (
        "import sys; from pathlib import Path\n"
        "from scanner.errors import RunError; from scanner.store import RunFolder\n"
        "try: RunFolder.open_for_writing(Path(sys.argv[1]))\n"
        "except RunError as error: print(error)\n"
    )

    def told():
        command = [sys.executable, "-c", other, run.path]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert "is being written by another process; wait until it is done" in told()
    assert (run.path / f"{TEMPORARY}rows.parquet").exists()
    again = RunFolder.open_for_writing(run.path)  # this process may
    del run, again
    gc.collect()
    run = RunFolder(tmp_path / "r")
    assert told() == ""


def test_a_folder_whose_name_is_not_utf8_is_refused_and_told(tmp_path):
    with pytest.raises(RunError, match=r"r\\xff: the name is not UTF-8, .*; choose another with --out"):
        RunFolder.open_for_writing(tmp_path / "r\udcff")
    assert not list(tmp_path.iterdir())
