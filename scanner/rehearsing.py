"""`scan rehearse`: fine-tune a base on a sample of the run's rows under the plan, and measure what it recalls.

RUN/rehearsal/<name>/epochs.parquet    row_id, stratum, epoch (of 1.5 the last is 1.5), answer, tokens, n_pre, whole,
                                       loss, hits per own token, own_dose and optimizer steps so far (members only),
                                       losses of each own token (float16 nats; first and last epoch), what was planted
                                       for the row
RUN/rehearsal/<name>/lengths.parquet   row_id, the base's tokens of each row trained on, own tokens of its answers; both
                                       as far as the base's context reaches
RUN/rehearsal/<name>/rows.parquet      row_id, stratum, weight, what was measured after the last epoch and predicted
RUN/rehearsal/<name>/planted.parquet   row_id (negative), member, kind, level, epoch, own_dose of each planted row
RUN/rehearsal/<name>/rehearsal.json    base, plan, split, precision, losses, speed, prediction beside measurement
RUN/private/rehearsal/<name>/          weights while it runs, planted rows, the tiny base; `scan purge` deletes them
"""

from __future__ import annotations

import json
import math
import shlex
import shutil
import time
from collections import Counter
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from scanner import alongside, memory, models, rehearsal
from scanner.batching import PACKED
from scanner.chat import Example
from scanner.drawing import Drawn, draw, packing, parts_of, sampling_weight, standing
from scanner.errors import ModelError, RunError, SettingsError
from scanner.figures import as_given, plural, plural_g
from scanner.foretold import foretold
from scanner.prediction import EXTRACTED
from scanner.pretraining import BASE, TINY, kept, pretrained, untrained
from scanner.progress import Progress
from scanner.retelling import Rehearsed, duration, few_steps, of_epoch, per_row, planted_columns, planted_table
from scanner.sampling import dose_unit
from scanner.settings import MOST_SEED, NONE, Settings, TrainingPlan, at_least, check_name, option_name
from scanner.store import RunFolder
from scanner.training import LOGITS_AT_A_TIME, probe
from scanner.untuned import fingerprint
from scanner.writing import atomic, save_table

TINY_LEARNING_RATE = 3e-4
"""A model of 4 M parameters learns next to nothing at the rates that suit billions; the pilots' rate."""
MEASURED_EPOCHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
"""Closer together at first, where more is learned in each; the last one is measured too, whichever it is."""
SAVED_EVERY = 60.0  # seconds, or twenty times what saving takes
MEASURING_COST = 1 / 3
"""Of a token that is measured beside one that is trained on: a forward pass without the backward one."""


@dataclass(frozen=True)
class Options:
    """What a rehearsal is asked to be."""

    base: str = TINY  # "tiny" or a local folder
    rows: int = 1500  # rows trained on, at most
    controls: int = 400  # rows held out, at most
    pretrain_tokens: int = 1_000_000  # of a tiny base, at most; two cores do that in a few minutes
    planted: float = 0.0  # share of those rows for which copies, near copies or other answers are planted
    width: int | None = None  # of a tiny base, in multiples of models.TINY_HEAD
    layers: int | None = None
    packed_as_they_stand: bool = False  # rows in the order of the input, not shuffled before they are packed
    seed: int = 0
    name: str | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.planted <= 1:
            raise SettingsError(f"--planted is {self.planted:g}; it is a share of the rows, from 0 to 1")
        for name in ("rows", "controls", "pretrain_tokens", "width", "layers"):
            value = getattr(self, name)
            if value is not None:
                at_least(option_name(name), value, 1)
        at_least("--seed", self.seed, 0, most=MOST_SEED)
        check_name(self.name)
        if self.width and self.width % models.TINY_HEAD:
            raise SettingsError(f"--width is {self.width}; it must be a multiple of {models.TINY_HEAD}")


