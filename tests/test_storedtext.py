"""The stored text: batches of whole rows, as views, found again by row."""

from __future__ import annotations

import itertools

import numpy as np
import polars as pl
import pytest
from corpora import write_segments
from hypothesis import given
from hypothesis import strategies as st
from strategies import texts

from scanner.objects import ROLES, Segment
from scanner.storedtext import SegmentReader, SegmentWriter

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
    reader = SegmentReader(path)
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
    found = SegmentReader(path).segments_of(np.array(wanted, np.int64))
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
    reader = SegmentReader(tmp_path / "segments.arrow")
    assert list(reader) == []
    assert reader.frame().is_empty()
    assert reader.rows([0]).is_empty()


def test_broken_segments_leave_nothing(segments_of, tmp_path):
    def write():
        with SegmentWriter(tmp_path / "segments.arrow"):
            raise KeyError

    with pytest.raises(KeyError):
        write()
    assert not list(tmp_path.iterdir())
