"""Laws that hold for any bytes under any name: nothing is lost, nothing is changed, every record is accounted for."""

import io
import json
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from scanner import formats
from scanner.errors import ScanError
from scanner.objects import Edits
from scanner.settings import Settings

RECORDS = [{"a": 'x, "y" {', "b": [1, {"c": None}]}, {"a": "\u4e2d\n", "b": "]"}, {"a": "", "d": -1.5e3}]
FILES = [
    json.dumps(RECORDS).encode(),
    json.dumps(RECORDS, indent=2, ensure_ascii=False).encode(),
    b"".join(json.dumps(r).encode() + b"\n" for r in RECORDS),
    json.dumps({"data": RECORDS}, indent=1).encode(),
    b'name,city\r\nann,"rome, or\r\nso"\r\n"b ""c""",oslo',
]
PIECES = [
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\n",
    b"\r\n",
    b"\\",
    b"\0",
    b"\xff",
    b" ",
    b'{"a": ',
    b"null",
    b"",
]


@st.composite
def damaged(draw):
    """One of the files with a few bytes removed, put in or replaced."""
    raw = draw(st.sampled_from(FILES))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(raw)))
        cut = draw(st.integers(0, 6))
        raw = raw[:at] + draw(st.sampled_from(PIECES)) + raw[at + cut :]
    return raw


def read_or_refused(path):
    """(source, runs, "") or (None, [], reason)."""
    try:
        (source,) = formats.discover([str(path)])
        return source, list(formats.read(source, Settings(), 5)), ""
    except ScanError as error:
        return None, [], str(error)


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv", "a.txt"])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=80, deadline=None)
@given(raw=damaged(), chosen=st.sets(st.integers(0, 9)))
@example(raw=b"[,]", chosen={0})
@example(raw=b'{"data": [{"a": 1}', chosen={0})
@example(raw=b"\xef\xbb\xbf]", chosen=set())
@example(raw=b'"', chosen={0})
def test_any_bytes(tmp_path, name, raw, chosen):
    path = tmp_path / name
    path.write_bytes(raw)
    source, runs, reason = read_or_refused(path)
    if source is None:
        assert name in reason
        return
    rows = [row for records in runs for row in records.row_id.tolist()]
    skips = [skip for records in runs for skip in records.skips]
    assert sorted(rows + [skip.row_id for skip in skips]) == list(range(5, 5 + len(rows) + len(skips)))
    assert all(1 <= skip.line <= raw.count(b"\n") + 1 for skip in skips)
    spans = [span for r in runs for span in zip(r.start.tolist(), r.end.tolist(), r.line.tolist(), strict=True)]
    assert all(0 <= start < end <= len(raw) for start, end, _ in spans)
    assert all(a[1] <= b[0] for a, b in pairwise(spans))
    assert [line for _, _, line in spans] == [raw[:start].count(b"\n") + 1 for start, _, _ in spans]

    write = formats.load(source.format).write
    sink = io.BytesIO()
    done = write(source, Settings(), Edits(5), sink)
    assert sink.getvalue() == raw
    assert done.kept + done.unreadable == len(rows) + len(skips)

    drop = frozenset(rows[i] for i in chosen if i < len(rows))
    sink = io.BytesIO()
    done = write(source, Settings(), Edits(5, drop), sink)
    assert done.dropped == len(drop)
    kept = [raw[a:b] for row, (a, b, _) in zip(rows, spans, strict=True) if row not in drop]
    at = 0
    for record in kept:  # every kept record stands in the output, in order
        at = sink.getvalue().index(record, at) + len(record)
