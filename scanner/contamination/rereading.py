"""Candidates that a transformer reads again: the likeliest by the fast encoder, within a share of its work.

    proposals -> likeliest first while the share lasts -> encode their questions -> neighbours among these alone

Whatever the transformer has read it judges, by weights of its own; what it has not read stays as it was.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from scanner import embedding
from scanner.contamination import neighbours, paraphrases
from scanner.contamination.asking import Asked
from scanner.contamination.encoding import encode
from scanner.contamination.items import Items
from scanner.contamination.paraphrases import Compared
from scanner.contamination.shared import Rarity
from scanner.objects import Bool, Int64, SegmentBatch

LOOKED_AT = 100_000
"""Pairs of which words and numbers are compared: those that stand out most, given how many of a benchmark do."""


@dataclass(frozen=True)
class Transformer:
    """What reads again, and how much of its work on all questions, in its tokens, that may cost."""

    encoder: embedding.Confirmer
    share: float


def read_again(
    asked: Asked, row_id: Int64, items: Items, rarity: Rarity, near: neighbours.Near, known: Compared, by: Transformer,
    threads: int,
) -> Compared:  # fmt: skip
    """The candidates as the transformer sees them, and those of the known ones that it has not read."""
    of_row, of_item = _costs(asked, row_id[near.rows], len(items), by.encoder)
    total = int(of_row.sum() + of_item.sum())
    kind, item = _likeliest(asked, row_id, near, known, rarity)
    count, spent = _within(kind, item, of_row, of_item, by.share * total)
    kinds, chosen = np.unique(kind[:count]), np.unique(item[:count])
    # their first rows ascend by id, as the kinds do not
    order = np.argsort(near.rows[kinds])
    read = row_id[near.rows[kinds[order]]]
    rows, views, _ = encode(asked.only(read, chosen), read, items, by.encoder, threads)
    found = neighbours.find(rows, np.flatnonzero(rows.measured), views, threads)
    found = near.with_equals(found.at(kinds[order][found.place]))
    common = asked.in_common(row_id[found.place], found.item, rarity)
    notes: dict[str, Any] = {
        "confirmed_with": by.encoder.name, "pieces": total, "pieces_read": spent,
        "work_share": spent / total if total else 0.0, "rows_read": len(kinds), "questions_read": len(chosen),
        "pairs_proposed": int((near.item >= 0).sum()), "pairs_read": count,
    }  # fmt: skip
    again = Compared(
        found.place, found.item, found.cosine, found.margin, found.rank, *common, np.ones(len(found.item), np.bool_),
        known.group, notes,
    )  # fmt: skip
    return known.only(~_was_read(known, near, kinds, chosen)).and_also(again)


def _likeliest(
    asked: Asked, row_id: Int64, near: neighbours.Near, known: Compared, rarity: Rarity
) -> tuple[Int64, Int64]:
    """Kind of row and item of every pair that is looked at, the likeliest first."""
    share = paraphrases.shares(known.ratio(), known.item, known.rank, known.group)[:, 0]
    prior = np.log(share / (1 - share))
    pairs = neighbours.proposals(near)
    usual = prior[known.group[pairs.item]]
    first = np.lexsort((pairs.item, pairs.place, -paraphrases.FAST.margin * pairs.margin - usual))[:LOOKED_AT]
    kind, item = pairs.place[first], pairs.item[first]
    words, numbers = asked.in_common(row_id[near.rows[kind]], item, rarity)
    ratio = paraphrases.FAST.evidence(pairs.margin[first], words, numbers)
    order = np.lexsort((item, kind, -ratio - usual[first]))
    return kind[order], item[order]


def _within(kind: Int64, item: Int64, of_row: Int64, of_item: Int64, budget: float) -> tuple[int, int]:
    """How many of the pairs can be read, in their order, and what that costs; each row and item is read once."""
    cost = np.zeros(len(kind), np.int64)
    for ends, price in ((kind, of_row), (item, of_item)):
        _, first = np.unique(ends, return_index=True)
        cost[first] += price[ends[first]]
    spent = np.cumsum(cost)
    count = int(np.searchsorted(spent, budget, side="right"))
    return count, int(spent[count - 1]) if count else 0


def _costs(asked: Asked, row_id: Int64, items: int, encoder: embedding.Confirmer) -> tuple[Int64, Int64]:
    """Pieces of what each of some rows asks, and of every item's question and its last line."""
    encoder.learn(asked.rows, [embedding.taken_segments(batch) for batch in asked.rows])
    order = np.argsort(row_id)
    of_row = np.zeros(len(row_id), np.int64)
    of_row[order] = _pieces(asked.rows, row_id[order], encoder)
    of_item = _pieces(asked.items, np.arange(items), encoder) + _pieces(asked.last_lines, np.arange(items), encoder)
    return of_row, of_item


def _pieces(batches: Iterable[SegmentBatch], wanted: Int64, encoder: embedding.Confirmer) -> Int64:
    """(n,) pieces of the text of each id wanted (ascending); 0 for those that are not there."""
    out = np.zeros(len(wanted), np.int64)
    for batch in batches if len(wanted) else ():
        ids = batch.row_id[batch.row_starts()[:-1]] if len(batch) else batch.row_id
        at = np.minimum(np.searchsorted(wanted, ids), len(wanted) - 1)
        mine = np.flatnonzero(wanted[at] == ids)
        texts = encoder.row_texts(batch, embedding.taken_segments(batch))
        out[at[mine]] = encoder.pieces([texts[i] for i in mine.tolist()]) if len(mine) else 0
    return out


def _was_read(known: Compared, near: neighbours.Near, kinds: Int64, items: Int64) -> Bool:
    """(c,) the known candidates of which the transformer has read both sides."""
    read = np.zeros(len(near.equal_at) - 1, np.bool_)
    read[kinds] = True
    places = near.equal[np.repeat(read, np.diff(near.equal_at))]
    both: Bool = np.isin(known.place, places) & np.isin(known.item, items)
    return both
