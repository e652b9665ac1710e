"""`scan rehearse`: fine-tune a base on a sample of the run's rows under the plan, and measure what it recalls.

RUN/rehearsal/<name>/epochs.parquet    row_id, stratum, epoch, answer, tokens, n_pre, whole, loss, hits per own token
RUN/rehearsal/<name>/rows.parquet      row_id, stratum, weight, and what was measured after the last epoch
RUN/rehearsal/<name>/rehearsal.json    base, plan, split, precision, losses, speed, prediction beside measurement
RUN/private/rehearsal/<name>/          weights while it runs, and the tiny base; `scan purge` deletes them
"""

from __future__ import annotations

import json
import math
import shutil
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from scanner import chat, models, rehearsal
from scanner.errors import ModelError, RunError
from scanner.kernels.similarity import connect
from scanner.models import LanguageModel
from scanner.objects import Int64, Segment
from scanner.prediction import EXTRACTED
from scanner.progress import Progress
from scanner.settings import Settings, TrainingPlan
from scanner.stages import places
from scanner.store import RunFolder, atomic
from scanner.training import bf16_is_faster

TINY = "tiny"
TINY_LEARNING_RATE = 3e-4
"""A model of 4 M parameters learns next to nothing at the rates that suit billions; the pilots' rate."""
FEWEST_PRETRAINING_TOKENS = 20_000
COPIES = (pl.col("signal") == "exact") & (pl.col("relation") == "same_both")
MEASURED_EPOCHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)


@dataclass(frozen=True)
class Options:
    """What a rehearsal is asked to be."""

    base: str = TINY  # "tiny" or a local folder
    rows: int = 1500  # rows trained on, at most
    controls: int = 400  # rows held out, at most
    pretrain_tokens: int = 1_000_000  # of a tiny base, at most; two cores do that in a few minutes
    seed: int = 0
    name: str | None = None


@dataclass(frozen=True)
class Rehearsed:
    """What `scan rehearse` measured."""

    folder: Path
    facts: dict[str, Any]

    def in_words(self) -> str:
        """Lines for the screen."""
        f = self.facts
        lines = [
            f"{f['base']['name']} ({f['base']['parameters'] / 1e6:.1f} M parameters), {f['trained']:,} rows trained "
            f"on, {f['controls']:,} held out, {f['plan']['epochs']:g} epochs at {f['plan']['learning_rate']:g}, "
            f"{f['steps']:,} steps in {f['seconds']:.0f} s ({f['precision']})",
            "epoch   mean N_pre (held out)   largest   rows with N_pre >= 16 (held out)",
        ]
        for e in f["epochs"]:
            m, c = e["member"], e["control"]
            lines.append(
                f"{e['epoch']:>5}   {m['mean_n_pre']:>10.2f} ({c['mean_n_pre']:.2f})   {m['largest_n_pre']:>10}"
                f"   {m['extracted']:>10} of {m['rows']:,} ({c['extracted']} of {c['rows']:,})"
            )
        p = f["prediction"]
        told = "not defined" if p["auroc"] is None else f"{p['auroc']:.3f}"
        lines.append(
            f"Predicted for these rows and this base: {p['expected_rows']:.1f} with N_pre >= 16, measured "
            f"{p['measured_rows']}; AUROC {told} over {p['rows']:,} rows"
        )
        return "\n".join([*lines, f"{self.folder}"])


def rehearse(run: RunFolder, plan_changes: dict[str, Any], options: Options, progress: Progress) -> Rehearsed:
    """The whole road; a finished rehearsal of the same name is returned as it is, an interrupted one goes on."""
    scan = run.read_json("scan.json")
    settings = Settings.from_dict(scan["settings"])
    is_tiny = options.base == TINY
    if is_tiny and "learning_rate" not in plan_changes:
        plan_changes = {**plan_changes, "learning_rate": TINY_LEARNING_RATE}
        progress.say(f"a tiny base learns at {TINY_LEARNING_RATE:g}, not at the plan's {settings.plan.learning_rate:g}")
    plan = replace(settings.plan, **plan_changes)
    if plan.epochs <= 0:
        raise ModelError("a rehearsal of no epochs measures nothing; give --epochs of at least 1")
    if plan.goldfish_k:
        raise ModelError("the plan has a goldfish loss, which a rehearsal does not do; set goldfish_k aside for it")
    name = options.name or f"{Path(options.base).name}-{options.seed}"
    folder, private = run.path / "rehearsal" / name, run.private / "rehearsal" / name
    asked = {"plan": asdict(plan), "options": asdict(options), "identity": scan["identity"]}
    if (folder / "rehearsal.json").exists():
        known = run.read_json(f"rehearsal/{name}/rehearsal.json")
        if known["asked"] != json.loads(json.dumps(asked)):
            raise RunError(f"{folder} holds another rehearsal; choose another --name for this one")
        progress.say(f"{folder} holds this rehearsal already")
        return Rehearsed(folder, known)
    private.mkdir(parents=True, exist_ok=True)
    facts = _measure(run, settings, plan, options, folder, private, progress)
    run.write_json(f"rehearsal/{name}/rehearsal.json", {"asked": asked, **facts})
    (private / "state.pt").unlink(missing_ok=True)
    return Rehearsed(folder, facts)


