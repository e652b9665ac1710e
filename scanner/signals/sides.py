"""Rows that share one side only: conflicts (same prompt) and boilerplate (same answer), each group as a star; and rows
of which one answer stands inside the other (_inside.py).

Hashes have grouped the rows; here the pairs that stand for a group are measured on their shingles: one row of the most
frequent way with one row of each other way. They are evidence, and never a reason to drop a row.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from scanner.fingerprints import PART_OF_ROLE
from scanner.kernels import minhash as shingling
from scanner.kernels import similarity
from scanner.objects import ROLE_CODE, Bool, Int64, Rows, Shared
from scanner.pairing import packed
from scanner.signals._inside import Inside
from scanner.signals._measures import answer_containments
from scanner.storedtext import SegmentReader
from scanner.text import code_point_classes, folded_code_points

WAYS_PER_GROUP = 16
"""Ways of a group that are paired with its most frequent one, besides it."""
PAIRS_PER_RELATION = 50_000
"""Pairs of each relation, the groups of most rows first; the notes count what is left out."""
ROWS_PER_BLOCK = 20_000


@dataclass(frozen=True)
class SidePairs:
    """Pairs as in pairs.parquet, and what was left out of them."""

    frame: pl.DataFrame
    notes: dict[str, Any]


def pairs(
    rows: Rows,
    prompts: Shared,
    answers: Shared,
    long: Bool,
    within: Inside,
    reader: SegmentReader,
    width: int,
    known: tuple[Int64, Int64],
) -> SidePairs:
    """Stars of the groups with several ways, measured; signal exact, relation same_prompt, same_response or contained.

    long (n,): rows whose answer is too long to be a label; others are no boilerplate · known: row ids of the pairs that
    are verified already and not repeated.
    """
    notes: dict[str, Any] = {}
    a, b, names = [], [], []
    for name, groups, wanted in (
        ("same_prompt", prompts, np.ones(len(rows), np.bool_)),
        ("same_response", answers, long),
    ):
        centre, other, left_out = _stars(rows, groups, wanted)
        notes[f"{name}_pairs_left_out"] = left_out
        a.append(np.minimum(centre, other))
        b.append(np.maximum(centre, other))
        names += [name] * len(centre)
    inner, outer = within.inner[:PAIRS_PER_RELATION], within.outer[:PAIRS_PER_RELATION]
    notes["contained_pairs_left_out"] = within.left_out + len(within.inner) - len(inner)
    notes["contained_answers_in_part"] = within.common
    a.append(np.minimum(inner, outer))
    b.append(np.maximum(inner, outer))
    names += ["contained"] * len(inner)
    left, right, relation = np.concatenate(a), np.concatenate(b), np.array(names, dtype=object)
    new = _without(left, right, *(np.searchsorted(rows.row_id, ids) for ids in known))
    left, right, relation = left[new], right[new], relation[new]
    values = _measure(rows, left, right, reader, width)
    order = np.lexsort((right, left))
    left, right, relation, values = left[order], right[order], relation[order], values[order]
    frame = pl.DataFrame(
        {
            "row_a": pl.Series(rows.row_id[left], dtype=pl.Int64),
            "row_b": pl.Series(rows.row_id[right], dtype=pl.Int64),
            "signal": pl.repeat("exact", len(left), dtype=pl.String, eager=True),
            "relation": pl.Series(relation.tolist(), dtype=pl.String),
            "similarity": values[:, 0],
            "containment_ab": values[:, 1],
            "containment_ba": values[:, 2],
            "prompt_similarity": values[:, 3],
            "answer_similarity": values[:, 4],
            "answer_containment_ab": values[:, 5],
            "answer_containment_ba": values[:, 6],
        }
    )
    return SidePairs(frame, notes)


def _stars(rows: Rows, groups: Shared, wanted: Bool) -> tuple[Int64, Int64, int]:
    """Centre and other end of every pair, and how many pairs were left out."""
    torn = wanted & (groups.ways > 1)
    heads = np.flatnonzero(torn & (groups.first == np.arange(len(rows))))
    centre_of = np.full(int(groups.group.max(initial=-1)) + 1, -1, np.int64)
    main = heads[groups.way[heads] == 0]
    centre_of[groups.group[main]] = main
    others = heads[groups.way[heads] > 0]
    shown = others[groups.way[others] <= WAYS_PER_GROUP]
    shown = shown[np.lexsort((groups.way[shown], groups.group[shown], -groups.rows[shown]))][:PAIRS_PER_RELATION]
    return centre_of[groups.group[shown]], shown, len(others) - len(shown)


def _without(left: Int64, right: Int64, known_left: Int64, known_right: Int64) -> Bool:
    """Which pairs are not known, nor a repetition of an earlier one (the same rows may share both sides' groups)."""
    pairs, known = packed(left, right), packed(known_left, known_right)
    first = np.zeros(len(pairs), np.bool_)
    first[np.unique(pairs, return_index=True)[1]] = True
    return first & ~np.isin(pairs, known)


def _measure(rows: Rows, left: Int64, right: Int64, reader: SegmentReader, width: int) -> np.ndarray:
    """(p, 7): the five columns of similarity.verify, and the containments of the answers."""
    members = np.unique(np.concatenate((left, right)))
    found = list(_sets(rows.row_id[members], reader, width))
    sets = np.concatenate([np.zeros(0, np.uint64), *(s for s, _, _ in found)])
    bounds = np.concatenate([np.zeros(1, np.int64), *(lengths for _, lengths, _ in found)]).cumsum()
    sizes = np.concatenate([np.zeros(0, np.int64), *(s for _, _, s in found)])
    a, b = (np.searchsorted(members, side).astype(np.int64) for side in (left, right))
    values = np.empty((len(left), 5), np.float32)
    similarity.verify(packed(a, b), sets, bounds, sizes, values)
    return np.column_stack((values, answer_containments(sizes[1::2], a, b, values[:, 4])))


def _sets(row_ids: Int64, reader: SegmentReader, width: int) -> Iterator[tuple[np.ndarray, Int64, Int64]]:
    """Shingle sets of some rows (ascending), their lengths and the sizes of their parts, a block of rows at a time."""
    part_of_role = {role: int(PART_OF_ROLE[code]) for role, code in ROLE_CODE.items()}
    for at in range(0, len(row_ids), ROWS_PER_BLOCK):
        wanted = row_ids[at : at + ROWS_PER_BLOCK]
        frame = reader.rows(wanted.tolist(), ["row_id", "role", "text"])
        part = frame["role"].cast(pl.String).replace_strict(part_of_role, return_dtype=pl.UInt8).to_numpy()
        raw = [text.encode() for text in frame["text"]]
        data = np.frombuffer(b"".join(raw), np.uint8)
        offsets = np.concatenate(([0], np.cumsum([len(r) for r in raw]))).astype(np.int64)
        starts = np.append(np.searchsorted(frame["row_id"].to_numpy(), wanted), len(frame)).astype(np.int64)
        sets, bounds = np.empty(max(1, len(data)), np.uint64), np.empty(len(wanted) + 1, np.int64)
        sizes = np.empty(2 * len(wanted), np.int64)
        written = shingling.shingle_sets(
            data, offsets[:-1].copy(), offsets[1:].copy(), starts, part, code_point_classes(), folded_code_points(),
            width, sets, bounds, sizes,
        )  # fmt: skip
        yield sets[:written].copy(), np.diff(bounds), sizes
