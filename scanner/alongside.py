"""Planted rows as the predictor sees them: their tokens, answers, copies and conflicts beside those of the members.

    planted rows + members' arrays -> arrays of exactly what a rehearsal trained on, planted rows first

A planted row has a negative row id, so that ids still ascend. Its text lies under private/ like all text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from scanner.objects import ROLE_CODE, Float64, Int64, Segment, SegmentBatch, UInt8, UInt64
from scanner.planting import REPLACED, Planted, similarity
from scanner.prediction import Answers, Conflicts, NearCopies, parting
from scanner.settings import Settings
from scanner.tokenising import TokenisedRows, tokens_of_rows
from scanner.writing import save_table

STORED = {"number": pl.Int64, "member": pl.Int64, "kind": pl.String, "level": pl.Int64, "turn": pl.Int64,
          "role": pl.String, "supervised": pl.Boolean, "text": pl.String}  # fmt: skip


@dataclass(frozen=True)
class Counted:
    """Rows as the predictor takes them; (n,) over rows, row_id ascending."""

    row_id: Int64
    tokens: UInt64  # (t,)
    widths: UInt8  # (t,) UTF-8 bytes
    offsets: Int64  # (n + 1,)
    answers: Answers
    copies: Int64  # equal for exact copies
    alike: Int64  # equal for rows that exact or near pairs connect
    order: UInt64  # place in content order; equal for exact copies
    near: NearCopies


def row_ids(planted: Sequence[Planted]) -> Int64:
    """Ids of planted rows: negative, ascending."""
    return np.arange(-len(planted), 0, dtype=np.int64)


def standing(row_id: Int64, source: npt.NDArray[Any], seed: int) -> Int64:
    """(n,) the rows in the order in which they stand in the input, and planted ones, which have no place there.

    Each of these comes before a row of its source, drawn by the seed. row_id, source (n,): in any order, which changes
    nothing; the source of a planted row is that of the row that it was made of.
    """
    by_id = np.argsort(row_id)
    planted = int((row_id < 0).sum())
    _, of = np.unique(source[by_id], return_inverse=True)
    drawn, before = np.random.default_rng([seed, 2]).random(planted), np.zeros(planted)
    for one in np.unique(of[:planted]):
        mine, there = np.flatnonzero(of[:planted] == one), np.flatnonzero(of[planted:] == one)
        before[mine] = there[(drawn[mine] * len(there)).astype(np.int64)] - 0.5
    places = np.concatenate((before, np.arange(len(row_id) - planted)))
    return by_id[np.argsort(places, kind="stable")]


def with_planted(
    members: Counted, segments: dict[int, list[Segment]], planted: Sequence[Planted], settings: Settings
) -> Counted:
    """The members behind the rows planted for them.

    segments: of every member that rows were planted for, by row id · planted: `member` is a row id.
    """
    if not planted:
        return members
    text = _tokens([row.segments for row in planted], settings)
    count = len(planted)
    owner = np.searchsorted(members.row_id, [row.member for row in planted])
    copy = np.array([row.is_copy for row in planted])
    fresh = np.arange(count)
    copies = np.where(copy, members.copies[owner], members.copies.max(initial=0) + 1 + fresh)
    order = np.where(copy, members.order[owner], members.order.max(initial=0) + 1 + fresh.astype(np.uint64))
    alike = members.alike[owner]  # what was planted for a row tells nothing beside it
    a, b, jaccard = _near_pairs(segments, members.row_id, planted, settings)
    tokens = len(text.tokens)
    return Counted(
        row_id=np.concatenate((row_ids(planted), members.row_id)),
        tokens=np.concatenate((text.tokens, members.tokens)),
        widths=np.concatenate((text.widths, members.widths)),
        offsets=np.concatenate((text.offsets, members.offsets[1:] + tokens)),
        answers=Answers(
            np.concatenate((text.answer_row, members.answers.row + count)),
            np.concatenate((text.answer_start, members.answers.start + tokens)),
            np.concatenate((text.answer_end, members.answers.end + tokens)),
        ),
        copies=np.concatenate((copies, members.copies)),
        alike=np.concatenate((alike, members.alike)),
        order=np.concatenate((order, members.order)).astype(np.uint64),
        near=NearCopies(
            np.concatenate((a, members.near.a + count)),
            np.concatenate((b, members.near.b + count)),
            np.concatenate((jaccard, members.near.jaccard)),
            settings.shingle,
        ),
    )


def _tokens(rows: Sequence[Sequence[Segment]], settings: Settings) -> TokenisedRows:
    segments = [(number, place, segment) for number, row in enumerate(rows) for place, segment in enumerate(row)]
    data = [segment.text.encode("utf-8", "replace") for _, _, segment in segments]
    batch = SegmentBatch(
        row_id=np.array([number for number, _, _ in segments], np.int64),
        segment=np.array([place for _, place, _ in segments], np.int32),
        turn=np.array([segment.turn for _, _, segment in segments], np.int32),
        role=np.array([ROLE_CODE[segment.role] for _, _, segment in segments], np.uint8),
        supervised=np.array([segment.supervised for _, _, segment in segments], np.bool_),
        offsets=np.concatenate(([0], np.cumsum([len(d) for d in data]))).astype(np.int64),
        data=np.frombuffer(b"".join(data), np.uint8),
    )
    return tokens_of_rows([batch], tokenizer=None, max_length=settings.max_length, threads=1)


def _near_pairs(
    segments: dict[int, list[Segment]], member_id: Int64, planted: Sequence[Planted], settings: Settings
) -> tuple[Int64, Int64, Float64]:
    """Pairs among each member and its near copies that the audit would have stored, as places among all rows."""
    families: dict[int, list[tuple[int, Sequence[Segment]]]] = {}
    for number, row in enumerate(planted):
        if row.kind == REPLACED and not row.is_copy:
            own = len(planted) + int(np.searchsorted(member_id, row.member))
            families.setdefault(row.member, [(own, segments[row.member])]).append((number, row.segments))
    found = [
        (a, b, similarity(one, other, settings.shingle))
        for family in families.values()
        for (a, one), (b, other) in combinations(family, 2)
    ]
    near = [pair for pair in found if pair[2] >= settings.floor]
    return (
        np.array([a for a, _, _ in near], np.int64),
        np.array([b for _, b, _ in near], np.int64),
        np.array([j for _, _, j in near], np.float64),
    )


def save(path: Path, planted: Sequence[Planted]) -> None:
    """Write planted rows, text and all, to a file that belongs under private/."""
    lines = [
        (number, row.member, row.kind, row.level, s.turn, s.role, s.supervised, s.text)
        for number, row in enumerate(planted)
        for s in row.segments
    ]
    save_table(path, pl.DataFrame(lines, schema=STORED, orient="row"))


def load(path: Path) -> list[Planted]:
    """What `save` wrote."""
    rows: dict[int, Planted] = {}
    for number, member, kind, level, turn, role, supervised, text in pl.read_parquet(path, glob=False).iter_rows():
        known = rows.get(number) or Planted(member, kind, level, ())
        rows[number] = replace(known, segments=(*known.segments, Segment((), role, turn, supervised, text)))
    return [rows[number] for number in sorted(rows)]


def conflicts(rows: Counted) -> Conflicts:
    """Where the answers to one prompt first part, and each answer's share: the first supervised turn of every row.

    The prompt is all that stands before that turn; rows without any are asked nothing.
    """
    count = len(rows.offsets) - 1
    group, share = np.full(count, -1, np.int64), np.ones(count)
    first = rows.answers.first()
    asked: dict[bytes, list[int]] = {}
    for turn in first.tolist():
        prompt = rows.tokens[rows.offsets[rows.answers.row[turn]] : rows.answers.start[turn]]
        if len(prompt):
            asked.setdefault(prompt.tobytes(), []).append(turn)
    for number, turns in enumerate(asked.values()):
        ways = [rows.tokens[rows.answers.start[turn] : rows.answers.end[turn]].tobytes() for turn in turns]
        if len(set(ways)) > 1:
            members = rows.answers.row[turns]
            group[members] = number
            share[members] = [ways.count(way) / len(ways) for way in ways]
    return parting.conflicts(rows.tokens, rows.answers, group, share)
