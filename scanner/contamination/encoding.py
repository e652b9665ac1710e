"""What rows and items ask, as vectors."""

from __future__ import annotations

from typing import Any

import numpy as np

from scanner import embedding
from scanner.contamination.asking import SHORTEST, Asked
from scanner.contamination.items import Items
from scanner.contamination.neighbours import Views
from scanner.objects import Int64


def encode(
    asked: Asked, row_id: Int64, items: Items, encoder: embedding.Encoder, threads: int
) -> tuple[embedding.Embeddings, Views, dict[str, Any]]:
    """The rows of `row_id` (ascending) and the items that `asked` holds, and notes.

    Items that are too short, that the encoder cannot represent, or that are not there have no view.
    """
    rows = embedding.encode(asked.rows, row_id, encoder, "full", threads)
    whole = embedding.encode(asked.items, np.arange(len(items)), encoder, "full", threads)
    long_enough = whole.measured & (items.lengths()[::2] >= SHORTEST)
    known = np.flatnonzero(long_enough)
    of_line = np.concatenate([np.zeros(0, np.int64), *(batch.row_id for batch in asked.last_lines)])
    last = embedding.encode(asked.last_lines, of_line, encoder, "full", threads)
    usable = np.flatnonzero(last.measured & long_enough[of_line])
    vectors = np.concatenate((whole.vectors[known], last.vectors[usable])).astype(np.float32)
    vectors /= np.concatenate((whole.norms()[known], last.norms()[usable]))[:, None]
    view_of_whole = np.full(len(items), -1)
    view_of_whole[known] = np.arange(len(known))
    view_of_last = view_of_whole.copy()
    view_of_last[of_line[usable]] = len(known) + np.arange(len(usable))
    views = Views(vectors, np.concatenate((known, of_line[usable])), whole=view_of_whole, last=view_of_last)
    notes = {
        "encoder": encoder.name,
        "rows_not_measured": int((~rows.measured).sum()),
        "questions_not_measured": int((~long_enough).sum()),
    }
    return rows, views, notes
