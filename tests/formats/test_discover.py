"""What the user names becomes sources: files, folders, patterns, archives, the standard input."""

import gzip
import io
import json
import os
import sys
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from reading import read_source

from scanner import figures, formats
from scanner.errors import EmptyError, FormatError, InputError
from scanner.settings import Settings

LINE = b'{"a": "x"}\n'


def make_zip(path, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, raw in members.items():
            archive.writestr(name, raw)
    return path


def test_a_folder_gives_its_data_files_sorted(tmp_path):
    for name in ("b.jsonl", "a.jsonl.gz", "\u672a\u5b8c\u6210.json", "c.csv"):
        raw = b"a,b\n1,2\n" if name == "c.csv" else LINE
        (tmp_path / name).write_bytes(gzip.compress(raw) if name.endswith("gz") else raw)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "b.jsonl").write_bytes(LINE)
    others = "README.md LICENSE.txt dataset_info.json .hidden.jsonl x.jsonl.removed.jsonl img.png run.py"
    for name in others.split():
        (tmp_path / name).write_bytes(b"{}")
    run = tmp_path / "b.scan"
    (run / "private").mkdir(parents=True)
    (run / "scan.json").write_bytes(b"{}")
    sources = formats.discover([str(tmp_path)])
    parent = tmp_path.name
    names = ["a.jsonl.gz", f"{parent}/b.jsonl", "c.csv", "sub/b.jsonl", "\u672a\u5b8c\u6210.json"]
    assert [s.name for s in sources] == names
    assert [s.index for s in sources] == list(range(5))
    assert [s.format for s in sources] == ["jsonl", "jsonl", "csv", "jsonl", "json"]
    assert [s.bytes_on_disk for s in sources][1] == len(LINE)
    with pytest.raises(InputError, match="is a run folder"):
        formats.discover([str(run)])


