"""Options that several verbs of the command line take, as decorators, and what was given as entries of Settings.

What they default to stands in settings.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from scanner.settings import (
    BATCHINGS,
    DECONTAMINATE,
    DROPS,
    LOSS_AVERAGES,
    LR_SCHEDULES,
    METHODS,
    NONE,
    SUPERVISE,
    TEXT_POLICIES,
    model_size,
)

Command = Callable[..., Any]
CAN_BE_NONE = ("batch_tokens", "micro_batch", "model_params", "goldfish_k", "calibration")
"""Of these NONE takes back what is set; so it does of source_weight, of which there may be several."""
_LIKE_A_FILE = re.compile(r"-[^=]*(/[^=]*|\.[A-Za-z][A-Za-z0-9]*)")


def _or_none(convert: Callable[..., Any]) -> Callable[[click.Context, click.Parameter, str | None], Any]:
    """A callback for a value that click's `convert` of a type reads; the word none stays until `given` reads it."""

    def read(context: click.Context, parameter: click.Parameter, value: str | None) -> Any:
        return value if value in (None, NONE) else convert(value, parameter, context)

    return read


WHOLE = _or_none(click.INT.convert)


def _with(options: Sequence[Callable[[Command], Command]], command: Command) -> Command:
    """A command with some options, shown in this order."""
    for option in reversed(options):
        command = option(command)
    return command


def reading_options(command: Command) -> Command:
    """How records are read."""
    options = [
        click.option("--layout", help="Layout of the records [found automatically]."),
        click.option("--prompt-field", help="Field that holds the prompt; a.b.0 is the first entry of b in a."),
        click.option("--response-field", help="Field that holds the answer, likewise."),
        click.option(
            "--header/--no-header",
            default=None,
            help="The first row of CSV and TSV files names the columns, or is a row: column_1, column_2, ... "
            "[found automatically].",
        ),
        click.option("--supervise", type=click.Choice(SUPERVISE), help="Which turns the loss covers [all-assistant]."),
    ]
    return _with(options, command)


def likeness_options(command: Command) -> Command:
    """Which rows are compared, and how."""
    options = [
        click.option("--floor", type=float, help="Pairs at or above this Jaccard similarity are found [0.5]."),
        click.option("--recall", type=float, help="Wanted recall of near duplicates at --jaccard [0.95]."),
        click.option("--shingle", type=int, help="Tokens per shingle [3]."),
    ]
    return _with(options, command)


def meaning_options(command: Command) -> Command:
    """What is compared by meaning, and how."""
    options = [
        click.option("--semantic/--no-semantic", default=None, help="Find semantic neighbours [semantic]."),
        click.option("--embedder", help="Sentence-transformers model, or a folder of one [the shipped static table]."),
        click.option(
            "--confirm-with", metavar="MODEL", help="Transformer (or minilm) that decides on pairs by meaning."
        ),
        click.option(
            "--confirm-share", type=float, help="Largest share of the rows' (of questions') tokens it reads [0.1]."
        ),
        click.option(
            "--confirm-recall", type=float, help="Read on until the estimated share of its pairs found is this."
        ),
        click.option("--confirm-limit", type=float, help="Largest share that --confirm-recall may read [1]."),
        click.option("--cosine", type=float, help="Semantic pairs at or above this go to review [0.9]."),
        click.option(
            "--neighbours", type=int, help="Nearest rows that are compared by meaning, and listed, per row [10]."
        ),
    ]
    return _with(options, command)


def staying_options(command: Command) -> Command:
    """What counts as a duplicate, and which of them stay."""
    options = [
        click.option("--jaccard", type=float, help="Near duplicates at or above this are clustered [0.8]."),
        click.option(
            "--keep-policy",
            metavar="POLICY",
            help="Which row of a cluster stays: best, first or longest (after the order of the inputs), "
            "source:A.jsonl,B.jsonl (inputs in order of preference), field:NAME (the largest or latest value of a "
            "field; field:-NAME the smallest) [best].",
        ),
        click.option("--keep", type=int, help="Rows of each cluster of duplicates that stay [1]."),
    ]
    return _with(options, command)


