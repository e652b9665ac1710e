"""One optimizer step and one measurement of a causal model, exactly as a training plan has them.

A step may be cut into pieces for memory; each token weighs in the loss what `batching.token_shares` says, whatever the
piece it is in, so cutting changes nothing.
"""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from scanner.batching import token_shares
from scanner.chat import Answer, Example
from scanner.errors import ModelError
from scanner.models import LanguageModel

Int64 = npt.NDArray[np.int64]
Bool = npt.NDArray[np.bool_]
Float32 = npt.NDArray[np.float32]
Look = Callable[[Any, Any], Mapping[str, Any]]
"""(places, vocabulary) logits of one row and (places,) its next tokens -> further figures of each place, (places,)."""
IGNORED = -100
LOGITS_AT_A_TIME = 1 << 26
"""Logits (rows x places x vocabulary) of one piece: 256 MB in fp32."""
LOOKED_AT_A_TIME = 1 << 24
"""Logits (places x vocabulary) of one row that a look is given: 64 MB, and as much again for each thing it makes."""
LARGEST_GRADIENT_NORM = 1.0
PROBED_ROWS = 8


@dataclass(frozen=True)
class Measured:
    """What the model does with one row's supervised tokens under teacher forcing."""

    hits: Bool  # (t,) the token is the argmax; False for tokens that are not supervised
    loss_nats: Float32  # (t,) NaN for tokens that are not supervised
    more: Mapping[str, Float32] = field(default_factory=dict)  # (t,) what was looked at beside; NaN likewise


def step(
    model: LanguageModel,
    optimizer: Any,
    rows: Sequence[Example],
    loss_average: str,
    bf16: bool,
    part: Int64 | None = None,
) -> float:
    """One optimizer step over `rows`; returns the loss that was averaged, in nats.

    part (rows,): the plan's micro-batch of each row, never falling; None: all are one. Rows without a supervised token
    are not learned, though a micro-batch that holds nothing else counts among the step's micro-batches.
    """
    import torch

    if not any(row.supervised_tokens for row in rows):
        return 0.0
    tokens = np.array([row.supervised_tokens for row in rows], np.int64)
    one = np.zeros(len(rows), np.int64)
    share = token_shares(loss_average, tokens, one, one if part is None else part)
    learned = [(row, weight) for row, weight in zip(rows, share.tolist(), strict=True) if row.supervised_tokens]
    total, done = 0.0, 0
    optimizer.zero_grad(set_to_none=True)
    for piece in micro_batches([row for row, _ in learned], model.vocabulary):
        ids, mask, labels = collate(piece, model)
        cost = _losses(model, ids, mask, labels, bf16)[0]  # (rows, places)
        weight = torch.tensor([w for _, w in learned[done : done + len(piece)]], device=cost.device)
        loss = (cost.sum(1) * weight).sum()
        loss.backward()
        total += float(loss.detach())
        done += len(piece)
    if not math.isfinite(total):
        raise ModelError("the loss is no longer a number; train with a lower --learning-rate")
    torch.nn.utils.clip_grad_norm_([p for p in model.model.parameters() if p.requires_grad], LARGEST_GRADIENT_NORM)
    optimizer.step()
    return total


def recited(hits: Bool, answer: Answer) -> tuple[Bool, int]:
    """(w,) own tokens of an answer that come out whole, and N_pre: those before the first that does not.

    hits (t,) of every token of the row.
    """
    own = np.array([hits[a:b].all() for a, b in answer.words], np.bool_)
    return own, int(len(own) if own.all() else np.argmin(own))


