"""Raw JSON Lines to verified near-duplicate clusters: rows per second, and recall and precision against brute force.

    python benchmarks/duplicates/run.py [--rows 300000] [--truth-rows 8000] [--repeats 5] [--threads 2]

Rows come from benchmarks/rows.py. Start-up (imports, compiled kernels, tables) is done before the clock starts; the
clock runs from opening the file to clusters. Truth: the exact Jaccard similarity of every pair of rows, by sparse
matrix products of row-by-shingle incidence.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rows import write_rows

from scanner.deduplicating import find_duplicates
from scanner.objects import Rows
from scanner.progress import Progress
from scanner.settings import Settings
from scanner.signals import minhash
from scanner.storedtext import HasText


def truth(run: HasText, rows: Rows, settings: Settings) -> dict[tuple[int, int], float]:
    """Jaccard of every pair of distinct rows at or above the floor, exactly, without any sketch."""
    from scipy.sparse import csr_matrix

    reader = run.segments()
    total = np.full(len(rows), 1 << 16, np.int64)
    members = np.arange(len(rows))
    sets, bounds, _ = minhash._shingle_sets(reader, members, total, settings.shingle, 2)
    per_row = [sets[bounds[r] : bounds[r + 1]] >> np.uint64(2) for r in range(len(rows))]
    sizes = np.array([len(s) for s in per_row])
    _, columns = np.unique(np.concatenate(per_row), return_inverse=True)
    incidence = csr_matrix((np.ones(len(columns), np.float32), columns, np.concatenate(([0], np.cumsum(sizes)))))
    found = {}
    for first in range(0, len(rows), 1000):
        shared = (incidence[first : first + 1000] @ incidence.T).tocoo()
        a, b = shared.row + first, shared.col
        keep = a < b
        a, b, both = a[keep], b[keep], shared.data[keep]
        jaccard = both / (sizes[a] + sizes[b] - both)
        high = jaccard >= settings.floor
        found.update(zip(zip(a[high].tolist(), b[high].tolist(), strict=True), jaccard[high].tolist(), strict=True))
    return found


def accuracy(count: int, settings: Settings) -> None:
    """Recall and precision of the reported pairs against every pair compared."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        write_rows(count, file)
        found = find_duplicates([file], settings, Path(folder) / "r.scan")
        likeness = found.likeness
        expected = truth(found.text, found.rows, settings)
        reported = {(a, b): s for a, b, s in likeness.near.select("row_a", "row_b", "similarity").iter_rows()}
        exact = set(likeness.exact.select("row_a", "row_b").iter_rows())
        # rows of equal text stand for one another in near pairs
        text = likeness.texts.group
        stand_in = {(min(text[a], text[b]), max(text[a], text[b])) for a, b in reported}
        for floor in (settings.jaccard, 0.7, 0.6, settings.floor):
            wanted = [p for p, s in expected.items() if s >= floor]
            hits = sum(
                p in exact or (min(text[p[0]], text[p[1]]), max(text[p[0]], text[p[1]])) in stand_in for p in wanted
            )
            print(f"  pairs with Jaccard >= {floor}: {len(wanted)}, recall {hits / max(1, len(wanted)):.4f}")
        right = sum(abs(expected.get(p, -1) - s) < 1e-6 for p, s in reported.items() if s >= settings.floor)
        above = sum(s >= settings.floor for s in reported.values())
        print(f"  precision of {above} reported pairs at or above {settings.floor}: {right / max(1, above):.4f}")


def main() -> None:
    """Print accuracy, then speed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--truth-rows", type=int, default=8_000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    settings = Settings(threads=options.threads)
    bands = minhash.choose_bands(settings.permutations, settings.jaccard, settings.recall, settings.floor)
    print(f"{bands.bands} bands of {bands.rows} rows; promised recall at .8 {bands.probability(0.8):.4f}")
    print(f"accuracy at {options.truth_rows:,} rows")
    accuracy(options.truth_rows, settings)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        write_rows(options.rows, file)
        times = []
        for repeat in range(options.repeats):
            started = time.perf_counter()
            progress = Progress()
            find_duplicates([file], settings, Path(folder) / f"{repeat}.scan", progress)
            times.append(time.perf_counter() - started)
        megabytes = file.stat().st_size / 1e6
        middle = statistics.median(times)
        print(
            f"{options.rows:,} rows, {megabytes:.0f} MB: median {middle:.2f} s ({min(times):.2f} to {max(times):.2f})"
        )
        print(f"  {options.rows / middle:,.0f} rows/s, {megabytes / middle:.0f} MB/s")
        print("  " + ", ".join(f"{t.stage} {t.seconds:.2f}" for t in progress.timings))
        print(f"  peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.2f} GB")


if __name__ == "__main__":
    main()
