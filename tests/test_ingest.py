"""Files to segments: the fast and the general reader agree, nothing is lost, row ids are places."""

from __future__ import annotations

import json
from collections.abc import Callable

import mmh3
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import any_texts, texts

from scanner import flatreading, formats, ingest, layouts, resuming
from scanner.errors import InputError, LayoutError
from scanner.jsonediting import path_of
from scanner.jsontext import canonical, parse
from scanner.objects import Rows, Skip
from scanner.settings import Settings
from scanner.store import RunFolder


class Read:
    """What was read: rows, skips, and the segments as plain tuples per row_id."""

    def __init__(self, rows: Rows, skips: list[Skip], run: RunFolder):
        self.rows, self.skips, self.run = rows, skips, run
        self.segments: dict[int, list[tuple]] = {}
        columns = ["row_id", "segment", "turn", "role", "field_path", "supervised", "text"]
        for row_id, number, *rest in run.segments().frame(columns).iter_rows():
            found = self.segments.setdefault(row_id, [])
            assert number == len(found)
            found.append(tuple(rest))

    def texts(self, row_id: int) -> list[str]:
        return [s[-1] for s in self.segments[row_id]]


@pytest.fixture
def read(tmp_path) -> Callable[..., Read]:
    """read({name: bytes, ...}, threads=..., **settings) -> Read"""
    made = 0

    def build(files: dict[str, bytes], threads: int = 2, **values) -> Read:
        nonlocal made
        made += 1
        folder = tmp_path / f"in{made}"
        folder.mkdir()
        for name, raw in files.items():
            (folder / name).write_bytes(raw)
        sources = formats.discover([str(folder / name) for name in files])
        run = RunFolder.open_for_writing(tmp_path / f"run{made}")
        rows, skips = ingest.read_all(sources, run, Settings(**values), threads)
        return Read(rows, skips, run)

    return build


def jsonl(*records) -> bytes:
    return b"".join(r if isinstance(r, bytes) else json.dumps(r).encode() + b"\n" for r in records)


def assert_same(a: Read, b: Read) -> None:
    assert a.segments == b.segments
    for name in ("row_id", "source", "line", "start", "end", "turns", "digest"):
        assert (getattr(a.rows, name) == getattr(b.rows, name)).all(), name
    assert a.rows.layout == b.rows.layout
    assert a.rows.first_row == b.rows.first_row
    assert a.skips == b.skips


scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False))
flat = st.fixed_dictionaries(
    {"instruction": texts, "output": texts},
    optional={"input": texts, "system": texts, "id": st.one_of(texts, st.integers()), "score": scalars},
)
odd = st.one_of(
    flat,
    st.fixed_dictionaries({"instruction": any_texts, "output": st.one_of(st.none(), any_texts, st.integers())}),
    st.fixed_dictionaries({"output": texts}),
    st.just([1]),
)


