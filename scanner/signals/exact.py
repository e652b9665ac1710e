"""Equal rows: the same record, or the same training text.

Two rows are the **same record** when their canonical records are equal (JSON with sorted keys, without id fields; case
and white space kept), and the **same text** when every segment has the same role and the same bytes, whatever other
fields the records carry. Hashes propose; the stored text itself is compared before a pair is reported.
"""

from __future__ import annotations

import hashlib

import numpy as np

from scanner.objects import Fingerprints, Groups, Pairs, Rows
from scanner.signals._groups import blocks_of, group_by
from scanner.store import SegmentReader

ALL_PAIRS_UP_TO = 32
"""Members up to which a group is reported as all its pairs; a larger one as a star around its first member."""


def same_record(rows: Rows) -> Groups:
    """Rows whose canonical records are equal."""
    return group_by(rows.digest)


def same_text(rows: Rows, fingerprints: Fingerprints, reader: SegmentReader) -> Groups:
    """Rows whose segments are equal in role and text, checked on the text itself."""
    groups = group_by(fingerprints.text)
    members = np.flatnonzero(groups.size > 1)
    if not len(members):
        return groups
    checked = group_by(_secure_digests(members, reader))
    group, size = np.arange(len(rows)), np.ones(len(rows), np.int64)
    group[members], size[members] = members[checked.group], checked.size
    return Groups(group, size)


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


def _secure_digests(members: np.ndarray, reader: SegmentReader) -> np.ndarray:
    """(m, 2) BLAKE2b of the text of each member row (positions, ascending) and of its segments' lengths."""
    found: list[bytes] = []
    first = 0
    for batch in reader:
        starts = batch.row_starts()
        here = members[slice(*np.searchsorted(members, (first, first + len(starts) - 1)))] - first
        first += len(starts) - 1
        lengths, text = np.diff(batch.offsets).data, batch.data.data
        begin, end = starts[here], starts[here + 1]
        places = (begin, end, batch.offsets[begin], batch.offsets[end])
        for a, b, text_a, text_b in zip(*(p.tolist() for p in places), strict=True):
            state = hashlib.blake2b(text[text_a:text_b], digest_size=16)
            state.update(lengths[a:b])
            found.append(state.digest())
    return np.frombuffer(b"".join(found), np.uint64).reshape(-1, 2)
