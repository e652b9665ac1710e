"""The run folder: atomic, private, memory-mapped."""

from __future__ import annotations

import errno
import gc
import itertools
import json
import math
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from corpora import write_segments
from hypothesis import given
from hypothesis import strategies as st
from strategies import any_texts, texts

from scanner import store
from scanner.errors import RunError
from scanner.jsontext import path_of
from scanner.objects import ROLES, Segment
from scanner.store import RunFolder, SegmentWriter, atomic, pointer


class BrokenError(Exception):
    pass


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("*"))


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    def write(text, problem=None):
        with atomic(tmp_path / "a.txt") as temporary:
            temporary.write_text(text)
            assert not (tmp_path / "a.txt").exists() or (tmp_path / "a.txt").read_text() != text
            if problem:
                raise problem

    with pytest.raises(BrokenError):
        write("half", BrokenError())
    assert names(tmp_path) == []
    write("whole")
    with pytest.raises(BrokenError):
        write("half", BrokenError())
    assert names(tmp_path) == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "whole"


def test_broken_segments_leave_nothing(segments_of, tmp_path):
    def write():
        with SegmentWriter(tmp_path / "segments.arrow"):
            raise BrokenError

    with pytest.raises(BrokenError):
        write()
    assert names(tmp_path) == []


def test_opening_removes_what_a_killed_run_left_and_nothing_else(tmp_path):
    run = RunFolder.open_for_writing(tmp_path / "r")
    for place in (run.path, run.private, run.index):
        (place / f"{store.TEMPORARY}1-half").write_bytes(b"x")
        (place / "kept").write_bytes(b"x")
    nested = run.path / f"{store.TEMPORARY}folder"
    nested.mkdir()
    (nested / f"{store.TEMPORARY}2-inner").write_bytes(b"x")
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
        "schema_version": store.SCHEMA_VERSION,
        "nan": math.nan, "inf": np.float32("inf"), "array": np.array([1.5, math.nan]), "int": np.int64(2**62), 3: True,
        "flag": np.bool_(False), "path": Path("a/b"), "tuple": (1, None), "text": "é中", "lone": "a\ud800",
    }  # fmt: skip
    run.write_json("scan.json", values)
    assert run.read_json("scan.json") == {
        "schema_version": store.SCHEMA_VERSION,
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
    array = np.arange(6, dtype=np.uint32).reshape(2, 3)
    run.write_array("signature", array)
    mapped = run.read_array("signature")
    assert isinstance(mapped, np.memmap)
    assert not mapped.flags.writeable
    assert (mapped == array).all()
    assert names(run.path) == ["index", "lock", "private", "rows.parquet", "signature.npy"]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ((), ""),
        (("a",), "/a"),
        (("turns", 3, "a/b"), "/turns/3/a~1b"),
        (("~1",), "/~01"),
        (("",), "/"),
        (("m~n/",), "/m~0n~1"),
    ],
)
def test_pointer_is_rfc_6901(path, expected):
    assert pointer(path) == expected


@given(st.lists(st.one_of(st.text(st.sampled_from("a~/01 é"), max_size=4), st.integers(0, 3)), max_size=4))
def test_a_pointer_leads_back_to_its_path(path):
    record: object = "leaf"
    for step in reversed(path):
        record = {step: record} if isinstance(step, str) else [None] * step + [record]
    assert path_of(pointer(tuple(path)), record) == tuple(path)


rows_strategy = st.lists(
    st.lists(
        st.builds(lambda r, t: Segment((r,), r, 0, True, t), st.sampled_from(ROLES), texts), min_size=1, max_size=3
    ),
    min_size=1,
    max_size=7,
)


@given(rows_strategy, st.integers(1, 4))
def test_batches_are_views_of_whole_rows(tmp_path_factory, rows, per_batch):
    path = tmp_path_factory.mktemp("s") / "segments.arrow"
    ids = [3 * i for i in range(len(rows))]
    write_segments(path, rows, ids, per_batch)
    reader = store.SegmentReader(path)
    found, first = {}, 0
    for batch in reader:
        assert batch.first == first
        first += len(batch)
        for array in (batch.row_id, batch.segment, batch.turn, batch.role, batch.offsets, batch.data):
            if not array.size:
                continue
            assert not array.flags.writeable
            assert not array.flags.owndata
        starts = batch.row_starts()
        assert starts[-1] == len(batch)
        for begin, end in itertools.pairwise(starts):
            assert len(set(batch.row_id[begin:end].tolist())) == 1
            assert batch.segment[begin:end].tolist() == list(range(end - begin))
            found[int(batch.row_id[begin])] = [
                (ROLES[batch.role[i]], batch.data[batch.offsets[i] : batch.offsets[i + 1]].tobytes().decode())
                for i in range(begin, end)
            ]
    assert found == {i: [(s.role, s.text) for s in r] for i, r in zip(ids, rows, strict=True)}
    frame = reader.frame(["row_id", "role", "text"])
    assert [(i, str(role), text) for i, role, text in frame.iter_rows()] == [
        (i, s.role, s.text) for i, r in zip(ids, rows, strict=True) for s in r
    ]
    assert sum(len(f) for f in reader.text_frames()) == first


