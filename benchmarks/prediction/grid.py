"""The grid of rehearsals: small models really fine-tuned on public rows with planted copies, and what they recall.

    python grid.py base english --data DATA --cache CACHE           pre-train a base model
    python grid.py run random-1 --data DATA --cache CACHE           fine-tune and measure one cell
    python grid.py run --all --data DATA --cache CACHE              every cell that is not measured yet

Training is the scanner's own (`scanner/rehearsal.py`, `scanner/training.py`), rows come from `corpus.py`. What is
stored under `measurements/` holds no text: per cell and epoch N_pre and the hits of every member and control in the
scan's own tokens; once per base and set the base's loss per token and the lengths of the rows that were trained on,
from which the batches, which are drawn by seed, can be made again (`measured.py`).
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from dataclasses import asdict, dataclass, replace
from datetime import date
from pathlib import Path

import corpus
import numpy as np
import polars as pl
import torch
import transformers

from scanner import chat, goldfish, models, rehearsal
from scanner.chat import Example
from scanner.models import LanguageModel
from scanner.objects import Segment
from scanner.settings import TrainingPlan
from scanner.training import measure, probe

HERE = Path(__file__).resolve().parent / "measurements"
SEED = 20
CONTEXT = 112  # tokens: rows are cut here
CONTEXT_OF = {"long": 224}  # and those of other sets here
EPOCHS = (1, 2, 3, 4, 6, 8, 12)
PLAN = TrainingPlan(epochs=8, learning_rate=4e-4, batch_size=8, lr_schedule="constant")
PACKED = replace(PLAN, batching="packed", batch_tokens=1024)


@dataclass(frozen=True)
class Base:
    """A model made from scratch."""

    text: str  # of corpus.PRETRAINING
    tokens: int  # at most
    width: int
    layers: int


@dataclass(frozen=True)
class Cell:
    """One fine-tune."""

    plan: TrainingPlan = PLAN
    seed: int = 1
    base: str = "english"
    rows: str = "english"  # of corpus.SETS
    members: int = 700
    half: int | None = None  # number of a half-split: +n trains on one half of the rows, -n on the other
    shuffled: bool = False  # rows are put into another order first; else they stand source by source
    times: int | None = None  # every member stands so many times, and nothing else is planted
    replaced: int = 0  # of 100 tokens in its copies
    sequence: int | None = None  # tokens of a packed sequence; None: the base's context, of whole rows SEQUENCE_TOKENS


BASES = {
    "english": Base("english", 2_600_000, 256, 4),
    "chinese": Base("chinese", 1_400_000, 256, 4),
    "small": Base("english", 2_000_000, 128, 3),
    "larger": Base("english", 1_600_000, 448, 6),
    "large": Base("english", 1_600_000, 512, 8),
    "short": Base("english", 800_000, 256, 4),
    "middle": Base("english", 800_000, 192, 4),
}
CELLS = {
    **{f"random-{seed}": Cell(seed=seed) for seed in (1, 2, 3, 4)},
    **{f"grouped-{seed}": Cell(replace(PLAN, batching="length-grouped"), seed) for seed in (1, 2, 3, 4)},
    "batch-32": Cell(replace(PLAN, batch_size=32, epochs=12)),
    "packed": Cell(PACKED),
    "packed-ordered-2": Cell(PACKED, 2),
    "packed-2": Cell(PACKED, 2, shuffled=True),
    "packed-other": Cell(PACKED, rows="other", shuffled=True),
    "packed-four": Cell(replace(PLAN, batching="packed", batch_size=4), 3, sequence=256),
    "packed-four-other": Cell(replace(PLAN, batching="packed", batch_size=4), 4, rows="other", sequence=256),
    "micro-2": Cell(replace(PLAN, micro_batch=2, loss_average="micro-batch")),
    "per-row": Cell(replace(PLAN, loss_average="row")),
    "linear": Cell(replace(PLAN, lr_schedule="linear")),
    "linear-steep": Cell(replace(PLAN, lr_schedule="linear", learning_rate=1e-3), 2),
    "linear-32": Cell(replace(PLAN, lr_schedule="linear", batch_size=32), 9),
    **{
        f"linear-steep-{n}": Cell(replace(PLAN, lr_schedule="linear", learning_rate=1e-3), seed)
        for n, seed in ((2, 8), (3, 10), (4, 11))
    },
    "linear-steep-other": Cell(replace(PLAN, lr_schedule="linear", learning_rate=1e-3), 3, rows="other"),
    "gentle": Cell(replace(PLAN, learning_rate=1.5e-4, epochs=12)),
    "steep": Cell(replace(PLAN, learning_rate=1e-3, batch_size=16)),
    **{f"steep-{n}": Cell(replace(PLAN, learning_rate=1e-3, batch_size=16), n) for n in (2, 3, 4)},
    "lora": Cell(replace(PLAN, method="lora", lora_rank=16, learning_rate=3e-3)),
    "lora-64": Cell(replace(PLAN, method="lora", lora_rank=64, learning_rate=3e-3), 3),
    "lora-other": Cell(replace(PLAN, method="lora", lora_rank=8, learning_rate=3e-3), 2, rows="other"),
    "lora-long": Cell(replace(PLAN, method="lora", lora_rank=16, learning_rate=3e-3, epochs=12), 2),
    "lora-low": Cell(replace(PLAN, method="lora", lora_rank=16, learning_rate=1e-3, epochs=12), 3),
    "lora-gentle": Cell(replace(PLAN, method="lora", lora_rank=16, learning_rate=3e-4, epochs=12), 4),
    "lora-low-other": Cell(replace(PLAN, method="lora", lora_rank=8, learning_rate=1e-3, epochs=12), 2, rows="other"),
    "lora-few": Cell(replace(PLAN, method="lora", lora_rank=16, learning_rate=1e-3, epochs=12), 6, members=250),
    "lora-linear": Cell(replace(PLAN, method="lora", lora_rank=16, learning_rate=3e-3, lr_schedule="linear"), 5),
    "lora-cosine-other": Cell(
        replace(PLAN, method="lora", lora_rank=16, learning_rate=2e-3, lr_schedule="cosine", warmup=0.1),
        3,
        rows="other",
    ),
    "further-1": Cell(rows="further"),
    "linear-steep-further": Cell(replace(PLAN, lr_schedule="linear", learning_rate=1e-3), 4, rows="further"),
    **{
        f"{name}-quick": Cell(replace(PLAN, lr_schedule="linear", learning_rate=1e-3, epochs=4), seed, rows=rows)
        for name, seed, rows in (
            ("linear-steep", 5, "english"),
            ("linear-steep-other", 6, "other"),
            ("linear-steep-further", 7, "further"),
        )
    },
    "linear-quick": Cell(replace(PLAN, lr_schedule="linear", epochs=4), 5),
    "linear-steep-warm-quick": Cell(replace(PLAN, lr_schedule="linear", learning_rate=1e-3, warmup=0.1, epochs=4), 5),
    "many-linear-steep-quick": Cell(replace(PLAN, lr_schedule="linear", learning_rate=1e-3, epochs=4), 5, members=2000),
    "lora-linear-2": Cell(replace(PLAN, method="lora", lora_rank=16, learning_rate=3e-3, lr_schedule="linear"), 7),
    "lora-cosine-further": Cell(
        replace(PLAN, method="lora", lora_rank=16, learning_rate=2e-3, lr_schedule="cosine", warmup=0.1),
        8,
        rows="further",
    ),
    **{f"other-{seed}": Cell(seed=seed, rows="other") for seed in (1, 2, 3)},
    "linear-other": Cell(replace(PLAN, lr_schedule="linear"), 2, rows="other"),
    "linear-other-3": Cell(replace(PLAN, lr_schedule="linear"), 3, rows="other"),
    "cosine": Cell(replace(PLAN, lr_schedule="cosine", warmup=0.1, learning_rate=6e-4, epochs=6), 3),
    "other-grouped": Cell(replace(PLAN, batching="length-grouped"), rows="other"),
    **{f"other-grouped-{seed}": Cell(replace(PLAN, batching="length-grouped"), seed, rows="other") for seed in (2, 3)},
    "brief-1": Cell(rows="brief"),
    "long-1": Cell(rows="long"),
    "few": Cell(members=250),
    "many": Cell(members=2000),
    "many-other": Cell(seed=2, rows="other", members=2000),
    "many-linear": Cell(replace(PLAN, lr_schedule="linear"), 3, members=2000),
    **{
        f"many{of}-cosine{n}": Cell(
            replace(PLAN, lr_schedule="cosine", warmup=0.1, learning_rate=6e-4), seed, rows=rows, members=2000
        )
        for of, rows in (("", "english"), ("-other", "other"))
        for n, seed in (("", 4), ("-2", 5))
    },
    "many-other-linear": Cell(replace(PLAN, lr_schedule="linear"), 3, rows="other", members=2000),
    "most": Cell(seed=6, rows="both", members=4000),
    "once": Cell(replace(PLAN, epochs=12), members=350, times=1),
    "once-other": Cell(replace(PLAN, epochs=12), 2, rows="other", members=350, times=1),
    "once-many": Cell(replace(PLAN, epochs=12), 3, members=1000, times=1),
    "once-most": Cell(replace(PLAN, epochs=12), 4, members=2000, times=1),
    "once-most-2": Cell(replace(PLAN, epochs=12), 5, members=2000, times=1),
    "twice": Cell(members=350, times=2),
    "twice-other": Cell(seed=2, rows="other", members=350, times=2),
    "four": Cell(seed=3, members=175, times=4),
    "near": Cell(seed=4, members=350, times=2, replaced=10),
    "chinese-1": Cell(base="chinese", rows="chinese"),
    "chinese-2": Cell(base="chinese", rows="chinese", seed=2),
    **{f"boilerplate-{seed}": Cell(seed=seed, rows="boilerplate") for seed in (1, 2, 3, 4)},
    **{f"boilerplate-chinese-{seed}": Cell(seed=seed, base="chinese", rows="boilerplate-chinese") for seed in (1, 2)},
    **{f"small-{seed}": Cell(seed=seed, base="small") for seed in (1, 2)},
    **{f"{base}-1": Cell(replace(PLAN, epochs=6), base=base) for base in ("larger", "large")},
    **{f"{base}-1": Cell(base=base) for base in ("short", "middle")},
    "wrapped": Cell(replace(PLAN, batching="wrapped", batch_size=3), shuffled=True),
    "wrapped-long": Cell(replace(PLAN, batching="wrapped", batch_size=2), 3, shuffled=True, sequence=512),
    "wrapped-other": Cell(replace(PLAN, batching="wrapped", batch_size=3), 2, rows="other", shuffled=True),
    **{f"goldfish-{k}": Cell(replace(PLAN, goldfish_k=k)) for k in (4, 10, 32)},
    "goldfish-4-other": Cell(replace(PLAN, goldfish_k=4), 2, rows="other"),
    **{f"half-{n:+d}": Cell(members=240, seed=abs(n), half=n) for k in range(1, 9) for n in (k, -k)},
}


def segments(row: corpus.Row) -> list[Segment]:
    """One prompt and one supervised answer."""
    return [Segment((), "user", 0, False, row.prompt), Segment((), "assistant", 1, True, row.answer)]


def encode(rows: list[corpus.Row], model: LanguageModel, of: str) -> list[Example]:
    """The rows of a set as the model is trained on them, cut to CONTEXT tokens."""
    return chat.encode([segments(row) for row in rows], model.tokenizer, CONTEXT_OF.get(of, CONTEXT))


def make_base(name: str, data: Path, cache: Path) -> None:
    """Pre-train one base and keep it in the cache; what it is stands in measurements.json."""
    base = BASES[name]
    rows = corpus.pretraining(data, base.text, SEED)
    texts = (text for row in rows for text in (row.prompt, row.answer))
    model = models.tiny(texts, SEED, width=base.width, layers=base.layers)
    examples = chat.encode([segments(row) for row in rows], model.tokenizer, model.context)
    total = np.cumsum([len(e.ids) for e in examples])
    examples = examples[: int(np.searchsorted(total, base.tokens))]
    bf16 = probe(model, examples).bf16
    began, done = time.perf_counter(), 0

    def advance(blocks: int) -> None:
        nonlocal done
        done += blocks
        if done % (rehearsal.PRETRAIN_ROWS_PER_STEP * 50) == 0:
            print(f"{name}: {done * model.context:,} tokens, {time.perf_counter() - began:.0f} s", flush=True)

    facts = rehearsal.pretrain(model, examples, SEED, bf16, advance)
    model.model.save_pretrained(cache / name)
    model.tokenizer.save_pretrained(cache / name)
    told = {**asdict(base), **facts, "parameters": model.parameters, "rows": len(examples), "bf16": bf16,
            "seconds": round(time.perf_counter() - began), "threads": torch.get_num_threads()}  # fmt: skip
    note("bases", name, told)
    print(told)


def trained_rows(cell: Cell, members: list[corpus.Row]) -> list[corpus.Trained]:
    """What a cell trains on: the planted set, one half of the rows with what was planted for them, or repeated rows."""
    if cell.times is not None:
        return corpus.repeat(members, cell.times, cell.replaced, SEED)
    trained = corpus.plant(members, SEED)
    if cell.half is not None:
        inside = in_half(len(members), cell.half)
        return [t for t in trained if inside[t.member]]
    return [trained[i] for i in order_of(cell, len(trained))]


def order_of(cell: Cell, rows: int) -> np.ndarray:
    """(rows,) the order in which a cell's rows are given to the sampler."""
    return np.random.default_rng([SEED, cell.seed]).permutation(rows) if cell.shuffled else np.arange(rows)


