"""Rows that ask an item's question in other words: embeddings propose, what is unusual and in common decides.

    asking.read -> encoding.encode -> neighbours.search -> likest -> paraphrases.probability
                                                        -> proposals -> rereading.read_again (where one is asked) ->

A static table puts any two sums about pizza close together. What tells a paraphrase is that the two stand out among
their neighbours, keep rare words and numbers, and are not alone: see paraphrases.py. A match is only ever for review.
"""

from __future__ import annotations

import numpy as np

from scanner import embedding
from scanner.contamination import asking, neighbours, paraphrases, rereading
from scanner.contamination.encoding import encode
from scanner.contamination.items import Items
from scanner.contamination.paraphrases import Alike, Compared
from scanner.contamination.shared import Rarity
from scanner.decontaminating import file_of
from scanner.objects import Int64
from scanner.storedtext import SegmentReader


def find(
    reader: SegmentReader, row_id: Int64, item_reader: SegmentReader, items: Items, encoder: embedding.Encoder,
    threads: int, by: rereading.Transformer | None = None,
) -> Alike:  # fmt: skip
    """Compare what each row asks first with every question; row_id: all rows, ascending."""
    found = compare(reader, row_id, item_reader, items, encoder, threads, by)
    believed, expected = paraphrases.probability(found.ratio(), found.item, found.rank, found.group)
    is_match = np.flatnonzero(believed >= paraphrases.MATCH)
    order = is_match[np.lexsort((found.item[is_match], found.place[is_match]))]
    notes = found.notes | {"looked_at": len(found.item), "expected_items": round(float(expected.sum()), 1)}
    return Alike(row_id[found.place[order]], found.item[order], found.cosine[order], found.confirmed[order], notes)


def compare(
    reader: SegmentReader, row_id: Int64, item_reader: SegmentReader, items: Items, encoder: embedding.Encoder,
    threads: int, by: rereading.Transformer | None = None,
) -> Compared:  # fmt: skip
    """The candidates and what speaks for each; row_id: all rows, ascending; by: what reads the likeliest again."""
    asked = asking.read(reader, item_reader, items)
    rows, views, notes = encode(asked, row_id, items, encoder, threads)
    known = neighbours.PROPOSED if by else neighbours.NEAREST
    near = neighbours.search(rows, np.flatnonzero(rows.measured), views, threads, known)
    found = near.with_equals(neighbours.likest(rows, near, views))
    rarity = Rarity(items)
    common = asked.in_common(row_id[found.place], found.item, rarity)
    compared = Compared(
        found.place, found.item, found.cosine, found.margin, found.rank, *common, np.zeros(len(found.item), np.bool_),
        _parts_of_benchmarks(items), notes,
    )  # fmt: skip
    return rereading.read_again(asked, row_id, items, rarity, near, compared, by, threads) if by else compared


def _parts_of_benchmarks(items: Items) -> Int64:
    """(i,) the part of its benchmark that each item is of: each file of an archive by itself."""
    names = list(zip(items.benchmark.tolist(), map(file_of, items.item), strict=True))
    places = {name: place for place, name in enumerate(dict.fromkeys(names))}
    return np.array([places[name] for name in names], np.int64)
