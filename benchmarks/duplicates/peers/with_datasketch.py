"""datasketch: MinHash.generator, then MinHashLSH row by row; no verification. It uses one core."""

from __future__ import annotations

from collections.abc import Iterator

PACKAGES = ("datasketch",)
READS = "shingles"


def start(threads: int) -> None:
    """Import it."""
    import datasketch  # noqa: F401


def _found(sets: list[list[str]], permutations: int, bands: int) -> Iterator[list[int]]:
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(num_perm=permutations, params=(bands, permutations // bands))
    encoded = ([shingle.encode() for shingle in own] for own in sets)
    for row, sketch in enumerate(MinHash.generator(encoded, num_perm=permutations)):
        yield index.query(sketch)
        index.insert(row, sketch, check_duplication=False)


def flags(sets: list[list[str]], threads: int, permutations: int, bands: int) -> list[bool]:
    """Which rows share a band with an earlier row."""
    return [bool(found) for found in _found(sets, permutations, bands)]


def edges(sets: list[list[str]], threads: int, permutations: int, bands: int) -> Iterator[tuple[int, int]]:
    """Pairs of rows that share a band."""
    for row, found in enumerate(_found(sets, permutations, bands)):
        yield from ((other, row) for other in found)
