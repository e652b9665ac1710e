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
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from scanner import compiling, earlier, formats, ingest, memory, stages
from scanner.fingerprints import fingerprint
from scanner.inplace import TextInPlace
from scanner.objects import Clusters, Rows
from scanner.progress import Progress
from scanner.settings import Settings
from scanner.stages import NO_PAIRS, Likeness
from scanner.store import HasText, RunFolder

PERMUTATIONS = 32
"""For duplicates alone: 8 bands of 4 catch a pair at Jaccard .8 as surely (.985) as the 18 bands of 7 that 128 make.
An audit needs 128 for its pairs at .5, and stores them for later runs."""


@dataclass(frozen=True)
class Found:
    """What the stages gave."""

    rows: Rows
    likeness: Likeness
    clusters: Clusters
    run: HasText
    progress: Progress


def find(files: list[Path], folder: Path | None, settings: Settings, threads: int) -> Found:
    """Stages 1 and 2 of an audit: read, fingerprint, exact, near, cluster. The text is kept in `folder`, if any."""
    progress = Progress()
    run = RunFolder.open_for_writing(folder) if folder else TextInPlace()
    with progress.stage("read and fingerprint"):
        sources = formats.discover([str(file) for file in files])
        printer = stages.fingerprinter(settings)
        rows, _ = ingest.read_all(sources, run, settings, threads, printer=printer)
        prints = printer.whole()
    likeness = stages.find_likeness(run, rows, prints, settings, threads, progress)
    choice = stages.find_clusters(
        run, rows, prints, likeness, NO_PAIRS, earlier.NONE, sources, settings, progress
    )  # fmt: skip
    return Found(rows, likeness, choice.clusters, run, progress)


def warm_up(settings: Settings, threads: int, text: str = "stored") -> None:
    """Begin as `scan` does, then compile or load every kernel and make every table, on four rows."""
    memory.reuse()
    compiling.load_kernels(Progress())
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        text = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen"
        file.write_text(
            "".join(
                json.dumps({"instruction": text + end, "input": "", "output": text}) + "\n"
                for end in (".", ".", " !", "?")
            ),
            "utf-8",
        )
        find([file], Path(folder) / "rows.scan" if text == "stored" else None, settings, threads)


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
    settings = Settings(floor=options.floor, jaccard=0.8, permutations=options.permutations)
    began = time.perf_counter()
    warm_up(settings, options.threads, options.text)
    startup = time.perf_counter() - began
    with tempfile.TemporaryDirectory() as folder:
        opened, used = time.perf_counter(), time.process_time()
        stored = Path(folder) / "rows.scan" if options.text == "stored" else None
        found = find(options.files, stored, settings, options.threads)
        seconds, used = time.perf_counter() - opened, time.process_time() - used
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        shape = settings.shingle, settings.permutations, stages.SIGNATURE_SEED
        text = list(found.run.segments())
        began = time.perf_counter()
        fingerprint(text, len(found.rows), *shape, options.threads)
        printing = time.perf_counter() - began
    flags = found.clusters.cluster >= 0
    if options.clusters:
        np.save(options.clusters, found.clusters.keep)
    if options.flags:
        np.save(options.flags, flags)
    spent = {timing.stage: timing.seconds for timing in found.progress.timings}
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