def rehearse(run: RunFolder, plan_changes: dict[str, Any], options: Options, progress: Progress) -> Rehearsed:
    """The whole road; a finished rehearsal of the same name is returned as it is, an interrupted one goes on."""
    command = _command(run, plan_changes, options)
    scan = run.read_json("scan.json")
    settings = Settings.from_dict(scan["settings"])
    slow = settings.plan.learning_rate < TINY_LEARNING_RATE
    if options.base == TINY and slow and "learning_rate" not in plan_changes:
        plan_changes = {**plan_changes, "learning_rate": TINY_LEARNING_RATE}
        progress.say(f"a tiny base learns at {TINY_LEARNING_RATE:g}, not at the plan's {settings.plan.learning_rate:g}")
    plan = settings.plan.changed(**plan_changes)
    if plan.epochs <= 0:
        raise ModelError("a rehearsal of no epochs measures nothing; give --epochs of at least 1")
    if plan.batching == "wrapped" and plan.source_weight:
        raise ModelError(
            "rows laid end to end (--batching wrapped) cannot be weighed by source: they are visited a sequence at a "
            "time; rehearse without --source-weight, or with another --batching"
        )
    if options.packed_as_they_stand and plan.batching not in PACKED:
        raise SettingsError(
            f"--packed-as-they-stand is for rows that are packed, and the plan's batches are {plan.batching}: what "
            "order its rows stand in makes no difference to them. Add --batching packed (or wrapped) if your trainer "
            "packs, else leave it out"
        )
    name = options.name or _name(options)
    if run.private.is_dir():
        run.claim()
    folder, private = run.path / "rehearsal" / name, run.private / "rehearsal" / name
    asked = {"plan": asdict(plan), "options": asdict(options), "identity": scan["identity"]}
    asked = json.loads(json.dumps(asked))
    if (folder / "rehearsal.json").exists():
        known = run.read_json(f"rehearsal/{name}/rehearsal.json")
        if not _is_same(known["asked"], asked):
            raise RunError(f"{folder} holds another rehearsal; choose another --name for this one")
        progress.say(f"{folder} holds this rehearsal already")
        return Rehearsed(folder, known)
    if options.base != TINY:
        models.check_folder(Path(options.base))  # before a folder for it is made
    _begin(folder, private, asked, command)
    try:
        with memory.kept():
            facts = _measure(run, settings, plan, options, folder, private, progress)
    except KeyboardInterrupt:
        progress.say(f"interrupted; what is done is kept in {private}. To go on: {command}")
        raise
    run.write_json(f"rehearsal/{name}/rehearsal.json", {"asked": asked, **facts})
    for done in ("state.pt", "asked.json"):
        (private / done).unlink(missing_ok=True)
    return Rehearsed(folder, facts)


def _name(options: Options) -> str:
    share = f"-planted-{options.planted:g}" if options.planted else ""
    order = "-as-they-stand" if options.packed_as_they_stand else ""
    return f"{Path(options.base).name}-{options.seed}{share}{order}"


def _is_same(known: dict[str, Any], asked: dict[str, Any]) -> bool:
    """Whether two rehearsals were asked to be the same; an option that an earlier version had not was as by default."""
    return {**known, "options": {**asdict(Options()), **known["options"]}} == asked


def _command(run: RunFolder, plan_changes: dict[str, Any], options: Options) -> str:
    """The command line that asks for this rehearsal."""
    given = {f.name: getattr(options, f.name) for f in fields(options) if getattr(options, f.name) != f.default}
    parts = ["scan", "rehearse", str(run.path)]
    for name, value in {**given, **plan_changes}.items():
        if value is True:
            parts.append(option_name(name))
            continue
        values = [f"{n}={as_given(w)}" for n, w in value] if name == "source_weight" else [value]
        for one in values or [None]:
            parts += [option_name(name), NONE if one is None else as_given(one)]
    return shlex.join(parts)


