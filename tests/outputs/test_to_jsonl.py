"""JSON Lines from any format."""

import datetime
import json

import pyarrow as pa
import pyarrow.parquet as pq

from scanner import formats
from scanner.objects import Edits
from scanner.outputs import Part, jsonl
from scanner.settings import Settings
from scanner.writing import together


def write(parts, out):
    with together() as place:
        return jsonl.write(parts, jsonl.targets(parts, out), Settings(), place)


def written(tmp_path, path, edits):
    (source,) = formats.discover([str(path)])
    (done,) = write([Part(source, formats.load(source.format), edits)], tmp_path / "out.jsonl")
    return (tmp_path / "out.jsonl").read_bytes(), done.written


def test_from_a_json_array(tmp_path):
    path = tmp_path / "a.json"
    rows = [{"a": "\u00fc", "n": 1.50}, {"a": "2"}, {"a": "3"}]
    path.write_text(json.dumps(rows, indent=2, ensure_ascii=False)[:-2] + ',\n{"a": "broken" x}\n]')
    raw, done = written(tmp_path, path, Edits(5, frozenset({6}), {7: {("a",): "<X>"}}))
    assert raw.decode() == '{"a": "\u00fc", "n": 1.5}\n{"a": "<X>"}\n'
    assert (done.kept, done.dropped, done.replaced, done.unreadable) == (2, 1, 1, 1)


def test_from_parquet_with_types_json_lacks(tmp_path):
    path = tmp_path / "a.parquet"
    noon = datetime.datetime(2024, 5, 1, 12)
    rows = [
        {"a": "1", "when": noon, "blob": b"\xff", "x": float("nan")},
        {"a": "2", "when": None, "blob": None, "x": 1.0},
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)
    raw, done = written(tmp_path, path, Edits(0, frozenset(), {1: {("a",): "<X>"}}))
    first, second = [json.loads(line) for line in raw.splitlines()]
    assert first["when"] == "2024-05-01T12:00:00"
    assert first["x"] is None
    assert second == {"a": "<X>", "when": None, "blob": None, "x": 1.0}
    assert done.kept == 2


def test_names_in_a_folder(tmp_path):
    for name in ("a.csv", "a.jsonl"):
        (tmp_path / name).write_bytes(b"x,y\n1,2\n" if "csv" in name else b'{"x": 1}\n')
    sources = formats.discover([str(tmp_path)])
    done = write([Part(s, formats.load(s.format), Edits()) for s in sources], tmp_path / "out")
    assert len({d.path for d in done}) == 2
    assert [json.loads(d.path.read_bytes()) for d in done] == [{"x": "1", "y": "2"}, {"x": 1}]
