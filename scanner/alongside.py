"""Planted rows as the predictor sees them: their tokens, answers, copies and conflicts beside those of the members.

    members' arrays + planted rows -> arrays of exactly what a rehearsal trained on, members first
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from scanner import planting
from scanner.objects import ROLE_CODE, Float64, Int64, Segment, SegmentBatch, UInt64
from scanner.planting import Planting
from scanner.prediction import Answers, Conflicts, NearCopies
from scanner.settings import Settings
from scanner.tokenising import TokenisedRows, tokens_of_rows


@dataclass(frozen=True)
class Counted:
    """Rows as `prediction.predict` takes them; (n,) over rows."""

    tokens: UInt64  # (t,)
    offsets: Int64  # (n + 1,)
    answers: Answers
    group: Int64  # equal for exact copies
    order: UInt64  # place in content order; equal for exact copies
    near: NearCopies


def with_planted(
    members: Counted, rows: Sequence[Sequence[Segment]], place: Int64, planted: Planting, settings: Settings
) -> Counted:
    """The members with the planted rows after them.

    rows: the segments of the members as planting saw them · place (len(rows),): where each stands among `members`.
    """
    if not planted.rows:
        return members
    text = _tokens([row.segments for row in planted.rows], settings)
    count, ends = len(members.offsets) - 1, members.offsets[-1]
    owner = place[[row.member for row in planted.rows]]
    copy = np.array([row.is_copy for row in planted.rows])
    fresh = np.arange(len(owner))
    group = np.where(copy, members.group[owner], members.group.max(initial=0) + 1 + fresh)
    order = np.where(copy, members.order[owner], members.order.max(initial=0) + 1 + fresh.astype(np.uint64))
    a, b, jaccard = _near_pairs(rows, place, planted, count, settings)
    return Counted(
        tokens=np.concatenate((members.tokens, text.tokens)),
        offsets=np.concatenate((members.offsets, text.offsets[1:] + ends)),
        answers=Answers(
            np.concatenate((members.answers.row, text.answer_row + count)),
            np.concatenate((members.answers.start, text.answer_start + ends)),
            np.concatenate((members.answers.end, text.answer_end + ends)),
        ),
        group=np.concatenate((members.group, group)),
        order=np.concatenate((members.order, order)).astype(np.uint64),
        near=NearCopies(
            np.concatenate((members.near.a, a)),
            np.concatenate((members.near.b, b)),
            np.concatenate((members.near.jaccard, jaccard)),
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
    rows: Sequence[Sequence[Segment]], place: Int64, planted: Planting, count: int, settings: Settings
) -> tuple[Int64, Int64, Float64]:
    """Pairs among each member and its near copies that the audit would have stored."""
    families: dict[int, list[tuple[int, Sequence[Segment]]]] = {}
    for number, row in enumerate(planted.rows):
        if row.kind == planting.REPLACED and not row.is_copy:
            family = families.setdefault(row.member, [(int(place[row.member]), rows[row.member])])
            family.append((count + number, row.segments))
    found = [
        (a, b, planting.similarity(one, other, settings.shingle))
        for family in families.values()
        for (a, one), (b, other) in combinations(family, 2)
    ]
    near = [pair for pair in found if pair[2] >= settings.floor]
    return (
        np.array([a for a, _, _ in near], np.int64),
        np.array([b for _, b, _ in near], np.int64),
        np.array([j for _, _, j in near], np.float64),
    )


def conflicts(rows: Counted) -> Conflicts:
    """Where the answers to one prompt first part, and each answer's share: the first supervised turn of every row.

    The prompt is all that stands before that turn; rows without any are asked nothing.
    """
    count = len(rows.offsets) - 1
    place, share = np.full(count, -1, np.int64), np.ones(count)
    first = np.flatnonzero(np.diff(rows.answers.row, prepend=-1))
    asked: dict[bytes, list[int]] = {}
    for turn in first.tolist():
        prompt = rows.tokens[rows.offsets[rows.answers.row[turn]] : rows.answers.start[turn]]
        if len(prompt):
            asked.setdefault(prompt.tobytes(), []).append(turn)
    for turns in asked.values():
        texts = [rows.tokens[rows.answers.start[turn] : rows.answers.end[turn]] for turn in turns]
        ways = [text.tobytes() for text in texts]
        if len(set(ways)) == 1:
            continue
        shortest = min(map(len, texts))
        block = np.stack([text[:shortest] for text in texts])
        differs = np.flatnonzero((block != block[0]).any(axis=0))
        for turn, way in zip(turns, ways, strict=True):
            place[rows.answers.row[turn]] = differs[0] if len(differs) else shortest
            share[rows.answers.row[turn]] = ways.count(way) / len(ways)
    return Conflicts(place, share)
