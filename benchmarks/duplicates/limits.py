"""How far each stage is from what the machine allows: simple loops at full speed beside the stages' own pace.

    python benchmarks/duplicates/limits.py [--rows 300000] [--threads 2]

Limits: copying memory (numpy, all threads), reading the file from the page cache, hashing tokens only (the shortest
loop over the text), and 32-bit MinHash updates only (one multiplication and one minimum per shingle and permutation).
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numba import njit

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from ours import warm_up
from rows import write_rows

from scanner.deduplicating import ALONE, PERMUTATIONS, find_duplicates
from scanner.objects import Timing
from scanner.progress import Progress
from scanner.settings import Settings

COPY_BYTES = 256 << 20
REPEATS = 5


@njit(nogil=True, cache=False)
def hash_words(data: np.ndarray) -> np.uint32:
    """One multiplication per byte, one mix per word: what splitting into words and hashing them costs at least."""
    h = np.uint32(2166136261)
    total = np.uint32(0)
    for byte in data:
        if byte > 47:
            h = (h ^ np.uint32(byte)) * np.uint32(16777619)
        else:
            total ^= h
            h = np.uint32(2166136261)
    return total


@njit(nogil=True, cache=False)
def update_signatures(values: np.ndarray, a: np.ndarray, b: np.ndarray, per_row: int) -> np.ndarray:
    """MinHash of rows of `per_row` shingles each, with nothing else around it."""
    least = np.empty(len(a), np.uint32)
    total = np.zeros(len(a), np.uint32)
    for first in range(0, len(values) - per_row + 1, per_row):
        least[:] = np.uint32(0xFFFFFFFF)
        for i in range(first, first + per_row):
            value = values[i]
            for p in range(len(a)):
                least[p] = min(least[p], np.uint32(a[p] * value + b[p]))
        for p in range(len(a)):
            total[p] ^= least[p]
    return total


def seconds(work: Callable[[int], object], threads: int) -> float:
    """Median time of `work(thread)` on all threads at once."""
    times = []
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))  # compiled, and its memory touched
        for _ in range(REPEATS):
            started = time.perf_counter()
            list(pool.map(work, range(threads)))
            times.append(time.perf_counter() - started)
    return statistics.median(times)


def stages_of(file: Path, settings: Settings) -> list[Timing]:
    """Seconds of each stage, once."""
    progress = Progress()
    find_duplicates([file], settings, progress=progress)
    return progress.timings


def main() -> None:
    """Print the limits, then each stage's share of the time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=300_000)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    threads = options.threads
    rng = np.random.default_rng(0)

    buffers = [(np.ones(COPY_BYTES, np.uint8), np.empty(COPY_BYTES, np.uint8)) for _ in range(threads)]
    copying = seconds(lambda t: np.copyto(buffers[t][1], buffers[t][0]), threads)
    print(f"copying memory              {2 * threads * COPY_BYTES / copying / 1e9:8.1f} GB/s read and written")
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "rows.jsonl"
        write_rows(options.rows, file)
        megabytes = file.stat().st_size / 1e6
        reading = seconds(lambda t: file.read_bytes() if t == 0 else None, threads)
        print(f"reading the file            {megabytes / reading:8.0f} MB/s from the page cache")
        data = np.frombuffer(file.read_bytes(), np.uint8)
        parts = np.array_split(data, threads)
        hashing = seconds(lambda t: hash_words(parts[t]), threads)
        print(f"hashing words               {megabytes / hashing:8.0f} MB/s")
        words = int(np.count_nonzero((data[:-1] > 47) & (data[1:] <= 47)))
        per_row = max(1, words // options.rows)
        values = rng.integers(0, 1 << 32, per_row * options.rows // threads, dtype=np.uint32)
        a, b = rng.integers(1, 1 << 32, (2, PERMUTATIONS), dtype=np.uint32)
        signing = seconds(lambda t: update_signatures(values, a, b, per_row), threads)
        print(
            f"MinHash updates             {options.rows / signing:8,.0f} rows/s of {per_row} shingles, "
            f"{PERMUTATIONS} permutations"
        )
        floors = {
            "read and fingerprint": reading + hashing + signing,
        }
        settings = ALONE.changed(threads=threads)
        warm_up(settings, "in-place")
        runs = [stages_of(file, settings) for _ in range(REPEATS)]
    middle = {t.stage: statistics.median(run[i].seconds for run in runs) for i, t in enumerate(runs[0])}
    whole = sum(middle.values())
    print(f"\n{options.rows:,} rows, {megabytes:.0f} MB, {threads} threads: {whole:.2f} s")
    print(f"{'stage':28}{'seconds':>8}{'share':>8}{'MB/s':>8}{'rows/s':>12}   times its limit")
    for stage, own in middle.items():
        limit = f"{own / floors[stage]:.1f}" if stage in floors else ""
        print(f"{stage:28}{own:8.2f}{own / whole:8.0%}{megabytes / own:8.0f}{options.rows / own:12,.0f}   {limit}")


if __name__ == "__main__":
    main()