def test_rows_are_found_in_any_batch(segments_of):
    run = segments_of(["one", "two", "three", "four"], row_ids=[2, 5, 6, 9], per_batch=2).run
    reader = run.segments()
    assert reader.rows([9, 5, 5, 7])["text"].to_list() == ["two", "four"]
    assert reader.rows([5], ["text", "row_id"]).rows() == [("two", 5)]
    for missing in ([], [0], [7], [100]):
        assert reader.rows(missing).is_empty()
        assert reader.rows(missing, ["row_id", "role"]).columns == ["row_id", "role"]
    assert reader.rows([2, 9])["role"].cast(pl.String).to_list() == ["text", "text"]


@given(st.data())
def test_segments_of_some_rows_are_those_of_their_batches(tmp_path_factory, data):
    made = data.draw(st.lists(st.lists(texts, min_size=1, max_size=3), min_size=1, max_size=8))
    rows = [[Segment((str(i),), "user", 0, i == 1, text) for i, text in enumerate(row)] for row in made]
    path = tmp_path_factory.mktemp("rows") / "segments.arrow"
    write_segments(path, rows, [3 * i for i in range(len(rows))], data.draw(st.integers(1, 9)))
    wanted = data.draw(st.lists(st.integers(0, len(rows) - 1), unique=True).map(sorted))
    found = store.SegmentReader(path).segments_of(np.array(wanted, np.int64))
    for some, at in ((found, range(len(wanted))), (found.take(np.arange(len(wanted))), range(len(wanted)))):
        for place in at:
            segments = range(some.row_start[place], some.row_start[place + 1])
            assert [some.data[some.begin[s] : some.end[s]].tobytes().decode() for s in segments] == made[wanted[place]]
            assert some.segment[segments].tolist() == list(range(len(segments)))
            assert some.supervised[segments].tolist() == [i == 1 for i in range(len(segments))]
            assert (some.role[segments] == ROLES.index("user")).all()
    pieces = found.split(3)
    assert [i for at, _ in pieces for i in range(at.start, at.stop)] == list(range(len(wanted)))
    for at, piece in pieces:
        twin = found.take(np.arange(at.start, at.stop))
        for name in ("begin", "end", "row_start", "segment", "role", "supervised"):
            assert np.array_equal(getattr(piece, name), getattr(twin, name)), name


def test_an_empty_file_of_segments_has_no_batches(tmp_path):
    with SegmentWriter(tmp_path / "segments.arrow"):
        pass
    reader = store.SegmentReader(tmp_path / "segments.arrow")
    assert list(reader) == []
    assert reader.frame().is_empty()
    assert reader.rows([0]).is_empty()


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
def test_a_damaged_file_of_a_run_is_named_and_nothing_of_it_is_said(tmp_path, name, content):
    run = RunFolder.open_for_writing(tmp_path / "r")
    (run.path / name).write_bytes(content)

    def read():
        if name == "rows.parquet":
            run.read_table("rows")
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
    (run.path / f"{store.TEMPORARY}rows.parquet").touch()
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
    assert (run.path / f"{store.TEMPORARY}rows.parquet").exists()
    again = RunFolder.open_for_writing(run.path)  # this process may
    del run, again
    gc.collect()
    run = RunFolder(tmp_path / "r")
    assert told() == ""


def test_an_error_names_the_file_and_not_its_temporary_name(tmp_path):
    with pytest.raises(FileNotFoundError) as caught:
        store.write_bytes(tmp_path / "gone" / "x.pkl", b"")
    assert caught.value.filename == str(tmp_path / "gone" / "x.pkl")


FULL = """
import os, resource, sys
import numpy as np, polars as pl, pyarrow as pa
from pathlib import Path
from scanner import store
folder = Path(sys.argv[1])
text = np.random.default_rng(0).bytes(100_000).hex()
frame = pl.DataFrame({"text": [text]})
batch = pa.RecordBatch.from_pylist([{"row_id": 1, "text": text}], store.SEGMENT_SCHEMA)
def segments(path):
    with store.SegmentWriter(path) as writer:
        writer.append(batch)
ways = {
    "a.json": lambda path: store.write_bytes(path, text.encode()), "a.csv": lambda path: store.write_table(path, frame),
    "a.parquet": lambda path: store.write_table(path, frame), "a.arrow": segments,
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
    assert names(tmp_path) == []


def test_a_folder_that_must_not_be_written_to_is_told_without_temporary_names(tmp_path):
    told = "Permission denied (os error 13): /somewhere/.tmp-1-rows.parquet"
    with pytest.raises(PermissionError) as error, atomic(tmp_path / "rows.parquet"):
        raise PermissionError(told)  # as polars does
    assert (error.value.errno, error.value.filename) == (errno.EACCES, str(tmp_path / "rows.parquet"))
    with pytest.raises(OSError, match=r"^no such data$"), atomic(tmp_path / "rows.parquet"):
        raise OSError("no such data")
