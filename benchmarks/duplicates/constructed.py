"""Pairs of texts whose Jaccard similarity (runs of three words) is exact by construction. Seeded.

    from constructed import generate
    pairs = generate(seed=1)      # .texts, and per pair .first .second .jaccard .level .size .arrangement

Both texts of a pair have `size` shingles. They share blocks of words; all other words are unlike, so a shingle is
shared only if it lies inside a block, and the similarity is shared / (2 size - shared). The blocks stand in the same
order and place (aligned), in another order (shuffled) or in the opposite order (reversed).
"""

from __future__ import annotations

import json
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rows import vocabulary

SIZES = (2, 3, 5, 9, 18, 36, 72, 144, 288, 576, 1024)
LEVELS = (0.3, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0)
ARRANGEMENTS = ("aligned", "shuffled", "reversed")
NEAREST = 0.02
"""A size is left out where it has no similarity in [level, level + NEAREST]: two shingles have only 0, 1/3 and 1."""
WIDTH = 3


@dataclass(frozen=True)
class Constructed:
    """Texts 2 i and 2 i + 1 are pair i; texts of different pairs share nothing by construction but chance."""

    texts: list[str]
    jaccard: np.ndarray  # (pairs,) exact
    level: np.ndarray  # (pairs,) the wanted similarity, at most NEAREST below it
    size: np.ndarray  # (pairs,) shingles of each text
    arrangement: list[str]

    def write(self, path: Path) -> None:
        """JSON Lines with one field, `text`."""
        path.write_text("".join(json.dumps({"text": text}) + "\n" for text in self.texts), "utf-8")


def generate(per_cell: int = 20, seed: int = 1) -> Constructed:
    """`per_cell` pairs for every level, size and arrangement."""
    rng = np.random.default_rng(seed)
    words = vocabulary()
    words = np.unique(np.char.lower(words.astype(str)))
    texts: list[str] = []
    jaccard, levels, sizes, arrangements = [], [], [], []
    for level in LEVELS:
        for size in SIZES:
            shared = math.ceil(2 * size * level / (1 + level) - 1e-9)  # at the level or just above it
            exact = shared / (2 * size - shared)
            if exact > level + NEAREST:
                continue
            for arrangement in ARRANGEMENTS:
                for _ in range(per_cell):
                    texts += _pair(rng, words, size, shared, arrangement)
                    jaccard.append(exact)
                    levels.append(level)
                    sizes.append(size)
                    arrangements.append(arrangement)
    return Constructed(texts, np.array(jaccard), np.array(levels), np.array(sizes), arrangements)


def _pair(rng: np.random.Generator, words: np.ndarray, size: int, shared: int, arrangement: str) -> list[str]:
    """Two texts of `size` shingles with `shared` in common."""
    length = size + WIDTH - 1
    # blocks of b words or more in all: shared + 2 b words, and a word between two blocks
    blocks = 1 if arrangement == "aligned" else max(1, min(4, shared, (size + 3 - shared) // 3))
    own = length - shared - (WIDTH - 1) * blocks
    drawn = rng.choice(words, 2 * length, replace=False)
    cuts = np.sort(rng.choice(np.arange(1, shared), blocks - 1, replace=False)) if blocks > 1 else np.array([], int)
    block_words = np.split(drawn[: shared + (WIDTH - 1) * blocks], cuts + (WIDTH - 1) * np.arange(1, blocks))
    rest = drawn[shared + (WIDTH - 1) * blocks :]
    order = list(range(blocks))
    if arrangement == "reversed":
        order.reverse()
    elif arrangement == "shuffled":
        order = rng.permutation(blocks).tolist()
    first = _text(block_words, rest[:own], at_end=False)
    second = _text([block_words[i] for i in order], rest[own : 2 * own], at_end=arrangement != "aligned")
    return [first, second]


def _text(blocks: list[np.ndarray], own: np.ndarray, at_end: bool) -> str:
    """The blocks with one word of its own between any two; the other words after them, or before."""
    between = len(blocks) - 1
    parts = [blocks[0]]
    for i, block in enumerate(blocks[1:]):
        parts += [own[i : i + 1], block]
    parts = [own[between:], *parts] if at_end else [*parts, own[between:]]
    return " ".join(np.concatenate(parts).tolist())
