"""The command line: parse, one call into the library, print. No arithmetic, no policy."""

from __future__ import annotations

import sys

INTERRUPTED = "interrupted; run the same command again to go on"
try:
    from pathlib import Path
    from typing import Any

    import click
    from click_default_group import DefaultGroup

    from scanner.errors import ScanError, end_as_on_interrupt, is_interrupt, limited, meant, of_the_system, unforeseen
    from scanner.options import (
        calibration_option,
        given,
        judging_options,
        likeness_options,
        meaning_options,
        reading_options,
        run_options,
        staying_options,
        training_options,
        unknown,
    )
    from scanner.settings import settings_for
except KeyboardInterrupt:  # main() is not there yet to say it
    sys.exit(f"error: {INTERRUPTED}")

GATES, GATE = ("low", "medium", "high"), 3  # 3: the exit code
PATH = click.Path(path_type=Path)
FOUND = click.Path(exists=True, path_type=Path)
FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
RUN = click.argument("run", type=PATH)


@click.group(cls=DefaultGroup, default="audit", default_if_no_args=False, no_args_is_help=True)
@click.version_option(package_name="sftscan")
@click.option("--debug", is_flag=True, expose_value=False, help="Show a traceback when something goes wrong.")
def scan() -> None:
    """Tell what a model will memorize from a fine-tuning data set, before it is trained.

    `scan DATASET...` audits; the other commands read the run folder that it leaves.
    """


@scan.command()
@click.argument("datasets", nargs=-1, required=True)
@click.option("--out", type=PATH, help="Run folder [<stem>.scan].")
@click.option("--fix", type=PATH, help="Write the cleaned data set here too.")
@click.option("--force", is_flag=True, help="Replace the run in the folder.")
@click.option("--dry-run", is_flag=True, help="Read a sample; estimate time, memory and disk; write nothing.")
@reading_options
@click.option("--max-length", type=int, help="Tokens after which the trainer cuts a row; else the context of --base.")
@click.option("--tokenizer", type=FOUND, help="The model's tokenizer.json: counts in its tokens, in its chat template.")
@likeness_options
@click.option("--span-tokens", type=int, help="Shortest repeated passage, in tokens; 0 looks for none [50].")
@meaning_options
@click.option("--eval", "evaluation", multiple=True, type=PATH, help="Benchmark to keep out: file, folder or glob.")
@click.option("--rules", multiple=True, type=FOLDER, help="Folder with further rules.")
@click.option("--against", multiple=True, type=PATH, help="Run folder of earlier data; rows it holds are dropped.")
@calibration_option
@click.option("--base", type=PATH, help="Folder of the untuned base: what it knows of each answer is measured.")
@click.option("--seed", type=int, help="Seed of the simulated sampler [0].")
@click.option("--threads", type=int, help="Threads; results do not depend on them [all cores].")
@click.option("--fail-on", type=click.Choice(GATES), help="Exit with 3 at this risk band or at private field names.")
@judging_options
@training_options
@run_options
def audit(
    datasets: tuple[str, ...],
    out: Path | None,
    fix: Path | None,
    force: bool,
    dry_run: bool,
    fail_on: str | None,
    quiet: bool,
    **options: Any,
) -> None:
    """Audit data sets: files, folders, globs, or - for JSONL on standard input."""
    from scanner import compiling

    if hint := _misspelt_command(datasets[0]):
        raise click.UsageError(hint)
    settings = settings_for(datasets, given(options))
    with _progress(quiet) as progress:
        compiling.load_kernels(progress)
        from scanner import pipeline  # imports kernels, so only now

        if dry_run:
            estimate = pipeline.estimate(list(datasets), settings)
        else:
            run = pipeline.audit(list(datasets), settings, out, fix=fix, force=force, progress=progress)
    if dry_run:
        click.echo(estimate.in_words())
        return
    if not quiet:
        _show(run.path, settings.text, fixed=fix is not None)
    if fix:
        _apply(run.path, fix, None, quiet)
    if fail_on and (why := pipeline.gate(run, fail_on)):
        click.echo(f"{'; '.join(why)}: gate --fail-on {fail_on} tripped", err=True)
        sys.exit(GATE)


