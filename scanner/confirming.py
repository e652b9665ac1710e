"""Semantic pairs that a transformer decides: it reads what the fast encoder proposes, and nothing else.

    neighbours -> proposals, compared more closely (scanner.closeness) -> rows worth a look, in rounds that learn from
    what the transformer read, within --confirm-share of the whole, and beyond it until --confirm-recall is reached ->
    exact search among those rows -> pairs with its cosine

Also what every semantic pair is asked, whoever found it: do its rows differ in numbers, negation, names or code?
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from scanner.closeness import Sketcher, Sketches
from scanner.contrast import Traits, differences, traits
from scanner.embedding import Confirmer, Embeddings, taken_segments
from scanner.objects import Bool, Float64, Int16, Int32, Int64, Neighbours, Pairs, Rows, SegmentBatch
from scanner.pairing import alike_by_words
from scanner.progress import Progress
from scanner.settings import Settings
from scanner.signals import _cascade, semantic
from scanner.signals._foretelling import Forecaster, Known, Taught
from scanner.signals._odds import CLOSENESS, COSINE, Odds
from scanner.signals._themes import themes_of_pairs
from scanner.storedtext import SegmentReader
from scanner.wordmeans import WordMeans

_TEXTS_AT_ONCE = 256  # between two steps of the progress bar
_ROWS_AT_ONCE = 4096


def confirm(
    batches: Sequence[SegmentBatch],
    rows: Rows,
    fast: Embeddings,
    near: Neighbours,
    text: Int64,
    lexical: pl.DataFrame,
    confirmer: Confirmer,
    settings: Settings,
    threads: int,
    progress: Progress,
) -> tuple[Pairs, Float64]:
    """Pairs at or above settings.cosine by the confirmer, and their (p,) cosines by the fast encoder.

    text: (n,) position of the row that stands for all rows with the same text. lexical: the near pairs of
    pairs.parquet; those at or above settings.jaccard, and contained ones, are duplicates already and stay out.
    """
    taken = [taken_segments(batch) for batch in batches]
    confirmer.learn(batches, taken)
    with progress.stage("choose what the transformer reads", len(rows)):
        # The parts are made for the static table; another embedder's cosine is taken as it is.
        sketcher = Sketcher() if settings.embedder is None else None
        pieces, sketches, means = _costs(batches, taken, rows, confirmer, sketcher, progress)
        copies = copies_of(lexical, settings)
        known = tuple(np.searchsorted(rows.row_id, copies[end].to_numpy()) for end in ("row_a", "row_b"))
        proposals = _cascade.propose(near, text, rows.content_rank, (known[0], known[1]))
        ends = themes_of_pairs(fast.vectors, proposals.a, proposals.b, rows.content_rank)
        source = source_of_pairs(rows, proposals)
        shelf = _Shelf(confirmer.dimension, len(rows))
        odds: Odds | Taught
        if sketcher and sketches:
            parts = sketcher.parts(sketches, proposals.a, proposals.b, proposals.cosine, threads)
            known_before = Known(fast.vectors, sketches.beginning, means, sketches.length)
            forecaster = Forecaster(parts, proposals, known_before, rows.content_rank, shelf.all)
            odds = Taught(CLOSENESS, parts, settings.cosine, ends, source, forecaster)
        else:
            odds = Odds(COSINE, proposals.cosine[:, None], settings.cosine, ends, source)
        alone = text == np.arange(len(text))  # copies are read once
        total = int(pieces[alone].sum(dtype=np.int64))
    budget = int(total * settings.confirm_share)
    aim = settings.confirm_recall
    limit = budget if aim is None else int(total * settings.confirm_limit)

    def look(chosen: _cascade.Chosen) -> _Look:
        """The pairs among what was read so far, and how many were missed."""
        vectors = shelf.vectors[shelf.place[chosen.rows]]
        measured: Bool = np.asarray(vectors.any(axis=1))
        slow = Embeddings(vectors, measured, (~measured).astype(np.uint8), {"encoder": confirmer.name})
        rank = np.argsort(rows.content_rank[chosen.rows], kind="stable")
        among = semantic.search(slow, rank, settings.neighbours, threads, settings.seed)
        found = _without(semantic.pairs(among, rows.row_id[chosen.rows], settings.cosine), copies)
        lost = _cascade.missed(odds.level(), chosen, len(found), settings.cosine, source)
        return _Look(found, lost, recall(len(found), lost), among.notes)

    with progress.stage("read with the transformer", limit):

        def read(new: Int64, a: Int64, b: Int64) -> Float64:
            texts = _texts(batches, taken, rows, new, confirmer)
            vectors = np.zeros((len(new), confirmer.dimension), np.int16)
            order = sorted(range(len(new)), key=lambda i: (-pieces[new[i]], texts[i]))
            for at in range(0, len(order), _TEXTS_AT_ONCE):
                part = order[at : at + _TEXTS_AT_ONCE]
                vectors[part] = confirmer.encode_texts([texts[i] for i in part], threads)[0]
                progress.advance(int(pieces[new[part]].sum()))
            shelf.put(new, vectors)
            return _cosines(shelf.vectors, shelf.place[a], shelf.place[b])

        def enough(chosen: _cascade.Chosen) -> bool:
            if aim is None:
                return True
            so_far = look(chosen)
            return is_reached(len(so_far.found), so_far.missed, aim)

        chosen = _cascade.choose(proposals, odds, pieces, budget, read, limit, enough)
    told = look(chosen)
    found = told.found
    fast_cosine = _cosines(
        fast.vectors, np.searchsorted(rows.row_id, found.row_a), np.searchsorted(rows.row_id, found.row_b)
    )
    notes = {
        "confirmed_with": confirmer.name,
        "ranked_by": "closeness" if sketches else "cosine",
        "pieces": total,
        "pieces_read": chosen.pieces,
        "work_share": chosen.pieces / total if total else 0.0,
        "rows_read": len(chosen.rows),
        "pairs_proposed": len(proposals.a),
        "pairs_read": int(np.isfinite(chosen.slow).sum()),
        "rounds": chosen.rounds,
        "weights": odds.weights.tolist(),
        "themes": int(ends[:, :2].max(initial=0)) + 1,
        "budget_reached": chosen.budget_reached,
        "least_proposal_cosine": _cascade.LEAST_COSINE,
        "pairs_confirmed": len(found),
        "missed": told.missed,
        "index": told.index["index"],
        "recall_of_index": told.index["recall"],
        "rows_at_least_k": found.notes["rows_at_least_k"],
        "recall": told.recall,
    }
    if aim is not None:
        notes["aim"] = {
            "recall": aim,
            "limit": settings.confirm_limit,
            "reached": is_reached(len(found), told.missed, aim),
            "all_read": not chosen.budget_reached,
        }
    return replace(found, notes=notes), fast_cosine


def is_reached(found: int, missed: dict[str, Any], aim: float) -> bool:
    """Whether so many of the pairs were found, or none is left to find, even if the most was missed that is expected.

    The chance of a small number is left out: by it nobody could say of 7 pairs, all of them found, that 95 % were.
    """
    most = missed["expected_most"]
    return most is not None and (found + most < 0.5 or found >= aim * (found + most))


def source_of_pairs(rows: Rows, proposals: _cascade.Proposals) -> Int64:
    """(p,) number of the source that both rows of a pair are from, -1 where they are from two."""
    a, b = rows.source[proposals.a].astype(np.int64), rows.source[proposals.b].astype(np.int64)
    return np.where(a == b, a, -1)


def copies_of(near: pl.DataFrame, settings: Settings) -> pl.DataFrame:
    """The near pairs that are copies by their words: at or above --jaccard, or one contained in the other."""
    return near.filter(alike_by_words(settings.jaccard))


def recall(found: int, missed: dict[str, Any]) -> dict[str, float | None]:
    """Estimated share of the transformer's pairs that were found, with the interval of `missed` turned round.

    None where that was not measured, or where there was nothing to find.
    """

    def share(lost: float | None) -> float | None:
        return None if lost is None or found + lost < 0.5 else found / (found + lost)

    return {"expected": share(missed["expected"]), "low": share(missed["high"]), "high": share(missed["low"])}


def with_differences(
    pairs: pl.DataFrame, reader: SegmentReader, lexical: Sequence[pl.DataFrame], progress: Progress
) -> pl.DataFrame:
    """The semantic pairs with a column `differs` (see scanner.contrast); null for pairs that are copies anyway."""
    ends = ["row_a", "row_b"]
    copies = pl.concat([frame.select(ends) for frame in lexical])
    asked = pairs.select(ends).join(copies, on=ends, how="anti")
    ids = pl.concat([asked["row_a"], asked["row_b"]]).unique().sort()
    with progress.stage("compare numbers and negation", len(ids)):
        known: dict[int, tuple[Traits, Traits]] = {}
        for at in range(0, len(ids), _ROWS_AT_ONCE):
            part = ids[at : at + _ROWS_AT_ONCE]
            known |= _traits(reader, part.to_list())
            progress.advance(len(part))
        said = [
            differences((known[a][0], known[b][0]), (known[a][1], known[b][1])) for a, b in asked.iter_rows()
        ]  # fmt: skip
    asked = asked.with_columns(differs=pl.Series(said, dtype=pl.String))
    return pairs.join(asked, on=ends, how="left", maintain_order="left")


@dataclass(frozen=True)
class _Look:
    """What is known after a round."""

    found: Pairs  # among all rows read, without copies
    missed: dict[str, Any]
    recall: dict[str, float | None]
    index: dict[str, Any]  # how the rows read were searched


def _traits(reader: SegmentReader, row_ids: list[int]) -> dict[int, tuple[Traits, Traits]]:
    """Traits of prompt and answer of some rows."""
    text = reader.rows(row_ids, ["row_id", "role", "supervised", "text"]).with_columns(pl.col("role").cast(pl.String))
    spoken = text.filter(pl.col("role").is_in(["user", "assistant", "text"]))
    joined = spoken.group_by("row_id").agg(
        pl.col("text").filter(~pl.col("supervised")).str.join("\n").alias("prompt"),
        pl.col("text").filter("supervised").str.join("\n").alias("answer"),
    )
    empty = (traits(""), traits(""))
    known = dict.fromkeys(row_ids, empty)
    known |= {row: (traits(prompt), traits(answer)) for row, prompt, answer in joined.iter_rows()}
    return known


def _costs(
    batches: Sequence[SegmentBatch],
    taken: Sequence[Bool],
    rows: Rows,
    confirmer: Confirmer,
    sketcher: Sketcher | None,
    progress: Progress,
) -> tuple[Int32, Sketches | None, Int16]:
    """(n,) pieces of each row as the transformer would read it, the rows' sketches, and their word means.

    The last two are for what compares rows by the static table: without a sketcher there is neither (width 0).
    """
    pieces = np.zeros(len(rows), np.int32)
    sketches = Sketches.empty(len(rows), sketcher.dimension) if sketcher else None
    table = confirmer.input_table() if sketcher else None
    of_words = WordMeans(*table) if table else None
    means = np.zeros((len(rows), of_words.width if of_words else 0), np.int16)
    for batch, take in zip(batches, taken, strict=True):
        if len(batch):
            at = np.searchsorted(rows.row_id, batch.row_id[batch.row_starts()[:-1]])
            texts = confirmer.row_texts(batch, take)
            split = confirmer.split(texts)
            pieces[at] = [len(ids) for ids in split]
            if sketcher and sketches:
                sketches.put(at, sketcher.sketch(texts))
            if of_words:
                means[at] = of_words.of(split)
            progress.advance(len(at))
    return pieces, sketches, means


def _texts(
    batches: Sequence[SegmentBatch], taken: Sequence[Bool], rows: Rows, chosen: Int64, confirmer: Confirmer
) -> list[str]:
    """The texts of the chosen positions, in their order."""
    wanted = np.zeros(len(rows), np.bool_)
    wanted[chosen] = True
    texts: list[str] = []
    for batch, take in zip(batches, taken, strict=True):
        if len(batch):
            at = np.searchsorted(rows.row_id, batch.row_id[batch.row_starts()[:-1]])
            mine = wanted[at]
            if mine.any():
                own = np.repeat(mine, np.diff(batch.row_starts()))
                part = confirmer.row_texts(batch, take & own)
                texts += [part[i] for i in np.flatnonzero(mine).tolist()]
    return texts


def _without(pairs: Pairs, copies: pl.DataFrame) -> Pairs:
    """The pairs that are not among the copies."""
    mine = pl.DataFrame({"row_a": pairs.row_a, "row_b": pairs.row_b}).with_row_index()
    kept = mine.join(copies.select("row_a", "row_b"), on=["row_a", "row_b"], how="anti")["index"].sort().to_numpy()
    return replace(
        pairs,
        row_a=pairs.row_a[kept],
        row_b=pairs.row_b[kept],
        relation=pairs.relation[kept],
        similarity=pairs.similarity[kept],
        containment_ab=pairs.containment_ab[kept],
        containment_ba=pairs.containment_ba[kept],
    )


class _Shelf:
    """The vectors of the rows read so far, in the order of reading."""

    def __init__(self, dimension: int, rows: int):
        self.vectors: Int16 = np.zeros((0, dimension), np.int16)
        self.place: Int64 = np.full(rows, -1, np.int64)  # (n,) of each row's vector; -1 where it was not read

    def put(self, rows: Int64, vectors: Int16) -> None:
        """Add the vectors of rows that were not read before."""
        self.place[rows] = len(self.vectors) + np.arange(len(rows))
        self.vectors = np.concatenate((self.vectors, vectors))

    def all(self) -> tuple[Int64, Int16]:
        """The positions of the rows read, ascending, and their vectors."""
        rows = np.flatnonzero(self.place >= 0)
        return rows, self.vectors[self.place[rows]]


def _cosines(vectors: Int16, a: Int64, b: Int64) -> Float64:
    """(p,) cosines of pairs of positions; NaN where a row was not measured."""
    out = np.full(len(a), np.nan)
    for at in range(0, len(a), _ROWS_AT_ONCE):
        x = vectors[a[at : at + _ROWS_AT_ONCE]].astype(np.float64)
        y = vectors[b[at : at + _ROWS_AT_ONCE]].astype(np.float64)
        with np.errstate(invalid="ignore"):
            out[at : at + _ROWS_AT_ONCE] = (x * y).sum(axis=1) / np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
    return out
