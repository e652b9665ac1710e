"""semhash: cosine of static word vectors (model2vec), neighbours by usearch. It looks for meaning, not for words.

Its default vectors come from a model hub; here they are the static table of this project (256 components), so that
nothing is downloaded.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

PACKAGES = ("semhash", "model2vec", "usearch")
READS = "texts"
TABLE = Path(__file__).resolve().parents[3] / "scanner" / "static_table"
_MODEL: list[Any] = []


def start(threads: int) -> None:
    """Import it and load the vectors."""
    import semhash  # noqa: F401
    from model2vec import StaticModel
    from tokenizers import Tokenizer

    with np.load(TABLE / "table.npz") as stored:
        vectors = stored["vectors"].astype(np.float32) * stored["scale"].astype(np.float32).reshape(-1, 1)
    _MODEL.append(StaticModel(vectors, Tokenizer.from_file(str(TABLE / "tokenizer.json")), normalize=True))


def _groups(texts: list[str], cosine: float) -> Iterator[list[int]]:
    from semhash import SemHash

    places: dict[str, list[int]] = {}
    for row, text in enumerate(texts):
        places.setdefault(text, []).append(row)
    result = SemHash.from_records(texts, model=_MODEL[0]).self_deduplicate(threshold=cosine)
    yield from places.values()
    for item in result.selected_with_duplicates:
        yield places[item.record][:1] + [places[text][0] for text, _ in item.duplicates]


def flags(texts: list[str], threads: int, cosine: float) -> np.ndarray:
    """Which rows are left out."""
    from semhash import SemHash

    result = SemHash.from_records(texts, model=_MODEL[0]).self_deduplicate(threshold=cosine)
    kept = set(result.selected)
    flagged = np.zeros(len(texts), np.uint8)
    for row, text in enumerate(texts):
        if text in kept:
            kept.remove(text)
        else:
            flagged[row] = 1
    return flagged


def edges(texts: list[str], threads: int, cosine: float) -> Iterator[tuple[int, int]]:
    """Each kept row with those it stands for."""
    for group in _groups(texts, cosine):
        yield from ((group[0], other) for other in group[1:])
