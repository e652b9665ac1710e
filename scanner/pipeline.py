"""The one file that knows the order of the stages: audit, plan, apply, report, purge.

read -> fingerprints -> exact, near -> private spans -> embeddings, neighbours -> clusters -> contexts, dose,
prediction -> plan -> summary, report
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scanner import formats, planning, predicting, stages, tables
from scanner.errors import ChangedInputError, RunError, SettingsError
from scanner.objects import Source
from scanner.plugins import load
from scanner.progress import Progress, peak_rss_bytes
from scanner.settings import Settings
from scanner.store import SCHEMA_VERSION, TEMPORARY, RunFolder, write_bytes

if TYPE_CHECKING:
    from scanner.applying import Applied
    from scanner.estimating import Estimate
    from scanner.rehearsing import Rehearsed
    from scanner.verifying import Verified

PACKAGES = ("sftscan", "polars", "numpy", "numba", "pyarrow", "datasketch", "faiss-cpu", "tokenizers", "google-re2")


def audit(
    datasets: list[str],
    settings: Settings,
    out: Path | None = None,
    *,
    force: bool = False,
    progress: Progress | None = None,
) -> RunFolder:
    """Audit data sets into a run folder; a finished run of the same input and settings is returned as it is."""
    progress = progress or Progress()
    threads = settings.threads or os.cpu_count() or 1
    run = RunFolder(out or default_run_path(datasets))
    with _at_hand(datasets, run) as files:
        sources = formats.discover(files)
        with progress.stage("hash the input", len(sources)):
            digests = _sha256_of(sources, threads, progress.advance)
        identity = _identity(sources, digests, settings)
        if _is_finished(run, identity, force):
            progress.say(f"{run.path} holds this audit already; use --force to run it again")
            return run
        run = RunFolder.open_for_writing(run.path)
        if files != datasets:
            kept = sources[0].path.replace(run.private / sources[0].path.name)
            sources = [replace(s, path=kept) for s in sources]
    with progress.stage("load the kernels"):
        stages.load_kernels(progress)
    notes, facts = _measure_and_judge(run, sources, digests, identity, settings, threads, progress)
    _finish(run, settings, notes, facts, progress)
    return run


def _measure_and_judge(
    run: RunFolder,
    sources: list[Source],
    digests: list[str],
    identity: str,
    settings: Settings,
    threads: int,
    progress: Progress,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The stages of an audit in their order; writes every table, returns notes and facts for scan.json."""
    rows, skips = stages.read(run, sources, settings, threads, identity, progress)
    prints = stages.fingerprint_rows(run, rows, settings, threads, progress)
    likeness = stages.find_likeness(run, rows, prints, settings, threads, progress)
    tables.write_index(run, rows, prints, likeness)
    prints = replace(prints, signature=prints.signature[:0].copy())  # the largest array by far, and no longer needed
    spans = stages.find_spans(run, settings, threads, progress)
    meaning = stages.find_meaning(run, rows, [s.name for s in sources], settings, threads, progress)
    clusters, quality = stages.find_clusters(run, rows, prints, likeness, meaning.pairs, settings, progress)
    pairs = tables.pairs_table(rows, likeness, clusters, meaning.pairs)
    predicted = predicting.predict(run, rows, prints, likeness, spans, sources, settings, threads, progress)
    with progress.stage("judge"):
        table = tables.rows_table(rows, sources, prints, likeness, clusters, quality, spans, meaning, predicted)
        plan = planning.make_plan(planning.Findings(rows, clusters, pairs, spans, predicted.table, table), settings)
    with progress.stage("write the tables"):
        frames = {
            "rows": table, "pairs": pairs, "spans": spans, "prediction": predicted.table,
            "whatif": predicted.what_if, "plan": plan,
        }  # fmt: skip
        for name, frame in frames.items():
            run.write_table(name, frame)
        tables.write_skips(run, skips)
    notes = {"reading": [d._asdict() for d in rows.damage], **likeness.notes, **meaning.notes, **predicted.notes}
    notes["brake"] = planning.brake(plan, rows.source, settings, [s.name for s in sources])
    facts = {
        "identity": identity,
        "token_unit": predicted.unit,
        "inputs": tables.describe_inputs(sources, digests, rows, skips),
        "rows_read": len(rows),
        "rows_skipped": len(skips),
    }
    return notes, facts


