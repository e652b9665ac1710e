"""FastSketchLSH: Fast Similarity Sketch of a batch, duplicate flags while inserting; no verification."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

PACKAGES = ("FastSketchLSH",)
READS = "shingles"


def start(threads: int) -> None:
    """Import it; its threads come from OMP_NUM_THREADS and from the calls."""
    import FastSketchLSH  # noqa: F401


def flags(sets: list[list[str]], threads: int, permutations: int, bands: int) -> np.ndarray:
    """Which rows share a band with another row."""
    from FastSketchLSH import LSH, FastSimilaritySketch

    matrix = FastSimilaritySketch(size=permutations, seed=42).batch(sets, num_threads=threads)
    return LSH(num_perm=permutations, num_bands=bands, num_threads=threads).insert_and_query_duplicates(matrix)


def edges(sets: list[list[str]], threads: int, permutations: int, bands: int) -> Iterator[tuple[int, int]]:
    """Pairs of rows that share a band."""
    from FastSketchLSH import LSH, FastSimilaritySketch

    matrix = FastSimilaritySketch(size=permutations, seed=42).batch(sets, num_threads=threads)
    index = LSH(num_perm=permutations, num_bands=bands, num_threads=threads)
    index.insert(matrix)
    flat, bounds = index.query(matrix, format="csr")
    rows = np.repeat(np.arange(len(sets)), np.diff(np.asarray(bounds, np.int64)))
    later = np.asarray(flat, np.int64) > rows
    yield from zip(rows[later].tolist(), np.asarray(flat)[later].tolist(), strict=True)
