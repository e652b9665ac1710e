"""The default encoder: a row is the sum of its words' vectors, from a table that is shipped with the package.

    segments -> words, each split once into pieces -> sum of the pieces' vectors, words common to all rows weighing less

The table is distilled from all-MiniLM-L6-v2 (scanner/static_table); what is looked up is added in integers, without
torch.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scanner import running
from scanner.objects import Bool, Int16, Int32, Int64, SegmentBatch, UInt8, UInt64
from scanner.text import PUNCTUATION as PUNCTUATION_CLASS
from scanner.text import code_point_classes, folded_code_points

TABLE = Path(__file__).with_name("static_table")

_FIXED_POINT = 32_000  # largest entry of the 16-bit table
_WORDS_AT_ONCE = 1 << 16
_MORE_ROWS = 20  # added to the rows when a word's share is taken, so that few rows cannot make their words common

_Part = tuple[SegmentBatch, Bool, Int64]  # a batch, its segments that are taken, its rows' first segments


class StaticEncoder:
    """The shipped table: one int8 vector and one scale per WordPiece, with the rarity of the piece folded in.

    The first rows it encodes also tell it which words are common to all of them; words of later rows that were not
    among those count fully.
    """

    def __init__(self) -> None:
        from tokenizers import Tokenizer

        about = json.loads((TABLE / "table.json").read_text("utf-8"))
        with np.load(TABLE / "table.npz") as stored:
            full = stored["vectors"] * stored["scale"][:, None].astype(np.float64)
        self.table = np.rint(full * (_FIXED_POINT / np.abs(full).max())).astype(np.int16)
        self.name = str(about["name"])
        self.dimension = self.table.shape[1]
        self.tokenizer = Tokenizer.from_file(str(TABLE / "tokenizer.json"))
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.unknown_piece = self.tokenizer.token_to_id("[UNK]")
        # A piece carries meaning in an English table if it holds an ASCII letter or digit (accents are stripped by
        # the tokenizer); other scripts are in the vocabulary as single characters only, which mean nothing alone.
        self._meaningful = np.zeros(len(self.table), np.bool_)
        for piece, number in self.tokenizer.get_vocab().items():
            self._meaningful[number] = any(c.isascii() and c.isalnum() for c in piece)
        self._meaningful[self.unknown_piece] = False
        self._hashes = np.zeros(0, np.uint64)  # (w,) the words learned so far
        self._first = np.zeros(1, np.int64)  # (w + 1,) into _pieces
        self._pieces = np.zeros(0, np.int32)
        self._kind = np.zeros(0, np.uint8)
        self._weights: UInt8 | None = None  # (w,) None until the first rows were seen
        self._keys = np.zeros(16, np.uint64)
        self._index = np.zeros(16, np.int32)

    def encode_batches(
        self, batches: Sequence[SegmentBatch], taken: Sequence[Bool], threads: int
    ) -> Iterator[tuple[Int16, Int32, Int32]]:
        classes, fold = code_point_classes(), folded_code_points()
        rows = [batch.row_starts() if len(batch) else np.zeros(1, np.int64) for batch in batches]
        parts = list(zip(batches, taken, rows, strict=True))
        self._learn(parts, classes, fold, threads)

        def vectors(part: _Part) -> tuple[Int16, Int32, Int32]:
            from scanner.kernels.embed import row_vectors

            batch, take, starts = part
            out = np.empty((len(starts) - 1, self.dimension), np.int16)
            words = np.empty(len(starts) - 1, np.int32)
            unknown = np.empty(len(starts) - 1, np.int32)
            row_vectors(
                batch.data, batch.offsets, take, starts, classes, fold, self._keys, self._index,
                self._first, self._pieces, self._kind, self._weights, self.table, out, words, unknown,
            )  # fmt: skip
            return out, words, unknown

        yield from running.in_order(vectors, parts, threads)

    def _learn(self, parts: Sequence[_Part], classes: UInt8, fold: Int32, threads: int) -> None:
        """Split every word not seen before into pieces, once; weigh the words of the first rows ever seen.

        A word in a share p of the rows counts 1 - p times: what nearly all rows say (the template around an
        instruction, the markup of formulas) does not make two of them alike.
        """
        from scanner.kernels.embed import FULL_WEIGHT, distinct_words, slots_for, word_table

        def collect(part: _Part) -> tuple[Any, Any, Any, Any]:
            batch, take, starts = part
            return distinct_words(batch.data, batch.offsets, take, starts, classes, fold)  # type: ignore[no-any-return]

        holders = np.zeros(len(self._hashes), np.int64)  # rows that hold each word
        found = running.in_order(collect, parts, threads)
        for (batch, _, _), (hashes, starts, stops, held) in zip(parts, found, strict=True):
            number = _positions(self._hashes, hashes)
            new = number < 0
            holders[number[~new]] += held[~new]
            if new.any():
                text = batch.data.data
                spans = zip(starts[new].tolist(), stops[new].tolist(), strict=True)
                words = [str(text[a:b], "utf-8") for a, b in spans]
                for at in range(0, len(words), _WORDS_AT_ONCE):
                    self._add(words[at : at + _WORDS_AT_ONCE], classes)
                self._hashes = np.concatenate((self._hashes, hashes[new]))
                holders = np.concatenate((holders, held[new]))
        if self._weights is None:
            share = holders / (sum(len(starts) - 1 for _, _, starts in parts) + _MORE_ROWS)
            self._weights = np.maximum(1, np.rint(FULL_WEIGHT * (1 - share))).astype(np.uint8)
        else:
            later = np.full(len(self._hashes) - len(self._weights), FULL_WEIGHT, np.uint8)
            self._weights = np.concatenate((self._weights, later))
        self._keys, self._index = word_table(self._hashes, slots_for(len(self._hashes)))

    def _add(self, words: list[str], classes: UInt8) -> None:
        """Append the pieces and kinds of `words`."""
        from scanner.kernels.embed import PUNCTUATION, UNKNOWN, WORD

        split = [e.ids for e in self.tokenizer.encode_batch_fast(words, add_special_tokens=False)]
        length = np.fromiter(map(len, split), np.int64, len(split))
        pieces = np.fromiter((piece for ids in split for piece in ids), np.int32, int(length.sum()))
        owner = np.repeat(np.arange(len(split)), length)
        known = pieces != self.unknown_piece
        has_unknown = np.bincount(owner, ~known, len(split)) > 0
        has_meaning = np.bincount(owner, self._meaningful[pieces], len(split)) > 0
        leading = np.fromiter((ord(word[0]) for word in words), np.int64, len(words))
        kind = np.where(has_meaning & ~has_unknown, WORD, UNKNOWN).astype(np.uint8)
        kind[classes[leading] == PUNCTUATION_CLASS] = PUNCTUATION
        kept = np.bincount(owner[known], minlength=len(split))
        self._first = np.concatenate((self._first, self._first[-1] + np.cumsum(kept)))
        self._pieces = np.concatenate((self._pieces, pieces[known]))
        self._kind = np.concatenate((self._kind, kind))


def _positions(known: UInt64, hashes: UInt64) -> Int64:
    """(m,) where each hash stands in `known`, -1 where it does not."""
    order = np.argsort(known, kind="stable")
    at = np.searchsorted(known, hashes, sorter=order)
    inside = np.minimum(at, max(len(known) - 1, 0))
    if not len(known):
        return np.full(len(hashes), -1, np.int64)
    place = order[inside]
    return np.where(known[place] == hashes, place, -1)
