"""One threaded pass over the text for everything that later stages need per row."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from scanner.growing import Growing
from scanner.kernels import minhash as kernels
from scanner.objects import ROLE_CODE, Fingerprints, Int64, SegmentBatch, UInt8, UInt64
from scanner.text import code_point_classes, folded_code_points

PART_OF_ROLE = np.full(len(ROLE_CODE), kernels.PROMPT_PART, np.uint8)
for _role in ("assistant", "text"):
    PART_OF_ROLE[ROLE_CODE[_role]] = kernels.ANSWER_PART
for _role in ("system", "tools", "rejected"):
    PART_OF_ROLE[ROLE_CODE[_role]] = kernels.SKIPPED


def parts(batch: SegmentBatch) -> UInt8:
    """Which part of the row each segment belongs to, for shingling."""
    return PART_OF_ROLE[batch.role]


def permutations(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The multipliers and offsets of datasketch's affine32 scheme, (count,) uint32 each."""
    from datasketch import MinHash

    a, b = MinHash(num_perm=count, seed=seed, scheme="affine32").permutations
    return np.ascontiguousarray(a, np.uint32), np.ascontiguousarray(b, np.uint32)


def text_hashes(batches: Iterable[SegmentBatch], rows: int, threads: int) -> UInt64:
    """(rows, 2) hashes of every row's raw text with roles: equal for rows that train alike."""
    out = np.empty((rows, 2), np.uint64)

    def work(batch: SegmentBatch, starts: np.ndarray, first: int) -> None:
        at, end = batch.offsets[:-1], batch.offsets[1:]
        here = out[first : first + len(starts) - 1]
        kernels.text_hashes(batch.data, at, end, starts, batch.role, batch.supervised, here)

    with ThreadPoolExecutor(threads) as pool:
        jobs, first = [], 0
        for batch in batches:
            if len(batch):
                starts = batch.row_starts()
                jobs.append(pool.submit(work, batch, starts, first))
                first += len(starts) - 1
        for job in jobs:
            job.result()
    return out


class Fingerprinter:
    """Signatures, hashes and counts a batch at a time: made on any thread, put together on one."""

    def __init__(self, width: int, count: int, seed: int):
        self._width = width
        self._permutations = permutations(count, seed)
        self._made = Growing()
        self.add(_named(*self._room(0)))

    def _room(self, rows: int) -> tuple[np.ndarray, UInt64, UInt64, Int64]:
        """signature, hashes, normal and counts, as the kernel fills them."""
        return (
            np.empty((rows, len(self._permutations[0])), np.uint32),
            np.empty((kernels.HASHES, rows), np.uint64),
            np.empty((rows, 2), np.uint64),
            np.empty((kernels.COUNTS, rows), np.int64),
        )

    def of(self, batch: SegmentBatch) -> Fingerprints:
        """Those of the rows of one batch."""
        starts = batch.row_starts() if len(batch) else np.zeros(1, np.int64)
        room = self._room(len(starts) - 1)
        kernels.fingerprint(
            batch.data, batch.offsets, starts, parts(batch), batch.supervised, code_point_classes(),
            folded_code_points(), self._width, *self._permutations, *room,
        )  # fmt: skip
        return _named(*room)

    def add(self, part: Fingerprints, expected: int = 0) -> None:
        """Put the next rows at the end; `expected`: how many rows there will be in all, as far as is known."""
        self._made.append(vars(part), expected)

    def whole(self) -> Fingerprints:
        """Those of all rows that were added."""
        return Fingerprints(**self._made.arrays())


def _named(signature: np.ndarray, hashes: UInt64, normal: UInt64, counts: Int64) -> Fingerprints:
    return Fingerprints(
        signature=signature,
        prompt=hashes[kernels.PROMPT],
        answer=hashes[kernels.ANSWER],
        context=hashes[kernels.CONTEXT],
        normal=normal,
        tokens=counts[kernels.TOKENS],
        supervised_tokens=counts[kernels.LEARNED],
        shingles=counts[kernels.SHINGLES_MADE],
        prompt_chars=counts[kernels.PROMPT_POINTS],
        response_chars=counts[kernels.ANSWER_POINTS],
    )


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
    with ThreadPoolExecutor(threads) as pool:
        for part in pool.map(printer.of, batches):
            printer.add(part, rows)
            if len(part.tokens):
                advance(len(part.tokens))
    return printer.whole()
