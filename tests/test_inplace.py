"""Text that is read from the input again is the text that was stored, and so are the fingerprints made of it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import texts

from scanner import formats, ingest, inplace, stages
from scanner.inplace import TextInPlace
from scanner.objects import ROLES
from scanner.settings import Settings
from scanner.store import RunFolder
from scanner.storedtext import HasText

flat = st.fixed_dictionaries({"instruction": texts, "output": texts}, optional={"input": texts, "id": st.integers()})
lines = st.lists(
    st.one_of(flat, flat, st.just({"output": "alone"}), st.just({"instruction": 7, "output": None})),
    min_size=1, max_size=9,
).map(lambda records: b"".join(json.dumps(r).encode() + b"\n" for r in records))  # fmt: skip


def read(run, files, values):
    printer = stages.fingerprinter(values)
    rows, skips = ingest.read_all(formats.discover([str(f) for f in files]), run, values, 2, printer=printer)
    return rows, skips, printer.whole()


def told(run: HasText, positions: np.ndarray) -> list[list[tuple]]:
    """number, role, supervised and text of the segments of each row."""
    some = run.segments().segments_of(positions)
    columns = (some.segment, [ROLES[code] for code in some.role], some.supervised, some.begin, some.end)
    every = [(n, role, bool(s), some.data[a:b].tobytes()) for n, role, s, a, b in zip(*columns, strict=True)]
    return [every[a:b] for a, b in zip(some.row_start[:-1], some.row_start[1:], strict=True)]


@given(first=lines, second=lines, step=st.sampled_from([1, 40, 1 << 19]), rows=st.sampled_from([1, 3, 100]),
       which=st.sampled_from(["all-assistant", "last", "everything"]), seed=st.integers(0, 9))  # fmt: skip
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_it_tells_what_a_run_folder_tells(tmp_path_factory, first, second, step, rows, which, seed):
    folder = tmp_path_factory.mktemp("text")
    values = Settings(layout="alpaca", supervise=which, permutations=8)
    files = [folder / "a.jsonl", folder / "b.jsonl"]
    for file, raw in zip(files, (first + b'{"instruction": "q", "output": "a"}\n', second), strict=True):
        file.write_bytes(raw)
    stored, place = RunFolder.open_for_writing(folder / "run"), TextInPlace()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inplace, "STEP_BYTES", step)
        patch.setattr(ingest, "ROWS_PER_BATCH", rows)
        try:
            wanted, skips, prints = read(stored, files, values)
        except ingest.InputError as error:
            with pytest.raises(type(error), match="no record"):
                read(place, files, values)
            return
        found, others, again = read(place, files, values)
    assert others == skips
    for name in ("row_id", "source", "line", "start", "end", "turns", "digest"):
        assert np.array_equal(getattr(found, name), getattr(wanted, name)), name
    for name, value in vars(prints).items():
        assert np.array_equal(getattr(again, name), value), name
    chosen = np.flatnonzero(np.random.default_rng(seed).random(len(wanted)) < 0.6)
    for positions in (chosen, np.arange(len(wanted)), np.zeros(0, np.int64)):
        assert told(place, positions) == told(stored, positions)
    columns = ["row_id", "text"]
    ids = wanted.row_id[chosen].tolist()
    assert place.rows(ids, columns).rows() == stored.segments().rows(ids, columns).rows()
    assert sum(len(batch) for batch in place) == len(stored.segments().frame())


def test_chats_are_kept_as_they_were_read(tmp_path):
    file = tmp_path / "chats.jsonl"
    turns = [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "Because it is."}]
    file.write_text(json.dumps({"messages": turns}) + "\n" + json.dumps({"messages": turns[:1] * 2}) + "\n")
    place = TextInPlace()
    read(place, [file], Settings())
    assert told(place, np.array([1])) == [[(0, "user", False, b"Why?"), (1, "user", False, b"Why?")]]
    assert place.rows([0], ["role", "text"]).rows() == [("user", "Why?"), ("assistant", "Because it is.")]
