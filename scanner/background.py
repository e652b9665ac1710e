"""How likely each token is in general text: a stand-in for what a base model knows before it is tuned.

A table of n-gram statistics (scanner/background_table, built by benchmarks/background/build.py from text under
permissive licences) says how likely a token is after the two tokens before it. It knows English, Chinese, Python
code and the Turkish of simple dialogues, in the kernels' own tokens (see scanner.text) only: it says nothing about the
tokens of a model's tokenizer. A row in another language shows by its share of unknown tokens, except where characters
are tokens of their own that stand in the Chinese text too (kana): there the table just finds everything unlikely.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from scanner import running
from scanner.objects import Float32, Int64, UInt8, UInt64

TABLE = Path(__file__).with_name("background_table")
"""Holds table.npz, table.json (sizes, sources, checksum) and NOTICE.txt (licences of the sources)."""

_ROWS_AT_ONCE = 1 << 16  # tokens of a block of rows, so that threads share the work evenly


@dataclass(frozen=True)
class BackgroundTable:
    """The arrays of table.npz; see scanner.kernels.background for what a slot is."""

    words: npt.NDArray[np.uint16]  # (8 b,) fingerprints
    word_level: UInt8  # (8 b,)
    word_back: UInt8  # (8 b,)
    pairs: npt.NDArray[np.uint16]  # (8 c,) fingerprint << bits | level
    pair_back: UInt8  # (8 c,)
    triples: npt.NDArray[np.uint16]  # (8 d,) fingerprint << bits | level
    word_levels: Float32  # (256,) nats
    pair_levels: Float32  # (2 ** bits,) nats
    triple_levels: Float32  # (2 ** bits,) nats
    back_levels: Float32  # (256,) nats; 0: the n-gram begins no longer one
    unknown: Float32  # (3,) log-probability, back-off weight, log of the number of unknown kinds; nats

    @property
    def bits(self) -> int:
        """Bits of a slot that are the level."""
        return len(self.pair_levels).bit_length() - 1

    @property
    def nbytes(self) -> int:
        """Size in memory, bytes."""
        return sum(int(getattr(self, name).nbytes) for name in self.__dataclass_fields__)


@dataclass(frozen=True)
class Background:
    """What the table says about a data set."""

    log_probability: Float32  # (T,) nats, at most 0
    unknown_share: Float32  # (n,) share of a row's tokens that are not in the table; NaN for a row without tokens


@lru_cache(maxsize=4)
def load(folder: Path = TABLE) -> BackgroundTable:
    """The table of a folder, read once."""
    with np.load(folder / "table.npz", allow_pickle=False) as arrays:
        return BackgroundTable(**{name: arrays[name] for name in BackgroundTable.__dataclass_fields__})


def described(folder: Path = TABLE) -> dict[str, Any]:
    """table.json: sizes, sources, checksum."""
    found: dict[str, Any] = json.loads((folder / "table.json").read_text("utf-8"))
    return found


def background(tokens: UInt64, offsets: Int64, threads: int, table: BackgroundTable | None = None) -> Background:
    """Look up every token of every row.

    tokens (T,) exact hashes of the kernels' own tokens, row after row (`tokens_of_rows` with tokenizer=None);
    offsets (n + 1,) rows. A row's first token has no context, and nothing before its row.
    """
    from scanner.kernels.background import look_up

    held = load() if table is None else table
    tokens = np.ascontiguousarray(tokens, dtype=np.uint64)
    offsets = np.ascontiguousarray(offsets, dtype=np.int64)
    out, strange = np.empty(len(tokens), np.float32), np.zeros(len(offsets) - 1, np.int32)

    def work(block: tuple[int, int]) -> None:
        look_up(
            tokens, offsets, held.words.view(np.uint64), held.word_level, held.word_back, held.word_levels,
            held.pairs.view(np.uint64), held.pair_back, held.pair_levels, held.triples.view(np.uint64),
            held.triple_levels, held.back_levels, held.unknown, held.bits, *block, out, strange,
        )  # fmt: skip

    edges = np.unique(np.append(np.searchsorted(offsets, np.arange(0, len(tokens), _ROWS_AT_ONCE)), len(strange)))
    running.run(work, pairwise([0, *edges.tolist()]), threads)
    lengths = np.diff(offsets)
    share = np.full(len(strange), np.nan, np.float32)
    np.divide(strange, lengths, out=share, where=lengths > 0, casting="unsafe")
    return Background(out, share)


def log_probability(tokens: UInt64, offsets: Int64, threads: int, table: BackgroundTable | None = None) -> Float32:
    """(T,) nats: log-probability of each token after up to two tokens before it, in general text."""
    return background(tokens, offsets, threads, table).log_probability
