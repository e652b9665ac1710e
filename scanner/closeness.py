"""How close two rows are, asked more closely than by one cosine, and still without a transformer.

    text -> pieces of the static table -> its heaviest pieces, the vector of its beginning, its words, its length
    pair -> cosine, cosine of the beginnings, alignment of the heaviest pieces from either side, lengths, words shared

The cosine of two sums of words grows with their length, whatever they say, and does not know which word answers which.
A pair's parts mend both: instructions open their rows, so the beginnings are compared on their own; every heavy piece
looks for its best counterpart on the other side; the lengths and the share of the words that both rows have stand
beside. What they are worth together: scanner/signals/_odds.py. All sums are of whole numbers, so that parts are the
same for any number of threads and any order of rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from scanner import running
from scanner.embedding import UNIT
from scanner.objects import Float64, Int16, Int32, Int64
from scanner.ranges import place_within
from scanner.wordvectors import StaticEncoder

UInt16 = npt.NDArray[np.uint16]

HEAVIEST = 16  # pieces of a text that are aligned
BEGINNING = 24  # pieces
LONGEST = 254  # pieces of a text that are looked at: what a transformer with a cut of 256 reads
MOST_WORDS = 128  # distinct pieces with a letter or digit, the first of a text, that are looked for in the other
PARTS = (
    "cosine",
    "beginnings",
    "alignment, lower",
    "alignment, higher",
    "log pieces",
    "log ratio of pieces",
    "words shared",
)

_WEIGHT = 4096  # what the weights of a text's heaviest pieces add up to, but for rounding
_PAIRS_AT_ONCE = 1024
_NO_WORD = np.iinfo(np.uint16).max
_DIGITS = 6  # of a part; beyond them a logarithm may differ between machines


@dataclass(frozen=True)
class Sketches:
    """What `Sketcher.parts` knows of each text."""

    pieces: Int32  # (n, HEAVIEST) of the static table, the heaviest first; the size of the table for none
    weights: Int32  # (n, HEAVIEST) whole numbers that add up to about _WEIGHT; 0 where there is no piece
    beginning: Int16  # (n, d) of length about UNIT
    words: UInt16  # (n, MOST_WORDS) pieces, ascending, then _NO_WORD
    length: Int32  # (n,) pieces, at most LONGEST

    @classmethod
    def empty(cls, texts: int, dimension: int) -> Sketches:
        """Sketches of that many texts, all 0, to be filled by `put`."""
        heavy = np.zeros((2, texts, HEAVIEST), np.int32)
        words = np.full((texts, MOST_WORDS), _NO_WORD, np.uint16)
        return cls(heavy[0], heavy[1], np.zeros((texts, dimension), np.int16), words, np.zeros(texts, np.int32))

    def put(self, at: Int64, of: Sketches) -> None:
        """Write the sketches of some texts to their places."""
        self.pieces[at], self.weights[at] = of.pieces, of.weights
        self.beginning[at], self.words[at], self.length[at] = of.beginning, of.words, of.length


class Sketcher:
    """Makes sketches of texts and compares pairs of them, with the shipped table."""

    def __init__(self) -> None:
        encoder = StaticEncoder()
        self._tokenizer, self._unknown = encoder.tokenizer, encoder.unknown_piece
        self._table = encoder.table
        square = np.square(self._table, dtype=np.int64).sum(axis=1)
        self._norm = np.sqrt(square)
        nothing = np.zeros((1, self._table.shape[1]), np.float32)
        # subtle: whole numbers of length 2,048: float32 adds up their products exactly, in any order
        self._unit = np.concatenate((at_unit(self._table).astype(np.float32), nothing))
        self.dimension = self._table.shape[1]
        self._is_word = np.zeros(len(self._table), np.bool_)
        for piece, number in self._tokenizer.get_vocab().items():
            self._is_word[number] = any(c.isalnum() for c in piece)

    def sketch(self, texts: list[str]) -> Sketches:
        """One sketch per text."""
        split = [e.ids[:LONGEST] for e in self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
        length = np.fromiter(map(len, split), np.int32, len(split))
        pieces = np.fromiter((piece for ids in split for piece in ids), np.int64, int(length.sum()))
        owner = np.repeat(np.arange(len(split)), length)
        place = place_within(length)
        known = pieces != self._unknown
        pieces, owner, place = pieces[known], owner[known], place[known]
        heavy, weights = self._heaviest(pieces, owner, len(texts))
        first = place < BEGINNING
        starts, sums = sums_of_pieces(self._table, pieces[first], owner[first])
        beginning = np.zeros((len(texts), self.dimension), np.int16)
        beginning[starts] = at_unit(sums)
        spoken = self._is_word[pieces]
        return Sketches(heavy, weights, beginning, _words(pieces[spoken], owner[spoken], len(texts)), length)

    def _heaviest(self, pieces: Int64, owner: Int64, texts: int) -> tuple[Int32, Int32]:
        """(n, HEAVIEST) distinct pieces and their weights: the length of their vector, times how often they occur."""
        distinct, count = np.unique(owner * len(self._table) + pieces, return_counts=True)
        owner, pieces = np.divmod(distinct, len(self._table))
        weight = self._norm[pieces] * count
        order = np.lexsort((pieces, -weight, owner))
        owner, pieces, weight = owner[order], pieces[order], weight[order]
        held = np.bincount(owner, minlength=texts)
        place = place_within(held)
        kept = place < HEAVIEST
        owner, pieces, weight, place = owner[kept], pieces[kept], weight[kept], place[kept]
        total = np.bincount(owner, weight, texts)
        heavy = np.full((texts, HEAVIEST), len(self._table), np.int32)
        weights = np.zeros((texts, HEAVIEST), np.int32)
        heavy[owner, place] = pieces
        weights[owner, place] = np.rint(_WEIGHT * weight / np.maximum(total[owner], 1))
        return heavy, weights

    def parts(self, sketches: Sketches, a: Int64, b: Int64, cosine: Float64, threads: int) -> Float64:
        """(p, 7) PARTS of pairs of texts, given the cosines of their whole vectors; pieces are counted from 1."""

        def part(at: int) -> Float64:
            i, j = a[at : at + _PAIRS_AT_ONCE], b[at : at + _PAIRS_AT_ONCE]
            x, y = sketches.length[i] + 1.0, sketches.length[j] + 1.0
            columns = (
                cosine[at : at + _PAIRS_AT_ONCE],
                cosines_at_unit(sketches.beginning, i, j),
                *self._alignment(sketches, i, j),
                np.log(x + y),
                np.log(np.maximum(x, y) / np.minimum(x, y)),
                _shared(sketches.words[i], sketches.words[j]),
            )
            return np.round(np.stack(columns, axis=1), _DIGITS)

        found = running.run(part, range(0, len(a), _PAIRS_AT_ONCE), threads)
        return np.concatenate([np.zeros((0, len(PARTS))), *found])

    def _alignment(self, sketches: Sketches, i: Int64, j: Int64) -> tuple[Float64, Float64]:
        """(p,) weighted mean cosines of the heavy pieces with their best counterparts: the lower side, the higher."""
        one, other = sketches.pieces[i], sketches.pieces[j]
        dots = np.matmul(self._unit[one], self._unit[other].transpose(0, 2, 1))
        sides = []
        for weights, best in ((sketches.weights[i], dots.max(axis=2)), (sketches.weights[j], dots.max(axis=1))):
            total = (weights * best.astype(np.int64)).sum(axis=1)
            sides.append(total / np.maximum(weights.sum(axis=1, dtype=np.int64), 1) / UNIT**2)
        return np.minimum(*sides), np.maximum(*sides)


def _words(pieces: Int64, owner: Int64, texts: int) -> UInt16:
    """(n, MOST_WORDS) the first distinct pieces of each owner, ascending, then _NO_WORD. Owners stand together."""
    distinct, first = np.unique(owner * _NO_WORD + pieces, return_index=True)
    distinct = distinct[np.argsort(first)]  # in the order of the text
    owner, pieces = np.divmod(distinct, _NO_WORD)
    held = np.bincount(owner, minlength=texts)
    place = place_within(held)
    kept = place < MOST_WORDS
    words = np.full((texts, MOST_WORDS), _NO_WORD, np.uint16)
    words[owner[kept], place[kept]] = pieces[kept]
    words.sort(axis=1)
    return words


def _shared(one: UInt16, other: UInt16) -> Float64:
    """(p,) words that both texts have, as a share of those that either has; 0 where neither has any."""
    pair = np.arange(len(one), dtype=np.int64)[:, None] * _NO_WORD
    mine, theirs = ((pair + words)[words != _NO_WORD] for words in (one, other))  # ascending
    both = np.bincount(np.intersect1d(mine, theirs, assume_unique=True) // _NO_WORD, minlength=len(one))
    either = (one != _NO_WORD).sum(axis=1) + (other != _NO_WORD).sum(axis=1) - both
    return np.asarray(both / np.maximum(either, 1))


def sums_of_pieces(table: Int16, pieces: Int64, owner: Int64) -> tuple[Int64, Int64]:
    """The distinct owners, ascending, and (m, d) sums of the vectors of each one's pieces. Owners stand together."""
    if not len(owner):
        return owner, np.zeros((0, table.shape[1]), np.int64)
    begin = np.flatnonzero(np.diff(owner, prepend=-1))
    return owner[begin], np.add.reduceat(table[pieces].astype(np.int64), begin, axis=0)


def cosines_at_unit(vectors: Int16, a: Int64, b: Int64) -> Float64:
    """(p,) of pairs of rows whose vectors have length UNIT; 0 where one of them is 0."""
    # subtle: whole numbers of length 2,048: float32 adds up their products exactly, in any order
    dots = np.einsum("ij,ij->i", vectors[a].astype(np.float32), vectors[b].astype(np.float32))
    return np.asarray(dots.astype(np.float64) / UNIT**2)


def at_unit(vectors: Int16 | Int64) -> Int16:
    """The vectors at length UNIT, in whole numbers; 0 stays 0."""
    square = np.square(vectors, dtype=np.int64).sum(axis=1)
    scale = UNIT / np.sqrt(np.maximum(square, 1))
    found: Int16 = np.rint(vectors * scale[:, None]).astype(np.int16)
    return found
