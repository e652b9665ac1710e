"""Parquet, Arrow and Hugging Face folders: nested and odd types, and what was not edited stays as it was."""

import datetime
import decimal
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from reading import read_source

from scanner import formats
from scanner.errors import FormatError, InputError
from scanner.objects import Edits
from scanner.settings import Settings

SCHEMA = pa.schema(
    [
        pa.field("messages", pa.list_(pa.struct([("role", pa.string()), ("content", pa.large_string())]))),
        pa.field("label", pa.dictionary(pa.int8(), pa.string()), metadata={"k": "v"}),
        pa.field("score", pa.decimal128(8, 3)),
        pa.field("when", pa.timestamp("us", tz="UTC")),
        pa.field("blob", pa.binary()),
        pa.field("nothing", pa.null()),
        pa.field("count", pa.int16(), nullable=False),
        pa.field("tags", pa.map_(pa.string(), pa.int32())),
    ],
    metadata={"origin": "test"},
)
NOON = datetime.datetime(2024, 5, 1, 12, tzinfo=datetime.UTC)
ROWS = [
    {
        "messages": [{"role": "user", "content": f"q{i}"}, {"role": "assistant", "content": None if i == 1 else "a"}],
        "label": "yes" if i % 2 else None,
        "score": decimal.Decimal("1.500"),
        "when": NOON,
        "blob": b"\xff",
        "nothing": None,
        "count": i,
        "tags": [("x", i)],
    }
    for i in range(5)
]
TABLE = pa.Table.from_pylist(ROWS, SCHEMA)
EDITS = Edits(3, frozenset({3}), {5: {("messages", 0, "content"): "<X>"}, 6: {("label",): "<Y>"}})


def expected():
    rows = [dict(row) for row in TABLE.to_pylist()]
    rows[2]["messages"] = [{"role": "user", "content": "<X>"}, rows[2]["messages"][1]]
    rows[3]["label"] = "<Y>"
    return rows[1:]


@pytest.mark.parametrize("is_compliant", [True, False])
def test_parquet_keeps_schema_codec_and_values(tmp_path, is_compliant):
    path = tmp_path / "a.parquet"
    pq.write_table(TABLE, path, compression="zstd", row_group_size=2, use_compliant_nested_type=is_compliant)
    (source,) = formats.discover([str(path)])
    assert read_source(source, Settings(), 3).rows == [3, 4, 5, 6, 7]
    assert read_source(source, Settings()).values == TABLE.to_pylist()
    sink = io.BytesIO()
    formats.load("parquet").write(source, Settings(), Edits(), sink)
    assert pq.read_table(io.BytesIO(sink.getvalue())).equals(pq.read_table(path), check_metadata=True)
    sink = io.BytesIO()
    done = formats.load("parquet").write(source, Settings(), EDITS, sink)
    file = pq.ParquetFile(io.BytesIO(sink.getvalue()))
    assert file.metadata.row_group(0).column(0).compression == "ZSTD"
    assert file.schema_arrow.equals(pq.read_schema(path), check_metadata=True)
    assert file.read().to_pylist() == expected()
    assert (done.kept, done.dropped, done.replaced, done.unreadable) == (4, 1, 2, 0)


@pytest.mark.parametrize("kind", [pa.ipc.new_file, pa.ipc.new_stream])
def test_arrow_keeps_its_kind(tmp_path, kind):
    path = tmp_path / "a.arrow"
    with kind(str(path), SCHEMA) as writer:
        writer.write_table(TABLE, max_chunksize=2)
    (source,) = formats.discover([str(path)])
    assert read_source(source, Settings()).values == TABLE.to_pylist()
    sink = io.BytesIO()
    formats.load("arrow").write(source, Settings(), EDITS, sink)
    opened = pa.ipc.open_file if kind is pa.ipc.new_file else pa.ipc.open_stream
    table = opened(sink.getvalue()).read_all()
    assert table.to_pylist() == expected()
    assert table.schema.equals(SCHEMA, check_metadata=True)


