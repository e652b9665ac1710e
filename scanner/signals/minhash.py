"""Near duplicates: banded MinHash proposes, exact Jaccard and containment on the shingle sets dispose.

Rows with equal normalised text are collapsed first and stand for one another; system prompts, tool schemas and
rejected answers are not shingled but must be equal (normalised) for a pair to count as droppable.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from scanner import pairing
from scanner.fingerprints import PART_OF_ROLE
from scanner.kernels import grouping, similarity
from scanner.kernels import minhash as shingling
from scanner.kernels.sorting import sort_words
from scanner.objects import Fingerprints, Groups, Int64, Pairs, Rows, UInt64
from scanner.ordering import distinct
from scanner.pairing import CONTAINED, unpacked
from scanner.rowsegments import RowSegments
from scanner.running import parts_for, run, shares
from scanner.signals._measures import CONTAINED_SHINGLES, answer_containments
from scanner.storedtext import TextReader
from scanner.text import code_point_classes, folded_code_points

WINDOW = 32
"""Rows of a bucket with which each of its rows is compared, besides the bucket's first."""
FLOOR_RECALL = 0.85
"""Share of the pairs at the floor that must become candidates; costs little on real data (benchmarks/duplicates)."""
PAIRS_PER_BLOCK = 1 << 22
SHINGLES_OF_A_PAIR = 128
"""Roughly; only the number of threads depends on it."""
PIECES = 4
"""Runs of rows per thread: so many that no thread has to wait long for another."""
BANDS_AT_ONCE = 4
"""Bands whose keys are made in one pass over the signatures: what a cache line holds of a signature, roughly."""


@dataclass(frozen=True)
class Bands:
    """A banding of the signature: it catches a pair of Jaccard s with probability 1 - (1 - s^rows)^bands."""

    bands: int
    rows: int

    def probability(self, jaccard: float) -> float:
        """Chance that a pair of this Jaccard similarity becomes a candidate."""
        return 1.0 - (1.0 - jaccard**self.rows) ** self.bands

    def curve(self) -> list[tuple[float, float]]:
        """(Jaccard, probability) at steps of .05."""
        return [(i / 20, self.probability(i / 20)) for i in range(1, 21)]


