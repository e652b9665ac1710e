"""This project on some files, once, in this process; prints the same line of JSON as peers/measure.py.

    python benchmarks/duplicates/ours.py rows.jsonl --threads 2 --floor 0.8 --permutations 32

Stages 1 and 2 of an audit: read, fingerprint, exact, near (verified), cluster. Kernel clock: from text in memory to
clusters, tokens included; an audit makes the fingerprints while it reads, so for this clock they are made once more,
apart. Start-up: imports, compiled kernels, tables, and one run over four rows.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from scanner import compiling, memory, stages
from scanner.deduplicating import PERMUTATIONS, find_duplicates
from scanner.fingerprints import fingerprint
from scanner.progress import Progress
from scanner.settings import Settings


def warm_up(settings: Settings, text: str = "stored") -> None:
    """Begin as `scan` does, then compile or load every kernel and make every table, on four rows."""
    memory.reuse()
    compiling.load_kernels(Progress())
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        words = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
        file.write_text(
            "".join(
                json.dumps({"instruction": words + end, "input": "", "output": words}) + "\n"
                for end in (".", ".", " !", "?")
            ),
            "utf-8",
        )
        find_duplicates([file], settings, Path(folder) / "rows.scan" if text == "stored" else None)


def main() -> None:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--floor", type=float, default=0.8)
    parser.add_argument("--permutations", type=int, default=PERMUTATIONS)
    parser.add_argument("--text", choices=["stored", "in-place"], default="stored", help="where the text stands after")
    parser.add_argument("--flags", type=Path)
    parser.add_argument("--clusters", type=Path)
    options = parser.parse_args()
    settings = Settings(floor=options.floor, jaccard=0.8, permutations=options.permutations, threads=options.threads)
    began = time.perf_counter()
    warm_up(settings, options.text)
    startup = time.perf_counter() - began
    with tempfile.TemporaryDirectory() as folder:
        opened, used = time.perf_counter(), time.process_time()
        stored = Path(folder) / "rows.scan" if options.text == "stored" else None
        progress = Progress()
        found = find_duplicates(options.files, settings, stored, progress)
        seconds, used = time.perf_counter() - opened, time.process_time() - used
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        shape = settings.shingle, settings.permutations, stages.SIGNATURE_SEED
        text = list(found.text.segments())
        began = time.perf_counter()
        fingerprint(text, len(found.rows), *shape, options.threads)
        printing = time.perf_counter() - began
    flags = found.clusters.cluster >= 0
    if options.clusters:
        np.save(options.clusters, found.clusters.keep)
    if options.flags:
        np.save(options.flags, flags)
    spent = {timing.stage: timing.seconds for timing in progress.timings}
    print(
        json.dumps(
            {
                "tool": "ours",
                "rows": len(found.rows),
                "seconds": seconds,
                "kernel_seconds": printing + sum(spent.values()) - spent["read and fingerprint"],
                "stages": spent,
                "cpu_seconds": used,
                "startup_seconds": startup,
                "flagged": int(flags.sum()),
                "peak_gb": peak,
                "versions": {
                    "python": platform.python_version(),
                    **{name: importlib.metadata.version(name) for name in ("numpy", "numba", "polars")},
                },
            }
        )
    )


if __name__ == "__main__":
    main()