@given(st.lists(odd, min_size=1, max_size=8), st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_fast_reader_gives_what_the_general_one_gives(read, records, ascii_only):
    """Whatever the pieces hold; the layout is named, so that any record may come first."""
    lines = [json.dumps(r, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass") + b"\n" for r in records]
    lines.append(jsonl({"instruction": "never", "output": "alone"}))
    raw = b"".join(lines)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(flatreading, "LONGEST_FAST_RECORD", 0)
        slow = read({"a.jsonl": raw}, layout="alpaca")
        patch.undo()
        patch.setattr(ingest, "ROWS_PER_BATCH", 2)  # another first record decides in each piece
        assert_same(read({"a.jsonl": raw}, layout="alpaca"), slow)
        patch.undo()
    fast = read({"a.jsonl": raw}, layout="alpaca")
    assert_same(fast, slow)
    assert len(fast.rows) + len(fast.skips) == len(lines)
    for i, row_id in enumerate(fast.rows.row_id.tolist()):
        value = parse(lines[row_id])
        hashed = canonical(layouts.canonical_fields(value, "alpaca"))
        assert tuple(fast.rows.digest[i].tolist()) == mmh3.hash64(hashed, signed=False)
        assert raw[fast.rows.start[i] : fast.rows.end[i]].strip() == lines[row_id].strip()


@pytest.mark.parametrize("layout", [n for n in layouts.plugins.names(layouts.PACKAGE) if layouts.load(n).FLAT])
def test_every_flat_layout_reads_fast_as_it_reads_slowly(read, layout, monkeypatch):
    """The examples of each layout, keys in two orders, some texts empty."""
    records = []
    for example in layouts.load(layout).EXAMPLES:
        if isinstance(example, dict) and all(isinstance(v, str) for v in example.values()):
            records += [example, dict(reversed(example.items())), dict.fromkeys(example, ""), {**example, "id": "9"}]
            records += [{**example, "id": 9, "extra": value} for value in (True, None, -3, 0.5, "text")]
    assert records
    raw = jsonl(*records)
    pieces = [read({"a.jsonl": raw}, layout=layout)]
    monkeypatch.setattr(ingest, "ROWS_PER_BATCH", 1)  # each record decides on its own shape
    pieces.append(read({"a.jsonl": raw}, layout=layout))
    monkeypatch.setattr(flatreading, "LONGEST_FAST_RECORD", 0)
    slow = read({"a.jsonl": raw}, layout=layout)
    for fast in pieces:
        assert_same(fast, slow)


def test_a_key_that_utf8_cannot_hold_is_read_too(read):
    lone = b'{"instruction": "a", "output": "b", "\\ud800": "c"}\n'
    found = read({"a.jsonl": lone * 2})
    assert [found.texts(i) for i in (0, 1)] == [["a", "b"]] * 2
    tools = b'{"prompt": "p", "response": "r", "\\ud800": "x"}\n'
    found = read({"a.jsonl": tools}, layout="table")
    assert [path for _, _, path, *_ in found.segments[0]] == ["/prompt", "/response", "/\ufffd"]


def test_a_first_record_that_does_not_fit_is_skipped_alone(read):
    found = read({"a.jsonl": jsonl({"other": "x"}, *[{"instruction": "a", "output": "b"}] * 3)})
    assert [(s.row_id, s.line) for s in found.skips] == [(0, 1)]
    assert found.rows.row_id.tolist() == [1, 2, 3]


def test_a_long_record_goes_to_the_general_reader(read, monkeypatch):
    monkeypatch.setattr(flatreading, "LONGEST_FAST_RECORD", 100)
    found = read({"a.jsonl": jsonl(*({"instruction": "q", "output": "x" * n} for n in (1, 1000, 2)))})
    assert [len(found.texts(i)[1]) for i in range(3)] == [1, 1000, 2]


def test_broken_records_are_skipped_with_file_line_and_reason(read):
    records = [{"instruction": f"q{i}", "output": f"a{i}"} for i in range(4)]
    raw = jsonl(
        records[0], b'{"instruction": "secret"\n', records[1], b"\n", b"[1, 2]\n", records[2], b"nul\n", records[3]
    )
    found = read({"a.jsonl": raw})
    assert [found.texts(i)[0] for i in found.rows.row_id.tolist()] == ["q0", "q1", "q2", "q3"]
    assert found.rows.line.tolist() == [1, 3, 6, 8]
    assert [(s.file, s.line) for s in found.skips] == [("a.jsonl", 2), ("a.jsonl", 5), ("a.jsonl", 7)]
    assert sorted([*found.rows.row_id.tolist(), *(s.row_id for s in found.skips)]) == list(range(7))
    assert all(s.reason and "secret" not in s.reason for s in found.skips)
    assert found.skips[0].raw.startswith(b'{"instruction": "secret"')


def test_lone_surrogates_are_replaced_one_for_one(read):
    found = read({"a.jsonl": b'{"instruction": "a\\ud800b\\udc00", "output": "\\ud83d\\ude00"}\n'})
    assert found.texts(0) == ["a\ufffdb\ufffd", "😀"]


def test_rows_without_text_stay_rows(read):
    raw = jsonl({"text": "a"}, {"text": None}, {"text": ""}, {"text": "b"})
    found = read({"a.jsonl": raw})
    assert len(found.rows) == 4
    assert found.segments[1] == [(0, "text", "", False, "")]
    assert found.segments[2] == [(0, "text", "/text", True, "")]
    assert list(found.segments) == [0, 1, 2, 3]


def test_row_ids_go_on_over_sources_and_their_skips(read):
    first = jsonl({"text": "a"}, b"broken\n", {"text": "b"}, b"broken\n")
    second = jsonl({"prompt": "p", "response": "r"}, {"prompt": "p2", "response": "r2"})
    found = read({"a.jsonl": first, "b.jsonl": second})
    assert found.rows.row_id.tolist() == [0, 2, 4, 5]
    assert found.rows.source.tolist() == [0, 0, 1, 1]
    assert found.rows.line.tolist() == [1, 3, 1, 2]
    assert found.rows.layout == ("text", "pair")
    assert found.rows.first_row == (0, 4)
    assert [s.row_id for s in found.skips] == [1, 3]


def test_paths_lead_back_to_the_very_string(read):
    record = {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hi ~/"}]},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"function": {"name": "f", "arguments": '{"a": 1}'}}],
            },
        ]
    }
    found = read({"a.jsonl": jsonl(record)})
    assert len(found.segments[0]) >= 2
    for _, _, pointer, _, text in found.segments[0]:
        value = record
        for step in path_of(pointer, record):
            value = value[step]
        assert value == text


TURNS = [("user", "q1"), ("assistant", "a1"), ("user", "q2"), ("assistant", "a2")]


@pytest.mark.parametrize(
    ("which", "learned"),
    [("all-assistant", ["a1", "a2"]), ("last", ["a2"]), ("everything", ["be brief", "q1", "a1", "q2", "a2"])],
)
def test_supervise(read, which, learned):
    record = {"messages": [{"role": "system", "content": "be brief"}, *({"role": r, "content": t} for r, t in TURNS)]}
    unanswered = {"messages": [{"role": "user", "content": "only"}]}
    found = read({"a.jsonl": jsonl(record, unanswered, record)}, supervise=which)
    for row in (0, 2):
        assert [text for *_, supervised, text in found.segments[row] if supervised] == learned
    assert [s[-2] for s in found.segments[1]] == [which == "everything"]


def test_a_rejected_answer_is_never_learned(read):
    record = {"prompt": "q", "chosen": "good", "rejected": "bad"}
    found = read({"a.jsonl": jsonl(record)}, supervise="everything")
    assert {text: supervised for *_, supervised, text in found.segments[0]}["bad"] is False


def test_threads_and_pieces_do_not_matter(read, monkeypatch):
    raw = jsonl(*({"instruction": f"q{i}", "output": "a" * (i % 7)} for i in range(40)))
    whole = read({"a.jsonl": raw}, threads=1)
    monkeypatch.setattr(ingest, "ROWS_PER_BATCH", 3)
    assert_same(read({"a.jsonl": raw}, threads=3), whole)


def test_a_piece_ends_where_it_holds_enough_bytes(read, monkeypatch):
    """Long rows must not pile up in memory; a longer record than that is a piece of its own."""
    raw = jsonl(*({"instruction": f"q{i}", "output": "a" * n} for i, n in enumerate((1, 900, 5, 5, 300, 300, 1, 1))))
    whole = read({"a.jsonl": raw})
    assert whole.run.segments().batches == 1
    monkeypatch.setattr(ingest, "BYTES_PER_BATCH", 500)
    cut = read({"a.jsonl": raw})
    assert_same(cut, whole)
    rows = [len(batch.row_starts()) - 1 for batch in cut.run.segments()]
    assert rows == [1, 1, 3, 3]


def test_progress_is_told_of_every_row(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(jsonl(*({"text": str(i)} for i in range(5))))
    told = []
    run = RunFolder.open_for_writing(tmp_path / "run")
    ingest.read_all(formats.discover([str(path)]), run, Settings(), 1, lambda *what: told.append(what))
    assert sum(rows for _, rows, _ in told) == 5
    assert told[-1][2] == len(path.read_bytes()) - 1  # the last record ends before its newline


def test_rows_and_skips_are_kept_and_found_again(read, tmp_path):
    found = read({"a.jsonl": jsonl({"text": "a"}, b"\xff\xfebroken\n", {"text": "b"}), "b.jsonl": jsonl({"text": "c"})})
    resuming.save_rows(tmp_path / "rows.npz", found.rows)
    again = resuming.load_rows(tmp_path / "rows.npz")
    for name, value in vars(found.rows).items():
        assert np.array_equal(getattr(again, name), value), name
        assert type(getattr(again, name)) is type(value)
    resuming.save_skips(tmp_path / "skips.json", found.skips, "me")
    assert resuming.load_skips(tmp_path / "skips.json") == found.skips
    assert json.loads((tmp_path / "skips.json").read_text())["identity"] == "me"


def test_nothing_readable_is_an_error_that_counts_no_values(read, tmp_path):
    with pytest.raises(InputError, match=r"a\.jsonl: no record could be read; the first of 2: line 1: ") as e:
        read({"a.jsonl": b"private\nnul\n"})
    assert "private" not in str(e.value)


def test_records_of_no_layout_name_their_file(read, tmp_path):
    with pytest.raises(LayoutError, match=r"^a\.jsonl: no layout fits these records"):
        read({"a.jsonl": jsonl(*[{"x": 1, "y": 2}] * 3)})
    assert not list(tmp_path.rglob("segments.arrow"))
    assert not list(tmp_path.rglob(".tmp-*"))


def test_misspelt_fields_are_told(read):
    with pytest.raises(LayoutError, match=r"keys instrution, ouput; .* mean 'instruction' for 'instrution', 'output' "):
        read({"a.jsonl": jsonl(*[{"instrution": "x", "ouput": "y"}] * 3)})


def test_a_numbered_record_is_read_by_the_fast_reader(read, monkeypatch):
    """An "id" or a flag beside the texts does not send the record to the general parser."""
    records = [{"id": i, "instruction": f"q{i}", "output": "a", "checked": i % 2 == 0, "note": None} for i in range(5)]
    monkeypatch.setattr(ingest.jsontext, "canonical", None)  # called for every record of the general parser
    found = read({"a.jsonl": jsonl(*records)})
    assert [found.texts(i)[0] for i in range(5)] == [f"q{i}" for i in range(5)]
