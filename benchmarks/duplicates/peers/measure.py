"""One tool on some files, once, in this process; prints one line of JSON. Run by compare.py with the tools' Python.

    python peers/measure.py rensa rows.jsonl --threads 2 --configuration '{"permutations": 128, "bands": 32}'

The clock runs from opening the file to flags; imports are timed apart. `--clusters FILE` asks for clusters instead
(connected components of what the tool calls similar) and stores the first row of each row's cluster.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import importlib.metadata
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))


def components(rows: int, edges: Any) -> np.ndarray:
    """The smallest member of each row's component."""
    parent = list(range(rows))

    def root(a: int) -> int:
        while parent[a] != a:
            parent[a] = parent[parent[a]]
            a = parent[a]
        return a

    for a, b in edges:
        a, b = root(a), root(b)
        if a != b:
            parent[max(a, b)] = min(a, b)
    return np.array([root(a) for a in range(rows)], np.int64)


def peak_gigabytes(threads: int) -> float:
    """Peak memory of this process, and of as many child processes of the largest one's size as ran together."""
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    child = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return (own + threads * child) / 1e6


def cpu_seconds() -> float:
    """Processor time of this process and of its finished children so far."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def main() -> None:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tool")
    parser.add_argument("files", type=Path, nargs="+")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--configuration", type=json.loads, default={})
    parser.add_argument("--flags", type=Path)
    parser.add_argument("--clusters", type=Path)
    options = parser.parse_args()
    began = time.perf_counter()
    tool = importlib.import_module(f"with_{options.tool}")
    tool.start(options.threads)
    from _rows import shingles, texts

    gc.disable()  # the cyclic collector costs a fifth of the shingling and finds nothing: in favour of the tools
    startup = time.perf_counter() - began
    with tempfile.TemporaryDirectory() as folder:
        material: Any = None
        if tool.READS == "files":
            material = (Path(folder) / "parts", tool.cut(options.files, Path(folder) / "parts", options.threads))
        opened, used = time.perf_counter(), cpu_seconds()
        if tool.READS != "files":
            material = texts(options.files)
        if tool.READS == "shingles":
            material = list(map(shingles, material))
        ready = time.perf_counter()
        if options.clusters:
            rows = sum(material[1]) if tool.READS == "files" else len(material)
            found = components(rows, tool.edges(material, options.threads, **options.configuration))
            flags = found != np.arange(rows)
        else:
            flags = np.asarray(tool.flags(material, options.threads, **options.configuration)).astype(bool)
        done, used = time.perf_counter(), cpu_seconds() - used
    if options.clusters:
        np.save(options.clusters, found)
    if options.flags:
        np.save(options.flags, flags)
    print(
        json.dumps(
            {
                "tool": options.tool,
                "rows": len(flags),
                "seconds": done - opened,
                "kernel_seconds": done - ready if tool.READS == "shingles" else None,
                "cpu_seconds": used,
                "startup_seconds": startup,
                "flagged": int(flags.sum()),
                "peak_gb": peak_gigabytes(options.threads),
                "versions": {name: importlib.metadata.version(name) for name in tool.PACKAGES},
            }
        )
    )


if __name__ == "__main__":
    main()
