"""What training needs of the memory, and what there is; and an allocator that keeps what it was given.

    weights, gradients, optimizer + what the backward pass keeps of the longest row + its logits -> bytes

The part that depends on the row is measured on two short ones and drawn on to the longest, so no list of
architectures is needed.
"""

from __future__ import annotations

import ctypes
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from scanner.chat import Example
from scanner.errors import ModelError
from scanner.models import LanguageModel
from scanner.training import LOGITS_AT_A_TIME

PROBED_TOKENS = (32, 64)
"""Lengths of the two rows whose backward pass is measured."""
LOGITS_HELD = 3
"""Copies of the logits, in fp32, that loss and backward pass hold beside what is saved (seen at the peak: 2 to 3)."""
OTHER_BYTES = 300 << 20
"""The interpreter with torch, libraries and work space."""
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -3, -4, -8
LARGEST_KEPT = 32 << 20
"""Bytes up to which glibc can be told to take a block from what was freed before."""
DEFAULT_TRIM, DEFAULT_MMAPS = 128 << 10, 1 << 16
"""mallopt(3): numbers and defaults of the parameters."""


@dataclass(frozen=True)
class Need:
    """Bytes that training takes at its peak, estimated."""

    fixed: int  # weights, gradients and the optimizer's two moments, and the process itself
    of_row: int  # what the largest micro-batch adds

    @property
    def total(self) -> int:
        return self.fixed + self.of_row


def need(model: LanguageModel, longest: int, places: int, bf16: bool) -> Need:
    """Estimate for micro-batches of `places` tokens in all, of rows up to `longest` tokens."""
    learned = sum(p.numel() * p.element_size() for p in model.model.parameters() if p.requires_grad)
    # subtle: the weights themselves are in memory already, and so not in what is free
    fixed = 3 * learned + OTHER_BYTES
    short, long = (_saved(model, tokens, bf16) for tokens in PROBED_TOKENS)
    small, large = PROBED_TOKENS
    square = max(0.0, (long / large - short / small) / (large - small))  # attention that keeps its scores
    line = max(0.0, short / small - square * small)
    rows = max(1, round(places / longest))
    logits = LOGITS_HELD * 4 * model.vocabulary * longest
    return Need(fixed, int(rows * (line * longest + square * longest**2 + logits)))


def _saved(model: LanguageModel, tokens: int, bf16: bool) -> int:
    """Bytes that one row's forward pass keeps for the backward pass, weights not counted."""
    import torch

    weights = {p.untyped_storage().data_ptr() for p in model.model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    ids = torch.full((1, tokens), 1, device=model.device)
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast(model.device, torch.bfloat16, enabled=bf16),
    ):
        logits = model.model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits.float()
        loss = torch.nn.functional.cross_entropy(logits[0], ids[0])
    del loss
    return sum(kept.values())


def free_bytes(device: str) -> int | None:
    """Memory that can still be had on the device; None where the system does not say."""
    if device == "cuda":
        import torch

        return int(torch.cuda.mem_get_info()[0])
    found = [_available(Path("/proc/meminfo")), *_of_group(Path("/sys/fs/cgroup"))]
    return min((value for value in found if value is not None), default=None)


def _available(meminfo: Path) -> int | None:
    try:
        lines = meminfo.read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")), None)


def _of_group(folder: Path) -> list[int]:
    """What a container may still take (cgroup v2)."""
    try:
        most, used = ((folder / name).read_text().strip() for name in ("memory.max", "memory.current"))
        cache = next(
            (int(line.split()[1]) for line in (folder / "memory.stat").read_text().splitlines()
             if line.startswith("inactive_file ")), 0,
        )  # fmt: skip
    except OSError:
        return []
    return [] if most == "max" else [max(0, int(most) - int(used) + cache)]


