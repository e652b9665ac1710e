"""One command for all: fit the weights again, compare them with the shipped ones, and print every table of RESULTS.md.

    python reproduce.py --data DATA --cache CACHE                    all that was not printed yet with these weights
    python reproduce.py --data DATA --cache CACHE --only skew tokens --again

Nothing is trained: all comes from `measurements/`. CACHE is where grid.py keeps its bases (`pieces` needs the
tokenizer of one) and where what was printed stands, by the hash of the weights alone, so that a run that was
interrupted goes on: after a change of the code print with --again. Sections that were not printed stay in RESULTS.md as
they are.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from scanner.prediction.hazard import WEIGHTS
from scanner.writing import atomic

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "RESULTS.md"
HEAD = "# What the scripts printed\n\nWritten by `reproduce.py`; the README says what it means.\n"
PLACES = 3
"""Decimals to which weights that were fitted again are compared."""


@dataclass(frozen=True)
class Section:
    """What one command prints; {cache} and {fits} in it stand for folders."""

    name: str
    title: str | None  # None: the script prints its own
    command: str
    says: str = ""


EARLIER_STUDIES = "Fitted on two seeds of the random and two of the length-grouped cell, as the tables of the ranking."
STREAMS: tuple[tuple[Section, ...], ...] = (
    (Section("ranking", None, "tables.py --only ranking"),),
    (Section("calibration", None, "tables.py --only calibration"),),
    (Section("boilerplate", None, "tables.py --only boilerplate"),),
    (Section("often", None, "tables.py --only often"),),
    (Section("further", None, "tables.py --only further"),),
    (Section("quick", None, "tables.py --only quick"),),
    (Section("bases", None, "tables.py --only bases"),),
    (Section("ablation", None, "tables.py --only ablation"),),
    (
        Section("exponents", "Exponents of the dose", "exponents.py", "Every fit is on all cells, these among them."),
    ),
    (Section("recency", "What was seen last", "recency.py",
             "Rows that stand once; N_pre >= 16. The shipped weights, by whose fit some of these cells were seen."),),
    (Section("skew", "How skewed", "skew.py"),),
    (Section("tokens", "Heat and memorized spans", "tokens.py random-3 random-4 grouped-3 grouped-4 --check",
             "The shipped weights, whose fit has seen these cells."),),
    (Section("base", "What the base's own losses add", "withbase.py", EARLIER_STUDIES),),
    (Section("earliest", "Levels from hardly a recited row", "earliest.py"),),
    (Section("adapters", "Intervals under LoRA", "adapters.py"),),
    (Section("pieces", "Counted in a tokenizer's tokens",
             "pieces.py random-3 grouped-3 packed-2 other-1 --cache {cache}"),),
    (Section("forgetting", "Goldfish loss and wrapped sequences", "forgetting.py"),),
    (Section("counterfactual", "What vanishes without a row: eight half-splits", "counterfactual.py"),),
    (
        Section("candidates", "Candidates", "candidates.py --cache {fits}", EARLIER_STUDIES),
        Section("candidates-boilerplate", "Candidates, on boilerplate",
                "candidates.py --cache {fits} --other boilerplate",
                "The same fits, which know nothing of boilerplate; other rows are `boilerplate-1` and `-2`."),
        Section("boosted", "Trees over whole rows", "boosted.py --cache {fits}", EARLIER_STUDIES),
    ),
    (Section("refitted", "The weights, fitted again", "fit.py --weights {fits}/refitted.toml"),),
)  # fmt: skip
"""Commands of one stream use what the one before them left behind; streams run side by side."""
SECTIONS = {section.name: section for stream in STREAMS for section in stream}


def printed(section: Section, data: Path, cache: Path) -> str:
    """Run a command and return what RESULTS.md shows of it.

    Raises subprocess.CalledProcessError with what it said on stderr.
    """
    fits = of_these_weights(cache)
    command = [word.format(cache=cache, fits=fits) for word in section.command.split()]
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    done = subprocess.run(
        [sys.executable, *command, "--data", str(data)], cwd=HERE, env={**os.environ, **threads},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    text = "\n".join(compared(fits / "refitted.toml")) if section.name == "refitted" else done.stdout
    if section.title:
        shown = section.command.format(cache="CACHE", fits="FITS")
        text = f"## {section.title}\n\n`{shown}`. {section.says}\n\n{text}"
    return text.strip() + "\n"


def compared(path: Path) -> list[str]:
    """Weights that were fitted again beside the shipped ones: the largest difference of each kind."""
    again, shipped = (tomllib.loads(p.read_text("utf-8")) for p in (path, WEIGHTS))
    lines = ["| weights | number | largest difference from the shipped ones | of |", "|---|---|---|---|"]
    for kind, values in shipped.items():
        numbers = {n: v for n, v in values.items() if isinstance(v, float)} if isinstance(values, dict) else {}
        if numbers:
            gap = {name: abs(again[kind][name] - value) for name, value in numbers.items()}
            worst = max(gap, key=lambda name: gap[name])
            lines.append(f"| {kind} | {len(numbers)} | {gap[worst]:.{PLACES}f} | {worst} {numbers[worst]:.{PLACES}f} |")
    return lines


def of_these_weights(cache: Path) -> Path:
    """The folder of what was fitted and printed with the shipped weights."""
    folder = cache / f"printed-{hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()[:12]}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def by_title(text: str) -> dict[str, str]:
    """Sections of a Markdown text by their titles, in order."""
    parts = re.split(r"(?m)^## ", text)[1:]
    return {part.split("\n", 1)[0]: f"## {part.strip()}\n" for part in parts}


def merge(old: str, new: Iterable[str]) -> str:
    """RESULTS.md with the printed sections in their order; those that were not printed stay, at their places."""
    there, fresh = by_title(old), {}
    for text in new:
        fresh.update(by_title(text))
    order = [*there, *(title for title in fresh if title not in there)]
    return "\n".join([HEAD, *(fresh.get(title, there.get(title, "")) for title in order)])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the data folder (holds sft/)")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=list(SECTIONS), metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--again", action="store_true", help="also what was printed before")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="commands side by side")
    args = parser.parse_args()
    data, cache = args.data.resolve(), args.cache.resolve()
    folder, failed = of_these_weights(cache), []

    def run(stream: tuple[Section, ...]) -> None:
        for section in stream:
            stored = folder / f"{section.name}.md"
            if (args.only and section.name not in args.only) or (stored.exists() and not args.again):
                continue
            began = time.monotonic()
            try:
                text = printed(section, data, cache)
            except subprocess.CalledProcessError as error:
                failed.append(section.name)
                print(f"{section.name}: {section.command} ended with {error.returncode}\n{error.stderr}", flush=True)
                return
            with atomic(stored) as part:
                part.write_text(text, "utf-8")
            print(f"{section.name}: {time.monotonic() - began:.0f} s", flush=True)

    with ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(run, STREAMS))
    there = [folder / f"{name}.md" for name in SECTIONS]
    text = merge(RESULTS.read_text("utf-8"), (path.read_text("utf-8") for path in there if path.exists()))
    with atomic(RESULTS) as part:
        part.write_text(text, "utf-8")
    missing = [path.stem for path in there if not path.exists()]
    print(f"{RESULTS}: {len(there) - len(missing)} of {len(there)} sections printed with these weights", flush=True)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
