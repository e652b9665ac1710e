"""The text behind the background table: which files, under which licence, cut into documents.

Only text whose licence allows a derived table to be shipped: Apache-2.0, MIT, BSD, PSF, CC BY, ODC-By. Nothing that the
predictor is validated on: documents that share a long run of tokens with those files are left out by `build.py` too.
"""

from __future__ import annotations

import ast
import csv
import hashlib
import io
import json
import sysconfig
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Source:
    """Documents of one origin and kind."""

    name: str
    kind: str  # what the figures are given for: "English", "Chinese", "Turkish", "code", "documentation"
    licence: str
    origin: str
    documents: list[str]
    sha256: str


VALIDATION = (
    "dolly_hhrlhf_small.jsonl", "codealpaca_2k.json", "codealpaca_new.json", "gpteacher_codegen.json",
    "medgpt_numina_cot_1k.jsonl", "lf_glaive_toolcall_en_demo.json", "lf_glaive_toolcall_zh_demo.json",
    "gsm8k_train_alpaca.json", "lf_lima.json", "alpaca_5000.json", "lf_v1_sft_demo.jsonl",
    "selfinstruct_seed_tasks.jsonl", "lf_oaast_sft_zh.json", "lf_oaast_rm_zh.json", "medgpt_medical_sft_1k.jsonl",
    "hikariming_zh_code.json",
)  # fmt: skip
"""Files of data/sft that the predictor is validated on: never in the table."""

DATA = {  # file -> kind, licence
    "sft/lf_c4_demo.jsonl": ("English", "ODC-By (C4), Apache-2.0 (LLaMA-Factory)"),
    "sft/lf_kto_en_demo.json": ("English", "Apache-2.0 (LLaMA-Factory)"),
    "sft/lf_dpo_en_demo.json": ("English", "Apache-2.0 (LLaMA-Factory)"),
    "sft/lf_reason_tool_use_demo_50.jsonl": ("English", "Apache-2.0 (LLaMA-Factory)"),
    "sft/fastchat_dummy.json": ("English", "Apache-2.0 (FastChat)"),
    "eval/mmlu.zip": ("English", "MIT (MMLU)"),
    "eval/mt_bench.jsonl": ("English", "Apache-2.0 (FastChat)"),
    "eval/vicuna_bench.jsonl": ("English", "Apache-2.0 (FastChat)"),
    "sft/lf_dpo_zh_demo.json": ("Chinese", "Apache-2.0 (LLaMA-Factory)"),
    "sft/medgpt_sharegpt_zh_1k.jsonl": ("Chinese", "Apache-2.0 (MedicalGPT)"),
    "sft/medgpt_dpo_zh_500.jsonl": ("Chinese", "Apache-2.0 (MedicalGPT)"),
    "sft/tr_dialogues_train.parquet": ("Turkish", "CC BY 4.0"),
    "sft/tr_dialogues_validation.jsonl": ("Turkish", "CC BY 4.0"),
    "eval/humaneval.jsonl": ("code", "MIT (HumanEval)"),
    "eval/mbppplus.json": ("code", "Apache-2.0 (MBPP+), CC BY 4.0 (MBPP)"),
    "eval/decontaminator_rephrase": ("mixed", "Apache-2.0 (llm-decontaminator)"),
}
"""Of the data folder. Wikipedia text (CC BY-SA) is not among them: it is what the table is measured on."""

PACKAGES = (
    "transformers",
    "torch",
    "sympy",
    "pandas",
    "scipy",
    "scikit-learn",
    "numpy",
    "networkx",
    "numba",
    "mypy",
    "pip",
    "Pygments",
    "polars",
    "huggingface_hub",
    "peft",
    "pyarrow",
    "setuptools",
    "sentence-transformers",
    "datasets",
    "pydantic",
    "accelerate",
    "pytest",
    "rich",
    "joblib",
    "fsspec",
    "anyio",
    "Jinja2",
    "packaging",
    "click",
    "typer",
    "psutil",
    "markdown-it-py",
    "python-dateutil",
    "dill",
    "PyYAML",
    "httpx2",
)
"""Installed packages; the licence is read from the package's metadata and refused if it is not a permissive one."""
_PACKAGE, _STANDARD_LIBRARY = 800_000, 5_000_000  # bytes of code at most, drawn file by file
_PROSE = 3  # docstrings are taken from so many times the code
PERMISSIVE = ("Apache", "MIT", "BSD", "Zlib", "CC0", "0BSD", "BSL-1.0", "PSF", "LLVM")
NOT_PERMISSIVE = ("GPL", "MPL", "NC", "Non-Commercial")
_LONGEST = 200_000  # bytes of a program file; beyond it are tables


def data_sources(data: Path) -> Iterator[Source]:
    """The sources of the data folder (sources, revisions and licences: its MANIFEST.json)."""
    for name, (kind, licence) in DATA.items():
        path = data / name
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        found: dict[str, list[str]] = {}
        for file in files:
            if "gsm8k" in file.name:  # validated on
                continue
            part = kind
            if kind == "mixed":
                part = "Chinese" if "chinese" in file.name else "code" if "humaneval" in file.name else "English"
            found.setdefault(part, []).extend(_documents(file))
        sha = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
        for part, documents in found.items():
            label = name if len(found) == 1 else f"{name} ({part})"
            yield Source(label, part, licence, "public data, see MANIFEST.json", documents, sha)


