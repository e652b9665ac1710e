"""One pass over the text for what stands in single turns: their hashes, and the script of each row's sides."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from scanner import running
from scanner.fingerprints import parts, with_places
from scanner.kernels import turns as kernels
from scanner.kernels.tokens import tokenise
from scanner.objects import ROLE_CODE, Int64, SegmentBatch, Turns, UInt8
from scanner.text import SCRIPTS, code_point_classes, code_point_scripts, folded_code_points

BYTES_AT_ONCE = 4 << 20
"""Bytes of text whose tokens are held at a time, 16 bytes each."""
SPOKEN = (ROLE_CODE["user"], ROLE_CODE["assistant"])


@dataclass(frozen=True)
class Sides:
    """The turns of all rows, and the script of each row's prompt and answer side."""

    turns: Turns
    prompt_script: UInt8  # (n,) index into text.SCRIPTS, 0 where there is no letter
    answer_script: UInt8  # (n,)


def measure(
    batches: Iterable[SegmentBatch], rows: int, threads: int, advance: Callable[[int], None] = lambda rows: None
) -> Sides:
    """Turns and scripts of every row; `batches` must hold `rows` rows in order."""
    scripts = np.zeros(2 * rows, np.uint8)
    classes, fold, script_of = code_point_classes(), folded_code_points(), code_point_scripts()

    def work(part: tuple[SegmentBatch, Int64, int]) -> tuple[Turns, int]:
        batch, starts, first = part
        n = len(starts) - 1
        hashes, counts = np.empty(len(batch), np.uint64), np.empty(len(batch), np.int64)
        edges = np.searchsorted(batch.offsets, np.arange(batch.offsets[0], batch.offsets[-1], BYTES_AT_ONCE))
        for a, b in itertools.pairwise(np.unique([0, *edges, len(batch)]).tolist()):
            room = int(batch.offsets[b] - batch.offsets[a])
            tokens, places = np.empty(room, np.uint64), np.empty(room, np.int64)
            tokens_found = tokenise(batch.data, batch.offsets[a : b + 1], classes, fold, 1, tokens, places, counts[a:b])
            kernels.hash_runs(tokens[:tokens_found], counts[a:b], hashes[a:b])
        mine = scripts[2 * first : 2 * (first + n)]
        kernels.scripts(batch.data, batch.offsets, starts, parts(batch), script_of, len(SCRIPTS), mine)
        row = np.repeat(np.arange(first, first + n), np.diff(starts))
        return _turns(row, batch.turn, batch.role, hashes, counts), n

    found = []
    for some, n in running.in_order(work, with_places(batches), threads):
        found.append(some)
        advance(n)
    turns = Turns(
        row=np.concatenate([np.zeros(0, np.int64), *(t.row for t in found)]),
        is_answer=np.concatenate([np.zeros(0, np.bool_), *(t.is_answer for t in found)]),
        hash=np.concatenate([np.zeros(0, np.uint64), *(t.hash for t in found)]),
        tokens=np.concatenate([np.zeros(0, np.int64), *(t.tokens for t in found)]),
    )
    return Sides(turns, scripts[::2].copy(), scripts[1::2].copy())


def _turns(row: np.ndarray, turn: np.ndarray, role: np.ndarray, hashes: np.ndarray, counts: np.ndarray) -> Turns:
    """Segments with tokens, put together to turns: sums of hashes that are spread by their place in the turn."""
    spoken = np.flatnonzero(np.isin(role, SPOKEN) & (counts > 0))
    row, turn, hashes, counts = row[spoken], turn[spoken].astype(np.int64), hashes[spoken], counts[spoken]
    answer = role[spoken] == ROLE_CODE["assistant"]
    if not len(spoken):
        return Turns(row, answer, hashes, counts)
    new = (np.diff(row) != 0) | (np.diff(turn) != 0) | (np.diff(answer.astype(np.int8)) != 0)
    start = np.concatenate(([0], np.flatnonzero(new) + 1))
    lengths = np.diff(np.append(start, len(row)))
    place = (np.arange(len(row)) - np.repeat(start, lengths)).astype(np.uint64)
    odd = place * np.uint64(0x9E3779B97F4A7C16) + np.uint64(0x9FB21C651E98DF25)  # odd, and another for every place
    return Turns(row[start], answer[start], np.add.reduceat(hashes * odd, start), np.add.reduceat(counts, start))
