"""Which configuration of each tool is the fastest that catches 95 % of the pairs at Jaccard .8: measured, not promised.

    python benchmarks/duplicates/sweep.py --python PEERS/bin/python

Every candidate runs over the pairs of constructed.py (recall and false alarms) and over rows of benchmarks/rows.py
(processor seconds, the least of two). Chosen: of those with the wanted recall, all within a tenth of the fastest, the
one that flags fewest pairs of Jaccard .5. Writes peers/configurations.json.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from pathlib import Path
from typing import Any

from accuracy import caught
from constructed import generate
from processes import HERE, Tool, ToolError, array_of, measure
from rows import write_rows

WANTED = 0.95
BANDED = [(24, 6), (32, 8), (40, 8), (64, 16), (66, 11), (112, 16), (128, 16), (144, 18), (256, 32)]
CANDIDATES: dict[str, list[dict[str, Any]]] = {
    "rensa": [{"permutations": p, "bands": b} for p, b in BANDED],
    "rensa_rho": [{"permutations": p, "bands": b} for p, b in BANDED],
    "fastsketch": [{"permutations": p, "bands": b} for p, b in BANDED],
    "datasketch": [{"permutations": p, "bands": b} for p, b in BANDED],
    "datatrove": [{"buckets": b, "hashes": h} for b, h in ((6, 4), (8, 4), (8, 5), (11, 6), (14, 8), (18, 8))],
    "semhash": [{"cosine": c} for c in (0.7, 0.75, 0.8, 0.85, 0.9)],
}
ROWS = {"datasketch": 5_000, "datatrove": 5_000, "semhash": 10_000}
USUAL: dict[str, dict[str, Any]] = {
    **{name: {"permutations": 128, "bands": 16} for name in ("rensa", "rensa_rho", "fastsketch", "datasketch")},
    "datatrove": {"buckets": 14, "hashes": 8},
    "semhash": {"cosine": 0.9},
}
"""Their own examples and defaults, for a tool of which no candidate finds enough."""
NEAR_THE_FASTEST = 1.1


def main() -> None:
    """Print every candidate, write the chosen ones."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", type=Path, required=True, help="the Python that has peers.txt installed")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tools", nargs="+", default=list(CANDIDATES), choices=list(CANDIDATES))
    options = parser.parse_args()
    stored = HERE / "peers" / "configurations.json"
    chosen = json.loads(stored.read_text("utf-8")) if stored.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        made = generate()
        pairs = Path(folder) / "pairs.jsonl"
        made.write(pairs)
        for module in options.tools:
            rows = Path(folder) / f"{module}.jsonl"
            write_rows(ROWS.get(module, 20_000), rows)
            tried = []
            for configuration in CANDIDATES[module]:
                tool = Tool(module, module, configuration)
                said = f"{module:12} {configuration!s:40}"
                try:
                    flags = array_of(tool, [pairs], options.threads, options.python, Path(folder), "flags")
                    share = caught(made, flags)
                    said += f" caught at .8 {share[0.8]:.3f}, at .5 {share[0.5]:.3f}, at .3 {share[0.3]:.3f}"
                    seconds = math.inf  # not timed where it finds too little
                    if share[0.8] >= WANTED:
                        runs = [measure(tool, [rows], options.threads, options.python) for _ in range(2)]
                        seconds = min(run["cpu_seconds"] for run in runs)
                        said += f"; {seconds:.2f} processor seconds for {runs[0]['rows']:,} rows"
                except ToolError as failure:
                    print(f"{said}: {failure}", flush=True)
                    continue
                tried.append((configuration, share[0.8], share[0.5], seconds))
                print(said, flush=True)
            able = [t for t in tried if t[1] >= WANTED]
            if not able:
                print(f"{module}: none reaches {WANTED} at .8; its usual configuration is taken")
                able = [t for t in tried if t[0] == USUAL[module]]
            if not able:
                print(f"{module}: nothing chosen")
                continue
            fastest = min(t[3] for t in able)
            best = min((t for t in able if t[3] <= NEAR_THE_FASTEST * fastest), key=lambda t: (t[2], t[3]))
            chosen[module] = best[0]
            print(f"{module}: chosen {best[0]}", flush=True)
            stored.write_text(json.dumps(chosen, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