def texts_of(file: Path) -> list[str]:
    """The documents of a data file."""
    return list(_documents(file))


def _documents(file: Path) -> Iterator[str]:
    if file.suffix == ".zip":
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                if name.endswith(".csv"):
                    text = archive.read(name).decode("utf-8")
                    yield from ("\n".join(row) for row in csv.reader(io.StringIO(text)))
    elif file.suffix == ".csv":
        yield from ("\n".join(row) for row in csv.reader(io.StringIO(file.read_text("utf-8"))))
    elif file.suffix == ".parquet":
        import polars

        yield from ("\n".join(_strings(row)) for row in polars.read_parquet(file).to_dicts())
    elif file.suffix == ".jsonl":
        with file.open(encoding="utf-8") as lines:
            yield from ("\n".join(_strings(json.loads(line))) for line in lines if line.strip())
    else:
        records = json.loads(file.read_text("utf-8"))
        for record in records.values() if isinstance(records, dict) else records:
            yield "\n".join(_strings(record))


_NO_TEXT = {"from", "role", "id", "type", "language", "conversation_id", "task_id", "category", "entry_point"}


def _strings(value: Any) -> Iterator[str]:
    """The texts of a record, in order; not the words that say whose turn it is."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, inner in value.items():
            if name not in _NO_TEXT:
                yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def program_sources(seed: int) -> Iterator[Source]:
    """Python's standard library and installed packages: code without docstrings, and the docstrings as prose."""
    library = Path(sysconfig.get_paths()["stdlib"])
    folders = ("site-packages", "test", "tests", "lib2to3", "encodings", "idlelib", "__pycache__")
    files = [p for p in sorted(library.rglob("*.py")) if not set(p.relative_to(library).parts) & set(folders)]
    version = ".".join(map(str, __import__("sys").version_info[:3]))
    yield from _programs("Python standard library", version, "PSF-2.0", files, _STANDARD_LIBRARY, seed)
    topics = library / "pydoc_data" / "topics.py"
    pages = list(ast.literal_eval(topics.read_text("utf-8").partition("topics =")[2].strip()).values())
    state = hashlib.sha256(topics.read_bytes()).hexdigest()
    yield Source(f"Python language reference {version}", "documentation", "PSF-2.0", "pydoc_data", pages, state)
    for name in PACKAGES:
        package = metadata.distribution(name)
        licence = _licence(package)
        if not any(word in licence for word in PERMISSIVE) or any(word in licence for word in NOT_PERMISSIVE):
            raise SystemExit(f"{name}: licence {licence!r} is not known to allow this")
        paths = sorted({Path(str(package.locate_file(f))) for f in package.files or [] if str(f).endswith(".py")})
        yield from _programs(name, package.version, licence, [p for p in paths if p.exists()], _PACKAGE, seed)


def _licence(package: metadata.Distribution) -> str:
    held = package.metadata
    named = held.get("License-Expression") or ""
    classes = [c.rpartition(" :: ")[2] for c in held.get_all("Classifier") or [] if c.startswith("License")]
    text = (held.get("License") or "").strip().partition("\n")[0]
    known = {"Copyright (c) 2001-2002 Enthought, Inc. 2003, SciPy Developers.": "BSD-3-Clause"}
    known["Copyright (c) 2025 Ritchie Vink"] = "MIT"
    return named or ", ".join(classes) or known.get(text, text)


def _programs(name: str, version: str, licence: str, files: list[Path], most: int, seed: int) -> Iterator[Source]:
    order = np.random.default_rng(seed).permutation(len(files))
    code: list[str] = []
    prose: list[str] = []
    state = hashlib.sha256()
    size = 0
    for place in order.tolist():
        text = files[place].read_text("utf-8", errors="replace")
        if size > most * _PROSE or not 200 < len(text) < _LONGEST:
            continue
        body, docstrings = _split(text)
        if size <= most:
            code.append(body)
        size += len(text)
        state.update(text.encode())
        if len(docstrings) > 200:
            prose.append(docstrings)
    yield Source(f"{name} {version} (code)", "code", licence, f"{len(code)} files drawn", code, state.hexdigest())
    yield Source(
        f"{name} {version} (docstrings)",
        "documentation",
        licence,
        f"{len(prose)} files drawn",
        prose,
        state.hexdigest(),
    )


def _split(text: str) -> tuple[str, str]:
    """Code without its docstrings and its opening comment (which is a licence), and the docstrings."""
    import warnings

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return text, ""
    lines = text.splitlines()
    found = []
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            value = body[0].value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                found.append((value.lineno, value.end_lineno or value.lineno, value.value))
    for first, last, _ in found:
        lines[first - 1 : last] = [""] * (last - first + 1)
    begin = next((i for i, line in enumerate(lines) if line.strip() and not line.startswith("#")), 0)
    return "\n".join(lines[begin:]), "\n\n".join(value for _, _, value in sorted(found))
