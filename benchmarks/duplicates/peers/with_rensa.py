"""rensa: RMinHash digests as one matrix, duplicate flags by one-shot LSH; no verification."""

from __future__ import annotations

from collections.abc import Iterator

PACKAGES = ("rensa",)
READS = "shingles"


def start(threads: int) -> None:
    """Import it; its threads come from RAYON_NUM_THREADS."""
    import rensa  # noqa: F401


def flags(sets: list[list[str]], threads: int, permutations: int, bands: int) -> list[bool]:
    """Which rows share a band with another row."""
    from rensa import RMinHash, RMinHashLSH

    matrix = RMinHash.digest_matrix_from_token_sets(sets, permutations, 42)
    return RMinHashLSH(0.8, permutations, bands).query_duplicate_flags_matrix_one_shot(matrix)


def edges(sets: list[list[str]], threads: int, permutations: int, bands: int) -> Iterator[tuple[int, int]]:
    """Pairs of rows that share a band."""
    from rensa import RMinHash, RMinHashLSH

    digests = RMinHash.from_token_sets(sets, permutations, 42)
    index = RMinHashLSH(0.8, permutations, bands)
    index.insert_many(digests)
    for row, found in enumerate(index.query_all(digests)):
        yield from ((row, other) for other in found if other > row)