@scan.command()
@click.argument("datasets", nargs=-1, required=True)
@click.option("-o", "--output", type=PATH, help="Write the rows of all clusters here, .parquet or .csv.")
@click.option("--pairs", type=PATH, help="Write the verified pairs here, .parquet or .csv.")
@reading_options
@likeness_options
@staying_options
@click.option("--threads", type=int, help="Threads; results do not depend on them [all cores].")
@click.option("--quiet", "-q", is_flag=True, help="Print errors only.")
def duplicates(datasets: tuple[str, ...], output: Path | None, pairs: Path | None, quiet: bool, **options: Any) -> None:
    """Find copies and near copies alone; no run folder, no prediction, and nothing is removed."""
    from scanner import compiling

    settings = settings_for(datasets, given(options))
    with _progress(quiet) as progress:
        compiling.load_kernels(progress)
        from scanner import deduplicating  # imports kernels, so only now

        found = deduplicating.duplicates(datasets, settings, output, pairs, progress)
    if not quiet:
        click.echo(found.in_words())


@scan.command()
@RUN
@click.option("-o", "--output", required=True, type=PATH, help="The cleaned file.")
@click.option("--to", "target", help="Another format than the input's own, for example jsonl.")
@click.option("--quiet", "-q", is_flag=True, help="Print errors only.")
def apply(run: Path, output: Path, target: str | None, quiet: bool) -> None:
    """Write the cleaned data set of a run, what was removed, and a manifest."""
    _apply(run, output, target, quiet)


@scan.command()
@RUN
@calibration_option
@judging_options
@training_options
@run_options
def plan(run: Path, quiet: bool, **options: Any) -> None:
    """Judge a run again under other thresholds, or predict it for another training; what is not named stays.

    Where an option takes none, that word takes back what the plan has: --goldfish-k none.
    """
    from scanner import pipeline

    changes = given(options)
    with _progress(quiet) as progress:
        again = pipeline.judge(run, changes, progress)
    if not quiet:
        _show(again.path, changes.get("text", "masked"))


@scan.command()
@RUN
@click.option("--base", default="tiny", help="Local folder of a causal language model, or tiny: built from the data.")
@click.option("--rows", type=int, default=1500, help="Rows to train on, at most [1500].")
@click.option("--controls", type=int, default=400, help="Rows to hold out, at most [400].")
@click.option("--pretrain-tokens", type=int, default=1_000_000, help="Text that a tiny base is made from [1000000].")
@click.option("--width", type=int, help="Width of a tiny base, in steps of 32 [256].")
@click.option("--layers", type=int, help="Layers of a tiny base [4].")
@click.option(
    "--planted",
    type=float,
    default=0.0,
    metavar="SHARE",
    help="Share of the rows for which copies, near copies and other answers are planted [0].",
)
@click.option("--packed-as-they-stand", is_flag=True, help="Pack rows in the order of the files, not shuffled.")
@click.option("--seed", type=click.IntRange(0), default=0, help="Seed of the draw and of the batches [0].")
@click.option("--name", help="Name of the rehearsal [base and seed].")
@training_options
@click.option("--quiet", "-q", is_flag=True, help="Print errors only.")
def rehearse(run: Path, quiet: bool, **options: Any) -> None:
    """Fine-tune a small model under the plan, and measure what it recalls."""
    from scanner import pipeline

    with _progress(quiet) as progress:
        measured = pipeline.rehearse(run, given(options), progress)
    if not quiet:
        click.echo(measured.in_words())


