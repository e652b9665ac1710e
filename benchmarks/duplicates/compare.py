"""Side by side with other tools from PyPI: seconds, memory, recall, precision; writes results.json and the tables.

    python benchmarks/duplicates/compare.py --python PEERS/bin/python               everything; the README's tables
    python benchmarks/duplicates/compare.py --python ... --file alpaca.jsonl        flags beside an exact join
    python benchmarks/duplicates/compare.py --python ... --only speed --sizes 10000 50000

PEERS is a virtual environment with peers.txt. Each tool runs in a fresh process per repeat and number of
threads, one tool after the other in every repeat, with its thread pools pinned. A tool that would take longer than
--patience for a size, by its own pace at the size before, is not run at that size; one that takes a quarter of it has
fewer repeats. Both stand in the table.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from accuracy import against_join, curves, on_templates
from phrases import Writer
from processes import HERE, Tool, ToolError, measure, ours, peers
from rows import write_rows
from tables import sections, write_tables
from wrappers import ASSISTANTS

SIZES = (10_000, 50_000, 300_000)
SHARED_TEMPLATE_ROWS = (25_000, 50_000, 100_000)
PARTS = ("accuracy", "templates", "speed", "shared")
JOIN_ROWS = 10_000
FULL_REPEATS_SHARE = 1 / 4
"""A run that takes more than this share of the patience is repeated less often than asked."""


def speed(
    tools: list[Tool], files: dict[int, Path], repeats: int, threads: int, python: Path, patience: float
) -> dict[str, Any]:
    """Per size and tool: every run's seconds, and why a tool was not run."""
    runs: dict[str, dict[str, Any]] = {}
    pace: dict[str, float] = {}  # seconds per row at the last size
    for size, file in files.items():
        at_size: dict[str, Any] = {}
        for repeat in range(repeats):
            for tool in tools:
                expected = pace.get(tool.name, 0.0) * size
                entry = at_size.setdefault(tool.name, {"runs": [], "why": ""})
                most = repeats if expected <= FULL_REPEATS_SHARE * patience else 1
                if expected > patience:
                    entry["why"] = f"about {expected:.0f} s"
                if entry["why"] or repeat >= most:
                    continue
                try:
                    entry["runs"].append(measure(tool, [file], threads, python, limit=3 * patience))
                except ToolError as failure:
                    entry["why"] = str(failure)
        for name, entry in at_size.items():
            if entry["runs"]:
                middle = statistics.median(run["seconds"] for run in entry["runs"])
                pace[name] = middle / entry["runs"][0]["rows"]
                print(f"  {size:>9,} rows  {name:40} {middle:8.2f} s", flush=True)
            else:
                print(f"  {size:>9,} rows  {name:40} not run: {entry['why']}", flush=True)
        runs[str(size)] = at_size
    return runs


def write_shared_template(rows: int, path: Path, seed: int = 3) -> None:
    """One long system prompt, and a short question and answer of its own in every row."""
    writer = Writer(seed)
    with path.open("w", encoding="utf-8") as file:
        for _ in range(rows):
            turns = (("system", ASSISTANTS[0]), ("user", writer.text(4, 40)), ("assistant", writer.answer(1)))
            messages = [{"role": role, "content": text} for role, text in turns]
            file.write(json.dumps({"messages": messages}) + "\n")


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    model = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        model = next((x.split(": ")[1] for x in info.read_text().splitlines() if x.startswith("model name")), model)
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": platform.python_version(),
        "load_before": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        "date": time.strftime("%Y-%m-%d"),
    }


def main() -> None:
    """Measure what is asked for, keep the other results, write the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--python", type=Path, required=True, help="the Python that has the other tools")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--patience", type=float, default=40, help="seconds that one run may take")
    parser.add_argument("--template-rows", type=int, default=6_000)
    parser.add_argument("--tools", nargs="+", help="parts of the names of the tools to run")
    parser.add_argument("--file", type=Path, help="compare flags with an exact join on this file, and nothing else")
    parser.add_argument("--results", type=Path, default=HERE / "results.json")
    parser.add_argument("--show", action="store_true", help="print the tables, leave README.md as it is")
    parser.add_argument("--provisional", action="store_true", help="say in the tables that the machine was not quiet")
    options = parser.parse_args()
    everyone = ours() + peers(json.loads((HERE / "peers" / "configurations.json").read_text("utf-8")))
    tools = [t for t in everyone if not options.tools or any(part in t.name for part in options.tools)]
    stored = options.results
    results: dict[str, Any] = json.loads(stored.read_text("utf-8")) if stored.exists() else {}
    threads, python = options.threads, options.python
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if options.file:
            file = options.file
            if file.suffix == ".json":  # one array, as Stanford publishes it
                file = folder / f"{file.stem}.jsonl"
                records = json.loads(options.file.read_text("utf-8"))
                file.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
            results.setdefault("files", {})[file.stem] = against_join(file, tools, threads, python)
            options.only = []
        else:
            results["settings"] = {"threads": threads, "repeats": options.repeats, "provisional": options.provisional}
            results["machine"] = machine()
            results["configurations"] = {tool.name: tool.configuration for tool in tools}
        if "accuracy" in options.only:
            results["curves"] = curves(tools, threads, python)
            file = folder / "rows.jsonl"
            write_rows(JOIN_ROWS, file)
            results["join"] = against_join(file, tools, threads, python)
        if "templates" in options.only:
            results["templates"] = on_templates(tools, threads, python, options.template_rows)
        if "speed" in options.only:
            files = {size: folder / f"{size}.jsonl" for size in options.sizes}
            for size, file in files.items():
                write_rows(size, file)
            results["bytes"] = {str(size): file.stat().st_size for size, file in files.items()}
            results["speed"] = speed(tools, files, options.repeats, threads, python, options.patience)
        if "shared" in options.only:
            files = {rows: folder / f"shared-{rows}.jsonl" for rows in SHARED_TEMPLATE_ROWS}
            for rows, file in files.items():
                write_shared_template(rows, file)
            results["shared"] = speed(ours(), files, 1, threads, python, 4 * options.patience)
    stored.write_text(json.dumps(results, indent=1) + "\n", "utf-8")
    if options.show:
        print("\n\n".join(sections(results)))
    else:
        write_tables(results, HERE / "README.md")
        print(f"{stored.name} and the tables of README.md are written", file=sys.stderr)


if __name__ == "__main__":
    main()
