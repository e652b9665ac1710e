"""What each tool finds and what it gets wrong, on three kinds of data with known truth. Used by compare.py."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent / "peers"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from _rows import shingles, texts
from constructed import LEVELS, Constructed
from constructed import generate as constructed_pairs
from processes import Tool, ToolError, array_of
from templated import Templated, write
from templated import generate as templated_rows
from truth import agreement, similar_pairs


def _of_each(
    tools: list[Tool], files: list[Path], threads: int, python: Path, folder: Path, what: str
) -> Iterator[tuple[Tool, np.ndarray | None, dict[str, Any]]]:
    """What each tool finds in some files (flags or clusters); None with the reason where it failed."""
    for tool in tools:
        try:
            yield tool, array_of(tool, files, threads, python, folder, what), {}
        except ToolError as failure:
            yield tool, None, {"failed": str(failure)}


def caught(made: Constructed, flags: np.ndarray) -> dict[float, float]:
    """Per level, the share of its pairs of which a row is flagged; rows of different pairs are unlike."""
    either = flags[0::2] | flags[1::2]
    return {level: float(either[made.level == level].mean()) for level in LEVELS}


def curves(tools: list[Tool], threads: int, python: Path, per_cell: int = 20) -> dict[str, Any]:
    """Caught pairs per level of Jaccard similarity, exact by construction."""
    made = constructed_pairs(per_cell)
    answer: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pairs.jsonl"
        made.write(file)
        for tool, flags, failed in _of_each(tools, [file], threads, python, Path(folder), "flags"):
            if flags is None:
                answer[tool.name] = failed
                continue
            at_threshold = made.level == 0.8
            either = flags[0::2] | flags[1::2]
            answer[tool.name] = {
                "caught": {f"{level:.2f}": share for level, share in caught(made, flags).items()},
                "at_.8_by_size": {
                    str(size): float(either[at_threshold & (made.size == size)].mean())
                    for size in np.unique(made.size[at_threshold]).tolist()
                },
                "at_.8_by_arrangement": {
                    kind: float(either[at_threshold & (np.array(made.arrangement) == kind)].mean())
                    for kind in ("aligned", "shuffled", "reversed")
                },
            }
    return {"pairs": len(made.jaccard), "tools": answer}


def against_join(file: Path, tools: list[Tool], threads: int, python: Path) -> dict[str, Any]:
    """Flags beside an exact join of the rows' three-word shingles at .7, .8 and .9."""
    found = similar_pairs(map(shingles, texts([file])), 0.7)
    levels: dict[str, Any] = {}
    members: dict[float, set[int]] = {}
    for level in (0.7, 0.8, 0.9):
        pairs = [pair for pair, jaccard in found.items() if jaccard >= level - 1e-9]
        later = {b for _, b in pairs}
        members[level] = {row for pair in pairs for row in pair}
        levels[f"{level}"] = {"pairs": len(pairs), "rows_with_an_earlier_duplicate": len(later)}
    answer: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for tool, flags, failed in _of_each(tools, [file], threads, python, Path(folder), "flags"):
            if flags is None:
                answer[tool.name] = failed
                continue
            flagged = set(np.flatnonzero(flags).tolist())
            sure = [pair for pair, jaccard in found.items() if jaccard >= 0.8 - 1e-9]
            answer[tool.name] = {
                "flagged": len(flagged),
                "recall_at_.8": sum(bool(flagged & set(pair)) for pair in sure) / max(1, len(sure)),
                **{
                    f"precision_at_{level}": len(flagged & members[level]) / max(1, len(flagged))
                    for level in (0.7, 0.8, 0.9)
                },
            }
    return {"file": file.name, "truth": levels, "tools": answer}


def on_templates(tools: list[Tool], threads: int, python: Path, rows: int, seed: int = 1) -> dict[str, Any]:
    """Clusters beside the known duplicates of templated rows, over all and per family."""
    data = templated_rows(rows, seed)
    answer: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        files = sorted(write(data, Path(folder) / "rows"))
        able = [tool for tool in tools if tool.clusters]
        for tool, clusters, failed in _of_each(able, files, threads, python, Path(folder), "clusters"):
            if clusters is None:
                answer[tool.name] = failed
                continue
            answer[tool.name] = {
                "all": asdict(agreement(clusters, data.groups())),
                **{family: asdict(part) for family, part in _per_family(data, clusters).items()},
            }
    return {"rows": len(data.rows), "pairs": len(data.pairs()), "tools": answer}


def _per_family(data: Templated, clusters: np.ndarray) -> dict[str, Any]:
    families = np.array([row.family for row in data.rows])
    groups = data.groups()
    return {
        family: agreement(clusters[families == family], groups[families == family])
        for family in np.unique(families).tolist()
    }