def choose_bands(permutations: int, jaccard: float, recall: float, floor: float) -> Bands:
    """The most selective banding (most rows per band) that still catches enough.

    Enough is `recall` of the pairs at `jaccard`, which may be dropped, and FLOOR_RECALL of those at `floor`, which
    only count as near copies in the prediction.
    """
    for rows in range(permutations, 0, -1):
        bands = Bands(permutations // rows, rows)
        if bands.probability(jaccard) >= recall and bands.probability(floor) >= FLOOR_RECALL:
            return bands
    return Bands(permutations, 1)


@dataclass(frozen=True)
class NearPairs:
    """Verified pairs between rows, with the part similarities that decide whether one may be dropped for the other."""

    pairs: Pairs
    a: Int64  # (p,) positions of the rows, a < b
    b: Int64
    prompt_jaccard: np.ndarray  # (p,) NaN where both prompts are empty
    answer_jaccard: np.ndarray
    answer_containment: np.ndarray  # (p, 2) share of a's answer found in b's, and of b's in a's; NaN likewise
    same_context: np.ndarray  # (p,) system prompt, tools and rejected answers are equal


@dataclass(frozen=True)
class Payload:
    """Sketches of what stands in the templates of rows that are mostly template."""

    position: Int64  # (m,) of the rows, ascending
    signature: np.ndarray  # (m, permutations) uint32


@dataclass(frozen=True)
class Proposed:
    """Pairs of rows that the banding makes candidates."""

    bands: Bands
    leader: Int64  # (n,) which row stands for each: of those equal up to case and spacing the first in content order
    representatives: Int64  # (m,) positions of the leaders that have shingles, in content order
    candidates: UInt64  # packed pairs of places in `representatives`, distinct and sorted
    buckets_cut: int
    pairs_cut: int


def propose(
    rows: Rows,
    fingerprints: Fingerprints,
    normal: Groups,
    bands: Bands,
    threads: int,
    advance: Callable[[int], None] = lambda bands: None,
) -> Proposed:
    """Candidates of near duplicates by their signatures.

    normal: groups of rows equal up to case and spacing; the first of each in content order represents the others.
    """
    leader = _leaders(rows, normal)
    is_leader = (leader == np.arange(len(rows))) & (fingerprints.shingles > 0)
    representatives = rows.content_order[is_leader[rows.content_order]]
    candidates, cut = _candidates(fingerprints.signature, representatives, bands, threads, advance)
    return Proposed(bands, leader, representatives, candidates, int(cut[0]), int(cut[1]))


def find(
    rows: Rows,
    fingerprints: Fingerprints,
    reader: TextReader,
    proposed: Proposed,
    *,
    texts: Groups,
    jaccard: float,
    floor: float,
    recall: float,
    width: int,
    threads: int,
    payload: Payload | None = None,
) -> NearPairs:
    """Verified near-duplicate pairs at or above `floor`, and contained rows.

    `texts` groups the rows of equal text. `payload` brings candidates of its own: in rows that are mostly template,
    sketches of whole rows say little. A row and its representative (see `propose`) form a pair of similarity 1 unless
    their text is the same byte for byte (an exact pair).
    """
    candidates, representatives = proposed.candidates, proposed.representatives
    if payload is not None and len(payload.position):
        own = _payload_candidates(payload, representatives, len(rows), jaccard, recall, threads)
        candidates = distinct([candidates, own])
    members, packed = _compact(candidates, representatives)
    sets, bounds, sizes = _shingle_sets(reader, members, fingerprints.tokens[members], width, threads)
    measured = np.empty((len(packed), 5), np.float32)
    pieces = parts_for(len(packed) * SHINGLES_OF_A_PAIR, PIECES * threads)
    run(
        lambda at: similarity.verify(packed[at], sets, bounds, sizes, measured[at]),
        shares(len(packed), pieces),
        threads,
    )

    whole = np.diff(bounds)
    left, right = unpacked(packed)
    contained = np.fmax(measured[:, 1], measured[:, 2]) >= CONTAINED  # the smaller row has the larger share
    contained &= np.minimum(whole[left], whole[right]) >= CONTAINED_SHINGLES
    kept = (measured[:, 0] >= floor) | contained
    left, right = left[kept], right[kept]
    answers = answer_containments(sizes[1::2], left, right, measured[kept, 4])
    a, b, values = members[left], members[right], np.column_stack((measured[kept], answers))

    a, b, values = _with_case_twins(a, b, values, proposed.leader, texts, fingerprints)
    order = np.argsort(a << 32 | b)
    a, b, values = a[order], b[order], values[order]
    equal_prompt = fingerprints.prompt[a] == fingerprints.prompt[b]
    equal_answer = fingerprints.answer[a] == fingerprints.answer[b]
    # Two missing prompts are not the same prompt, and parts that are near copies themselves make a near pair: neither a
    # contradiction nor a boilerplate answer. NaN compares as False.
    same_prompt = equal_prompt & ~np.isnan(values[:, 3]) & (values[:, 4] < jaccard)
    same_answer = equal_answer & ~np.isnan(values[:, 4]) & (values[:, 3] < jaccard)
    relation = np.select(
        [equal_prompt & equal_answer, same_prompt, same_answer, values[:, 0] >= floor],
        ["same_both", "same_prompt", "same_response", "near"],
        "contained",
    )
    return NearPairs(
        Pairs(
            signal="minhash",
            row_a=rows.row_id[a],
            row_b=rows.row_id[b],
            relation=relation,
            similarity=values[:, 0],
            containment_ab=values[:, 1],
            containment_ba=values[:, 2],
            notes={
                "permutations": int(fingerprints.signature.shape[1]),
                "bands": proposed.bands.bands,
                "rows_per_band": proposed.bands.rows,
                "shingle_tokens": width,
                "recall_curve": proposed.bands.curve(),
                "threshold": jaccard,
                "recall_at_threshold": proposed.bands.probability(jaccard),
                "recall_at_floor": proposed.bands.probability(floor),
                "candidates": len(packed),
                "verified": len(a),
                "buckets_cut": proposed.buckets_cut,
                "pairs_not_compared_at_least": proposed.pairs_cut,
                "rows_without_shingles": int((fingerprints.shingles == 0).sum()),
            },
        ),
        a,
        b,
        values[:, 3],
        values[:, 4],
        values[:, 5:7],
        fingerprints.context[a] == fingerprints.context[b],
    )


def _leaders(rows: Rows, normal: Groups) -> Int64:
    """(n,) representative of each row: of those with the same normalised text the first in content order."""
    leader = np.arange(len(rows))
    inside = np.flatnonzero(normal.size > 1)
    backwards = inside[np.argsort(-rows.content_rank[inside])]  # last in content order first, so the first stays
    leader[normal.group[backwards]] = backwards
    return leader[normal.group]


def _candidates(
    signature: np.ndarray, representatives: Int64, bands: Bands, threads: int, advance: Callable[[int], None]
) -> tuple[UInt64, Int64]:
    """Packed candidate pairs of places in `representatives`, distinct and sorted, and what the window cut off."""
    n = len(representatives)
    bits = max(1, n.bit_length())
    place = np.full(len(signature), -1, np.int64)
    place[representatives] = np.arange(n)

    def work(first: int) -> tuple[list[UInt64], Int64]:
        count = min(at_once, bands.bands - first)
        packed, some = np.empty((count, n), np.uint64), np.empty(n, np.uint64)
        similarity.pack_bands(signature, place, bands.rows, bits, first, packed)
        found, cuts = [], np.zeros(2, np.int64)
        for words in packed:
            shared = some[: grouping.keep_repeated(words, some)]
            sort_words(shared, np.empty(len(shared), np.uint64))
            cut = np.zeros(2, np.int64)
            out = np.empty(max(1024, 2 * len(shared)), np.uint64)
            made = similarity.pairs_of_band(shared, bits, WINDOW, out, cut)
            if made > len(out):
                out, cut = np.empty(made, np.uint64), np.zeros(2, np.int64)
                similarity.pairs_of_band(shared, bits, WINDOW, out, cut)
            found.append(out[:made].copy())
            cuts = np.maximum(cuts, cut)
        return found, cuts

    pairs = np.zeros(0, np.uint64)
    held: list[UInt64] = []
    cuts = np.zeros(2, np.int64)
    at_once = min(BANDS_AT_ONCE, -(-bands.bands // threads))
    step = at_once * PIECES * threads
    for low in range(0, bands.bands, step):
        for found, cut in run(work, range(low, min(low + step, bands.bands), at_once), threads):
            held += found
            if sum(map(len, held)) > max(PAIRS_PER_BLOCK, len(pairs)):  # each pair takes part in few sorts
                pairs, held = distinct([pairs, *held]), []
            cuts = np.maximum(cuts, cut)  # the same buckets recur in every band: the largest cut is a lower bound
            advance(len(found))
    return distinct([pairs, *held]), cuts


def _payload_candidates(
    payload: Payload, representatives: Int64, rows: int, jaccard: float, recall: float, threads: int
) -> UInt64:
    """Packed candidate pairs of places in `representatives`, distinct and sorted, by the sketches of payloads."""
    place = np.full(rows, -1, np.int64)
    place[representatives] = np.arange(len(representatives))
    mine = np.flatnonzero(place[payload.position] >= 0)
    mine = mine[np.argsort(place[payload.position[mine]])]  # in content order, as in `find`
    bands = choose_bands(payload.signature.shape[1], jaccard, recall, jaccard)
    found, _ = _candidates(payload.signature, mine, bands, threads, lambda bands: None)
    return pairing.packed(*(place[payload.position[mine[side]]] for side in unpacked(found)))


def _compact(candidates: UInt64, representatives: Int64) -> tuple[Int64, UInt64]:
    """Positions of the rows that occur in any candidate, ascending, and the candidates as packed places in them."""
    left, right = (representatives[side] for side in unpacked(candidates))
    occurs = np.zeros(int(representatives.max(initial=-1)) + 1, np.bool_)
    occurs[left] = occurs[right] = True
    members, number = np.flatnonzero(occurs), np.cumsum(occurs, dtype=np.uint64) - np.uint64(1)
    a, b = number[left], number[right]
    return members, pairing.packed(np.minimum(a, b), np.maximum(a, b))


def _shingle_sets(
    reader: TextReader, members: Int64, tokens: Int64, width: int, threads: int
) -> tuple[UInt64, Int64, Int64]:
    """Shingle sets of the member positions (ascending): sets, bounds, sizes; see kernels.minhash.shingle_sets.

    tokens (m,): of the members.
    """
    classes, fold = code_point_classes(), folded_code_points()

    def work(piece: tuple[slice, RowSegments]) -> tuple[UInt64, Int64, Int64]:
        at, some = piece
        n = len(some.row_start) - 1
        sets = np.empty(int(tokens[at].sum()), np.uint64)
        bounds, sizes = np.empty(n + 1, np.int64), np.empty(2 * n, np.int64)
        written = shingling.shingle_sets(
            some.data, some.begin, some.end, some.row_start, PART_OF_ROLE[some.role],
            classes, fold, width, sets, bounds, sizes,
        )  # fmt: skip
        return sets[:written].copy(), np.diff(bounds), sizes

    pieces = parts_for(int(tokens.sum()), PIECES * threads)
    done = run(work, reader.segments_of(members).split(pieces), threads)
    none = np.zeros(0, np.int64)
    bounds = np.concatenate([np.zeros(1, np.int64), *(lengths for _, lengths, _ in done)]).cumsum()
    sets = np.concatenate([np.zeros(0, np.uint64), *(sets for sets, _, _ in done)])
    return sets, bounds, np.concatenate([none, *(sizes for _, _, sizes in done)])


def _with_case_twins(
    a: Int64, b: Int64, values: np.ndarray, leader: Int64, texts: Groups, fingerprints: Fingerprints
) -> tuple[Int64, Int64, np.ndarray]:
    """Add the pair (row, its representative) for rows that equal it only up to case and spacing, the smaller first.

    They are alike in all that they have; two missing prompts, or answers, are not measured here either.
    """
    led = np.flatnonzero(leader != np.arange(len(leader)))
    led = led[texts.group[led] == led]  # one row of each text
    twins = led[texts.group[leader[led]] != led]
    if not len(twins):
        return a, b, values
    alike = np.ones((len(twins), values.shape[1]), np.float32)
    alike[fingerprints.prompt_chars[twins] == 0, 3] = np.nan
    alike[fingerprints.response_chars[twins] == 0, 4:] = np.nan
    return (
        np.concatenate((a, np.minimum(twins, leader[twins]))),
        np.concatenate((b, np.maximum(twins, leader[twins]))),
        np.concatenate((values, alike)),
    )
