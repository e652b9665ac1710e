"""A small data set, audited, a tiny base, and the model that was really trained on it: full, and as an adapter."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from corpora import write_jsonl

from scanner import chat, models, pipeline, rehearsal
from scanner.models import LanguageModel
from scanner.recounting import segments_of
from scanner.settings import Settings, TrainingPlan
from scanner.store import RunFolder

WORDS = [
    colour + noun for colour in ("red", "green", "blue") for noun in ("sun", "sea", "tree", "moon", "wind", "rain")
]
PLAN = TrainingPlan(epochs=60, learning_rate=5e-3, batch_size=6)


@dataclass(frozen=True)
class Trained:
    """What a person has at hand before `scan confirm`."""

    run: RunFolder
    data: Path
    held: Path  # rows of the same kind that were not trained on
    base: Path
    model: Path


def records(count: int, seed: int) -> list[dict[str, str]]:
    """Rows of random words; the first of every twelve has an answer of four words, the others of 20."""
    rng = np.random.default_rng(seed)
    return [
        {"instruction": " ".join(rng.choice(WORDS, 8)), "input": "",
         "output": " ".join(rng.choice(WORDS, 20 if i % 12 else 4))}
        for i in range(count)
    ]  # fmt: skip


def saved(model: LanguageModel, path: Path) -> Path:
    """A model in a folder, as people save it."""
    model.model.save_pretrained(path)
    model.tokenizer.save_pretrained(path)
    return path


def trained(folder: Path, rows: int = 24, plan: TrainingPlan = PLAN) -> Trained:
    """Rows (the first three thrice), a base of a few thousand weights, and the base trained on them under the plan."""
    lines = records(rows, 1)
    data = write_jsonl(folder / "d.jsonl", lines + lines[1:4] * 2)
    held = write_jsonl(folder / "held.jsonl", records(120, 2))
    run = pipeline.audit([str(data)], Settings(semantic=False, plan=plan, threads=1), folder / "d.scan")
    base = models.tiny([" ".join(WORDS)] * 3, seed=0, context=96, width=64, layers=2)
    saved(base, folder / "base")
    ids = run.read_table("rows", ["row_id"])["row_id"].to_numpy()
    examples = chat.encode(segments_of(run, ids), base.tokenizer, base.context)
    if plan.method == "lora":
        base.model.name_or_path = str(folder / "base")
        base = rehearsal.with_adapters(base, plan.lora_rank, 0)
    tune = rehearsal.Rehearsal(base, plan, examples, None, 0, False, shuffled=True)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # more of them wait for one another, with weights as few as these
    while tune.epoch < plan.epochs:
        tune.run_epoch()
    torch.set_num_threads(threads)
    return Trained(run, data, held, folder / "base", saved(tune.model, folder / "tuned"))