def _measure(
    run: RunFolder, settings: Settings, plan: TrainingPlan, options: Options, folder: Path, private: Path,
    progress: Progress,
) -> dict[str, Any]:  # fmt: skip
    table = run.read_table("rows", ["row_id", "source"])
    row_id = table["row_id"].to_numpy()
    group = _alike(run, row_id, settings.jaccard)
    rank = np.asarray(run.read_array("content_rank"))
    source = table["source"].rank("dense").cast(pl.Int64).to_numpy()
    parts = rehearsal.split(group, source, rank, options.rows, options.controls, options.seed)
    if not len(parts.trained) or not len(parts.controls):
        raise ModelError(f"{len(row_id)} rows are too few to train on some and hold out others")
    trained, controls, rest = (at[np.argsort(rank[at])] for at in (parts.trained, parts.controls, parts.rest))
    if options.base == TINY:
        model, pretraining = _tiny_base(run, row_id[rest], settings, options, private, progress)
    else:
        model, pretraining = models.load(Path(options.base), settings.max_length), None
    with progress.stage("apply the chat template"):
        rows = chat.encode(_segments(run, row_id[trained]), model.tokenizer, model.context)
        held = chat.encode(_segments(run, row_id[controls]), model.tokenizer, model.context)
    bf16 = bf16_is_faster(model, rows)
    if plan.method == "lora":
        model = rehearsal.with_adapters(model, plan.lora_rank, options.seed)
    weight = None
    if plan.source_weight:
        known = dict(plan.source_weight)
        names = table["source"].gather(trained).to_list()
        weight = np.array([known.get(s, known.get(Path(s).stem, 1.0)) for s in names])
    tune = rehearsal.Rehearsal(model, plan, rows, weight, options.seed, bf16)
    state = private / "state.pt"
    if state.exists():
        tune.resume(state)
        progress.say(f"going on after epoch {tune.epoch} of an interrupted rehearsal")
    began = time.perf_counter()
    last = math.ceil(plan.epochs)
    audited = np.concatenate((row_id[trained], row_id[controls]))
    member = pl.DataFrame({"row_id": audited, "stratum": ["member"] * len(trained) + ["control"] * len(controls)})

    def record(epoch: int) -> None:
        path = folder / f"epoch-{epoch}.parquet"
        if path.exists():
            return
        with progress.stage(f"measure after epoch {epoch}"):
            found = rehearsal.recalled(model, [*rows, *held], audited, bf16)
            frame = found.join(member, on="row_id", maintain_order="left").with_columns(epoch=pl.lit(epoch, pl.Int32))
            with atomic(path) as temporary:
                frame.write_parquet(temporary, compression="zstd")

    folder.mkdir(parents=True, exist_ok=True)
    record(0)
    while tune.epoch < last:
        with progress.stage(f"epoch {tune.epoch + 1} of {last}", len(rows)):
            tune.run_epoch(progress.advance)
        if tune.epoch in MEASURED_EPOCHS or tune.epoch == last:
            record(tune.epoch)
        tune.save(state)
    seconds = time.perf_counter() - began
    files = sorted(folder.glob("epoch-*.parquet"))
    epochs = pl.concat([pl.read_parquet(f) for f in files]).sort("epoch", "row_id", "answer")
    final = _per_row(epochs.filter(pl.col("epoch") == last)).with_columns(weight=pl.lit(1.0, pl.Float32))
    final = final.join(
        pl.DataFrame({"row_id": row_id[trained], "own_dose": tune.dose}), on="row_id", how="left", maintain_order="left"
    )
    with progress.stage("predict for the same rows"):
        beside = _predicted(run, settings, plan, model.parameters, trained, group, rank, row_id, final)
    for name, frame in (("epochs", epochs), ("rows", final)):
        with atomic(folder / f"{name}.parquet") as temporary:
            frame.write_parquet(temporary, compression="zstd")
    for file in files:
        file.unlink()
    return {
        "base": {"name": model.name, "parameters": model.parameters, "context": model.context,
                 "pretraining": pretraining},
        "plan": asdict(plan), "seed": options.seed, "trained": len(trained), "controls": len(controls),
        "steps": tune.steps, "losses_per_epoch_nats": tune.losses, "seconds": seconds,
        "precision": "bf16 where it is safe" if bf16 else "fp32", "device": model.device,
        "rows_cut_by_context": sum(not a.whole for row in rows for a in row.answers),
        "epochs": [_told(epochs, e) for e in sorted(set(epochs["epoch"].to_list()))],
        "prediction": beside,
    }  # fmt: skip


