"""One threaded pass over the text for everything that later stages need per row."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from scanner.kernels import minhash as kernels
from scanner.objects import ROLE_CODE, Fingerprints, SegmentBatch, UInt8, UInt64
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
    a, b = permutations(count, seed)
    signature = np.empty((rows, count), np.uint32)
    hashes, normal = np.empty((kernels.HASHES, rows), np.uint64), np.empty((rows, 2), np.uint64)
    counts = np.empty((kernels.COUNTS, rows), np.int64)
    classes, fold = code_point_classes(), folded_code_points()

    def work(batch: SegmentBatch, starts: np.ndarray, first: int) -> int:
        kernels.fingerprint(
            batch.data, batch.offsets, starts, parts(batch), batch.supervised, classes, fold, width, a, b,
            first, signature, hashes, normal, counts,
        )  # fmt: skip
        return len(starts) - 1

    with ThreadPoolExecutor(threads) as pool:
        jobs, first = [], 0
        for batch in batches:
            if not len(batch):
                continue
            starts = batch.row_starts()
            jobs.append(pool.submit(work, batch, starts, first))
            first += len(starts) - 1
        for job in jobs:
            advance(job.result())
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
