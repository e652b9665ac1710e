"""rensa's Rho sketch: faster on long texts, because it looks at a part of their shingles; a line of its own."""

from __future__ import annotations

PACKAGES = ("rensa",)
READS = "shingles"


def start(threads: int) -> None:
    """Import it; its threads come from RAYON_NUM_THREADS."""
    import rensa  # noqa: F401


def flags(sets: list[list[str]], threads: int, permutations: int, bands: int) -> list[bool]:
    """Which rows share a band with another row."""
    from rensa import RMinHash, RMinHashLSH

    matrix = RMinHash.digest_matrix_from_token_sets_rho(sets, permutations, 42)
    return RMinHashLSH(0.8, permutations, bands).query_duplicate_flags_matrix_one_shot(matrix)
