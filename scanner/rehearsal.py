"""A small fine-tune under the same plan, to measure what prediction can only estimate.

    rows -> members and controls (whole groups of duplicates, by a seeded draw) -> fine-tune as planned
         -> after each chosen epoch: what is recalled, token by token, of members and controls

Batches are formed by `scanner.batching` as the plan says and never grouped by length for speed: that would change what
is memorized (SCIENCE 9).
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from scanner.baseloss import halved, shared
from scanner.batching import PACKED, Sampler, Visits, end_to_end, packed_at_a_time, sequence_length
from scanner.chat import Example
from scanner.errors import ModelError
from scanner.goldfish import without_dropped
from scanner.models import LanguageModel
from scanner.objects import Int64
from scanner.rates import rate_share, stands
from scanner.sampling import dose_unit, steps_taken, worths
from scanner.settings import TrainingPlan
from scanner.training import measure, recited, step

TRAINED_SHARE, CONTROL_SHARE = 0.6, 0.2
"""Largest shares of the data that are trained on and held out; a tiny base is pre-trained on the rest."""
PRETRAIN_LEARNING_RATE = 1.5e-3
PRETRAIN_ROWS_PER_STEP = 24
WARM_UP_STEPS = 40


@dataclass(frozen=True)
class Split:
    """Positions of the rows by their part in the rehearsal."""

    trained: Int64
    controls: Int64  # one of each group of duplicates, of the same sources
    rest: Int64


def split(group: Int64, source: np.ndarray, rank: Int64, rows: int, controls: int, seed: int) -> Split:
    """Draw whole groups of duplicates, source by source in proportion, in an order that only content and seed decide.

    group (n,): equal for rows that are exact or near copies of one another · source (n,) · rank (n,): place of each
    row in content order · rows, controls: wanted numbers, cut to TRAINED_SHARE and CONTROL_SHARE of the data.
    """
    n = len(group)
    rows, controls = min(rows, int(TRAINED_SHARE * n)), min(controls, int(CONTROL_SHARE * n))
    draw = np.random.default_rng(seed).permutation(n)[rank]  # a random number for each row, by its content
    _, inverse, size = np.unique(group, return_inverse=True, return_counts=True)
    first = np.full(len(size), n)
    np.minimum.at(first, inverse, draw)
    owner = np.full(len(size), np.iinfo(np.int32).max)
    np.minimum.at(owner, inverse, source)  # a group that spans sources counts for the first of them
    part = np.full(len(size), 2)
    for s in np.unique(owner):
        mine = np.flatnonzero(owner == s)
        mine = mine[np.argsort(first[mine])]
        share = size[mine].sum() / n
        room, held = max(1.0, rows * share), math.ceil(controls * share)
        for g in mine.tolist():  # a group too large for the room is passed over, smaller ones after it may fit
            if size[g] <= room:
                part[g], room = 0, room - size[g]
            elif held:
                part[g], held = 1, held - 1
    of_row = part[inverse]
    held = np.flatnonzero(of_row == 1)
    _, one = np.unique(group[held], return_index=True)
    return Split(np.flatnonzero(of_row == 0), held[np.sort(one)], np.flatnonzero(of_row == 2))


def pretrain(
    model: LanguageModel, rows: Sequence[Example], seed: int, bf16: bool, advance: Callable[[int], None]
) -> dict[str, Any]:
    """One epoch over every token of the rows, packed into blocks: what makes a tiny model a base."""
    import torch

    flat = np.concatenate([row.ids for row in rows])
    blocks = flat[: len(flat) // model.context * model.context].reshape(-1, model.context)
    blocks = np.random.default_rng(seed).permutation(blocks)
    optimizer = torch.optim.AdamW(
        model.model.parameters(), lr=PRETRAIN_LEARNING_RATE, betas=(0.9, 0.95), weight_decay=0.01
    )
    steps = math.ceil(len(blocks) / PRETRAIN_ROWS_PER_STEP)
    loss, began = math.nan, time.perf_counter()
    for done in range(steps):
        rate = min(1, (done + 1) / WARM_UP_STEPS) * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done / steps)))
        for part in optimizer.param_groups:
            part["lr"] = PRETRAIN_LEARNING_RATE * rate
        block = blocks[done * PRETRAIN_ROWS_PER_STEP : (done + 1) * PRETRAIN_ROWS_PER_STEP]
        whole = [Example(ids, np.ones(len(ids), np.bool_), ()) for ids in block]
        loss = step(model, optimizer, whole, "token", bf16)
        advance(len(block))
    seconds = time.perf_counter() - began
    return {"tokens": int(blocks.size), "steps": steps, "loss_per_token_nats": loss, "seconds": round(seconds, 1)}


def laid_end_to_end(rows: Sequence[Example], sampler: Sampler) -> list[list[Example]]:
    """By number of the sampler's sequence, what goes through the model, as TRL's "wrapped" has it.

    A row sees those before it in its sequence, and what of it lies behind a cut begins a sequence, without the tokens
    before. The end of a run of rows in which none begins goes along with the sequence before it.
    """
    standing = np.arange(len(rows)) if sampler.standing is None else sampler.standing
    edges, number = end_to_end(sampler.sizes[standing], sampler.room)
    ids, supervised = (np.concatenate([getattr(rows[i], name) for i in standing]) for name in ("ids", "supervised"))
    found: list[list[Example]] = [[] for _ in range(int(number[-1]) + 1)]
    for begin, end, place in zip(edges[:-1].tolist(), edges[1:].tolist(), number.tolist(), strict=True):
        found[place].append(Example(ids[begin:end], supervised[begin:end], ()))
    return found


def with_adapters(model: LanguageModel, rank: int, seed: int) -> LanguageModel:
    """LoRA on every linear layer but the output, alpha twice the rank, as common recipes have it."""
    import peft
    import torch

    torch.manual_seed(seed)
    config = peft.LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", task_type="CAUSAL_LM")
    with warnings.catch_warnings():  # peft still asks transformers by a name that is to go
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", "fan_in_fan_out", UserWarning)  # GPT-2's layers; peft does what is right
        adapted = peft.get_peft_model(model.model, config)
    return LanguageModel(adapted, model.tokenizer, model.name, model.parameters, model.context, model.device)


@dataclass
class Rehearsal:
    """A fine-tune in progress; `save` and `resume` let an interrupted one go on after its last whole step."""

    model: LanguageModel
    plan: TrainingPlan
    trained: Sequence[Example]  # in content order, so that the order of the input does not matter
    weight: np.ndarray | None  # (n,) sampling weight of each trained row
    seed: int
    bf16: bool
    epoch: int = 0  # whole epochs done
    steps: int = 0
    begun: int = 0  # batches of the next epoch that are done
    seconds: float = 0.0  # of training, all sittings together
    seconds_measuring: float = 0.0
    tokens: int = 0  # trained on so far, a token once for each visit
    is_whole: bool = True  # no step is half done, so what `save` would write can be gone on from
    max_length: int | None = None  # tokens that the trainer cuts rows at, and of a packed sequence; None: not named
    shuffled: bool = False  # rows are shuffled before they are packed
    standing: Int64 | None = None  # (n,) else: the rows in the order in which they are packed; None: as given
    share: float = 1.0  # of the rows that stand there, that these are

    def __post_init__(self) -> None:
        import torch

        learned = [p for p in self.model.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(learned, lr=self.plan.learning_rate, weight_decay=0.0, fused=True)
        sizes = np.array([len(row.ids) for row in self.trained], np.int64)
        standing = np.random.default_rng(self.seed).permutation(len(sizes)) if self.shuffled else self.standing
        room = sequence_length(self.plan, self.model.context, self.max_length)
        share = 1.0 if self.shuffled else self.share
        self.sampler = Sampler(self.plan, sizes, room, standing, packed_at_a_time(self.plan, sizes, room, share))
        self._learned = [without_dropped(row, self.plan.goldfish_k) for row in self.trained]
        if self.plan.batching == "wrapped":
            self._sequences = laid_end_to_end(self._learned, self.sampler)
        self.taught = np.zeros(len(self.trained))  # by each row's own visits, in the unit of scanner.sampling
        self.losses: list[float] = []  # nats per token, mean over each epoch's steps
        self._step_losses: list[float] = []  # of the epoch that is under way

    @property
    def sequence_tokens(self) -> int | None:
        """Tokens of a packed sequence; None where rows are not packed."""
        return self.sampler.room if self.plan.batching in PACKED else None

    def planned_steps(self) -> int:
        """Optimizer steps of the whole training."""
        return sum(
            steps_taken(self.plan.epochs, epoch, self.sampler.epoch(np.random.default_rng([self.seed, epoch])).steps)
            for epoch in range(math.ceil(self.plan.epochs))
        )

    @property
    def epochs_done(self) -> float:
        """Epochs until here; whole but at the end of a plan that ends within one: 1.5, where `epoch` says 2."""
        return min(float(self.epoch), self.plan.epochs)

    @property
    def dose(self) -> npt.NDArray[np.float64]:
        """(n,) of each row's own visits, what stands of them after the epochs that are done."""
        over = self.epochs_done / self.plan.epochs if self.plan.epochs else 1.0
        return self.taught * stands(self.plan, over, steps=self.steps)

    def run_epoch(
        self, advance: Callable[[int], None] = lambda rows: None, after_step: Callable[[], None] = lambda: None
    ) -> None:
        """One pass over the rows, in the batches that the plan makes; what an interrupted pass did is not repeated."""
        import torch

        rng = np.random.default_rng([self.seed, self.epoch])
        visits = self._weighted(self.sampler.epoch(rng), rng)
        if not visits.steps:
            raise ModelError(f"no step of {self.plan.batch_size} rows is complete, and --drop-last step takes no other")
        taken = steps_taken(self.plan.epochs, self.epoch, visits.steps)
        words = np.array([sum(len(a.words) for a in row.answers) for row in self.trained])
        worth = worths(self.plan, visits, words, self.epoch)
        advance(int((visits.step < self.begun).sum()))
        for number in range(self.begun, taken):
            here = slice(*np.searchsorted(visits.step, [number, number + 1]))
            batch, part = visits.rows[here], visits.part[here]
            began = time.perf_counter()
            if len(batch):
                rate = float(rate_share(self.plan, (self.epoch + number / visits.steps) / self.plan.epochs))
                for group in self.optimizer.param_groups:
                    group["lr"] = self.plan.learning_rate * rate
                rows, of_part = self._rows(batch, part)
                torch.manual_seed((self.seed * 1_000_003 + self.epoch) * 1_000_003 + number)  # for models with dropout
                self.is_whole = False
                loss = step(self.model, self.optimizer, rows, self.plan.loss_average, self.bf16, of_part)
                self._step_losses.append(loss)
                np.add.at(self.taught, batch, worth[here])
            self.begun = number + 1
            self.is_whole = True
            self.seconds += time.perf_counter() - began
            self.tokens += int(self.sampler.sizes[batch].sum())
            advance(len(batch))
            after_step()
        self.steps += taken
        self.epoch += 1
        self.begun = 0
        self.losses.append(float(np.mean(self._step_losses)))
        self._step_losses = []

    def _rows(self, batch: Int64, part: Int64) -> tuple[list[Example], Int64]:
        """What goes through the model for some visits, and the micro-batch of each: rows, or sequences of them."""
        if self.plan.batching != "wrapped":
            return [self._learned[i] for i in batch], part
        numbers = self.sampler.sequence[batch]
        heads = np.flatnonzero(np.diff(numbers, prepend=-1))
        sequences = [self._sequences[number] for number in numbers[heads]]
        return [one for some in sequences for one in some], np.repeat(part[heads], [len(some) for some in sequences])

    def _weighted(self, visits: Visits, rng: np.random.Generator) -> Visits:
        """Each visit as often as the row's sampling weight says, a fraction by chance."""
        if self.weight is None:
            return visits
        weight = self.weight[visits.rows]
        times = (np.floor(weight) + (rng.random(len(weight)) < weight % 1)).astype(int)
        rows, step, part = (np.repeat(column, times) for column in visits[:3])
        return Visits(rows, step, part, visits.steps)

    def save(self, path: Path) -> None:
        """Everything that the next step needs; holds weights trained on the data, so it belongs under private/."""
        import torch

        from scanner.writing import atomic

        learned = {n: p for n, p in self.model.model.named_parameters() if p.requires_grad}
        with atomic(path) as temporary:
            torch.save(
                {"learned": learned, "optimizer": self.optimizer.state_dict(), "epoch": self.epoch,
                 "steps": self.steps, "begun": self.begun, "bf16": self.bf16, "seconds": self.seconds,
                 "seconds_measuring": self.seconds_measuring, "tokens": self.tokens, "dose": self.taught.tolist(),
                 "dose_unit": dose_unit(), **self._packed(), "losses": self.losses,
                 "step_losses": self._step_losses}, temporary,
            )  # fmt: skip

    def _packed(self) -> dict[str, Any]:
        """In which order rows are packed, as a state has it."""
        return {"shuffled": self.shuffled, "standing": None if self.standing is None else self.standing.tolist()}

    def resume(self, path: Path) -> None:
        """Go on from what `save` wrote; ModelError where doses are counted or rows packed otherwise there."""
        import torch

        state = torch.load(path, map_location=self.model.device, weights_only=True)
        packed = {"shuffled": state.get("shuffled", False), "standing": state.get("standing")}
        other_packs = self.plan.batching in PACKED and packed != self._packed()
        if state.get("dose_unit") != dose_unit() or other_packs:
            raise ModelError(
                "this rehearsal was begun by another version, which counts otherwise what a row is given, or with rows "
                "packed in another order; begin it anew under another --name"
            )
        known = dict(self.model.model.named_parameters())
        with torch.no_grad():
            for name, value in state["learned"].items():
                known[name].copy_(value)
        self.optimizer.load_state_dict(state["optimizer"])
        self.epoch, self.steps, self.begun = state["epoch"], state["steps"], state["begun"]
        self.bf16 = state["bf16"]  # probed anew, it might come out otherwise
        self.seconds, self.seconds_measuring = state["seconds"], state["seconds_measuring"]
        self.tokens = state["tokens"]
        self.taught, self.losses = np.array(state["dose"]), list(state["losses"])
        self._step_losses = list(state["step_losses"])