def check_measuring(
    name: str, parameters: int, option: str = "--base", cure: str = "take a smaller base, or leave --base out"
) -> None:
    """ModelError where a model of so many parameters would not fit even for forward passes alone, in fp32."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    wanted, free = measuring_bytes(parameters), free_bytes(device)
    if free is not None and wanted > free:
        raise ModelError(
            f"{option} {name}: to measure with its {parameters / 1e6:,.0f} M parameters needs about "
            f"{_gigabytes(wanted)} on {device}, where {_gigabytes(free)} are free; {cure}"
        )


def measuring_bytes(parameters: int) -> int:
    """Bytes that forward passes alone take, estimated: weights and logits in fp32, and the libraries."""
    return 4 * (parameters + LOGITS_HELD * LOGITS_AT_A_TIME) + OTHER_BYTES


def made_to_fit(model: LanguageModel, rows: list[Example], places: int, bf16: bool, free: int | None) -> bool:
    """Turn on gradient checkpointing where training would not fit without it; returns whether that was done.

    places: tokens in a micro-batch, at most · free: bytes; None: not known, so nothing is checked. Raises ModelError
    where it would not fit even so.
    """
    longest = max((len(row.ids) for row in rows), default=0)
    if free is None or not longest:
        return False
    places = max(longest, places)
    plain = need(model, longest, places, bf16)
    if plain.total <= free:
        return False
    best = plain
    if getattr(model.model, "supports_gradient_checkpointing", False):
        with warnings.catch_warnings():  # the name changes with transformers 6
            warnings.simplefilter("ignore", FutureWarning)
            model.model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
        layers = max(1, getattr(model.model.config.get_text_config(), "num_hidden_layers", 1))
        saved = need(model, longest, places, bf16)
        # one layer at a time is computed again, and then keeps what it kept before
        best = replace(saved, of_row=saved.of_row + (plain.of_row - saved.of_row) // layers)
        if best.total <= free:
            return True
    raise ModelError(
        f"training {model.name} ({model.parameters / 1e6:,.0f} M parameters) on rows of up to {longest:,} tokens needs "
        f"about {_gigabytes(best.total)} more memory on {model.device}, where {_gigabytes(free)} are free: "
        f"{_gigabytes(best.fixed)} for gradients and the optimizer, {_gigabytes(best.of_row)} for the longest row; "
        "take a smaller base, --method lora, or an audit with a smaller --max-length"
    )


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:,.1f} GB"


def reuse() -> None:
    """Let all threads take freed memory again, from here on, but for the largest blocks (glibc; elsewhere nothing).

    Memory that comes from the system is cleared page by page, and where the system is a guest, its host may have to
    find it first. Measured on 50,000 rows, from reading to clusters: 5,200 page faults instead of 6,800, and a tenth of
    the time.
    """
    mallopt, _ = _mallopt()
    if mallopt is not None:
        mallopt(M_ARENA_MAX, 1)
        mallopt(M_MMAP_THRESHOLD, LARGEST_KEPT)
        mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)


@contextmanager
def kept() -> Iterator[None]:
    """Let the allocator keep what training frees, and take large blocks from it too (glibc; elsewhere nothing).

    Each step frees and takes the same large blocks. By default glibc gives them back to the system, which hands out
    zeroed pages again. Measured on the tiny base, three steps: 53,000 page faults and a tenth to a fifth of the
    processor time without this, none with it.
    """
    mallopt, trim = _mallopt()
    if mallopt is None:
        yield
        return
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, (1 << 31) - 1)
    try:
        yield
    finally:
        mallopt(M_MMAP_MAX, DEFAULT_MMAPS)
        mallopt(M_TRIM_THRESHOLD, DEFAULT_TRIM)
        trim(0)


def _mallopt() -> tuple[Any, Any]:
    if not sys.platform.startswith("linux"):
        return None, None
    library = ctypes.CDLL(None)
    try:
        return library.mallopt, library.malloc_trim
    except AttributeError:  # another C library
        return None, None
