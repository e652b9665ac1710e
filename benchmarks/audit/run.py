"""The whole audit as a user starts it: wall time and peak memory of fresh processes, by number of rows.

    python benchmarks/audit/run.py [--sizes 37500,75000,150000,300000] [--repeats 3] [--file alpaca_52k.json]

Rows come from benchmarks/rows.py. Sizes are interleaved, kernels compiled and files cached before the clock starts.
"""

from __future__ import annotations

import argparse
import itertools
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from rows import write_rows

CLI = Path(__file__).resolve().parents[2] / "cli.py"


def run(arguments: list[str], folder: Path) -> tuple[float, float]:
    """Wall seconds and peak memory in MB of one fresh process."""
    started = time.perf_counter()
    process = subprocess.Popen([sys.executable, str(CLI), *arguments], cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"scan {' '.join(arguments)} failed")
    return time.perf_counter() - started, usage.ru_maxrss / 1000


def main() -> None:
    """Print one line per size, then the growth from each to the next."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", default="37500,75000,150000,300000")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--file", type=Path, help="a data set of your own, timed too")
    options = parser.parse_args()
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inputs = {}
        for size in map(int, options.sizes.split(",")):
            inputs[f"{size:,} rows"] = (folder / f"rows{size}.jsonl", size)
            write_rows(size, inputs[f"{size:,} rows"][0])
        if options.file:
            inputs[options.file.name] = (options.file.resolve(), 0)
        run([str(next(iter(inputs.values()))[0]), "-q", "--out", "warm.scan"], folder)
        figures: dict[str, list[tuple[float, float]]] = {label: [] for label in inputs}
        for _ in range(options.repeats):
            for label, (file, _) in inputs.items():
                figures[label].append(run([str(file), "-q", "--force", "--out", "r.scan"], folder))
        helped = statistics.median(run(["--help"], folder)[0] for _ in range(5))
    medians = {}
    for label, found in figures.items():
        seconds, memory = (statistics.median(column) for column in zip(*found, strict=True))
        medians[label] = (seconds, memory)
        print(f"{label:>20}  {seconds:6.2f} s ({min(found)[0]:.2f} to {max(found)[0]:.2f})  {memory:6.0f} MB")
    sized = [(size, *medians[label]) for label, (_, size) in inputs.items() if size]
    for (n, t, m), (n2, t2, m2) in itertools.pairwise(sized):
        print(f"{n:,} to {n2:,}: {t2 / t:.2f} times the time, {(m2 - m) * 1e3 / (n2 - n):.2f} kB more per row")
    print(f"scan --help {helped:.2f} s")


if __name__ == "__main__":
    main()
