"""A file that others cut short, or write to, while it is read: no signal ends the process, and the file is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scanner import formats, ingest, inputs, mapped, pipeline
from scanner.deduplicating import find_duplicates
from scanner.errors import InputError
from scanner.objects import Source
from scanner.settings import Settings

ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the signal is caught on Linux only")
ROW = '{"instruction": "Say what rain number %06d is.", "output": "Water that falls from clouds, in %d drops."}\n'
ROWS = 40_000  # more than one run of records


def write(path: Path, rows: int = ROWS) -> Path:
    path.write_text("".join(ROW % (i, i) for i in range(rows)))
    return path


def source(path: Path) -> Source:
    (found,) = formats.discover([str(path)])
    return found


def in_a_process_of_its_own(script: str, *arguments: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True, timeout=120
    )


READERS = {
    "the interpreter": "seen = [len(data.tobytes().rstrip(bytes(1))) for data in (first, second)]",
    "a kernel without the lock of the interpreter, in a thread": """
from concurrent.futures import ThreadPoolExecutor
from scanner.formats._elements import line_spans
with ThreadPoolExecutor(1) as pool:
    found = [pool.submit(line_spans, data).result() for data in (first, second)]
seen = [int(end[0] - start[0]) - 4_995_000 for start, end, line in found]  # one line, zeros and all
""",
    "a thread of pyarrow": """
import pyarrow as pa
import pyarrow.compute as pc
seen = [pc.sum(pc.equal(pa.array(data), ord("x"))).as_py() for data in (first, second)]
""",
}
"""Python that puts what stands in both mappings into `seen`: bytes that are not zero."""


@ON_LINUX
@pytest.mark.parametrize("reader", READERS)
def test_what_is_gone_reads_as_zeros_and_is_told(tmp_path, reader):
    script = f"""
import os, sys
from pathlib import Path
from scanner import mapped
path = Path(sys.argv[1])
with path.open("rb") as file:
    first, second = mapped.mapped(file, path), mapped.mapped(file, path)
os.truncate(path, 5000)
{READERS[reader]}
print(*seen, mapped._torn == {{path}}, len(mapped._mapped))
data = None
del first, second
print(len(mapped._mapped))
"""
    path = tmp_path / "d"
    path.write_bytes(b"x" * 5_000_000)
    done = in_a_process_of_its_own(script, path)
    assert done.stdout.split() == ["5000", "5000", "True", "2", "0"], done.stderr


@ON_LINUX
def test_a_signal_of_another_memory_ends_the_process_as_ever(tmp_path):
    script = """
import mmap, os, sys
from pathlib import Path
from scanner import mapped
path = Path(sys.argv[1])
with path.open("rb") as file:
    ours, other = mapped.mapped(file, path), mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
os.truncate(path, 0)
print(len(ours.tobytes()), flush=True)
print(other[9000])
"""
    path = tmp_path / "d"
    path.write_bytes(b"x" * 50_000)
    done = in_a_process_of_its_own(script, path)
    assert (done.stdout, done.returncode) == ("50000\n", -signal.SIGBUS)


CUT = """
import os, sys
from pathlib import Path
from scanner import %s
path, real = Path(sys.argv[1]), %s
def cutting(*given, **named):
    os.truncate(path, 100_000)
    return real(*given, **named)
%s = cutting
from scanner.settings import Settings
from scanner.errors import InputError
try:
    %s
except InputError as error:
    print(error)