def measure(
    model: LanguageModel, rows: Sequence[Example], bf16: bool, look: Look | None = None
) -> Iterator[tuple[int, Measured]]:
    """(place in `rows`, what was measured), rows of like length together; `look` sees the logits of each row."""
    import torch

    model.model.eval()
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].ids))
    place = {id(rows[i]): i for i in order}
    with torch.no_grad():
        for part in micro_batches([rows[i] for i in order], model.vocabulary, most=32):
            ids, mask, labels = collate(part, model)
            wanted, logits = _logits(model, ids, mask, labels, bf16)
            cost, best = _costs(wanted, logits, labels)
            hit, nats = (best == labels).cpu().numpy(), cost.float().cpu().numpy()
            places = wanted.cpu().numpy()
            for i, row in enumerate(part):
                count = len(row.ids)
                hits, loss = np.zeros(count, np.bool_), np.full(count, np.nan, np.float32)
                at = np.flatnonzero(row.supervised[1:])
                hits[at + 1], loss[at + 1] = hit[i, at], nats[i, at]
                more = {}
                if look is not None:
                    mine = torch.from_numpy(np.searchsorted(places, at)).to(logits.device)
                    room = max(1, LOOKED_AT_A_TIME // model.vocabulary)
                    seen = [
                        look(logits[i, some], labels[i, wanted[some]])
                        for some in (mine[begin : begin + room] for begin in range(0, max(1, len(mine)), room))
                    ]
                    for name in seen[0]:
                        more[name] = np.full(count, np.nan, np.float32)
                        more[name][at + 1] = torch.cat([part[name] for part in seen]).float().cpu().numpy()
                yield place[id(row)], Measured(hits, loss, more)
            del logits  # before the next ones are made
    model.model.train()


def _logits(model: LanguageModel, ids: Any, mask: Any, labels: Any, bf16: bool) -> tuple[Any, Any]:
    """Places where some row is supervised, and (rows, those places, vocabulary) logits there."""
    import torch

    wanted = (labels != IGNORED).any(0).nonzero()[:, 0]
    with torch.autocast(model.device, torch.bfloat16, enabled=bf16):
        if takes_places(model):
            logits = model.model(input_ids=ids, attention_mask=mask, logits_to_keep=wanted, use_cache=False).logits
        else:
            logits = model.model(input_ids=ids, attention_mask=mask, use_cache=False).logits[:, wanted]
    return wanted, logits.float()


def _losses(model: LanguageModel, ids: Any, mask: Any, labels: Any, bf16: bool) -> tuple[Any, Any]:
    """(rows, places) loss in nats (0 where ignored) and argmax."""
    return _costs(*_logits(model, ids, mask, labels, bf16), labels)


def _costs(wanted: Any, logits: Any, labels: Any) -> tuple[Any, Any]:
    """The same from the logits of the wanted places."""
    import torch

    cost = torch.zeros(labels.shape, device=labels.device)
    some = torch.nn.functional.cross_entropy(
        logits.transpose(1, 2), labels[:, wanted], ignore_index=IGNORED, reduction="none"
    )
    best = torch.full_like(labels, -1)
    best[:, wanted] = logits.argmax(2)
    return cost.index_copy(1, wanted, some), best


def takes_places(model: LanguageModel) -> bool:
    """Whether the architecture can be told at which places logits are wanted; most can."""
    inner = model.model.get_base_model() if hasattr(model.model, "get_base_model") else model.model
    return "logits_to_keep" in inspect.signature(inner.forward).parameters


def collate(rows: Sequence[Example], model: LanguageModel) -> tuple[Any, Any, Any]:
    """(B, T) ids padded on the right, attention mask, and at each place the next token if it is supervised."""
    import torch

    longest = max(len(row.ids) for row in rows)
    pad = model.tokenizer.pad_token_id
    ids = torch.full((len(rows), longest), 0 if pad is None else pad)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
    for i, row in enumerate(rows):
        count = len(row.ids)
        ids[i, :count] = torch.from_numpy(row.ids)
        mask[i, :count] = 1
        labels[i, : count - 1] = torch.from_numpy(np.where(row.supervised[1:], row.ids[1:], IGNORED))
    return ids.to(model.device), mask.to(model.device), labels.to(model.device)


def micro_batches(rows: Sequence[Example], vocabulary: int, most: int = 1 << 10) -> Iterator[list[Example]]:
    """Rows in order, cut where the logits would become too many."""
    part: list[Example] = []
    longest = 0
    for row in rows:
        grown = max(longest, len(row.ids))
        if part and (len(part) == most or (len(part) + 1) * grown * vocabulary > LOGITS_AT_A_TIME):
            yield part
            part, grown = [], len(row.ids)
        part.append(row)
        longest = grown
    if part:
        yield part


@dataclass(frozen=True)
class Speed:
    """What a few steps of work showed."""

    bf16: bool  # mixed precision pays on this machine
    tokens_per_second: float  # trained on, padding not counted


def probe(model: LanguageModel, rows: Sequence[Example]) -> Speed:
    """Forward and backward passes over a few rows, in fp32 and in bf16; the weights stay as they are.

    Some processors emulate bf16, two to three times slower.
    """
    some = [row for row in rows if row.supervised_tokens][:PROBED_ROWS]
    if not some:
        return Speed(False, math.nan)
    seconds = {}
    for bf16 in (False, True):
        best = math.inf
        for _ in range(3):  # the first is a warm-up
            began = time.perf_counter()
            for part in micro_batches(some, model.vocabulary):
                ids, mask, labels = collate(part, model)
                _losses(model, ids, mask, labels, bf16)[0].sum().backward()
            _finish(model)
            best = min(best, time.perf_counter() - began)
        seconds[bf16] = best
    model.model.zero_grad(set_to_none=True)
    bf16 = seconds[True] < seconds[False]
    if model.device == "cuda":
        import torch

        bf16 = bool(torch.cuda.is_bf16_supported())
    return Speed(bf16, sum(len(row.ids) for row in some) / seconds[bf16])


def _finish(model: LanguageModel) -> None:
    if model.device == "cuda":  # which works on while Python has gone ahead
        import torch

        torch.cuda.synchronize()