def judge(run_path: Path, changes: dict[str, Any], progress: Progress | None = None) -> RunFolder:
    """Plan again from the stored pairs, spans and predictions (`scan plan`); no text is read for it.

    changes: entries of Settings to replace. A Jaccard threshold below the audit's floor is refused.
    """
    progress = progress or Progress()
    run = RunFolder.open_finished(run_path)
    scan = run.read_json("scan.json")
    before = Settings.from_dict(scan["settings"])
    settings = before.changed(**changes)
    if settings.jaccard < before.floor:
        raise SettingsError(
            f"--jaccard {settings.jaccard:g} lies below the audit's floor of {before.floor:g}; pairs below it were not "
            f"kept: audit again with --floor {settings.jaccard:g}"
        )
    with progress.stage("judge again"):
        scan["notes"]["brake"] = tables.plan_again(run, settings, [i["name"] for i in scan["inputs"]])
        scan["settings"] = settings.as_dict()
        scan["summary"] = tables.summary(run, scan["notes"], settings)
        run.write_json("scan.json", scan)
    report(run, ["html"], settings.text, progress)
    return run


def apply(run_path: Path, out: Path, target: str | None = None, progress: Progress | None = None) -> Applied:
    """Write the cleaned data set, the removed rows and a manifest (`scan apply`); refuses if an input changed."""
    from scanner import applying

    progress = progress or Progress()
    run = RunFolder.open_finished(run_path)
    scan = run.read_json("scan.json")
    planning.check_brake(scan["notes"].get("brake", []), str(run_path))
    with progress.stage("check the input", len(scan["inputs"])):
        sources = sources_of(scan)
        digests = _sha256_of(sources, os.cpu_count() or 1, progress.advance)
        for source, digest, known in zip(sources, digests, scan["inputs"], strict=True):
            if digest != known["sha256"]:
                raise ChangedInputError(
                    f"{source.path} changed since the audit (its SHA-256 is another); the plan names rows by their "
                    f"place, so audit it again: scan {source.path}"
                )
    with progress.stage("write the cleaned data", len(sources)):
        return applying.apply(run, scan, sources, out, target, progress)


def report(
    run: RunFolder, formats_wanted: list[str], text: str = "masked", progress: Progress | None = None
) -> list[Path]:
    """Render reports of a finished run (`scan report`); returns the files."""
    progress = progress or Progress()
    written = []
    for name in formats_wanted:
        module = load("scanner.reports", name)
        with progress.stage(f"report as {name}"):
            path = run.path / f"report.{module.EXTENSION}"
            write_bytes(path, module.render(run, text))
            written.append(path)
    return written


def estimate(datasets: list[str], settings: Settings) -> Estimate:
    """What an audit of these data sets will cost (`scan --dry-run`); writes nothing."""
    from scanner import estimating

    return estimating.estimate(datasets, settings, lambda names, chosen, out: audit(names, chosen, out))


def rehearse(run_path: Path, options: dict[str, Any], progress: Progress | None = None) -> Rehearsed:
    """Fine-tune a base on a sample of the rows under the plan and measure what it recalls (`scan rehearse`).

    options: fields of rehearsing.Options, and entries of TrainingPlan that replace the run's.
    """
    from scanner import rehearsing

    own = {f.name for f in fields(rehearsing.Options)}
    asked = rehearsing.Options(**{k: v for k, v in options.items() if k in own})
    changes = {k: v for k, v in options.items() if k not in own}
    return rehearsing.rehearse(RunFolder.open_finished(run_path), changes, asked, progress or Progress())


def gate(run: RunFolder, band: str) -> int:
    """Rows whose risk band is `band` or higher (`--fail-on`)."""
    levels = ("none", "low", "medium", "high")
    wanted = levels[levels.index(band) :]
    return int(run.read_table("prediction", ["band"])["band"].is_in(wanted).sum())


def verify(file: Path, run_path: Path) -> Verified:
    """Prove that a cleaned file holds nothing that the run masked (`scan verify`)."""
    from scanner import verifying

    return verifying.verify(file, RunFolder.open_finished(run_path))


def purge(run_path: Path) -> int:
    """Delete the stored text of a run (`scan purge`); returns the bytes freed. The tables stay."""
    run = RunFolder(run_path)
    if not run.private.is_dir():
        raise RunError(f"{run_path} holds no stored text: there is no private/ folder in it")
    freed = sum(p.stat().st_size for p in run.private.rglob("*") if p.is_file())
    shutil.rmtree(run.private)
    return freed


# ------------------------------------------------------------------------------------------------- inputs and runs


