"""How well the shipped table agrees with the full all-MiniLM-L6-v2 on the rows of an audit.

    scan data.jsonl --out RUN
    python benchmarks/static_table/agreement.py RUN --rows 1000

Both encode the same rows, the table exactly as the audit does (words that most rows hold count less). Printed are the
correlations of the cosines over all pairs, the average precision of finding the pairs that MiniLM puts above a cosine,
and the share of each row's 10 nearest by MiniLM that are among its 10 nearest by the table.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from scanner import embedding
from scanner.objects import SegmentBatch
from scanner.store import RunFolder


def main() -> None:
    """Sample rows of a run, encode them twice and compare."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("run", type=Path)
    arguments.add_argument("--rows", type=int, default=1000)
    chosen = arguments.parse_args()

    batches = list(RunFolder.open_finished(chosen.run).segments())
    ids = np.unique(np.concatenate([batch.row_id for batch in batches]))
    static = embedding.encode(batches, ids)
    sample = np.sort(np.random.default_rng(0).permutation(np.flatnonzero(static.measured))[: chosen.rows])
    parts = [part for batch in batches if len(part := rows_of(batch, ids[sample]))]
    full = embedding.encode(parts, ids[sample], embedding.MINILM)
    table, minilm = cosines(static.vectors[sample]), cosines(full.vectors)

    pair = np.triu_indices(len(sample), 1)
    x, y = table[pair], minilm[pair]
    print(f"rows {len(sample)}   Pearson {np.corrcoef(x, y)[0, 1]:.3f}   Spearman {spearman(x, y):.3f}")
    for level in (0.6, 0.8):
        print(f"pairs above {level} by MiniLM: {(y > level).sum()}   average precision {precision(y > level, x):.3f}")
    shared = [len(set(a) & set(b)) / 10 for a, b in zip(nearest(table), nearest(minilm), strict=True)]
    print(f"10 nearest in common {np.mean(shared):.3f}")


def rows_of(batch: SegmentBatch, row_ids: np.ndarray) -> SegmentBatch:
    """The segments of some rows, copied."""
    kept = np.flatnonzero(np.isin(batch.row_id, row_ids))
    texts = [batch.data[batch.offsets[i] : batch.offsets[i + 1]] for i in kept]
    return SegmentBatch(
        batch.row_id[kept], batch.segment[kept], batch.turn[kept], batch.role[kept], batch.supervised[kept],
        np.cumsum([0, *map(len, texts)]).astype(np.int64), np.concatenate([*texts, np.zeros(0, np.uint8)]),
    )  # fmt: skip


def cosines(vectors: np.ndarray) -> np.ndarray:
    """(n, n) cosines of (n, d) vectors."""
    unit = vectors / np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
    return np.asarray(unit @ unit.T)


def nearest(cosine: np.ndarray) -> np.ndarray:
    """(n, 10) nearest others of each row."""
    return np.argsort(-(cosine - 2 * np.eye(len(cosine))), axis=1)[:, :10]


def spearman(x: np.ndarray, y: np.ndarray) -> float:
    """Correlation of ranks."""
    return float(np.corrcoef(np.argsort(np.argsort(x)), np.argsort(np.argsort(y)))[0, 1])


def precision(relevant: np.ndarray, score: np.ndarray) -> float:
    """Average precision: mean over relevant pairs of the precision at their place by falling score."""
    hits = relevant[np.argsort(-score, kind="stable")]
    return float((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean()) if hits.any() else float("nan")


if __name__ == "__main__":
    main()
