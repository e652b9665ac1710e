"""One threaded pass over the text for everything that later stages need per row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import cache

import numpy as np

from scanner import running
from scanner.growing import Growing, Place
from scanner.kernels import minhash as kernels
from scanner.kernels.flatprints import fingerprint_flat
from scanner.objects import ROLE_CODE, Bool, Fingerprints, Int64, SegmentBatch, UInt8, UInt64
from scanner.text import code_point_classes, folded_code_points

PART_OF_ROLE = np.full(len(ROLE_CODE), kernels.PROMPT_PART, np.uint8)
for _role in ("assistant", "text"):
    PART_OF_ROLE[ROLE_CODE[_role]] = kernels.ANSWER_PART
for _role in ("system", "tools", "rejected"):
    PART_OF_ROLE[ROLE_CODE[_role]] = kernels.SKIPPED


def parts(batch: SegmentBatch) -> UInt8:
    """Which part of the row each segment belongs to, for shingling."""
    return PART_OF_ROLE[batch.role]


@cache
def permutations(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The multipliers and offsets of datasketch's affine32 scheme, (count,) uint32 each; not to be written to."""
    from datasketch import MinHash

    a, b = (np.array(x, np.uint32) for x in MinHash(num_perm=count, seed=seed, scheme="affine32").permutations)
    a.setflags(write=False)
    b.setflags(write=False)
    return a, b


def with_places(batches: Iterable[SegmentBatch]) -> Iterator[tuple[SegmentBatch, Int64, int]]:
    """The batches that hold a row, each with its row_starts and the place of its first row among all rows."""
    first = 0
    for batch in batches:
        if len(batch):
            starts = batch.row_starts()
            yield batch, starts, first
            first += len(starts) - 1


def text_hashes(batches: Iterable[SegmentBatch], rows: int, threads: int) -> UInt64:
    """(rows, 2) hashes of every row's raw text with roles: equal for rows that train alike."""
    out = np.empty((rows, 2), np.uint64)

    def work(part: tuple[SegmentBatch, Int64, int]) -> None:
        batch, starts, first = part
        at, end, here = batch.offsets[:-1], batch.offsets[1:], out[first : first + len(starts) - 1]
        kernels.text_hashes(batch.data, at, end, starts, batch.role, batch.supervised, here)

    running.run(work, with_places(batches), threads)
    return out


class Fingerprinter:
    """Signatures, hashes and counts of every row, batch by batch, made on any thread."""

    def __init__(self, width: int, count: int, seed: int):
        self._width = width
        self._permutations = permutations(count, seed)
        signature, hashes, normal = np.empty((0, count), np.uint32), np.empty(0, np.uint64), np.empty((0, 2), np.uint64)
        counts = np.empty(0, np.int64)
        kinds = Fingerprints(signature, hashes, hashes, hashes, normal, counts, counts, counts, counts, counts)
        self._made = Growing(vars(kinds))

    def reserve(self, rows: int, expected: int = 0) -> Place:
        """Room for a batch of at most so many rows; `expected`: rows in all, as far as is known."""
        return self._made.reserve(rows, expected)

    def fill(self, place: Place, batch: SegmentBatch) -> None:
        """Fingerprint the rows of a batch into its place."""
        starts = batch.row_starts() if len(batch) else np.zeros(1, np.int64)
        kernels.fingerprint(
            batch.data, batch.offsets, starts, parts(batch), batch.supervised, code_point_classes(),
            folded_code_points(), self._width, *self._permutations, *place.arrays.values(),
        )  # fmt: skip

    def fill_flat(
        self, place: Place, records: tuple[np.ndarray, ...], role: UInt8, supervised: Bool, step: int, digest: UInt64
    ) -> int:
        """Fingerprint flat records whose text is not kept; returns how many stand before one that needs the parser.

        records, step: see kernels.flatprints, buffer to lead_offsets · role, supervised: of the segments that each
        record has · digest (n, 2): filled, too.
        """
        read: int = fingerprint_flat(
            *records, PART_OF_ROLE[role], supervised, code_point_classes(), folded_code_points(), self._width,
            *self._permutations, step, digest, *place.arrays.values(),
        )  # fmt: skip
        return read

    def settle(self, place: Place, rows: int) -> None:
        """A place is filled, with so many rows; to be called in the order in which they were reserved."""
        self._made.settle(place, rows)

    def whole(self) -> Fingerprints:
        """Those of all rows."""
        return Fingerprints(**self._made.arrays())


def fingerprint(
    batches: Iterable[SegmentBatch],
    rows: int,
    width: int,
    count: int,
    seed: int,
    threads: int,
    advance: Callable[[int], None] = lambda rows: None,
) -> Fingerprints:
    """Signatures, hashes and counts of every row.

    `batches` must hold `rows` rows in order; `advance` is told how many rows a batch had when it is done.
    """
    printer = Fingerprinter(width, count, seed)

    def places() -> Iterator[tuple[Place, SegmentBatch, int]]:
        for batch in batches:
            if len(batch):
                own = len(batch.row_starts()) - 1
                yield printer.reserve(own, rows), batch, own

    def work(part: tuple[Place, SegmentBatch, int]) -> tuple[Place, int]:
        place, batch, own = part
        printer.fill(place, batch)
        return place, own

    for place, own in running.in_order(work, places(), threads):
        printer.settle(place, own)
        advance(own)
    return printer.whole()