def _alike(run: RunFolder, row_id: Int64, jaccard: float) -> Int64:
    """(n,) equal for rows that exact pairs, or near pairs of at least this similarity, connect."""
    pairs = run.read_table("pairs", ["row_a", "row_b", "signal", "relation", "similarity"]).filter(
        COPIES | (pl.col("signal") == "minhash") & (pl.col("similarity") >= jaccard)
    )
    root = np.empty(len(row_id), np.int64)
    connect(places(row_id, pairs["row_a"]), places(row_id, pairs["row_b"]), root)
    return root


def _segments(run: RunFolder, row_ids: Int64) -> list[list[Segment]]:
    """The segments of rows, in the order asked for."""
    frame = run.segments().rows(row_ids.tolist(), ["row_id", "turn", "role", "supervised", "text"])
    found: dict[int, list[Segment]] = {}
    for row, turn, role, supervised, text in frame.iter_rows():
        found.setdefault(row, []).append(Segment((), role, turn, supervised, text))
    return [found[row] for row in row_ids.tolist()]


def _tiny_base(
    run: RunFolder, row_ids: Int64, settings: Settings, options: Options, private: Path, progress: Progress
) -> tuple[LanguageModel, dict[str, Any]]:
    """A tiny model pre-trained on rows that are neither trained on nor held out; kept, so that it is made once."""
    kept = private / "base"
    if (kept / "pretraining.json").exists():
        loaded = replace(models.load(kept, settings.max_length), name=TINY)
        return loaded, json.loads((kept / "pretraining.json").read_text("utf-8"))
    rows = _segments(run, row_ids)
    model = models.tiny((s.text for row in rows for s in row), options.seed)
    examples = chat.encode(rows, model.tokenizer, model.context)
    total = np.cumsum([len(e.ids) for e in examples])
    if not len(total) or total[-1] < FEWEST_PRETRAINING_TOKENS:
        raise ModelError(
            f"the rows left over for pre-training hold {int(total[-1]) if len(total) else 0:,} tokens, too few for a "
            f"tiny base (at least {FEWEST_PRETRAINING_TOKENS:,}); train on fewer with --rows, or give --base a model"
        )
    examples = examples[: int(np.searchsorted(total, options.pretrain_tokens)) + 1]
    bf16 = bf16_is_faster(model, examples)
    with progress.stage("pre-train a tiny base", int(total[len(examples) - 1]) // model.context):
        facts = {"rows": len(examples), **rehearsal.pretrain(model, examples, options.seed, bf16, progress.advance)}
    fresh = private / "base.part"
    shutil.rmtree(fresh, ignore_errors=True)
    model.model.save_pretrained(fresh)
    model.tokenizer.save_pretrained(fresh)
    (fresh / "pretraining.json").write_text(json.dumps(facts), "utf-8")
    shutil.rmtree(kept, ignore_errors=True)
    fresh.rename(kept)
    return model, facts


def _per_row(answers: pl.DataFrame) -> pl.DataFrame:
    """One line per row: N_pre of the answer where it is largest, the whole of the longest one."""
    return (
        answers.sort("row_id", "answer")
        .group_by("row_id", maintain_order=True)
        .agg(
            pl.col("stratum").first(),
            pl.col("n_pre").max(),
            pl.col("tokens").max(),
            pl.col("whole").get(pl.col("tokens").arg_max()),
            pl.col("loss_per_token_nats").mean(),
        )
    )


def _told(epochs: pl.DataFrame, epoch: int) -> dict[str, Any]:
    """The figures of one epoch, members and controls."""
    rows = _per_row(epochs.filter(pl.col("epoch") == epoch))
    told: dict[str, Any] = {"epoch": epoch}
    for stratum in ("member", "control"):
        part = rows.filter(pl.col("stratum") == stratum)
        told[stratum] = {
            "rows": len(part),
            "mean_n_pre": part["n_pre"].mean() or 0.0,
            "largest_n_pre": part["n_pre"].max() or 0,
            "extracted": int((part["n_pre"] >= EXTRACTED).sum()),
            "whole": int(part["whole"].sum()),
            "loss_per_token_nats": part["loss_per_token_nats"].mean(),
        }
    return told


def _predicted(
    run: RunFolder, settings: Settings, plan: TrainingPlan, parameters: int, trained: Int64, group: Int64, rank: Int64,
    row_id: Int64, measured: pl.DataFrame,
) -> dict[str, Any]:  # fmt: skip
    """What the predictor says of the rows trained on, from them alone, beside what was measured."""
    from scanner import prediction
    from scanner.kernels.contexts import context_features
    from scanner.prediction import reliability
    from scanner.prediction.skew import skew
    from scanner.tokenising import tokens_of_rows

    text = tokens_of_rows(run.segments(), tokenizer=None, max_length=settings.max_length, threads=1)
    part = np.sort(trained)
    chosen = np.concatenate([np.arange(text.offsets[i], text.offsets[i + 1]) for i in part])
    offsets = np.concatenate(([0], np.cumsum(text.offsets[part + 1] - text.offsets[part])))
    inside = np.flatnonzero(np.isin(text.answer_row, part))
    row = np.searchsorted(part, text.answer_row[inside])
    shift = offsets[row] - text.offsets[part][row]
    answers = prediction.Answers(row, text.answer_start[inside] + shift, text.answer_end[inside] + shift)
    pairs = run.read_table("pairs").filter(
        (pl.col("signal") == "minhash") & pl.col("row_a").is_in(row_id[part]) & pl.col("row_b").is_in(row_id[part])
    )
    jaccard = pairs.select(pl.min_horizontal("similarity", pl.col("answer_similarity").fill_nan(None))).to_series()
    near = prediction.NearCopies(
        places(row_id[part], pairs["row_a"]), places(row_id[part], pairs["row_b"]), jaccard.to_numpy(), settings.shingle
    )
    exact = run.read_table("pairs").filter(COPIES)
    copies = np.empty(len(row_id), np.int64)
    connect(places(row_id, exact["row_a"]), places(row_id, exact["row_b"]), copies)
    plan, weights, order = replace(plan, model_params=float(parameters)), prediction.load_weights(), rank[part]
    features = context_features(text.tokens[chosen], offsets, copies[part], 1)
    amounts = prediction.doses(
        plan, np.diff(offsets), answers, copies[part], order.astype(np.uint64), near, seed=settings.seed
    )
    result = prediction.predict_rows(features, answers, amounts, order.astype(np.uint64), plan, weights, threads=1)
    tail = skew(features, answers, amounts, order.astype(np.uint64), plan, weights, result.p_extract, threads=1)
    table = pl.DataFrame({"row_id": row_id[part], "p": result.p_extract}).join(measured, on="row_id", how="inner")
    table = table.filter(pl.col("p").is_not_nan())
    truth = (table["n_pre"] >= EXTRACTED).to_numpy()
    return {
        "rows": len(table),
        "expected_rows": float(table["p"].sum()),
        "measured_rows": int(truth.sum()),
        "auroc": auroc(table["p"].to_numpy(), truth),
        "skew": tail.told(),
        "bins": [b.as_dict() for b in reliability.bins(table["p"], truth)],
        "calibrated": result.calibrated,
    }


def auroc(score: np.ndarray, truth: np.ndarray) -> float | None:
    """Probability that a positive scores above a negative, ties counting half; None without both kinds."""
    positive = int(truth.sum())
    if not 0 < positive < len(truth):
        return None
    rank = pl.Series(score).rank("average").to_numpy()
    return float((rank[truth].sum() - positive * (positive + 1) / 2) / (positive * (len(truth) - positive)))