@scan.command()
@RUN
@click.option("--model", required=True, type=PATH, help="Folder of the tuned model, or of a LoRA adapter.")
@click.option("--base", type=PATH, help="Folder of the model before tuning [that of the audit, or of the adapter].")
@click.option("--controls", type=PATH, help="Rows that were not trained on: what they show, the training did not do.")
@click.option("--rows", type=int, default=1000, help="Rows to measure: the likeliest, and some of the others [1000].")
@click.option("--all", "all_rows", is_flag=True, help="Measure every row.")
@click.option("--top-k", type=int, default=40, help="Likeliest tokens that an attacker draws from; 0: all [40].")
@click.option("--temperature", type=float, default=1.0, help="Temperature of these draws [1].")
@click.option("--seed", type=click.IntRange(0), default=0, help="Seed of the draw [0].")
@click.option("--name", help="Name of the confirmation [that of the model's folder].")
@run_options
def confirm(run: Path, text: str | None, quiet: bool, **options: Any) -> None:
    """Measure what a tuned model recites of the run's rows, beside what was predicted."""
    from scanner import pipeline

    with _progress(quiet) as progress:
        found = pipeline.confirm(run, given(options), progress)
    if not quiet:
        found.render(text or "masked")


@scan.command()
@click.argument("runs", nargs=-1, required=True, type=PATH)
@click.option("-o", "--output", required=True, type=PATH, help="The calibration file (TOML).")
@click.option("--name", "names", multiple=True, help="Rehearsal or confirmation to use; may be repeated [all].")
@click.option("--quiet", "-q", is_flag=True, help="Print errors only.")
def calibrate(runs: tuple[Path, ...], output: Path, names: tuple[str, ...], quiet: bool) -> None:
    """Fit the level of a base model on rehearsed or confirmed rows; audits take the file with --calibration."""
    from scanner import pipeline

    with _progress(quiet) as progress:
        found = pipeline.calibrate(list(runs), output, names, progress)
    if not quiet:
        click.echo(found.in_words())


@scan.command()
@RUN
@click.option("--format", "formats", default="html", help="html, json, markdown, sarif; several with commas [html].")
@run_options
def report(run: Path, formats: str, text: str | None, quiet: bool) -> None:
    """Render the reports of a run."""
    from scanner import pipeline
    from scanner.store import RunFolder

    with _progress(quiet) as progress:
        written = pipeline.report(
            RunFolder.open_finished(run), [name.strip() for name in formats.split(",")], text or "masked", progress
        )
    if not quiet:
        click.echo("\n".join(str(path) for path in written))


@scan.command()
@RUN
@click.option("-o", "--output", required=True, type=PATH, help="The file to write.")
@click.option("--to", "target", type=click.Choice(["datasketch"]), default="datasketch", help="What reads it.")
@click.option("--jaccard", type=float, help="Threshold of the LSH [the bands of the audit].")
@click.option("--quiet", "-q", is_flag=True, help="Print errors only.")
def export(run: Path, output: Path, target: str, jaccard: float | None, quiet: bool) -> None:
    """Write the signatures of a run as a pickled datasketch MinHashLSH, keyed by row id."""
    from scanner import pipeline
    from scanner.figures import plural

    with _progress(quiet) as progress:
        rows = pipeline.export(run, output, jaccard, progress)
    if not quiet:
        click.echo(f"{output}: a {target} MinHashLSH of {plural(rows, 'row')}; load it with pickle.load")


@scan.command()
@RUN
@click.argument("row", type=int)
@click.option("--text", type=click.Choice(["masked", "none", "full"]), default="masked", help="Excerpts.")
def explain(run: Path, row: int, text: str) -> None:
    """Tell everything known about one row."""
    from scanner import explain as explaining
    from scanner.display import screen
    from scanner.store import RunFolder

    explaining.explain(RunFolder.open_finished(run), row, text).render(screen())


