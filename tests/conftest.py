"""What many tests share: hypothesis settings, texts as buffers, and rows in a real run folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mmh3
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import settings

from scanner.fingerprints import fingerprint
from scanner.objects import ROLE_CODE, Fingerprints, Rows, Segment
from scanner.store import SEGMENT_SCHEMA, RunFolder, SegmentReader, SegmentWriter, pointer, roles_array

# Same examples on every machine, nothing written beside the code; `--hypothesis-profile hunt` looks for new ones.
settings.register_profile("same", deadline=None, derandomize=True, database=None, max_examples=40)
settings.register_profile("hunt", deadline=None, database=None, max_examples=2000)
settings.load_profile("same")

Row = Sequence[Segment]


@dataclass(frozen=True)
class Corpus:
    """Rows as the stages see them: the text in a run folder, their places, their fingerprints."""

    run: RunFolder
    rows: Rows
    segments: list[Row]

    def reader(self) -> SegmentReader:
        return self.run.segments()

    def prints(self, width: int = 3, permutations: int = 128, threads: int = 1) -> Fingerprints:
        return fingerprint(self.reader(), len(self.rows), width, permutations, 1, threads)


def row(*turns: tuple[str, str], supervised: bool = True) -> list[Segment]:
    """A row of (role, text) turns; assistant and plain text are learned."""
    return [
        Segment((str(i),), role, i, supervised and role in ("assistant", "text"), text)
        for i, (role, text) in enumerate(turns)
    ]


def pair(prompt: str, answer: str, system: str | None = None) -> list[Segment]:
    """A row of a prompt and its answer."""
    before = [] if system is None else [("system", system)]
    return row(*before, ("user", prompt), ("assistant", answer))


def places_of(rows: Sequence[Row], row_ids: Sequence[int], sources: list[int] | None = None) -> Rows:
    """Rows whose digest is that of their roles and texts."""
    content = [repr([(s.role, s.text) for s in r]).encode("utf-8", "surrogatepass") for r in rows]
    digest = np.array([mmh3.hash64(c, signed=False) for c in content], np.uint64).reshape(-1, 2)
    ids = np.asarray(row_ids, np.int64)
    owner = sources or [0] * len(ids)
    return Rows(
        row_id=ids,
        source=np.asarray(owner, np.int32),
        line=ids + 1,
        start=np.full(len(ids), -1),
        end=np.full(len(ids), -1),
        turns=np.array([len({s.turn for s in r}) for r in rows], np.int32),
        digest=digest,
        layout=("pair",) * len(set(owner)),
        first_row=tuple(int(ids[owner.index(i)]) for i in sorted(set(owner))),
    )


def write_segments(path: Path, rows: Sequence[Row], row_ids: Sequence[int], per_batch: int) -> None:
    """private/segments.arrow as ingest writes it, `per_batch` rows in each record batch."""
    with SegmentWriter(path) as writer:
        for at in range(0, len(rows), per_batch):
            found = [
                (row_id, i, s)
                for row_id, r in zip(row_ids[at : at + per_batch], rows[at : at + per_batch], strict=True)
                for i, s in enumerate(r)
            ]
            arrays = [
                pa.array([row_id for row_id, _, _ in found], pa.int64()),
                pa.array([i for _, i, _ in found], pa.int32()),
                pa.array([s.turn for _, _, s in found], pa.int32()),
                roles_array(np.array([ROLE_CODE[s.role] for _, _, s in found], np.uint8)),
                pa.array([pointer(s.path) for _, _, s in found], pa.string()),
                pa.array([s.supervised for _, _, s in found], pa.bool_()),
                pa.array([s.text for _, _, s in found], pa.large_string()),
            ]
            writer.append(pa.RecordBatch.from_arrays(arrays, schema=SEGMENT_SCHEMA))


@pytest.fixture(scope="session")
def rows_of() -> Callable[..., list[list[Segment]]]:
    """rows_of([(prompt, answer), (prompt, answer, system), "plain text", ...]) -> rows of segments."""

    def build(given: Sequence[Any]) -> list[list[Segment]]:
        return [row(("text", item)) if isinstance(item, str) else pair(*item) for item in given]

    return build


@pytest.fixture
def segments_of(tmp_path: Path, rows_of: Any) -> Callable[..., Corpus]:
    """segments_of(rows) -> Corpus in a run folder of its own; rows are lists of segments, pairs or plain texts."""
    made = 0

    def build(
        rows: Sequence[Any],
        row_ids: Sequence[int] | None = None,
        per_batch: int = 100,
        sources: list[int] | None = None,
    ) -> Corpus:
        nonlocal made
        made += 1
        rows = [r if isinstance(r, list) else rows_of([r])[0] for r in rows]
        ids = list(range(len(rows))) if row_ids is None else list(row_ids)
        run = RunFolder.open_for_writing(tmp_path / f"run{made}")
        write_segments(run.segments_path, rows, ids, per_batch)
        return Corpus(run, places_of(rows, ids, sources), rows)

    return build


@pytest.fixture(scope="session")
def packed() -> Callable[[Sequence[str]], tuple[np.ndarray, np.ndarray]]:
    """packed(texts) -> (data, offsets) as an Arrow buffer holds them: read-only, with bytes around them."""

    def build(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        parts = [b"before", *(text.encode() for text in texts)]
        data = np.frombuffer(b"".join(parts) + b"after", np.uint8)
        return data, np.cumsum([len(part) for part in parts]).astype(np.int64)

    return build
