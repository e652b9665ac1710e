"""The one file that knows the order of the stages: audit, plan, apply, report, purge.

read -> fingerprints -> exact, near -> earlier runs -> private spans -> evaluation items -> embeddings, neighbours ->
clusters -> repeated passages, shared sides, turns -> contexts, dose, prediction, memorized spans -> plan -> summary,
report
"""

from __future__ import annotations

import shutil
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from scanner import (
    against,
    choosing,
    compiling,
    fieldranks,
    formats,
    heat,
    hub,
    inputs,
    judging,
    keeping,
    mapped,
    matching,
    memory,
    models,
    placing,
    planning,
    predicting,
    projecting,
    relating,
    running,
    signatures,
    stages,
    tables,
    untuned,
    validating,
)  # fmt: skip
from scanner.embedding import Encoders
from scanner.errors import ChangedInputError, RuleError, RunError, SettingsError, limited
from scanner.figures import plural
from scanner.objects import Source
from scanner.progress import Progress, peak_rss_bytes
from scanner.settings import Settings
from scanner.store import SCHEMA_VERSION, RunFolder
from scanner.versions import versions
from scanner.writing import write_bytes

if TYPE_CHECKING:
    from scanner.applying import Applied
    from scanner.calibrating import Calibrated
    from scanner.estimating import Estimate
    from scanner.outcome import Outcome
    from scanner.retelling import Rehearsed
    from scanner.verifying import Verified