@scan.command()
@click.argument("names", nargs=-1, metavar="[RULE]...")
@click.option("--dir", "folders", multiple=True, type=FOLDER, help="Folder with further rules.")
def rules(names: tuple[str, ...], folders: tuple[Path, ...]) -> None:
    """List the rules that find private data and secrets; of named ones tell what they find and where they err."""
    from scanner import rulebook

    book = rulebook.load(folders)
    for rule in book.named(names):
        click.echo(rule.in_words())
    for rule in () if names else book.rules:
        click.echo(f"{rule.id:<28} {rule.kind:<8} severity {rule.severity:<4g} {rule.title}")


@scan.command()
@click.argument("file", type=FOUND)
@RUN
def verify(file: Path, run: Path) -> None:
    """Prove that a cleaned file holds no private span that the run found."""
    from scanner import pipeline

    click.echo(pipeline.verify(file, run).in_words())


@scan.command()
@click.argument("a", type=PATH)
@click.argument("b", type=PATH)
@click.option("-o", "--output", type=PATH, help="Write a line per row here, .parquet or .csv; or the figures, .json.")
@click.option("--top", type=click.IntRange(1), default=10, help="Rows to list of each kind of change [10].")
@click.option("--quiet", "-q", is_flag=True, help="Print errors only.")
def diff(a: Path, b: Path, output: Path | None, top: int, quiet: bool) -> None:
    """Compare two runs: settings, rows, figures, and the rows whose action or prediction changed."""
    from scanner import comparing

    found = comparing.diff(a, b, output)
    if not quiet:
        found.render(top)


@scan.command()
@RUN
def purge(run: Path) -> None:
    """Delete the stored text of a run; its tables and reports stay."""
    from scanner import pipeline

    click.echo(f"{pipeline.purge(run):,} bytes of text deleted; {run} keeps its tables")


def main() -> None:
    """Entry point: errors of the library become one message and an exit code."""
    debug = "--debug" in sys.argv[1:]
    try:
        end_as_on_interrupt()
        scan.main(standalone_mode=False)
    except ScanError as error:
        if debug:
            raise
        _stop(str(error), error.exit_code)
    except click.ClickException as error:
        first = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
        hint = _misspelt_command(first)  # then the option is one that an audit does not have
        if isinstance(error, click.NoSuchOption):
            hint = hint or unknown(error, sys.argv[1:], audit)
        (click.UsageError(hint, getattr(error, "ctx", None)) if hint else error).show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        _stop(INTERRUPTED, 1)
    except MemoryError:
        _stop(f"out of memory; {limited() or 'try fewer --threads or a part of the data'}", 1)
    except OSError as error:
        if debug:
            raise
        _stop(of_the_system(error), 1)
    except Exception as error:
        if debug:
            raise
        but = f". But {why}" if (why := limited()) else ""
        _stop(INTERRUPTED if is_interrupt(error) else f"{unforeseen(error)}{but}", 1)


def _misspelt_command(word: str) -> str:
    """What to say where a word was taken for a data set and looks like a command; empty for files and commands."""
    hint = "" if word in scan.commands or Path(word).exists() else meant([word], scan.commands)
    return f"there is neither a file nor a command {word!r}.{hint}" if hint else ""


def _stop(message: str, code: int) -> None:
    click.echo(f"error: {message}", err=True)
    sys.exit(code)


def _progress(quiet: bool) -> Any:
    """A context that gives a progress display on standard error; silent when asked."""
    import contextlib

    if quiet:
        from scanner.progress import Progress

        return contextlib.nullcontext(Progress())
    from scanner.display import shown_progress

    return shown_progress()


def _apply(run: Path, output: Path, target: str | None, quiet: bool) -> None:
    from scanner import pipeline

    with _progress(quiet) as progress:
        outcome = pipeline.apply(run, output, target, progress)
    if not quiet:
        click.echo(outcome.in_words())
    if outcome.not_masked:
        _stop(outcome.not_masked, GATE)


def _show(run: Path, text: str, fixed: bool = False) -> None:
    from scanner.display import screen
    from scanner.reports import terminal
    from scanner.store import RunFolder

    terminal.show(RunFolder.open_finished(run), screen(), text, fixed)


if __name__ == "__main__":
    main()