def test_hugging_face_folder_and_splits(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = [{"prompt": f"q{i}", "response": f"a{i}"} for i in range(6)]
    both = datasets.DatasetDict(
        {"train": datasets.Dataset.from_list(rows[:4]), "test": datasets.Dataset.from_list(rows[4:])}
    )
    both.save_to_disk(str(tmp_path / "hf"))
    sources = formats.discover([str(tmp_path / "hf")])
    assert [(s.format, s.member, s.name) for s in sources] == [
        ("hf_dataset", "train", "hf/train"),
        ("hf_dataset", "test", "hf/test"),
    ]
    assert read_source(sources[0], Settings()).values == rows[:4]
    out = tmp_path / "out"
    changes = (Edits(0, frozenset({1})), Edits(4, frozenset(), {5: {("response",): "<X>"}}))
    for source, edits in zip(sources, changes, strict=True):
        formats.load("hf_dataset").write(source, Settings(), edits, out)
    again = datasets.load_from_disk(str(out))
    assert again["train"].to_list() == [rows[0], *rows[2:4]]
    assert again["test"].to_list() == [rows[4], rows[5] | {"response": "<X>"}]
    assert again["train"]._fingerprint != both["train"]._fingerprint


def test_hugging_face_folder_without_its_data(tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list([{"a": "b"}]).save_to_disk(str(tmp_path / "hf"))
    (tmp_path / "hf" / "data-00000-of-00001.arrow").rename(tmp_path / "hf" / "elsewhere.arrow")
    (source,) = formats.discover([str(tmp_path / "hf")])
    with pytest.raises(FormatError, match="1 are missing; expected all of them"):
        read_source(source, Settings())


@pytest.mark.parametrize("has_file", [False, True])
def test_a_split_without_rows_is_left_out_and_copied(tmp_path, has_file):
    """As save_to_disk writes it: with no data file at all, which `datasets` cannot load again itself."""
    datasets = pytest.importorskip("datasets")
    rows = datasets.Dataset.from_list([{"prompt": f"q{i}", "response": f"a{i}"} for i in range(4)])
    datasets.DatasetDict({"train": rows, "test": rows.select([])}).save_to_disk(str(tmp_path / "hf"))
    if has_file:
        state = tmp_path / "hf" / "test" / "state.json"
        known = json.loads(state.read_text("utf-8"))
        state.write_text(json.dumps(known | {"_data_files": [{"filename": "data.arrow"}]}), "utf-8")
        with pa.OSFile(str(tmp_path / "hf" / "test" / "data.arrow"), "wb") as file:
            pa.ipc.new_stream(file, rows.data.schema).close()
    (source,) = formats.discover([str(tmp_path / "hf")])
    assert source.member == "train"
    formats.load("hf_dataset").write(source, Settings(), Edits(0, frozenset({1})), tmp_path / "out")
    for part in sorted((tmp_path / "hf" / "test").iterdir()):
        assert (tmp_path / "out" / "test" / part.name).read_bytes() == part.read_bytes()
    if has_file:
        again = datasets.load_from_disk(str(tmp_path / "out"))
        assert (len(again["train"]), len(again["test"])) == (3, 0)


def test_a_hugging_face_folder_without_rows(tmp_path):
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_list([{"a": "b"}]).select([]).save_to_disk(str(tmp_path / "hf"))
    with pytest.raises(InputError, match="hf: the table has no rows, expected at least one; leave it out"):
        read_source(formats.discover([str(tmp_path / "hf")])[0], Settings())


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow"])
def test_a_damaged_table_is_explained(tmp_path, name):
    path = tmp_path / name
    path.write_bytes((b"PAR1" if "parquet" in name else b"ARROW1\0\0") + b"junk" * 20)
    (source,) = formats.discover([str(path)])
    with pytest.raises(FormatError, match=r"is not readable as .* expected a complete"):
        read_source(source, Settings())


@pytest.mark.parametrize("name", ["d.parquet", "d.arrow"])
def test_columns_of_one_name_are_refused_and_not_dropped(tmp_path, name):
    table = pa.table([["p"], ["a long answer"], ["b"]], names=["prompt", "output", "output"])
    if name == "d.parquet":
        pq.write_table(table, tmp_path / name)
    else:
        with pa.ipc.new_file(tmp_path / name, table.schema) as writer:
            writer.write_table(table)
    (source,) = formats.discover([str(tmp_path / name)])
    with pytest.raises(FormatError) as told:
        read_source(source, Settings())
    assert str(told.value) == (
        f"{name}: 2 of its 3 columns are named output, of which a row can hold one; rename them and write the file "
        "again"
    )


def test_a_table_without_rows(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(TABLE.slice(0, 0), path)
    (source,) = formats.discover([str(path)])
    with pytest.raises(InputError, match="the table has no rows"):
        read_source(source, Settings())
