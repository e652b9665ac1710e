"""The prediction alone: from the stored text of an audited data set to every table that a prediction writes.

    python benchmarks/audit/prediction.py FILE [--repeats 7] [--epochs 3]

FILE is audited once. Then tokens, doses, contexts, background language, hazard, skew, what-if and memorized spans are
worked out again and again in one process, kernels compiled: wall seconds, rows a second, seconds of processor time.
Two versions are compared by starting it for each in turns (PYTHONPATH chooses the project).
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from scanner import inputs, predicting, resuming, running
from scanner.progress import Progress
from scanner.settings import Settings
from scanner.store import RunFolder

CLI = Path(__file__).resolve().parents[2] / "cli.py"


def main() -> None:
    """Print one line: medians of the repeats, and the least and most of the seconds."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--epochs", default="3")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "r.scan"
        audit = [sys.executable, str(CLI), str(options.file), "-q", "--epochs", options.epochs, "--out", str(folder)]
        subprocess.run(audit, check=True, stdout=subprocess.DEVNULL)
        run = RunFolder(folder)
        scan = run.read_json("scan.json")
        settings = Settings.from_dict(scan["settings"])
        known, rows = predicting.Known.load(run), resuming.load_rows(run.private / "rows.npz")
        threads, quiet = running.thread_count(settings.threads), Progress()
        wall, processor = [], []
        for _ in range(options.repeats + 1):
            started, used = time.perf_counter(), time.process_time()
            text = predicting.tokenise(run, len(rows), settings, threads, quiet)
            predicting.predict_known(run, rows, text, known, inputs.sources_of(scan), settings, threads, quiet)
            wall.append(time.perf_counter() - started)
            processor.append(time.process_time() - used)
    del wall[0], processor[0]  # loads the weights, tables and kernels
    middle = statistics.median(wall)
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {threads} threads: {len(rows):,} rows, {len(text.tokens):,} "
        f"tokens, {options.epochs} epochs: {middle:.3f} s ({min(wall):.3f} to {max(wall):.3f}), "
        f"{len(rows) / middle:,.0f} rows/s, {statistics.median(processor):.2f} s of processor time"
    )


if __name__ == "__main__":
    main()
