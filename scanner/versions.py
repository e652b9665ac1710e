"""What made a run: versions of the packages that shape its results, and of what is shipped with the program."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Iterable
from functools import cache
from importlib.metadata import version
from pathlib import Path

from scanner.errors import SettingsError
from scanner.settings import Settings

PACKAGES = ("sftscan", "polars", "numpy", "numba", "pyarrow", "datasketch", "faiss-cpu", "tokenizers", "google-re2")
HOME = Path(__file__).resolve().parent.parent
RULES, WEIGHTS = "rules", "rules/weights/prediction.toml"
BACKGROUND, EMBEDDING = "scanner/background_table", "scanner/static_table"
PREDICTING = (WEIGHTS, BACKGROUND)
"""What a prediction is made with."""
TOKENIZER = "tokenizer"
"""Where scan.json holds the digest of --tokenizer."""
TOKENIZER_CONFIG = "tokenizer_config.json"
"""Beside a tokenizer.json that was saved with what belongs to it: special tokens and, in newer ones, the template."""
TOKENIZER_FILES = ("*.json", "*.jinja", "*.txt", "*.model", "additional_chat_templates/*.jinja")
"""What a tokenizer is saved as: vocabulary, merges, special tokens and templates; never a model's weights."""
TABLES = {BACKGROUND: ("table.npz",), EMBEDDING: ("table.npz", "tokenizer.json")}


def versions(settings: Settings) -> dict[str, str]:
    """Name and version of all that makes a run (`versions` of scan.json); of files, the digest."""
    own = {TOKENIZER: of_tokenizer(settings.tokenizer)} if settings.tokenizer else {}
    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}, **shipped(), **own}


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


def of_tokenizer(path: Path) -> str:
    """Twelve hex digits of all that --tokenizer (a file, or a folder) is read from, wherever it lies."""
    folder = path if path.is_dir() else path.parent
    files = {path} if path.is_file() else set()
    if path.is_dir() or (folder / TOKENIZER_CONFIG).is_file():
        files |= {file for pattern in TOKENIZER_FILES for file in folder.glob(pattern) if file.is_file()}
    state = hashlib.sha256()
    try:
        for name, file in sorted((file.relative_to(folder).as_posix(), file) for file in files):
            state.update(f"{name}\0".encode() + hashlib.sha256(file.read_bytes()).digest())
    except OSError as error:
        raise SettingsError(
            f"--tokenizer {path}: {error.filename} cannot be read ({error.strerror}); expected a tokenizer.json, or a "
            "folder that holds one, all of it readable"
        ) from None
    return state.hexdigest()[:12]
