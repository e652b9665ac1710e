"""The cleaned original: packed as its name says, whole or not at all, archives kept together."""

import gzip
import json
import os
import zipfile
from dataclasses import replace

import pytest
import zstandard

from scanner import formats, outputs
from scanner.errors import OutputError
from scanner.objects import Edits
from scanner.outputs import Part, original
from scanner.settings import Settings
from scanner.writing import together

RAW = b'{"a": "1"}\n{"a": "2"}\n{"a": "3"}\n'
EDITS = Edits(0, frozenset({1}), {2: {("a",): "<EMAIL>"}})
CLEAN = b'{"a": "1"}\n{"a": "<EMAIL>"}\n'


def write(parts, out, output=original):
    """What an output makes of some parts, in their places."""
    with together() as place:
        return output.write(parts, output.targets(parts, out), Settings(), place)


def parts_of(*paths, edits=EDITS):
    return [Part(s, formats.load(s.format), edits) for s in formats.discover([str(p) for p in paths])]


@pytest.mark.parametrize(
    ("name", "unpack"),
    [
        ("c.jsonl", bytes),
        ("c.jsonl.gz", gzip.decompress),
        ("c.jsonl.zst", lambda raw: zstandard.ZstdDecompressor().decompressobj().decompress(raw)),
    ],
)
def test_packs_as_the_name_says(tmp_path, name, unpack):
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(RAW))
    (done,) = write(parts_of(path), tmp_path / "out" / name)
    assert unpack(done.path.read_bytes()) == CLEAN
    assert (done.written.kept, done.written.dropped, done.written.replaced) == (2, 1, 1)
    first = done.path.read_bytes()
    os.utime(path, (1, 1))
    write(parts_of(path), tmp_path / "out" / name)
    assert done.path.read_bytes() == first
    assert [p.name for p in (tmp_path / "out").iterdir()] == [name]


def test_an_archive_keeps_its_members_together(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("d/README.txt", b"hello")
        archive.writestr("d/b.jsonl", RAW)
        archive.writestr("d/a.csv", b"x,y\n1,2\n3,4\n")
    sources = formats.discover([str(path)])
    parts = [
        Part(sources[0], formats.load("csv"), Edits(0, frozenset({0}))),
        Part(sources[1], formats.load("jsonl"), replace(EDITS, first_row=2, drop=frozenset({3}), replace={})),
    ]
    done = write(parts, tmp_path / "c.zip")
    assert {(d.source.member, d.written.dropped) for d in done} == {("d/a.csv", 1), ("d/b.jsonl", 1)}
    with zipfile.ZipFile(tmp_path / "c.zip") as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == {
            "d/README.txt": b"hello",
            "d/b.jsonl": b'{"a": "1"}\n{"a": "3"}\n',
            "d/a.csv": b"x,y\n3,4\n",
        }
    with pytest.raises(OutputError, match=r"archive of 2 data files; expected a name that ends in \.zip"):
        write(parts, tmp_path / "c.jsonl")
    assert not list(tmp_path.glob(".tmp*"))


def test_several_files_go_into_a_folder(tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.jsonl").write_bytes(RAW)
    done = write(parts_of(tmp_path / "x", tmp_path / "y"), tmp_path / "out")
    assert [d.path.name for d in done] == ["a.jsonl", "y-a.jsonl"]
    assert all(d.path.read_bytes() == CLEAN for d in done)


def test_a_failure_leaves_nothing(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(json.dumps({"a": '{"b": 1}'}).encode())
    edits = Edits(0, frozenset(), {0: {("a",): '{"b" <X>'}})
    with pytest.raises(OutputError, match="no longer be JSON"):
        write(parts_of(path, edits=edits), tmp_path / "c.jsonl")
    assert [p.name for p in tmp_path.iterdir()] == ["a.jsonl"]


def test_a_hugging_face_folder_is_written_whole(tmp_path):
    datasets = pytest.importorskip("datasets")
    both = datasets.DatasetDict(
        {name: datasets.Dataset.from_list([{"a": "1"}, {"a": "2"}, {"a": "3"}]) for name in ("train", "test")}
    )
    both.save_to_disk(str(tmp_path / "hf"))
    write(parts_of(tmp_path / "hf"), tmp_path / "clean")
    again = datasets.load_from_disk(str(tmp_path / "clean"))
    assert {name: split["a"][:] for name, split in again.items()} == {n: ["1", "<EMAIL>"] for n in ("train", "test")}
    with pytest.raises(OutputError, match="is not an empty folder"):
        write(parts_of(tmp_path / "hf"), tmp_path / "clean")


def test_the_standard_input_gets_a_name(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "spool").write_bytes(RAW)
    (source,) = formats.discover(["-"], stdin=tmp_path / "spool")
    (done,) = write([Part(source, formats.load("jsonl"), EDITS)], tmp_path / "out", outputs.load("original"))
    assert done.path == tmp_path / "out" / "stdin.jsonl"
