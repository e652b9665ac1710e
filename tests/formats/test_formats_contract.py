"""What every file in scanner/formats promises, run over whatever lies there."""

import gzip
import io
import json
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from reading import read_source

from scanner import formats, plugins
from scanner.objects import Edits
from scanner.settings import Settings

ROWS = [{"prompt": f"question {i}", "response": f"answer, \u7b54 {i}"} for i in range(5)]
TABLE = pa.Table.from_pylist(ROWS)


def arrow_bytes(kind):
    sink = io.BytesIO()
    with kind(sink, TABLE.schema) as writer:
        writer.write_table(TABLE)
    return sink.getvalue()


def parquet_bytes():
    sink = io.BytesIO()
    pq.write_table(TABLE, sink)
    return sink.getvalue()


SAMPLES = {
    "jsonl": "".join(json.dumps(row) + "\n" for row in ROWS).encode(),
    "json": json.dumps(ROWS, indent=2, ensure_ascii=False).encode(),
    "csv": ("prompt,response\n" + "".join(f'{r["prompt"]},"{r["response"]}"\n' for r in ROWS)).encode(),
    "text": "".join(r["response"] + "\n" for r in ROWS).encode(),
    "parquet": parquet_bytes(),
    "arrow": arrow_bytes(pa.ipc.new_file),
}
NAMES = plugins.names("scanner.formats")
FILES = [name for name in NAMES if not formats.load(name).FOLDER]


@pytest.mark.parametrize("name", NAMES)
def test_offers_the_same_few_things(name):
    module = formats.load(name)
    assert name == module.NAME
    assert module.DESCRIPTION
    assert isinstance(module.FOLDER, bool)
    assert all(e.startswith(".") and e == e.lower() for e in module.EXTENSIONS)
    assert callable(module.sniff)
    assert callable(module.read)
    assert callable(module.write)


def test_no_extension_is_claimed_twice():
    claimed = [e for module in plugins.load_all("scanner.formats").values() for e in module.EXTENSIONS]
    assert len(claimed) == len(set(claimed))


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("packing", ["", ".gz", ".zst", ".zip"])
def test_reads_drops_and_keeps_transparently_packed(name, packing, tmp_path):
    module = formats.load(name)
    raw = SAMPLES[name]
    path = tmp_path / f"\u6570\u636e{module.EXTENSIONS[0]}{packing}"
    if packing == ".gz":
        path.write_bytes(gzip.compress(raw))
    elif packing == ".zst":
        path.write_bytes(zstandard.compress(raw))
    elif packing == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(f"data/x{module.EXTENSIONS[0]}", raw)
    else:
        path.write_bytes(raw)
    (source,) = formats.discover([str(path)])
    assert (source.format, source.compression) == (name, packing[1:])
    found = read_source(source, Settings(), first_row=7)
    expected = [{"text": r["response"]} for r in ROWS] if name == "text" else ROWS
    assert found.values == expected
    assert found.rows == [7, 8, 9, 10, 11]
    assert found.lines == sorted(found.lines)
    assert not found.skips

    sink = io.BytesIO()
    done = module.write(source, Settings(), Edits(), sink)
    assert (done.kept, done.dropped, done.replaced, done.unreadable) == (5, 0, 0, 0)
    if name not in ("parquet", "arrow"):
        assert sink.getvalue() == raw

    path2 = tmp_path / f"again{module.EXTENSIONS[0]}"
    key = "text" if name == "text" else "response"
    sink = io.BytesIO()
    done = module.write(source, Settings(), Edits(7, frozenset({7, 10}), {9: {(key,): "<EMAIL_1>"}}), sink)
    assert (done.kept, done.dropped, done.replaced, done.unreadable) == (3, 2, 1, 0)
    path2.write_bytes(sink.getvalue())
    (again,) = formats.discover([str(path2)])
    assert read_source(again, Settings()).values == [expected[1], expected[2] | {key: "<EMAIL_1>"}, expected[4]]


@pytest.mark.parametrize("name", [name for name in FILES if name not in ("csv", "text")])  # those show their ending
def test_content_beats_the_ending(name, tmp_path):
    path = tmp_path / ("mislabelled.txt" if name not in ("json", "jsonl") else "mislabelled.json")
    path.write_bytes(SAMPLES[name])
    (source,) = formats.discover([str(path)])
    assert source.format == name
