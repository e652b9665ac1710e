"""`scan confirm`: one pass of a tuned model over chosen rows of the run, and what every metric makes of it.

RUN/confirmation/<name>.parquet            row_id, stratum, weight, a column per metric (scanner/confirmation/),
                                           predicted (p_extract at that time), reason where a row was not measured
RUN/confirmation/<name>.controls.parquet   the same of the held-out rows of --controls, by their place in that file
RUN/confirmation/<name>.json               models, plan, rates, prediction beside measurement; written last
RUN/private/confirmation/<name>/           parts of an interrupted pass, the controls' text, what calibrating takes:
                                           N_pre per answer with the base's losses, lengths of all rows in its tokens

Rows go through the model in blocks of fixed content, so an interrupted pass ends as an uninterrupted one.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from scanner import confirmation, formats, ingest, inputs, memory, models, running, strata
from scanner.confirmation import Sampler
from scanner.errors import InputError, ModelError, RunError, SettingsError
from scanner.figures import as_given
from scanner.objects import Int64, Segment, Source
from scanner.outcome import CONTROL, Outcome, figures
from scanner.passes import Passes, Texts
from scanner.progress import Progress
from scanner.recalls import FOLDER
from scanner.settings import Settings, TrainingPlan, check_name, option_name
from scanner.store import RunFolder
from scanner.strata import Chosen
from scanner.untuned import fingerprint, mark
from scanner.untuned import texts as texts_of
from scanner.writing import TEMPORARY, save_table, write_bytes

ROWS = 1000
CONTROLS = "controls"


@dataclass(frozen=True)
class Options:
    """What a confirmation is asked to be."""

    model: Path
    base: Path | None = None  # None: the one of the audit, or that an adapter names
    controls: Path | None = None
    rows: int = ROWS  # looked at, at most; of the controls as many
    all_rows: bool = False
    top_k: int = Sampler.top_k
    temperature: float = Sampler.temperature
    seed: int = 0
    name: str | None = None

    def __post_init__(self) -> None:
        if self.rows < 2:
            raise SettingsError(f"--rows is {self.rows}; it must be at least 2")
        if self.top_k < 0:
            raise SettingsError(f"--top-k is {self.top_k}; it must be at least 1, or 0 for all tokens")
        if not 0 < self.temperature < float("inf"):
            raise SettingsError(f"--temperature is {self.temperature:g}; it must be above 0 (greedy is N_pre)")
        check_name(self.name)
        if self.called.endswith(f".{CONTROLS}"):
            raise SettingsError(
                f"the confirmation would be called {self.called}, as the table of another one's controls is; choose "
                "another --name"
            )

    @property
    def called(self) -> str:
        """Name of the confirmation."""
        return self.name or self.model.resolve().name

    def command(self, run: RunFolder) -> str:
        """The command line that asks for it."""
        parts = ["scan", "confirm", str(run.path), "--model", str(self.model)]
        for name in ("base", "controls", "rows", "top_k", "temperature", "seed", "name"):
            if (value := getattr(self, name)) != getattr(Options, name):
                parts += [option_name(name), as_given(value)]
        return shlex.join([*parts, *(["--all"] if self.all_rows else [])])


def confirm(run: RunFolder, options: Options, progress: Progress) -> Outcome:
    """The whole road; a finished confirmation of the same name is returned as it is, an interrupted one goes on."""
    settings = Settings.from_dict((scan := run.read_json("scan.json"))["settings"])
    run.segments()  # says so where it was purged
    base, plan = _checked(options, settings, progress)
    run.claim()
    chosen, predicted, rank = _choose(run, options)
    files, digests = _controls(options, settings)
    row_id = run.read_table("rows", ["row_id"])["row_id"].to_numpy()[chosen.place]
    asked = {
        "identity": scan["identity"], "plan": asdict(plan), "model": mark(options.model),
        "base": fingerprint(base) if base else "", "controls": digests, "seed": options.seed,
        "limit": None if options.all_rows else options.rows,
        "rows": hashlib.sha256(row_id.tobytes() + predicted[chosen.place].tobytes()).hexdigest()[:16],
        "sampler": [options.top_k, options.temperature],
    }  # fmt: skip
    asked = json.loads(json.dumps(asked))
    name = options.called
    if (run.path / FOLDER / f"{name}.json").exists():
        known = run.read_json(f"{FOLDER}/{name}.json")
        if known["asked"] != asked:
            raise RunError(f"{run.path / FOLDER} holds another confirmation called {name}; choose another --name")
        progress.say(f"{run.path / FOLDER / name}.parquet holds this confirmation already")
        return Outcome(run, name, known)
    private = _begun(run, name, asked)
    members = Texts("rows", run, row_id[np.argsort(rank[chosen.place])])
    try:
        with memory.kept():
            controls = _read_controls(run, private, files, settings, options)
            sampler = Sampler(options.top_k, options.temperature)
            work = Passes(private, members, controls, options.model, sampler, settings)
            facts = {"asked": asked, "plan": asdict(plan), **work.measured(base, progress)}
            told = _written(run, name, work, chosen, predicted[chosen.place], facts)
    except KeyboardInterrupt:
        progress.say(f"interrupted; what is done is kept in {private}. To go on: {options.command(run)}")
        raise
    except RuntimeError as error:
        if "memory" not in str(error):
            raise
        raise ModelError(
            f"--model {options.model}: out of memory while it was measured; audit with a smaller --max-length, or use "
            "a machine with more memory"
        ) from error
    return Outcome(run, name, told)


def _checked(options: Options, settings: Settings, progress: Progress) -> tuple[Path | None, TrainingPlan]:
    """The folder of the base, None where none is known, and the plan; ModelError where a folder does not suit."""
    plan, base = settings.plan, options.base
    if models.is_adapter(options.model):
        base, rank = models.adapted_base(options.model, base)
        if (plan.method, plan.lora_rank) != ("lora", rank):
            was = f"LoRA of rank {plan.lora_rank}" if plan.method == "lora" else "full fine-tuning"
            raise ModelError(
                f"--model {options.model}: a LoRA adapter of rank {rank}, and the run was predicted for {was}; predict "
                f"it for that training first: scan plan RUN --method lora --lora-rank {rank}"
            )
    else:
        models.check_folder(options.model, "--model")
        if base is None and settings.base is not None and settings.base.is_dir():
            base = settings.base
            progress.say(f"--base is not given: that of the audit is taken ({base})")
    if base is not None:
        count = models.parameters_of(base)
        memory.check_measuring(base.resolve().name, count)
        plan = replace(plan, model_params=float(count))
    if not models.is_adapter(options.model):
        count = models.parameters_of(options.model, "--model")
        memory.check_measuring(options.model.resolve().name, count, "--model", "use a machine with more")
        plan = plan if base is not None else replace(plan, model_params=float(count))
    if base is not None and mark(base) == mark(options.model):
        progress.say("--model and --base hold the same files: nothing lies between them")
    return base, plan


def _choose(run: RunFolder, options: Options) -> tuple[Chosen, np.ndarray, Int64]:
    """Rows to look at, (n,) p_extract, (n,) content rank."""
    predicted = run.read_table("prediction", ["p_extract"])["p_extract"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    rank = np.asarray(run.read_array("content_rank"))
    chosen = strata.choose(predicted, rank, None if options.all_rows else options.rows, options.seed)
    if not len(chosen.place):
        raise RunError(
            f"{run.path}: no row has a predicted p_extract (an answer of 16 tokens or more), so there is nothing to "
            "confirm; --all measures every row all the same"
        )
    return chosen, predicted, rank


def _controls(options: Options, settings: Settings) -> tuple[list[Source], list[str]]:
    """The files of --controls and their SHA-256."""
    if options.controls is None:
        return [], []
    try:
        files = formats.discover([str(options.controls)])
    except InputError as error:
        raise type(error)(f"--controls: {error}") from error
    return files, inputs.sha256_of(files, running.thread_count(settings.threads), lambda done: None)


def _begun(run: RunFolder, name: str, asked: dict[str, Any]) -> Path:
    """The private folder; parts of an interrupted pass that was asked for otherwise are deleted."""
    private, note = run.private / FOLDER / name, run.private / FOLDER / name / "asked.json"
    if not note.exists() or json.loads(note.read_text("utf-8")) != asked:
        shutil.rmtree(private, ignore_errors=True)
        private.mkdir(parents=True)
        write_bytes(note, json.dumps(asked).encode())
    (run.path / FOLDER).mkdir(exist_ok=True)
    for leftover in [*private.rglob(f"{TEMPORARY}*"), *(run.path / FOLDER).glob(f"{TEMPORARY}*")]:
        leftover.unlink(missing_ok=True)
    return private


def _read_controls(
    run: RunFolder, private: Path, files: list[Source], settings: Settings, options: Options
) -> Texts | None:
    """Held-out rows, read as the data was, without those that the run holds; as many as are looked at of the data."""
    if not files:
        return None
    own = RunFolder.open_for_writing(private / CONTROLS)
    try:
        rows, skips = ingest.read_all(files, own, settings.of_reading(), 1)
    except InputError as error:
        raise type(error)(f"--controls: {error}") from error
    known = {_said(row) for row in texts_of(run, run.read_table("rows", ["row_id"])["row_id"].to_numpy())}
    ids = rows.row_id[rows.content_order]
    fresh = np.array([_said(row) not in known for row in texts_of(own, ids)], np.bool_)
    ids = ids[fresh]
    if not options.all_rows and len(ids) > options.rows:
        ids = ids[np.sort(np.random.default_rng(options.seed).permutation(len(ids))[: options.rows])]
    return Texts(CONTROLS, own, ids, int((~fresh).sum()), len(skips))


def _said(segments: Sequence[Segment]) -> bytes:
    """Equal for rows in which the same is said by the same roles."""
    every = json.dumps([(s.role, s.supervised, s.text) for s in segments])
    return hashlib.blake2b(every.encode(), digest_size=16).digest()


def _written(
    run: RunFolder, name: str, work: Passes, chosen: Chosen, predicted: np.ndarray, facts: dict[str, Any]
) -> dict[str, Any]:
    """Put the parts together and write what is to stay, the facts last; returns them."""
    ids = run.read_table("rows", ["row_id"])["row_id"].to_numpy()[chosen.place]
    is_comparable = work.settings.tokenizer is None
    drawn = pl.DataFrame(
        {"row_id": ids, "stratum": chosen.stratum, "weight": chosen.weight,
         "predicted": np.where(is_comparable, predicted, np.nan)}
    ).with_columns(pl.col("predicted").fill_nan(None))  # fmt: skip
    table = drawn.join(work.parts(work.members), on="row_id", how="left", maintain_order="left")
    table = table.select("row_id", "stratum", "weight", *confirmation.schema(), "predicted", "reason")
    controls = None
    if work.controls is not None:
        controls = work.parts(work.controls).sort("row_id").with_columns(
            stratum=pl.lit(CONTROL), weight=pl.lit(1.0), predicted=pl.lit(None, pl.Float64)
        ).select(table.columns)  # fmt: skip
        save_table(run.path / FOLDER / f"{name}.{CONTROLS}.parquet", controls)
    left_out, skipped = (work.controls.left_out, work.controls.skipped) if work.controls else (0, 0)
    told = facts | figures(
        run, work.settings, table, controls, chosen.population, left_out, skipped, facts["base"] is not None
    )
    save_table(work.private / "answers.parquet", work.parts(work.members, "-answers"))
    save_table(run.path / FOLDER / f"{name}.parquet", table)
    run.write_json(f"{FOLDER}/{name}.json", told)
    for part in [*work.private.glob("rows-*.parquet"), *work.private.glob(f"{CONTROLS}-*.parquet")]:
        part.unlink()
    shutil.rmtree(work.private / CONTROLS, ignore_errors=True)
    return dict(run.read_json(f"{FOLDER}/{name}.json"))
