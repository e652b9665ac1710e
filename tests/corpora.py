"""Rows made by hand, written to a real run folder as ingest writes them."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import mmh3
import numpy as np
import pyarrow as pa

from scanner.fingerprints import fingerprint
from scanner.jsonediting import pointer_of
from scanner.kernels.hashing import fmix64
from scanner.kernels.tokens import tokenise
from scanner.objects import ROLE_CODE, Fingerprints, Rows, Segment
from scanner.store import RunFolder
from scanner.storedtext import SEGMENT_SCHEMA, SegmentReader, SegmentWriter, roles_array
from scanner.text import code_point_classes, folded_code_points

Row = Sequence[Segment]
Packed = Callable[[Sequence[str]], tuple[np.ndarray, np.ndarray]]
"""The fixture `packed`: texts as an Arrow buffer holds them."""


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
                pa.array([pointer_of(s.path) for _, _, s in found], pa.string()),
                pa.array([s.supervised for _, _, s in found], pa.bool_()),
                pa.array([s.text for _, _, s in found], pa.large_string()),
            ]
            writer.append(pa.RecordBatch.from_arrays(arrays, schema=SEGMENT_SCHEMA))


def folded_hashes(packed: Packed, text: str) -> list[np.uint64]:
    """Hash of every token of a text in lower case."""
    data, offsets = packed([text])
    room = len(text.encode())
    hashes, starts, counts = np.empty(room, np.uint64), np.empty(room, np.int64), np.empty(1, np.int64)
    found = tokenise(data, offsets, code_point_classes(), folded_code_points(), 1, hashes, starts, counts)
    return [np.uint64(h) for h in hashes[:found]]


def shingles(packed: Packed, text: str, width: int) -> list[int]:
    """64-bit hashes of every run of `width` folded tokens; of the whole text where it is shorter."""
    tokens = folded_hashes(packed, text)
    size = min(width, len(tokens))
    found: list[int] = []
    for i in range(len(tokens) - size + 1 if tokens else 0):
        h = size
        for token in tokens[i : i + size]:
            h = (h * 0x9E3779B97F4A7C15 + int(token)) % 2**64
        found.append(int(fmix64(np.uint64(h))))
    return found


def write_jsonl(path: Path, lines: Sequence[object]) -> Path:
    """One JSON text per line; returns the path."""
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
    return path


def item(i: int, **more: object) -> dict[str, object]:
    """A record that is like no other; more: fields beside, or in place of, its own."""
    words = " ".join(f"word{(i * 37 + j * 11) % 991}" for j in range(20))
    return {"instruction": f"Tell item {i} of list {i * i}.", "input": "", "output": f"{words}.", **more}