"""


@ON_LINUX
@pytest.mark.parametrize(
    ("module", "cut", "call"),
    [
        (
            "flatreading",
            "flatreading.decode",
            "__import__('scanner').audit([str(path)], Settings(), path.parent / 'r')",
        ),
        ("flatreading", "flatreading.decode", "__import__('scanner').find_duplicates([path])"),
        ("stages", "stages.find_likeness", "__import__('scanner').find_duplicates([path])"),
    ],
)
def test_a_file_cut_short_while_it_is_read_is_refused_in_words(tmp_path, module, cut, call):
    path = write(tmp_path / "d.jsonl")
    size = path.stat().st_size
    done = in_a_process_of_its_own(CUT % (module, cut, cut, call), path)
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        f"d.jsonl: changed while it was read (it had {size:,} bytes and has 100,000 now); expected a file that nobody "
        "writes to; wait until it is written, or give a copy of it\n"
    )


def append(path: Path) -> None:
    with path.open("a") as file:
        file.write(ROW % (0, 0))


def append_before(monkeypatch, module, name: str, path: Path) -> None:
    """Let a function of a module find that a record was appended to the file first."""
    real = getattr(module, name)

    def appending(*given):
        append(path)
        return real(*given)

    monkeypatch.setattr(module, name, appending)


def rewrite(path: Path) -> None:
    before = path.stat().st_mtime_ns
    path.write_bytes(path.read_bytes())
    os.utime(path, ns=(before, before + 1))


CHANGES = {
    r"it had 5,340 bytes and has 5,4\d\d now": append,
    "it still has 5,340 bytes": rewrite,
    "it is no longer there": Path.unlink,
}


@pytest.mark.parametrize("seen", CHANGES)
def test_every_change_while_a_file_is_read_is_told(tmp_path, seen):
    path = write(tmp_path / "d.jsonl", 50)
    wanted = rf"d\.jsonl: changed while it was read \({seen}\); expected a file"
    records = formats.read(source(path), Settings())
    next(records)
    CHANGES[seen](path)
    with pytest.raises(InputError, match=wanted):
        next(records)


def test_what_goes_wrong_in_a_file_that_stays_is_told_as_it_is_and_else_the_change(tmp_path):
    some = source(write(tmp_path / "d.jsonl", 5))
    with pytest.raises(ValueError, match="mine"), mapped.steady([some]):
        raise ValueError("mine")

    def mangle() -> None:
        append(some.path)
        raise ValueError("mine")

    with pytest.raises(InputError, match="changed while it was read"), mapped.steady([some]):
        mangle()


def test_a_stream_that_is_left_early_asks_for_nothing(tmp_path):
    path = write(tmp_path / "d.jsonl")
    records = formats.read(source(path), Settings())
    next(records)
    append(path)
    records.close()  # type: ignore[attr-defined]


def test_a_cleaned_file_of_an_input_that_changed_meanwhile_does_not_appear(tmp_path, monkeypatch):
    path = write(tmp_path / "d.jsonl", 60)
    run = pipeline.audit([str(path)], Settings(semantic=False), tmp_path / "d.scan")
    append_before(monkeypatch, formats.load("jsonl"), "write", path)
    with pytest.raises(InputError, match="changed while it was read"):
        pipeline.apply(run.path, tmp_path / "clean.jsonl")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["d.jsonl", "d.scan"]


def test_an_audit_of_a_file_that_grows_while_its_last_piece_is_read_is_refused(tmp_path, monkeypatch):
    path = write(tmp_path / "d.jsonl", 60)
    append_before(monkeypatch, ingest, "segment", path)
    with pytest.raises(InputError, match="changed while it was read"):
        find_duplicates([path])


def test_an_audit_reads_what_it_hashed(tmp_path, monkeypatch):
    path = write(tmp_path / "d.jsonl", 60)
    whole, real = path.read_bytes(), inputs.sha256_of

    def cut_once_hashed(*given):
        digests = real(*given)
        path.write_bytes(whole[: len(whole) // 2])
        return digests

    with monkeypatch.context() as patch:
        patch.setattr(inputs, "sha256_of", cut_once_hashed)
        with pytest.raises(InputError, match=r"changed while it was read \(it had 6,\d+ bytes and has 3,\d+ now"):
            pipeline.audit([str(path)], Settings(semantic=False), tmp_path / "d.scan")
    path.write_bytes(whole)
    run = pipeline.audit([str(path)], Settings(semantic=False), tmp_path / "d.scan")
    assert run.read_json("scan.json")["rows_read"] == 60


def test_an_empty_file_maps_to_nothing(tmp_path):
    path = tmp_path / "d"
    path.touch()
    with path.open("rb") as file:
        assert len(mapped.mapped(file, path)) == 0
    path.write_bytes(b"abc")
    with path.open("rb") as file:
        assert np.array_equal(mapped.mapped(file, path), np.frombuffer(b"abc", np.uint8))