def test_empty_shards_and_other_files_are_left_out_and_named(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(LINE)
    (tmp_path / "b.jsonl").write_bytes(b"")
    (tmp_path / "c.jsonl.gz").write_bytes(gzip.compress(b" \n"))
    pq.write_table(pa.table({"a": pa.array([], pa.string())}), tmp_path / "d.parquet")
    (tmp_path / "notes.docx").write_bytes(b"x")
    (tmp_path / "README.md").write_bytes(b"x")
    make_zip(tmp_path / "e.zip", **{"f.jsonl": LINE, "g.png": b"x"})
    (tmp_path / "link").symlink_to(tmp_path)
    sources, left = formats.survey([str(tmp_path)])
    assert [(s.index, s.name) for s in sources] == [(0, "a.jsonl"), (1, "e.zip/f.jsonl")]
    assert figures.left_out(left, most=2) == [
        f"left out ({formats.UNKNOWN}): e.zip/g.png and notes.docx",
        "left out (a link to a folder): link",
        "left out (without a record): b.jsonl, c.jsonl.gz and 1 more",
    ]
    with pytest.raises(EmptyError, match=r"^b\.jsonl: the file is empty, expected at least one record; leave it out$"):
        formats.discover([str(tmp_path / "b.jsonl"), str(tmp_path / "d.parquet")])


def test_a_pipe_and_a_folder_that_contains_itself(tmp_path):
    os.mkfifo(tmp_path / "pipe.jsonl")
    with pytest.raises(InputError, match="is a pipe or a device"):
        formats.discover([str(tmp_path / "pipe.jsonl")])
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.jsonl").write_bytes(LINE)
    (tmp_path / "d" / "loop").symlink_to(tmp_path / "d")
    assert len(formats.discover([str(tmp_path / "d")])) == 1


def test_patterns_and_repeated_names(tmp_path):
    for name in ("1.jsonl", "2.jsonl", "3.txt"):
        (tmp_path / name).write_bytes(LINE)
    found = formats.discover([str(tmp_path / "*.jsonl"), str(tmp_path / "1.jsonl"), str(tmp_path / "3.txt")])
    assert [s.name for s in found] == ["1.jsonl", "2.jsonl", "3.txt"]


@pytest.mark.parametrize("argument", ["missing.jsonl", "none/*.jsonl"])
def test_nothing_there(argument):
    with pytest.raises(InputError, match="there is no such file or folder; expected"):
        formats.discover([argument])


def test_a_pipe_is_refused_before_it_is_opened(tmp_path):
    os.mkfifo(tmp_path / "p.jsonl")
    with pytest.raises(
        InputError, match=r"p\.jsonl is a pipe or a device, expected a file; give its content to `scan -`"
    ):
        formats.discover([str(tmp_path / "p.jsonl")])


def test_a_folder_without_data(tmp_path):
    with pytest.raises(InputError, match=r"no data files in .* expected files ending in .*\.jsonl"):
        formats.discover([str(tmp_path)])


def test_the_standard_input_is_spooled_privately(tmp_path):
    path = formats.spool_stdin(tmp_path / "stdin.jsonl", io.BytesIO(gzip.compress(LINE)))
    assert os.stat(path).st_mode & 0o777 == 0o600
    (source,) = formats.discover(["-"], stdin=path)
    assert (source.name, source.format, source.compression) == ("stdin", "jsonl", "gz")
    with pytest.raises(InputError, match="standard input, which was not given"):
        formats.discover(["-"])


def test_binary_data_of_unknown_kind(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes(range(256)) * 8)
    with pytest.raises(FormatError, match=r"a\.bin: the format is unknown: it looks like binary data; expected one of"):
        formats.discover([str(path)])


@pytest.mark.parametrize("name", ["a.jsonl", "a.parquet", "a.json"])
def test_a_pointer_of_git_lfs_is_no_data(tmp_path, name):
    path = tmp_path / name
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n")
    with pytest.raises(FormatError, match=rf"{name}: is a pointer of Git LFS.* fetch them with `git lfs pull`"):
        formats.discover([str(path)])


def test_compression_is_found_by_content(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(zstandard.compress(LINE) + zstandard.compress(LINE))
    (source,) = formats.discover([str(path)])
    assert source.compression == "zst"
    assert read_source(source, Settings()).values == [{"a": "x"}] * 2


def test_members_of_an_archive(tmp_path):
    members = {"d/b.csv": b"x,y\n1,2\n", "d/a.jsonl": LINE, "d/README.txt": b"hi", "__MACOSX/a.jsonl": b"x"}
    path = make_zip(tmp_path / "a.zip", **members)
    sources = formats.discover([str(path)])
    assert [(s.name, s.format) for s in sources] == [("a.zip/d/a.jsonl", "jsonl"), ("a.zip/d/b.csv", "csv")]
    assert read_source(sources[1], Settings()).values == [{"x": "1", "y": "2"}]


@pytest.mark.parametrize("name", ["../a.jsonl", "/etc/a.jsonl", "d\\..\\..\\a.jsonl", "C:/a.jsonl"])
def test_names_that_lead_outside_an_archive(tmp_path, name):
    with pytest.raises(FormatError, match="leads outside the archive"):
        formats.discover([str(make_zip(tmp_path / "a.zip", **{name: LINE}))])


def test_an_encrypted_archive(tmp_path):
    path = make_zip(tmp_path / "a.zip", **{"a.jsonl": LINE})
    raw = bytearray(path.read_bytes())
    for mark, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        raw[raw.index(mark) + at] |= 1
    path.write_bytes(bytes(raw))
    with pytest.raises(FormatError, match="is encrypted"):
        formats.discover([str(path)])


@pytest.mark.parametrize("packing", ["gz", "zst", "zip"])
def test_a_damaged_archive(tmp_path, packing):
    raw = b"".join(json.dumps({"a": os.urandom(30).hex()}).encode() + b"\n" for _ in range(80_000))
    path = tmp_path / f"a.jsonl.{packing}"
    if packing == "zip":
        make_zip(path, **{"a.jsonl": raw})
    else:
        path.write_bytes(gzip.compress(raw, 1) if packing == "gz" else zstandard.compress(raw))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 3 // 4])
    with pytest.raises(FormatError, match="cut short or damaged"):
        read_source(*formats.discover([str(path)]), Settings())


@pytest.mark.parametrize("packing", ["gz", "zst", "zip"])
def test_a_bomb_is_stopped(tmp_path, packing):
    raw = LINE * 400_000
    path = tmp_path / f"a.jsonl.{packing}"
    if packing == "zip":
        make_zip(path, **{"a.jsonl": raw})
    else:
        path.write_bytes(gzip.compress(raw) if packing == "gz" else zstandard.compress(raw))
    (source,) = formats.discover([str(path)])
    with pytest.raises(FormatError, match=r"more than 2,000,000 bytes; .* raise max-decompressed-bytes in a scan.toml"):
        read_source(source, Settings(max_decompressed_bytes=2_000_000))


def test_large_archives_are_spooled_to_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(formats._files, "SPOOL_BYTES", 1000)
    path = tmp_path / "a.jsonl.gz"
    path.write_bytes(gzip.compress(LINE * 1000))
    (source,) = formats.discover([str(path)])
    assert len(read_source(source, Settings()).values) == 1000


def test_what_is_packed_twice_or_in_another_way_is_named(tmp_path):
    inner = make_zip(tmp_path / "in.zip", **{"a.jsonl": LINE})
    outer = make_zip(tmp_path / "out.zip", **{"in.zip": inner.read_bytes()})
    with pytest.raises(FormatError, match=r"^out\.zip/in\.zip: is packed twice \(zip inside zip\), .* unpack out\.zip"):
        formats.discover([str(outer)])
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(gzip.compress(LINE)))
    with pytest.raises(FormatError, match=r"^a\.jsonl\.gz: is packed twice \(gz inside gz\)"):
        formats.discover([str(tmp_path / "a.jsonl.gz")])
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.jsonl").write_bytes(LINE)
    (folder / "old.tar").write_bytes(b"other things")
    assert [s.name for s in formats.discover([str(folder)])] == ["a.jsonl"]
    (folder / "b.jsonl.bz2").write_bytes(b"BZh9")
    with pytest.raises(InputError, match=r"^b\.jsonl\.bz2: \.bz2 files are not read; .* first: bunzip2 b\.jsonl\.bz2$"):
        formats.discover([str(folder)])


def test_a_link_that_leads_nowhere_is_told_from_a_pipe(tmp_path):
    (tmp_path / "a.jsonl").symlink_to(tmp_path / "gone")
    with pytest.raises(InputError, match=r"a\.jsonl is a link to a file that is not there; mend the link or remove it"):
        formats.discover([str(tmp_path)])


def test_a_closed_standard_input_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(InputError, match="the standard input is closed, expected JSONL on it; name a file instead"):
        formats.spool_stdin(tmp_path / "stdin.jsonl")


def test_a_name_that_is_not_utf8_is_refused_and_told(tmp_path):
    named = os.fsencode(tmp_path) + b"/b\xff.jsonl"
    with open(named, "wb") as file:
        file.write(LINE)
    for argument in (os.fsdecode(named), str(tmp_path)):
        with pytest.raises(InputError, match=r"b\\xff\.jsonl: the name is not UTF-8, and .*; rename it"):
            formats.discover([argument])
    os.rename(named, os.fsencode(tmp_path) + b"/b\xff.docx")
    (tmp_path / "a.jsonl").write_bytes(LINE)
    assert [left.name for left in formats.survey([str(tmp_path)]).left_out] == ["b?.docx"]
