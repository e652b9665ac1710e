"""A fresh process per tool, repeat and number of threads, with every thread pool pinned."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
PINNED = ("RAYON_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")


@dataclass(frozen=True)
class Tool:
    """What is run, and how."""

    name: str  # as the tables say it
    module: str  # peers/with_<module>.py; empty: ours
    configuration: dict[str, Any] = field(default_factory=dict)  # ours: floor, permutations
    verifies: bool = False
    clusters: bool = True  # it can say which rows are alike, not only that a row is


def ours() -> list[Tool]:
    """The two ways in which this project is measured."""
    return [
        Tool("sftscan, audit (floor .5)", "", {"floor": 0.5, "permutations": 128}, verifies=True),
        Tool(
            "sftscan, duplicates only (floor .8)",
            "",
            {"floor": 0.8, "permutations": 32, "text": "in-place"},
            verifies=True,
        ),
    ]


def peers(configurations: dict[str, dict[str, Any]]) -> list[Tool]:
    """The other tools, with the configurations that sweep.py chose."""
    names = {
        "rensa": "rensa", "rensa_rho": "rensa, Rho sketch", "fastsketch": "FastSketchLSH", "datasketch": "datasketch",
        "semhash": "semhash", "datatrove": "datatrove",
    }  # fmt: skip
    return [
        Tool(name, module, configurations[module], clusters=module != "rensa_rho")
        for module, name in names.items()
        if module in configurations
    ]


class ToolError(Exception):
    """A tool that did not end well, and why."""


def measure(
    tool: Tool,
    files: list[Path],
    threads: int,
    python: Path,
    flags: Path | None = None,
    clusters: Path | None = None,
    limit: float = 600,
) -> dict[str, Any]:
    """One run; the line that it prints. ToolError if it ends with an error or takes more than `limit` seconds."""
    if tool.module:
        command = [str(python), str(HERE / "peers" / "measure.py"), tool.module]
        command += ["--configuration", json.dumps(tool.configuration)]
    else:
        command = [sys.executable, str(HERE / "ours.py")]
        command += [part for name, value in tool.configuration.items() for part in (f"--{name}", str(value))]
    command += ["--threads", str(threads)]
    for option, path in (("--flags", flags), ("--clusters", clusters)):
        command += [option, str(path)] if path else []
    command += ["--", *map(str, files)] if not tool.module else [*map(str, files)]
    environment = {**os.environ, **dict.fromkeys(PINNED, str(threads))}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=limit, check=False)
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"more than {limit:.0f} s") from error
    if done.returncode:
        raise ToolError((done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def array_of(tool: Tool, files: list[Path], threads: int, python: Path, folder: Path, what: str) -> np.ndarray:
    """The flags or the clusters of every row."""
    stored = folder / f"{what}.npy"
    measure(tool, files, threads, python, **{what: stored})  # type: ignore[arg-type]
    array: np.ndarray = np.load(stored)
    return array
