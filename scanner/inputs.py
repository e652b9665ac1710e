"""What an audit starts from: its inputs at hand as files, their hashes, and whether the run folder holds it already."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from scanner import formats, recalls, running
from scanner.errors import RunError, SettingsError
from scanner.objects import Source
from scanner.settings import Settings
from scanner.store import SCHEMA_VERSION, RunFolder
from scanner.untuned import fingerprint
from scanner.versions import digest, of_tokenizer, shipped
from scanner.writing import TEMPORARY


def default_run_path(datasets: list[str]) -> Path:
    """<stem>.scan in the current folder; the stem of the first of several inputs, without dashes before it.

    What begins with a dash would have to be written ./-name.scan wherever a command takes it.
    """
    if datasets[0] == "-":
        return Path("stdin.scan")
    name = Path(datasets[0].rstrip("/")).name
    stem = name.split(".")[0] or name
    stem = stem.replace("*", "all").replace("?", "_").lstrip("-") or "data"
    return Path(f"{stem}.scan" if len(datasets) == 1 else f"{stem}+{len(datasets) - 1}.scan")


def sources_of(scan: dict[str, Any]) -> list[Source]:
    """The sources of a finished run, as its scan.json describes them."""
    keys = ("index", "name", "format", "member", "compression", "bytes_on_disk")
    return [Source(path=Path(i["path"]), **{k: i[k] for k in keys}) for i in scan["inputs"]]


@contextmanager
def at_hand(datasets: list[str], folder: Path | None = None) -> Iterator[list[str]]:
    """The inputs as files; standard input is kept in a temporary folder (in `folder`, if named) while this lasts."""
    if "-" not in datasets:
        yield datasets
        return
    if datasets != ["-"]:
        raise SettingsError("- (standard input) cannot be mixed with files; write it to a file first")
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=folder) as temporary:
        yield [str(formats.spool_stdin(Path(temporary) / "stdin.jsonl"))]


def sha256_of(sources: list[Source], threads: int, advance: Callable[[int], None]) -> list[str]:
    """SHA-256 of every input file as it lies on disk; a folder's (datasets) is that of its files in order."""

    def digest(path: Path) -> str:
        state = hashlib.sha256()
        for part in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
            with part.open("rb") as file:
                while block := file.read(1 << 20):
                    state.update(block)
        return state.hexdigest()

    paths = list(dict.fromkeys(s.path for s in sources))
    found = dict(zip(paths, running.run(digest, paths, threads), strict=True))
    advance(len(sources))
    return [found[s.path] for s in sources]


def first_changed(
    scan: dict[str, Any], sources: list[Source], advance: Callable[[int], None] = lambda done: None
) -> Path | None:
    """The first of a finished run's inputs whose bytes are no longer those that were audited; None where all are."""
    digests = sha256_of(sources, running.thread_count(0), advance)
    pairs = zip(sources, digests, scan["inputs"], strict=True)
    return next((source.path for source, digest, known in pairs if digest != known["sha256"]), None)


def identity(sources: list[Source], digests: list[str], settings: Settings, earlier_runs: list[str]) -> str:
    """What makes two runs the same: version, what is shipped, inputs, earlier runs, settings that shape results."""
    shaping = {k: v for k, v in settings.as_dict().items() if k not in ("threads", "text", "against")}
    shaping["against"] = earlier_runs
    # what a file says counts, not where it lies
    shaping["rules"] = [digest(folder.rglob("*.toml")) for folder in settings.rules]
    if settings.calibration:
        shaping["calibration"] = hashlib.sha256(settings.calibration.read_bytes()).hexdigest()
    if settings.tokenizer:
        shaping["tokenizer"] = [settings.tokenizer.name, of_tokenizer(settings.tokenizer)]  # its name is in the unit
    if settings.base:
        shaping["base"] = fingerprint(settings.base)
    facts = [
        version("sftscan"),
        shipped(),
        SCHEMA_VERSION,
        [(s.name, s.member, d) for s, d in zip(sources, digests, strict=True)],
    ]
    return hashlib.sha256(json.dumps([facts, shaping], sort_keys=True).encode()).hexdigest()


def is_finished(run: RunFolder, identity: str, force: bool) -> bool:
    """Whether the folder holds this very run, finished; another run's folder is refused unless forced."""
    if not run.path.exists():
        return False
    if not run.path.is_dir():
        raise RunError(f"{run.path} is a file, not a folder; choose another run folder with --out")
    marks = [name for name in ("scan.json", "private/ingested.json") if (run.path / name).exists()]
    is_run = bool(marks) and (run.private.is_dir() or run.index.is_dir())  # purged: index/ is left
    if not is_run and not (is_of_a_run(run) and all(p.name in ("private", "index") for p in run.path.iterdir())):
        raise RunError(f"{run.path} holds files but no run; it is not touched: choose another folder with --out")
    if force:
        run.private.mkdir(exist_ok=True, mode=0o700)
        run.claim()
        _clear(run)
        return False
    known = [run.read_json(name)["identity"] for name in marks]
    if known and identity not in known:
        raise RunError(
            f"{run.path} holds a run of another input or other settings (or files they name, as a tokenizer's), or "
            f"of a program with other weights or rules; use --force to replace it{lost(run)}, or --out to "
            "write elsewhere"
        )
    return (run.path / "scan.json").exists() and (run.path / "report.html").exists()


def is_of_a_run(run: RunFolder) -> bool:
    """Whether a run, finished or not, wrote private/ and index/ in the folder, as far as they are there."""
    begun = any((run.private / name).exists() for name in ("lock", "ingested.json", run.segments_path.name))
    return begun or not any(path for folder in (run.private, run.index) if folder.is_dir() for path in folder.iterdir())


def lost(run: RunFolder) -> str:
    """What --force would delete that took a model, as a part of a sentence; empty where there is none of it."""
    names = [f"rehearsal {path.name}" for path in sorted((run.path / "rehearsal").glob("[!.]*"))]
    names += [f"confirmation {path.stem}" for path in sorted((run.path / recalls.FOLDER).glob("*.json"))]
    return f" (which deletes {', '.join(names)})" if names else ""


def forget(run: RunFolder) -> None:
    """Leave the folder as one in which no run was begun; text read into it is written over by the next."""
    (run.private / "ingested.json").unlink(missing_ok=True)


def _clear(run: RunFolder) -> None:
    """Empty a run folder, what makes it a finished run first and what makes it a run last: this may be interrupted."""
    last = {"report.html": -1, "scan.json": 1, run.private.name: 2}
    for path in sorted(run.path.iterdir(), key=lambda path: last.get(path.name, 0)):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