def audit(
    datasets: list[str],
    settings: Settings,
    out: Path | None = None,
    *,
    fix: Path | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> RunFolder:
    """Audit data sets into a run folder; a finished run of the same input and settings is returned as it is.

    fix: where the cleaned data will be asked for afterwards; OutputError now where it could not be written there.
    """
    progress = progress or Progress()
    memory.reuse()
    if warning := limited():
        progress.say(warning)
    threads = running.thread_count(settings.threads)
    run = RunFolder(out or inputs.default_run_path(datasets))
    with inputs.at_hand(datasets, run.path.parent) as files:
        (sources, left_out), (evaluation, left_out_too) = formats.survey(files), matching.survey(settings)
        if fix:
            placing.check(run.path, sources, settings, fix)
        keeping.check_sources(policy := keeping.parse(settings.keep_policy), [s.name for s in sources])
        if policy.kind == "field":
            fieldranks.check(sources, policy.field, settings)
        earlier_runs = against.open_all(settings, run.path)
        if settings.base:
            models.check_folder(settings.base)
        for option, name in (("--embedder", settings.embedder), ("--confirm-with", settings.confirm_with)):
            if name and settings.semantic:
                hub.check(name, option)  # before a language model is loaded, which turns the network off
        if settings.calibration:
            predicting.weights_of(settings, Progress())  # refused now, not after the reading
        hashed = mapped.state(sources)
        with progress.stage("hash the input", len(sources) + len(evaluation)):
            digests = inputs.sha256_of(sources, threads, progress.advance)
            evaluated = inputs.sha256_of(evaluation, threads, progress.advance)
        compared = [index.identity for index in earlier_runs]
        identity = inputs.identity(sources + evaluation, digests + evaluated, settings, compared)
        if inputs.is_finished(run, identity, force):
            since = judging.judged_since(run, settings)
            progress.say(f"{run.path} holds this audit already{since}; use --force to run it again{inputs.lost(run)}")
            return run
        if settings.base:
            settings = untuned.sized(settings, progress)
        run = RunFolder.open_for_writing(run.path)
        if files != datasets:
            kept = sources[0].path.replace(run.private / sources[0].path.name)
            sources = [replace(s, path=kept) for s in sources]
            hashed = mapped.state(sources)
    with progress.stage("load the kernels"):
        compiling.load_kernels(progress)
    benchmarks = list(zip(evaluation, evaluated, strict=True))
    try:
        notes, facts = _measure_and_judge(
            run, sources, hashed, digests, identity, benchmarks, earlier_runs, settings, threads, progress
        )  # fmt: skip
    except (SettingsError, RuleError):  # nobody goes on with these: the folder must not refuse the mended command
        inputs.forget(run)
        raise
    notes["left_out"] = [file._asdict() for file in (*left_out, *left_out_too)]
    _finish(run, settings, notes, facts, progress)
    return run


def _measure_and_judge(
    run: RunFolder,
    sources: list[Source],
    hashed: mapped.State,
    digests: list[str],
    identity: str,
    benchmarks: list[tuple[Source, str]],
    earlier_runs: list[signatures.Index],
    settings: Settings,
    threads: int,
    progress: Progress,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The stages of an audit in their order; writes every table, returns notes and facts for scan.json."""
    rows, skips, prints = stages.read(run, sources, settings, threads, identity, progress, hashed)
    names = [s.name for s in sources]
    likeness = stages.find_likeness(run, rows, prints, settings, threads, progress)
    known, compared = stages.compare_with_earlier(
        run, rows, prints, likeness, earlier_runs, settings, threads, progress
    )  # fmt: skip
    wrapping = stages.describe_templates(run, rows, prints, likeness, names, progress)
    prints = replace(prints, signature=prints.signature[:0].copy())  # the largest array by far, and no longer needed
    spans, unread = stages.find_spans(run, settings, threads, progress)
    encoders = Encoders(settings, rows)
    matched = matching.find(run, rows, benchmarks, encoders, settings, threads, progress)
    matches = pl.concat([known, matched.table], how="diagonal")
    meaning = stages.find_meaning(run, rows, names, likeness, encoders, settings, threads, progress)
    del encoders  # their models take memory
    choice = choosing.find_clusters(
        run, rows, prints, likeness, meaning.pairs, matches, sources, settings, progress
    )  # fmt: skip
    clusters = choice.clusters
    passages = stages.find_passages(run, rows, prints, clusters, settings, threads, progress)
    related = relating.relate(run, rows, prints, clusters, likeness.near, settings, threads, progress)
    pairs = tables.pairs_table(rows, likeness, clusters, meaning.pairs, related.pairs)
    pairs = tables.with_passages(pairs, passages)
    predicted = predicting.predict(run, rows, prints, likeness, spans, sources, settings, threads, progress)
    with progress.stage("judge"):
        table = tables.rows_table(
            rows, sources, prints, likeness, clusters, choice.quality, spans, wrapping, meaning, predicted,
            related.features,
        )  # fmt: skip
        table = tables.with_field(table, choice.field.rank if choice.field else None).hstack(passages.features)
        predicted = validating.validate(predicted, table, settings)
        spans = tables.all_spans(spans, passages, predicted.memorized)
        found = choosing.findings(
            rows, clusters, choice.preferred, pairs, spans, predicted.table, table, matches, unread
        )
        plan = planning.make_plan(found, settings)
        what_if = projecting.with_plan(run, predicted.what_if, plan, pairs, settings, predicted.weights)
    with progress.stage("write the tables"):
        frames = {
            "rows": table, "pairs": pairs, "spans": spans, "unread": unread, "prediction": predicted.table,
            "whatif": what_if, "skew": predicted.skew, "plan": plan, "templates": wrapping.patterns,
            heat.HEAT: predicted.heat,
        }  # fmt: skip
        if settings.against or benchmarks:
            frames["matches"] = matches
        for name, frame in frames.items():
            run.write_table(name, frame)
        tables.write_skips(run, skips)
    notes = {"reading": [d._asdict() for d in rows.damage], **likeness.notes, **wrapping.notes, **meaning.notes}
    notes |= passages.notes | related.notes | matched.notes | predicted.notes
    notes["keep"] = choosing.keep_notes(settings, choice.field)
    if compared:
        notes["against"] = compared
    notes["brake"] = planning.brake(plan, rows.source, settings, names)
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

    changes: entries of Settings to replace; where they name a calibration or another training, the stored text is
    predicted for again. A Jaccard threshold below the audit's floor is refused.
    """
    run, progress = RunFolder.open_finished(run_path), progress or Progress()
    if run.private.is_dir():
        run.claim()
    settings = judging.judge(run, changes, progress)
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
        sources = inputs.sources_of(scan)
        if gone := next((source.path for source in sources if not source.path.exists()), None):
            raise RunError(
                f"{gone} is no longer there, and the cleaned data is made from it; bring it back, or audit it where it "
                "lies now: scan DATASET"
            )
        if changed := inputs.first_changed(scan, sources, progress.advance):
            raise ChangedInputError(
                f"{changed} changed since the audit (its SHA-256 is another); the plan names rows by their place, so "
                f"audit it again: scan {changed}"
            )
    with progress.stage("write the cleaned data", len(sources)):
        return applying.apply(run, scan, sources, out, target, progress)


def report(
    run: RunFolder, formats_wanted: list[str], text: str = "masked", progress: Progress | None = None
) -> list[Path]:
    """Render reports of a finished run (`scan report`); returns the files."""
    from scanner import reports

    progress = progress or Progress()
    written = []
    for name in formats_wanted:
        with progress.stage(f"report as {name}"):
            written.append(reports.write(run, name, text))
    return written


def export(run_path: Path, out: Path, jaccard: float | None = None, progress: Progress | None = None) -> int:
    """Write a run's signatures as a pickled datasketch MinHashLSH (`scan export`); returns the rows in it.

    jaccard: threshold that datasketch chooses its bands for; None: the bands of the audit. Keys are row ids.
    """
    import pickle

    progress = progress or Progress()
    if jaccard is not None and not 0 < jaccard < 1:
        raise SettingsError(f"--jaccard is {jaccard:g}; it must lie between 0 and 1")
    index = signatures.read(run_path)
    with progress.stage("export signatures", len(index.row_id)):
        lsh = signatures.lsh_of(index, jaccard)
        write_bytes(out, pickle.dumps(lsh))
    return len(lsh.keys)


def estimate(datasets: list[str], settings: Settings) -> Estimate:
    """What an audit of these data sets will cost (`scan --dry-run`); writes nothing."""
    from scanner import estimating

    sampled = settings.changed(keep_policy="best")  # samples have other names than the inputs, and may lack a field
    return estimating.estimate(datasets, sampled, lambda names, chosen, out: audit(names, chosen, out))


def rehearse(run_path: Path, options: dict[str, Any], progress: Progress | None = None) -> Rehearsed:
    """Fine-tune a base on a sample of the rows under the plan and measure what it recalls (`scan rehearse`).

    options: fields of rehearsing.Options, and entries of TrainingPlan that replace the run's.
    """
    from scanner import rehearsing

    own = {f.name for f in fields(rehearsing.Options)}
    asked = rehearsing.Options(**{k: v for k, v in options.items() if k in own})
    changes = {k: v for k, v in options.items() if k not in own}
    run, progress = RunFolder.open_finished(run_path), progress or Progress()
    measured = rehearsing.rehearse(run, changes, asked, progress)
    report(run, ["html"], Settings.from_dict(run.read_json("scan.json")["settings"]).text, progress)
    return measured


def confirm(run_path: Path, options: dict[str, Any], progress: Progress | None = None) -> Outcome:
    """Measure a tuned model on chosen rows of a run (`scan confirm`); options: fields of tuned.Options."""
    from scanner import tuned

    run, progress = RunFolder.open_finished(run_path), progress or Progress()
    found = tuned.confirm(run, tuned.Options(**options), progress)
    scan = run.read_json("scan.json")
    settings = Settings.from_dict(scan["settings"])
    scan["summary"] = tables.summary(run, scan["notes"], settings)
    run.write_json("scan.json", scan)
    report(run, ["html"], settings.text, progress)
    return found


def calibrate(runs: list[Path], out: Path, names: tuple[str, ...] = (), progress: Progress | None = None) -> Calibrated:
    """Fit the level of a base on rehearsed or confirmed rows of runs, and write a calibration (`scan calibrate`)."""
    from scanner import calibrating

    return calibrating.calibrate(runs, out, names, progress)


def gate(run: RunFolder, band: str) -> list[str]:
    """Why a gate on this risk band trips (`--fail-on`): rows of it or a higher one, and private names of fields."""
    levels = ("none", "low", "medium", "high")
    wanted = levels[levels.index(band) :]
    risky = int(run.read_table("prediction", ["band"])["band"].is_in(wanted).sum())
    named = run.read_json("scan.json")["summary"]["found"].get("names", {}).get("rows")
    return [
        *([f"{plural(risky, 'row')} at risk band {band} or higher"] if risky else []),
        *([f"private values in names of fields of {plural(named, 'row')}, which no plan changes"] if named else []),
    ]


def verify(file: Path, run_path: Path) -> Verified:
    """Prove that a cleaned file holds nothing that the run masked (`scan verify`)."""
    from scanner import verifying

    return verifying.verify(file, RunFolder.open_finished(run_path))


def purge(run_path: Path) -> int:
    """Delete the stored text of a run (`scan purge`); returns the bytes freed. The tables stay."""
    run = RunFolder(run_path)
    if not run.private.is_dir():
        raise RunError(f"{run_path} holds no stored text: there is no private/ folder in it")
    if not inputs.is_of_a_run(run):
        raise RunError(f"{run_path} holds a private/ folder that no run wrote; it is not touched: name a run folder")
    RunFolder(run_path).claim()  # nobody writes there; let go at once: network disks keep a folder with an open file
    freed = sum(p.stat().st_size for p in run.private.rglob("*") if p.is_file())
    shutil.rmtree(run.private)
    return freed


def _finish(
    run: RunFolder, settings: Settings, notes: dict[str, Any], facts: dict[str, Any], progress: Progress
) -> None:
    """Summary, scan.json and the report; a folder that lacks one of the two files is an unfinished run."""
    with progress.stage("sum up"):
        summary = tables.summary(run, notes, settings)
    scan = {
        "schema_version": SCHEMA_VERSION,
        "versions": versions(settings),
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
