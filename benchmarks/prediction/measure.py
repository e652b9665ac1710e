"""Really fine-tune a small model on public rows with planted copies, and record what it memorizes.

A causal transformer of about 4 M parameters is pre-trained for one epoch on public instruction rows and then
fine-tuned on other rows (`corpus.py`), once per run: random batches under two seeds, and length-grouped batches.
After the epochs of `EPOCHS` every member and every control is measured by teacher-forced argmax, in kernel tokens:
a kernel token is a hit iff every BPE token that overlaps its characters is the argmax. No text is stored.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import random
import time
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import corpus
import numpy as np
import polars as pl
import tokenizers
import torch
from torch import Tensor, nn
from torch.nn import functional

EPOCHS = (1, 2, 4, 6, 8)
LEARNING_RATE = 3e-4
ROWS_PER_STEP = 16
VOCABULARY, WIDTH, LAYERS, HEADS = 4096, 256, 4, 8
PAD, USER, ASSISTANT, END = 0, 1, 2, 3
SEED = 20
RUNS = {"random-1": ("random", 1), "grouped-1": ("length-grouped", 1), "random-2": ("random", 2)}


@dataclass(frozen=True)
class Encoded:
    """One row as the model sees it."""

    ids: list[int]  # prompt, marks, answer and end mark, cut to the context
    prompt: int  # tokens of ids that are not supervised
    words: list[tuple[int, int]]  # per kernel token of the answer that was not cut: its first and last+1 place in ids
    whole: bool  # the answer was not cut


class Block(nn.Module):
    """Pre-norm attention and feed-forward."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH, bias=False), nn.Linear(WIDTH, WIDTH, bias=False)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:  # (B, T, C)
        batch, length, width = x.shape
        q, k, v = (
            part.view(batch, length, HEADS, width // HEADS).transpose(1, 2)
            for part in self.qkv(self.norm1(x)).split(width, dim=2)
        )
        mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(functional.gelu(self.up(self.norm2(x)), approximate="tanh"))


class Model(nn.Module):
    """A causal transformer with learned positions and tied embeddings."""

    def __init__(self, context: int) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(VOCABULARY, WIDTH), nn.Embedding(context, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norm = nn.LayerNorm(WIDTH)
        for parameter in self.parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)

    def forward(self, ids: Tensor, where: Tensor) -> Tensor:
        """Logits at the flat places `where` of ids (B, T): only supervised places pay for the output layer."""
        x = self.tokens(ids) + self.places(torch.arange(ids.shape[1]))
        for block in self.blocks:
            x = block(x)
        return functional.linear(self.norm(x.reshape(-1, WIDTH)[where]), self.tokens.weight)


def train_tokenizer(rows: list[corpus.Row]) -> tokenizers.Tokenizer:
    """Byte-level BPE trained on the pre-training text alone."""
    model = tokenizers.Tokenizer(tokenizers.models.BPE())
    model.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<pad>", "<user>", "<assistant>", "<end>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    model.train_from_iterator((row.prompt + "\n" + row.answer for row in rows), trainer)
    return model


def encode(rows: list[corpus.Row], bpe: tokenizers.Tokenizer, context: int) -> list[Encoded]:
    """Prompt and answer are encoded apart, so that a copy has the same supervised tokens under any prompt."""
    prompts = bpe.encode_batch([row.prompt for row in rows])
    answers = bpe.encode_batch([row.answer for row in rows])
    encoded = []
    for row, prompt, answer in zip(rows, prompts, answers, strict=True):
        head = [USER, *prompt.ids[: context // 2], ASSISTANT]
        ids = [*head, *answer.ids, END][:context]
        words, first = [], 0
        offsets = answer.offsets
        for start, end in corpus.spans(row.answer):
            while offsets[first][1] <= start:
                first += 1
            last = first
            while last < len(offsets) and offsets[last][0] < end:
                last += 1
            if len(head) + last > context:
                break
            words.append((len(head) + first, len(head) + last))
        encoded.append(Encoded(ids, len(head), words, len(ids) == len(head) + len(answer.ids) + 1))
    return encoded


def collate(rows: list[Encoded]) -> tuple[Tensor, Tensor, Tensor]:
    """(B, T) ids padded on the right, flat places that predict a supervised token, and those tokens."""
    longest = max(len(row.ids) for row in rows)
    ids = torch.full((len(rows), longest), PAD)
    where: list[int] = []
    target: list[int] = []
    for i, row in enumerate(rows):
        ids[i, : len(row.ids)] = torch.tensor(row.ids)
        where.extend(range(i * longest + row.prompt - 1, i * longest + len(row.ids) - 1))
        target.extend(row.ids[row.prompt :])
    return ids, torch.tensor(where), torch.tensor(target)


def batches(lengths: list[int], batching: str, generator: torch.Generator) -> list[list[int]]:
    """One epoch. Length-grouped as transformers' LengthGroupedSampler: 50 batches shuffled, then sorted by length."""
    order = torch.randperm(len(lengths), generator=generator).tolist()
    if batching == "length-grouped":
        size = min(len(lengths) // (ROWS_PER_STEP * 4), 50) * ROWS_PER_STEP
        mega = [sorted(order[i : i + size], key=lambda i: -lengths[i]) for i in range(0, len(order), size)]
        longest = max(
            range(len(mega)), key=lambda i: lengths[mega[i][0]]
        )  # the longest row first: fail early on memory
        mega[0][0], mega[longest][0] = mega[longest][0], mega[0][0]
        order = [i for part in mega for i in part]
    return [order[i : i + ROWS_PER_STEP] for i in range(0, len(order), ROWS_PER_STEP)]


def pretrain(
    model: Model, rows: list[Encoded], context: int, size: int, peak: float, budget_s: float, bf16: bool
) -> dict:
    """One epoch over the rows packed into blocks, every token supervised; stops early when the time is spent."""
    flat = torch.tensor([token for row in rows for token in row.ids])
    blocks = flat[: len(flat) // context * context].view(-1, context)
    blocks = blocks[torch.randperm(len(blocks), generator=torch.Generator().manual_seed(SEED))]
    steps = len(blocks) // size
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, betas=(0.9, 0.95), weight_decay=0.01)
    where = (torch.arange(size)[:, None] * context + torch.arange(context - 1)[None, :]).reshape(-1)
    began, done, spent, smooth = time.perf_counter(), 0, 0.0, math.log(VOCABULARY)
    while done < steps and spent < 1:
        spent = max(done / steps, (time.perf_counter() - began) / budget_s)  # the schedule follows whichever ends first
        for group in optimizer.param_groups:
            group["lr"] = peak * min(1, (done + 1) / 40) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1, spent))))
        ids = blocks[done * size : (done + 1) * size]
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = functional.cross_entropy(model(ids, where).float(), ids[:, 1:].reshape(-1))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        done += 1
        smooth += 0.05 * (loss.item() - smooth)
        if done % 25 == 0:
            print(f"pretrain {done}/{steps} loss {smooth:.3f} {time.perf_counter() - began:.0f}s", flush=True)
    return {
        "tokens": done * size * context,
        "blocks_per_step": size,
        "peak_learning_rate": peak,
        "steps": done,
        "of_steps": steps,
        "loss_per_token_nats": round(smooth, 3),
    }