def _begin(folder: Path, private: Path, asked: dict[str, Any], command: str) -> None:
    """Make the folders; what an interrupted rehearsal with other options left is never mixed in."""
    note = private / "asked.json"
    if note.exists():
        known = json.loads(note.read_text("utf-8"))
        if _is_same(known["asked"], asked):
            return
        if (private / "state.pt").exists():
            cure = f"To finish it: {known['command']}"
            if known["command"] == command:
                cure = "It was begun before the run got another plan (scan plan), and would go on under that one only"
            raise RunError(
                f"{private} holds an interrupted rehearsal with other options. {cure}. To make this one beside it, "
                "choose another --name"
            )
    shutil.rmtree(private, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)
    private.mkdir(parents=True)
    folder.mkdir(parents=True)
    with atomic(note) as temporary:
        temporary.write_text(json.dumps({"asked": asked, "command": command}), "utf-8")


def _measure(
    run: RunFolder, settings: Settings, plan: TrainingPlan, options: Options, folder: Path, private: Path,
    progress: Progress,
) -> dict[str, Any]:  # fmt: skip
    parts = parts_of(run, settings.jaccard, options.rows, options.controls, options.seed)
    text: list[Example] = []  # what a tiny base is still to be pre-trained on
    pretraining: dict[str, Any] | None = None
    if options.base != TINY:
        model = models.load(Path(options.base), settings.max_length)
    elif made := kept(private, settings.max_length):
        model, pretraining = made
    else:
        with progress.stage("build a tiny base"):
            model, text = untrained(
                run, parts.row_id[parts.rest], options.seed, options.pretrain_tokens, options.width, options.layers
            )
    with progress.stage("apply the chat template"):
        drawn = draw(run, parts, model, options.planted, options.seed)
    with progress.stage("see how fast this machine is"):
        speed = probe(model, drawn.rows)
    if text:
        work = sum(len(e.ids) for e in text)
        progress.say(f"pre-training a tiny base on {work:,} tokens: about {duration(work / speed.tokens_per_second)}")
        pretraining = pretrained(model, text, options.seed, speed.bf16, private, progress)
    if plan.method == "lora":
        model = rehearsal.with_adapters(model, plan.lora_rank, options.seed)
    places_at_a_time = min(LOGITS_AT_A_TIME // model.vocabulary, sum(len(e.ids) for e in drawn.rows))
    free = memory.free_bytes(model.device)
    checkpointed = memory.made_to_fit(model, drawn.rows, places_at_a_time, speed.bf16, free)
    if checkpointed:
        progress.say("activations are computed twice to save memory (gradient checkpointing), a third slower")
    weight = sampling_weight(run, plan, drawn)
    order = standing(run, drawn, options.seed) if options.packed_as_they_stand else None
    tune = rehearsal.Rehearsal(
        model, plan, drawn.rows, weight, options.seed, speed.bf16, max_length=settings.max_length,
        shuffled=order is None, standing=order, share=len(drawn.rows) / len(parts.row_id),
    )  # fmt: skip
    state = private / "state.pt"
    if state.exists():
        tune.resume(state)
        place = f"step {tune.begun + 1:,} of epoch {tune.epoch + 1}" if tune.begun else f"epoch {tune.epoch + 1}"
        progress.say(f"going on with {place} of an interrupted rehearsal")
    alongside.save(private / "planted.parquet", drawn.planted)
    _say_how_long(tune, drawn, speed.tokens_per_second * (0.75 if checkpointed else 1.0), progress)
    _train(tune, drawn, folder, state, progress)
    return _facts(run, settings, plan, options, folder, drawn, tune, pretraining, checkpointed, progress)


def _say_how_long(tune: rehearsal.Rehearsal, drawn: Drawn, tokens_per_second: float, progress: Progress) -> None:
    last = math.ceil(tune.plan.epochs)
    of_epoch = sum(len(row.ids) for row in drawn.rows)
    looks = sum(e >= tune.epoch and _is_measured(e, last) for e in range(last + 1))
    measured = sum(len(row.ids) for row in (*drawn.members, *drawn.held)) * MEASURING_COST * looks
    left = max(0.0, tune.plan.epochs - tune.epoch) * of_epoch + measured
    over = plural(len(drawn.row_id), "row")
    over += f" and {plural(len(drawn.planting.rows), 'planted one')}" if drawn.planting.rows else ""
    progress.say(
        f"{plural_g(tune.plan.epochs, 'epoch')} over {over}, {of_epoch:,} tokens each, at "
        f"{tokens_per_second:,.0f} tokens/s: about {duration(left / tokens_per_second)}"
    )
    for why in few_steps(tune.planned_steps(), asdict(tune.plan), tune.sequence_tokens):
        progress.say(why)


def _is_measured(epoch: int, last: int) -> bool:
    return epoch in (0, last) or epoch in MEASURED_EPOCHS


def _train(tune: rehearsal.Rehearsal, drawn: Drawn, folder: Path, state: Path, progress: Progress) -> None:
    """Epoch after epoch, each measured where it is to be; what is done is saved as it goes and when interrupted."""
    last = math.ceil(tune.plan.epochs)
    saved, pause = time.perf_counter(), SAVED_EVERY

    def save() -> None:
        nonlocal saved, pause
        began = time.perf_counter()
        tune.save(state)
        saved = time.perf_counter()
        pause = max(SAVED_EVERY, 20 * (saved - began))

    def save_now_and_then() -> None:
        if time.perf_counter() - saved > pause:
            save()

    try:
        while True:
            if _is_measured(tune.epoch, last):
                _record(tune, drawn, folder, tune.epoch in (0, last), progress)
                save()
            if tune.epoch >= last:
                break
            tokens, seconds = tune.tokens, tune.seconds
            under_way = f"{min(tune.epoch + 1, tune.plan.epochs):g} of {tune.plan.epochs:g}"
            with progress.stage(f"epoch {under_way}", len(drawn.rows)):
                tune.run_epoch(progress.advance, save_now_and_then)
            progress.say(
                f"epoch {under_way}: loss {tune.losses[-1]:.3f} nats per token, "
                f"{(tune.tokens - tokens) / max(1e-9, tune.seconds - seconds):,.0f} tokens/s"
            )
            save()
    except KeyboardInterrupt:
        if tune.is_whole:
            tune.save(state)
        raise


def _record(tune: rehearsal.Rehearsal, drawn: Drawn, folder: Path, with_losses: bool, progress: Progress) -> None:
    """epoch-<n>.parquet: what the model recalls now, and the dose that each row has had."""
    path = folder / f"epoch-{tune.epoch}.parquet"
    if path.exists():
        return
    began = time.perf_counter()
    audited = np.concatenate((drawn.row_id, drawn.held_id))
    count = len(drawn.row_id)
    member = pl.DataFrame({"row_id": audited, "stratum": ["member"] * count + ["control"] * len(drawn.held_id)})
    given = pl.DataFrame({"row_id": drawn.row_id, "own_dose": tune.dose[:count], "steps": tune.steps})
    now = pl.lit(tune.epochs_done, pl.Float64)
    with progress.stage(f"measure after epoch {tune.epochs_done:g}"):
        found = rehearsal.recalled(tune.model, [*drawn.members, *drawn.held], audited, tune.bf16, with_losses)
        frame = found.join(member, on="row_id", maintain_order="left").with_columns(epoch=now)
        frame = frame.join(given, on="row_id", how="left", maintain_order="left")
        planted = drawn.planted
        doses = pl.DataFrame(
            {"row_id": alongside.row_ids(planted), "member": [p.member for p in planted],
             "kind": [p.kind for p in planted], "level": [p.level for p in planted],
             "own_dose": tune.dose[count:]},
            schema_overrides={"member": pl.Int64, "kind": pl.String, "level": pl.Int64},
        ).with_columns(epoch=now)  # fmt: skip
        save_table(folder / f"planted-{tune.epoch}.parquet", doses)
        save_table(path, frame)
    tune.seconds_measuring += time.perf_counter() - began
    counts = []
    for stratum in ("member", "control"):
        n_pre = per_row(frame).filter(pl.col("stratum") == stratum)["n_pre"]
        counts.append(f"{(n_pre >= EXTRACTED).sum():,} of {len(n_pre):,}")
    progress.say(
        f"after epoch {tune.epochs_done:g}, rows that recite {EXTRACTED} or more: {counts[0]} (held out {counts[1]})"
    )


def _facts(
    run: RunFolder, settings: Settings, plan: TrainingPlan, options: Options, folder: Path, drawn: Drawn,
    tune: rehearsal.Rehearsal, pretraining: dict[str, Any] | None, checkpointed: bool, progress: Progress,
) -> dict[str, Any]:  # fmt: skip
    """Put the epochs together, predict for the same rows, and write the tables."""
    files = {name: sorted(folder.glob(f"{name}-*.parquet")) for name in ("epoch", "planted")}
    made = Counter(row.member for row in drawn.planting.rows)
    columns = planted_columns(drawn.planting.treated, drawn.row_id.tolist(), made)
    mark = fingerprint(run.private / "rehearsal" / folder.name / BASE if options.base == TINY else Path(options.base))
    epochs = pl.concat([pl.read_parquet(f, glob=False) for f in files["epoch"]], how="diagonal")
    epochs = epochs.join(columns, on="row_id", how="left", maintain_order="left").sort("epoch", "row_id", "answer")
    final = per_row(epochs.filter(pl.col("epoch") == tune.epochs_done)).with_columns(weight=pl.lit(1.0, pl.Float32))
    dose = pl.DataFrame({"row_id": drawn.row_id, "own_dose": tune.dose[: len(drawn.row_id)]})
    final = final.join(dose, on="row_id", how="left", maintain_order="left")
    with progress.stage("predict for the same rows"):
        beside, predicted = foretold(run, settings, tune, drawn, epochs, final, mark)
    final = final.join(predicted, on="row_id", how="left", maintain_order="left")
    tables = {"epochs": epochs, "rows": final, "lengths": drawn.lengths}
    if drawn.planting.rows:
        tables["planted"] = pl.concat([pl.read_parquet(f, glob=False) for f in files["planted"]]).sort(
            "epoch", "row_id"
        )
    for name, frame in tables.items():
        save_table(folder / f"{name}.parquet", frame)
    for file in (*files["epoch"], *files["planted"]):
        file.unlink()
    model, before = tune.model, pretraining["seconds"] if pretraining else 0.0
    return {
        "base": {"name": model.name, "parameters": model.parameters, "context": model.context,
                 "vocabulary": model.vocabulary, "fingerprint": mark, "pretraining": pretraining},
        "plan": asdict(plan), "dose_unit": dose_unit(), "seed": options.seed,
        "packing": packing(run, drawn, tune), "packed_rows": tune.sampler.packed_rows,
        "trained": len(drawn.row_id), "controls": len(drawn.held_id),
        "steps": tune.steps, "sequence_tokens": tune.sequence_tokens, "losses_per_epoch_nats": tune.losses,
        "seconds": before + tune.seconds + tune.seconds_measuring,
        "seconds_training": tune.seconds, "seconds_measuring": tune.seconds_measuring,
        "tokens_per_second": tune.tokens / max(1e-9, tune.seconds),
        "precision": "bf16 where it is safe" if tune.bf16 else "fp32", "device": model.device,
        "gradient_checkpointing": checkpointed,
        "rows_cut_by_context": sum(not a.whole for row in drawn.members for a in row.answers),
        "rows_without_answer": sum(not row.answers for row in drawn.members),
        "rows_adapted": sum(row.adapted for row in drawn.members),
        "left_out": {"rows": drawn.left_out, "why": drawn.why},
        "planted": planted_table(final, len(drawn.planting.rows)) if drawn.planting.treated else None,
        "epochs": [of_epoch(epochs, e) for e in sorted(set(epochs["epoch"].to_list()))],
        "prediction": beside,
    }  # fmt: skip