def training_options(command: Command) -> Command:
    """The training plan that predictions are made for."""
    options = [
        click.option("--epochs", type=float, help="Passes over the data [3]."),
        click.option("--learning-rate", type=float, help="Peak learning rate [2e-5]."),
        click.option("--lr-schedule", type=click.Choice(LR_SCHEDULES), help="How the learning rate falls [linear]."),
        click.option("--warmup", type=float, help="Share of the steps in which it rises to its peak [0]."),
        click.option("--method", type=click.Choice(METHODS), help="Kind of fine-tuning [full]."),
        click.option("--lora-rank", type=int, help="Rank of the adapters [16]."),
        click.option("--model-params", metavar="SIZE|none", help="Parameters of the base model: 7B, 350M, 7e9."),
        click.option("--batch-size", type=int, help="Rows (packed: sequences) per optimizer step, all of it [16]."),
        click.option(
            "--batch-tokens",
            callback=WHOLE,
            metavar="N|none",
            help="Tokens per optimizer step, instead of rows.",
        ),
        click.option(
            "--micro-batch",
            callback=WHOLE,
            metavar="ROWS|none",
            help="Rows on one device at a time [the whole step].",
        ),
        click.option("--devices", type=int, help="Devices that share a step [1]."),
        click.option(
            "--drop-last",
            type=click.Choice(DROPS),
            help="What is left out at the end of an epoch when rows are left over [none].",
        ),
        click.option("--batching", type=click.Choice(BATCHINGS), help="How rows are put into batches [random]."),
        click.option("--loss-average", type=click.Choice(LOSS_AVERAGES), help="What the loss averages [token]."),
        click.option(
            "--goldfish-k",
            callback=WHOLE,
            metavar="K|none",
            help="Leave one token in K out of the loss [all are in].",
        ),
        click.option(
            "--source-weight", multiple=True, metavar="NAME=W|none", help="Sampling weight of an input file [1]."
        ),
    ]
    return _with(options, command)


def calibration_option(command: Command) -> Command:
    """At which level predictions are made."""
    return click.option(
        "--calibration",
        callback=_or_none(click.Path(path_type=Path).convert),
        metavar="PATH|none",
        help="Level of the base model, written by scan calibrate.",
    )(command)


def judging_options(command: Command) -> Command:
    """What becomes of the findings."""
    options = [
        staying_options,
        click.option(
            "--decontaminate",
            type=click.Choice(DECONTAMINATE),
            help="Rows to drop for evaluation items: with question and answer, with the question, none [both].",
        ),
        click.option(
            "--drop-semantic/--keep-semantic",
            default=None,
            help="Drop semantic duplicates too, unless numbers or negations differ, or leave those for review "
            "[keep-semantic].",
        ),
        click.option(
            "--redact/--no-redact", default=None, help="Replace private spans, or mask them in the loss [redact]."
        ),
        click.option(
            "--redact-unread/--leave-unread",
            default=None,
            help="Replace private values in fields that no trainer reads too, or leave those [redact-unread].",
        ),
        click.option("--max-removal-share", type=float, help="Brake: largest share of an input to drop [0.5]."),
    ]
    return _with(options, command)


def run_options(command: Command) -> Command:
    """How a command speaks."""
    command = click.option("--quiet", "-q", is_flag=True, help="Print errors only.")(command)
    return click.option(
        "--text", type=click.Choice(TEXT_POLICIES), help="Excerpts: private spans masked, none, or raw [masked]."
    )(command)


def given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given, as entries of Settings; those taken back as the value of one that is not set."""
    chosen = {k: v for k, v in options.items() if v not in (None, ())}
    if isinstance(size := chosen.get("model_params"), str) and size != NONE:
        chosen["model_params"] = model_size(size)
    if (weights := chosen.pop("source_weight", None)) is not None:
        chosen["source_weight"] = () if weights == (NONE,) else tuple(_weight(entry) for entry in weights)
    return {k: None if k in CAN_BE_NONE and v == NONE else v for k, v in chosen.items()}


def unknown(error: click.NoSuchOption, words: Sequence[str], audit: click.Command) -> str:
    """What to say of an option that the verb at hand has not; empty where click's own words will do.

    words: the command line, in which a path may begin with a dash; audit: the verb whose option it may be.
    """
    for word in words:
        if word.startswith("-") and (Path(word).exists() or _LIKE_A_FILE.fullmatch(word)):
            return f"{error.message} If {word} is a file or a folder, write ./{word}"
    known = {name for option in audit.params for name in (*option.opts, *option.secondary_opts)}
    if error.option_name not in known or error.ctx is None or error.ctx.command is audit:
        return ""
    return (
        f"{error.message} It is an option of audits, which measure what it changes: `scan DATASET "
        f"{error.option_name} ...`, with --force to replace a run"
    )


def _weight(entry: str) -> tuple[str, float]:
    name, _, value = entry.rpartition("=")
    try:
        return name, float(value)
    except ValueError:
        raise click.UsageError(f"--source-weight {entry}: expected NAME=NUMBER, for example chat.jsonl=0.5") from None