def default_run_path(datasets: list[str]) -> Path:
    """<stem>.scan in the current folder; the stem of the first of several inputs."""
    if datasets[0] == "-":
        return Path("stdin.scan")
    name = Path(datasets[0].rstrip("/")).name
    stem = name.split(".")[0] or name
    stem = stem.replace("*", "all").replace("?", "_")
    return Path(f"{stem}.scan" if len(datasets) == 1 else f"{stem}+{len(datasets) - 1}.scan")


def sources_of(scan: dict[str, Any]) -> list[Source]:
    """The sources of a finished run, as its scan.json describes them."""
    keys = ("index", "name", "format", "member", "compression", "bytes_on_disk")
    return [Source(path=Path(i["path"]), **{k: i[k] for k in keys}) for i in scan["inputs"]]


def versions() -> dict[str, str]:
    """Versions of this package and of those that shape its results."""
    import platform

    return {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}


@contextmanager
def _at_hand(datasets: list[str], run: RunFolder) -> Iterator[list[str]]:
    """The inputs as files: standard input is kept beside the run folder until it is known that the run may begin."""
    if "-" not in datasets:
        yield datasets
        return
    if datasets != ["-"]:
        raise SettingsError("- (standard input) cannot be mixed with files; write it to a file first")
    run.path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=run.path.parent) as folder:
        yield [str(formats.spool_stdin(Path(folder) / "stdin.jsonl"))]


def _sha256_of(sources: list[Source], threads: int, advance: Callable[[int], None]) -> list[str]:
    """SHA-256 of every input file as it lies on disk; a folder's (datasets) is that of its files in order."""

    def digest(path: Path) -> str:
        state = hashlib.sha256()
        for part in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
            with part.open("rb") as file:
                while block := file.read(1 << 20):
                    state.update(block)
        return state.hexdigest()

    paths = list(dict.fromkeys(s.path for s in sources))
    with ThreadPoolExecutor(threads) as pool:
        found = dict(zip(paths, pool.map(digest, paths), strict=True))
    advance(len(sources))
    return [found[s.path] for s in sources]


def _identity(sources: list[Source], digests: list[str], settings: Settings) -> str:
    """What makes two runs the same: version, inputs, and settings that shape results."""
    shaping = {k: v for k, v in settings.as_dict().items() if k not in ("threads", "text")}
    facts = [version("sftscan"), SCHEMA_VERSION, [(s.name, s.member, d) for s, d in zip(sources, digests, strict=True)]]
    return hashlib.sha256(json.dumps([facts, shaping], sort_keys=True).encode()).hexdigest()


def _is_finished(run: RunFolder, identity: str, force: bool) -> bool:
    """Whether the folder holds this very run, finished; another run's folder is refused unless forced."""
    if not run.path.exists():
        return False
    if not run.path.is_dir():
        raise RunError(f"{run.path} is a file, not a folder; choose another run folder with --out")
    marks = [run.path / "scan.json", run.private / "ingested.json"]
    known = [json.loads(m.read_text("utf-8"))["identity"] for m in marks if m.exists()]
    if not known and any(p.name not in ("private", "index") for p in run.path.iterdir()):
        raise RunError(f"{run.path} holds files but no run; it is not touched: choose another folder with --out")
    if force:
        _clear(run)
        return False
    if known and identity not in known:
        raise RunError(
            f"{run.path} holds a run of another input or other settings; use --force to replace it, or --out to "
            "write elsewhere"
        )
    return (run.path / "scan.json").exists() and (run.path / "report.html").exists()


def _clear(run: RunFolder) -> None:
    """Empty a run folder."""
    for path in run.path.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _finish(
    run: RunFolder, settings: Settings, notes: dict[str, Any], facts: dict[str, Any], progress: Progress
) -> None:
    """Summary, scan.json and the report; a folder that lacks one of the two files is an unfinished run."""
    with progress.stage("sum up"):
        summary = tables.summary(run, notes, settings)
    scan = {
        "schema_version": SCHEMA_VERSION,
        "versions": versions(),
        "settings": settings.as_dict(),
        "training_plan": settings.as_dict()["plan"],
        **facts,
        "notes": notes,
        "summary": summary,
    }

    def write() -> None:
        scan["timings"] = {t.stage: round(t.seconds, 4) for t in progress.timings}
        scan["peak_rss_bytes"] = peak_rss_bytes()
        run.write_json("scan.json", scan)

    write()
    report(run, ["html"], settings.text, progress)
    write()
