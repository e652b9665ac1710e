"""What made a run: versions of the packages that shape its results, and of what is shipped with the program."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path

PACKAGES = ("sftscan", "polars", "numpy", "numba", "pyarrow", "datasketch", "faiss-cpu", "tokenizers", "google-re2")
HOME = Path(__file__).resolve().parent.parent
RULES, WEIGHTS = "rules", "rules/weights/prediction.toml"
BACKGROUND, EMBEDDING = "scanner/background_table", "scanner/static_table"
PREDICTING = (WEIGHTS, BACKGROUND)
"""What a prediction is made with."""
TABLES = {BACKGROUND: ("table.npz",), EMBEDDING: ("table.npz", "tokenizer.json")}


def versions() -> dict[str, str]:
    """Name and version of all that makes a run (`versions` of scan.json); of what is shipped, the digest."""
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}, **shipped()}


@cache
def shipped() -> dict[str, str]:
    """Path and digest of the weights, rules and tables that come with the program: they change between its versions."""
    rules = [path for path in (HOME / RULES).rglob("*.toml") if path != HOME / WEIGHTS]
    return {
        WEIGHTS: digest([HOME / WEIGHTS]),
        RULES: digest(rules),
        **{folder: digest(HOME / folder / name for name in names) for folder, names in TABLES.items()},
    }


def digest(files: Iterable[Path]) -> str:
    """Twelve hex digits that change with any byte of these files and with any of their names and their folders'."""
    state = hashlib.sha256()
    for path in sorted(files):
        state.update(f"{path.parent.name}/{path.name}\0".encode() + hashlib.sha256(path.read_bytes()).digest())
    return state.hexdigest()[:12]