def recalled(
    model: LanguageModel, rows: Sequence[Example], row_id: Int64, bf16: bool, with_losses: bool = False
) -> pl.DataFrame:
    """One line per answer: N_pre and hits in our own tokens, teacher-forced argmax.

    Teacher forcing gives the N_pre of greedy decoding: up to the first miss both have seen the same tokens. With
    losses, a column `losses` holds the nats of each own token, shared out as `baseloss.shared` does, as float16 bytes.
    """
    lines: list[dict[str, Any]] = []
    for place, found in measure(model, rows, bf16):
        for number, answer in enumerate(rows[place].answers):
            hits, n_pre = recited(found.hits, answer)
            cost = found.loss_nats[answer.start : answer.end]
            line = {
                "row_id": int(row_id[place]), "answer": number, "tokens": len(hits),
                "n_pre": n_pre,
                "whole": bool(answer.whole and found.hits[answer.start : answer.end].all()),
                "loss_per_token_nats": float(np.nanmean(cost)) if np.isfinite(cost).any() else None,
                "hits": np.packbits(hits).tobytes(),
            }  # fmt: skip
            if with_losses:
                line["losses"] = halved(shared(found.loss_nats, answer))
            lines.append(line)
    schema = {"row_id": pl.Int64, "answer": pl.Int32, "tokens": pl.Int32, "n_pre": pl.Int32, "whole": pl.Boolean,
              "loss_per_token_nats": pl.Float32, "hits": pl.Binary}  # fmt: skip
    schema |= {"losses": pl.Binary} if with_losses else {}
    return pl.DataFrame(lines, schema=schema).sort("row_id", "answer")