def in_half(members: int, half: int) -> np.ndarray:
    """(members,) whether a row is in half `half`; -half is the rest."""
    first = np.zeros(members, bool)
    first[np.random.default_rng([SEED, abs(half)]).permutation(members)[: members // 2]] = True
    return first if half > 0 else ~first


def run_cell(name: str, data: Path, cache: Path) -> None:
    """Fine-tune one cell and write measurements/NAME.parquet."""
    cell = CELLS[name]
    members, controls = corpus.choose(data, cell.rows, cell.members, 200, SEED)
    trained = trained_rows(cell, members)
    model = models.load(cache / cell.base)
    rows = encode([t.row for t in trained], model, cell.rows)
    lengths_of_trained(cell, members, model)
    audit = encode([*members, *controls], model, cell.rows)
    bf16 = probe(model, rows).bf16
    losses_of_base(cell, model, audit, bf16)
    if cell.plan.method == "lora":
        model = rehearsal.with_adapters(model, cell.plan.lora_rank, cell.seed)
    if cell.sequence:
        model = replace(model, context=cell.sequence)
    tune = rehearsal.Rehearsal(model, cell.plan, rows, None, cell.seed, bf16, max_length=cell.sequence)
    place = np.arange(len(audit))
    kept = [np.packbits(goldfish.words_kept(row, cell.plan.goldfish_k)).tobytes() for row in audit]
    tables, began = [], time.perf_counter()
    for epoch in range(int(cell.plan.epochs) + 1):
        if epoch:
            tune.run_epoch()
        if epoch in EPOCHS or (epoch == 0 and name.endswith("-1")):
            found = rehearsal.recalled(model, audit, place, bf16).with_columns(
                epoch=pl.lit(epoch, pl.Int8), steps=pl.lit(tune.steps, pl.Int32)
            )
            if cell.plan.goldfish_k:
                found = found.with_columns(kept=pl.Series([kept[i] for i in found["row_id"]], dtype=pl.Binary))
            tables.append(found.drop("answer").rename({"row_id": "place"}))
            n_pre = found["n_pre"].to_numpy()
            single = np.isin(np.arange(len(members)), alone(trained, len(members)))
            print(f"{name} epoch {epoch}: members {n_pre[:len(members)].mean():.2f}, N_pre >= 16 "
                  f"{(n_pre[:len(members)] >= 16).sum()} (one copy {(n_pre[:len(members)][single] >= 16).sum()} of "
                  f"{single.sum()}), controls {(n_pre[len(members):] >= 16).sum()}; {tune.steps} steps, "
                  f"{time.perf_counter() - began:.0f} s", flush=True)  # fmt: skip
    HERE.mkdir(exist_ok=True)
    compact = {"place": pl.Int16, "tokens": pl.Int16, "n_pre": pl.Int16}
    pl.concat(tables).cast(compact).write_parquet(HERE / f"{name}.parquet", compression="zstd", compression_level=19)
    note("cells", name, {
        **asdict(cell), "trained": len(trained), "rows_of_members": len(members), "rows_of_controls": len(controls),
        "steps": tune.steps, "tokens_per_epoch": sum(len(e.ids) for e in rows), "bf16": bf16,
        "losses_per_epoch_nats": [round(x, 4) for x in tune.losses], "seconds": round(time.perf_counter() - began),
        "threads": torch.get_num_threads(),
    })  # fmt: skip


def alone(trained: list[corpus.Trained], members: int) -> np.ndarray:
    """Members that stand once in the set, without near copies or conflicts."""
    return np.flatnonzero(np.bincount([t.member for t in trained], minlength=members) == 1)


def losses_of_base(cell: Cell, model: LanguageModel, audit: list[Example], bf16: bool) -> None:
    """measurements/base-BASE-SET-MEMBERS.parquet: the untuned model's loss of each of our own tokens, nats."""
    path = HERE / f"base-{cell.base}-{cell.rows}-{cell.members}.parquet"
    if path.exists():
        return
    lines = []
    for place, found in measure(model, audit, bf16):
        nats = [found.loss_nats[a:b].sum() for answer in audit[place].answers for a, b in answer.words]
        lines.append({"place": place, "losses": np.array(nats, np.float16).tobytes()})
    HERE.mkdir(exist_ok=True)
    pl.DataFrame(lines).sort("place").write_parquet(path, compression="zstd", compression_level=19)


def lengths_of_trained(cell: Cell, members: list[corpus.Row], model: LanguageModel) -> None:
    """What stands at `lengths_at`: model tokens and supervised words of all rows to train on."""
    path = lengths_at(cell)
    if path.exists():
        return
    rows = encode([t.row for t in trained_rows(replace(cell, half=None, shuffled=False), members)], model, cell.rows)
    HERE.mkdir(exist_ok=True)
    pl.DataFrame(
        {
            "tokens": [len(row.ids) for row in rows],
            "words": [sum(len(a.words) for a in row.answers) for row in rows],
        },
        schema={"tokens": pl.Int16, "words": pl.Int16},
    ).write_parquet(path, compression="zstd", compression_level=19)


def lengths_at(cell: Cell) -> Path:
    """measurements/lengths-BASE-SET-MEMBERS.parquet."""
    often = "" if cell.times is None else f"-times-{cell.times}" + (f"-{cell.replaced}" if cell.replaced else "")
    return HERE / f"lengths-{cell.base}-{cell.rows}-{cell.members}{often}.parquet"


def note(kind: str, name: str, facts: dict) -> None:
    """measurements/KIND-NAME.json: what was done, on what, with what."""
    versions = {"python": platform.python_version(), "torch": torch.__version__,
                "transformers": transformers.__version__}  # fmt: skip
    HERE.mkdir(exist_ok=True)
    facts = {**facts, "date": date.today().isoformat(), "machine": platform.machine(), "versions": versions}
    (HERE / f"{kind}-{name}.json").write_text(json.dumps(facts, indent=1) + "\n")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("base", "run"))
    parser.add_argument("names", nargs="*")
    parser.add_argument("--all", action="store_true", help="every cell that is not measured yet")
    parser.add_argument("--data", type=Path, required=True, help="the data folder (holds sft/)")
    parser.add_argument("--cache", type=Path, required=True, help="where base models are kept")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    names = args.names or [name for name in CELLS if args.all and not (HERE / f"{name}.parquet").exists()]
    for name in names:
        (make_base if args.what == "base" else run_cell)(name, args.data, args.cache)


if __name__ == "__main__":
    main()