def faster_precision(model: Model, rows: list[Encoded]) -> tuple[bool, dict]:
    """Time a training step in fp32 and under bf16 autocast."""
    ids, where, target = collate(rows[:16])
    seconds = {}
    for bf16 in (False, True):
        for repeat in range(4):
            if repeat == 1:
                began = time.perf_counter()
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                loss = functional.cross_entropy(model(ids, where).float(), target)
            loss.backward()
            model.zero_grad()
        seconds["bf16" if bf16 else "fp32"] = round((time.perf_counter() - began) / 3, 4)
    return seconds["bf16"] < seconds["fp32"], {"seconds_per_step": seconds}


@torch.no_grad()
def measure(model: Model, rows: list[Encoded], bf16: bool) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Per row: hits of its BPE tokens (with the end mark), hits and losses in nats of its kernel tokens."""
    found: list = [None] * len(rows)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].ids))
    for begin in range(0, len(order), 32):
        places = order[begin : begin + 32]
        ids, where, target = collate([rows[i] for i in places])
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            logits = model(ids, where).float()
        hit = (logits.argmax(1) == target).numpy()
        loss = functional.cross_entropy(logits, target, reduction="none").numpy()
        at = 0
        for i in places:
            row = rows[i]
            count = len(row.ids) - row.prompt
            one, cost = hit[at : at + count], loss[at : at + count]
            words = [(a - row.prompt, b - row.prompt) for a, b in row.words]
            found[i] = (
                one,
                np.array([one[a:b].all() for a, b in words]),
                np.array([cost[a:b].sum() for a, b in words]),
            )
            at += count
    return found


def first_miss(hits: np.ndarray) -> int:
    """N_pre: tokens before the first miss."""
    return int(len(hits) if hits.all() else np.argmin(hits))


def finetune(base: dict, run: str, trained: list[corpus.Trained], rows: list[Encoded], audit: list[Encoded],
             members: int, args: argparse.Namespace, bf16: bool) -> tuple[pl.DataFrame, pl.DataFrame]:  # fmt: skip
    """One run from the base: (measurements, visits)."""
    batching, seed = RUNS[run]
    model = Model(args.context)
    model.load_state_dict(base)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=0.0)
    generator = torch.Generator().manual_seed(seed)
    lengths = [len(row.ids) for row in rows]
    table, visits, steps, began = [], [], 0, time.perf_counter()

    def record(epoch: int) -> None:
        for place, (bpe, words, cost) in enumerate(measure(model, audit, bf16)):
            table.append({
                "run": run, "epoch": epoch, "steps": steps, "member": place < members,
                "place": place if place < members else place - members,
                "n_pre": first_miss(words), "n_pre_bpe": first_miss(bpe), "tokens": len(words),
                "whole": bool(bpe.all()) and audit[place].whole,
                "hits": np.packbits(words).tobytes(),
                "loss_first_16_nats": float(cost[:16].sum()), "loss_nats": float(cost.sum()),
                "losses": cost.astype(np.float16).tobytes() if epoch == 0 and run == "random-1" else None,
            })  # fmt: skip
        mine = [row for row in table if row["epoch"] == epoch]
        for member in (True, False):
            values = np.array([row["n_pre"] for row in mine if row["member"] == member])
            who = "member" if member else "control"
            print(f"{run} epoch {epoch} {who} mean {values.mean():.2f} max {values.max()} "
                  f">=16: {(values >= 16).sum()} {time.perf_counter() - began:.0f}s", flush=True)  # fmt: skip

    if run == "random-1":
        record(0)  # the base model is the same for all runs
    for epoch in range(1, max(EPOCHS) + 1):
        for batch in batches(lengths, batching, generator):
            ids, where, target = collate([rows[i] for i in batch])
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                loss = functional.cross_entropy(
                    model(ids, where).float(), target
                )  # mean over the supervised tokens of the batch
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            steps += 1
            visits += [{"run": run, "epoch": epoch, "trained": i, "member": trained[i].member,
                        "replaced": trained[i].replaced, "supervised": len(rows[i].ids) - rows[i].prompt,
                        "length": lengths[i], "n_sup": len(target)} for i in batch]  # fmt: skip
        if epoch in EPOCHS:
            record(epoch)
    return pl.DataFrame(table), pl.DataFrame(visits)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="the data folder (holds sft/)")
    parser.add_argument("--out", type=Path, required=True, help="where the measurements go")
    parser.add_argument("--cache", type=Path, required=True, help="where the base model goes")
    parser.add_argument("--stage", choices=("pretrain", "pretrain-further", *RUNS), required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--members", type=int, default=1000)
    parser.add_argument("--context", type=int, default=160, help="of pre-training, tokens")
    parser.add_argument("--cut", type=int, default=128, help="of fine-tuning, tokens")
    parser.add_argument("--pretrain-seconds", type=float, default=660)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(SEED)
    random.seed(SEED)
    for folder in (args.out, args.cache):
        folder.mkdir(parents=True, exist_ok=True)

    members, controls = corpus.choose(args.data, args.members, SEED)
    trained = corpus.plant(members, SEED)
    began = time.perf_counter()
    if args.stage == "pretrain":
        rows = corpus.pretraining(args.data, [*members, *controls, *(t.row for t in trained)], SEED)
        bpe = train_tokenizer(rows)
        bpe.save(str(args.cache / "bpe.json"))
        model = Model(args.context)
        parameters = sum(p.numel() for p in model.parameters())
        encoded = encode(rows, bpe, args.context)
        bf16, timing = faster_precision(model, encoded)
        print(f"{len(rows)} rows {parameters} parameters {timing} bf16={bf16}", flush=True)
        result = pretrain(model, encoded, args.context, 24, 1.5e-3, args.pretrain_seconds, bf16)
        torch.save(model.state_dict(), args.cache / "base.pt")
        note = {
            "date": date.today().isoformat(), "seed": SEED, "members": args.members, "context": args.context,
            "parameters": parameters, "bf16": bf16, **timing, "pretraining": [{**corpus.PRETRAINING, **result}],
            "seconds": round(time.perf_counter() - began), "runs": RUNS, "learning_rate": LEARNING_RATE,
            "rows_per_step": ROWS_PER_STEP, "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
            "versions": {"python": platform.python_version(), "torch": torch.__version__,
                         "tokenizers": tokenizers.__version__},
            "sha256": {name: corpus.sha256(args.data / "sft" / name)
                       for name in sorted({*corpus.SOURCES, *corpus.PRETRAINING})},
        }  # fmt: skip
        (args.out / "measurements.json").write_text(json.dumps(note, indent=1) + "\n")
        return

    note = json.loads((args.out / "measurements.json").read_text())
    bpe = tokenizers.Tokenizer.from_file(str(args.cache / "bpe.json"))
    base = torch.load(args.cache / "base.pt")
    if args.stage == "pretrain-further":
        rows = corpus.pretraining(args.data, [*members, *controls, *(t.row for t in trained)], SEED, further=True)
        model = Model(args.context)
        model.load_state_dict(base)
        encoded = encode(rows, bpe, args.context)
        result = pretrain(model, encoded, args.context, 8, 1e-3, args.pretrain_seconds, note["bf16"])
        torch.save(model.state_dict(), args.cache / "base.pt")
        note["pretraining"].append({**corpus.FURTHER, **result})
        note |= {"cut": args.cut, "seconds": note["seconds"] + round(time.perf_counter() - began)}
        (args.out / "measurements.json").write_text(json.dumps(note, indent=1) + "\n")
        return
    controls = controls[:: corpus.CONTROL_STRIDE]
    rows, audit = encode([t.row for t in trained], bpe, args.cut), encode([*members, *controls], bpe, args.cut)
    table, visits = finetune(base, args.stage, trained, rows, audit, len(members), args, note["bf16"])
    table.write_parquet(args.out / f"{args.stage}.parquet", compression="zstd")
    visits.write_parquet(args.out / f"{args.stage}-visits.parquet", compression="zstd")
    if args.stage == "random-1":
        names = [{**asdict(row), "member": i < len(members), "place": i if i < len(members) else i - len(members)}
                 for i, row in enumerate([*members, *controls])]  # fmt: skip
        pl.DataFrame(names).drop("prompt", "answer").write_parquet(args.out / "rows.parquet", compression="zstd")
    print(f"{args.stage} {time.perf_counter() - began:.0f}s", flush=True)


if __name__ == "__main__":
    main()
