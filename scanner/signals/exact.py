"""Equal rows: the same record, or the same training text.

Two rows are the **same record** when their canonical records are equal (JSON with sorted keys, without id fields; case
and white space kept), and the **same text** when every segment that is not empty has the same role and the same bytes,
whatever other fields the records carry (an empty `input` is as good as none). Hashes propose; the stored text itself is
compared before a pair is reported.
"""

from __future__ import annotations

import numpy as np

from scanner.kernels.minhash import same_texts, text_hashes
from scanner.objects import Groups, Pairs, Rows
from scanner.rowsegments import RowSegments
from scanner.running import parts_for, run, shares
from scanner.signals._groups import blocks_of, group_by
from scanner.storedtext import TextReader

_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # makes hashes of small numbers: see group_by
TOKENS_OF_A_ROW = 64
"""Roughly; only the number of threads depends on it."""
ALL_PAIRS_UP_TO = 32
"""Members up to which a group is reported as all its pairs; a larger one as a star around its first member."""


def same_record(rows: Rows) -> Groups:
    """Rows whose canonical records are equal."""
    return group_by(rows.digest)


def same_text(normal: Groups, reader: TextReader, threads: int) -> Groups:
    """Rows whose segments are equal in role and text, compared byte for byte.

    normal: rows that are equal up to case and spacing; rows of equal text are.
    """
    group, size = np.arange(len(normal.group)), np.ones(len(normal.group), np.int64)
    members = np.flatnonzero(normal.size > 1)
    if len(members):
        some = reader.segments_of(members).without_empty()
        hashes = np.empty((len(members), 2), np.uint64)

        def hash_rows(piece: tuple[slice, RowSegments]) -> None:
            at, own = piece
            text_hashes(own.data, own.begin, own.end, own.row_start, own.role, own.supervised, hashes[at])

        run(hash_rows, some.split(parts_for(len(members) * TOKENS_OF_A_ROW, threads)), threads)
        found = _compared(some, group_by(hashes), threads)
        group[members], size[members] = members[found.group], found.size
    return Groups(group, size)


def _compared(some: RowSegments, proposed: Groups, threads: int) -> Groups:
    """The proposed groups, but rows whose text differs from that of their group's first are grouped by themselves."""
    n = len(proposed.group)
    same = np.empty(n, np.uint8)

    def compare(part: slice) -> None:
        same_texts(
            some.data, some.begin, some.end, some.row_start, some.role, some.supervised, proposed.group,
            part.start, part.stop, same,
        )  # fmt: skip

    run(compare, shares(n, parts_for(n * TOKENS_OF_A_ROW, threads)), threads)
    other = np.flatnonzero(same == 0)
    if not len(other):
        return proposed
    group = proposed.group.copy()
    rest = _compared(some.take(other), group_by(proposed.group[other, None].astype(np.uint64) * _SPREAD), threads)
    group[other] = other[rest.group]
    return Groups(group, np.bincount(group, minlength=n)[group])


def pairs(rows: Rows, records: Groups, texts: Groups) -> Pairs:
    """All pairs of equal rows, up to ALL_PAIRS_UP_TO per group, stars above."""
    left: list[np.ndarray] = [np.zeros(0, np.int64)]
    right: list[np.ndarray] = [np.zeros(0, np.int64)]
    stars = 0
    for block in blocks_of(texts):
        size = block.shape[1]
        if size <= ALL_PAIRS_UP_TO:
            i, j = np.triu_indices(size, 1)
        else:
            stars += len(block)
            i, j = np.zeros(size - 1, np.int64), np.arange(1, size)
        left.append(block[:, i].ravel())
        right.append(block[:, j].ravel())
    a, b = np.concatenate(left), np.concatenate(right)
    order = np.lexsort((b, a))
    one = np.ones(len(a), np.float32)
    return Pairs(
        signal="exact",
        row_a=rows.row_id[a[order]],
        row_b=rows.row_id[b[order]],
        relation=np.full(len(a), "same_both"),
        similarity=one,
        containment_ab=one,
        containment_ba=one,
        notes={
            "rows_equal_to_an_earlier_record": _surplus(records),
            "rows_with_the_text_of_an_earlier_row": _surplus(texts),
            "groups_reported_as_stars": stars,
        },
    )


def _surplus(groups: Groups) -> int:
    """Rows that are not the first of their group."""
    return int((groups.group != np.arange(len(groups.group))).sum())
