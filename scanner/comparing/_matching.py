"""Which rows of two runs have the same content, row for row: copies count, each row is matched with one other at most.

records   both data sets hold the same records, whatever their order, files and format: by content_hash, which is
          keyed by the content of the whole data set and so means the same in both
text      otherwise by what is trained on, the text of every segment with its role (128-bit hashes, never written);
          rows that are left over and share their prompt, or a longer answer, are the same row with its other side
          changed
sketches  where a run was purged of its text: the MinHash signature and the lengths of prompt and answer agree
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from scanner.comparing._sides import ACTIONS, Side
from scanner.errors import RunError
from scanner.objects import Bool, UInt64
from scanner.signatures import is_sketched
from scanner.storedtext import SegmentReader

UInt32 = npt.NDArray[np.uint32]

SHARED_ANSWER = 16
"""Supervised tokens from which rows are one for sharing an answer: shorter ones ("Yes.") are equal by chance. It is the
length that p_extract is about."""
ALIKE = 0.5
"""Estimated Jaccard similarity from which rows that share neither side are one row, changed in both: the floor from
which an audit counts near copies."""
MOST_PAIRS = 1_000_000
"""Pairs of rows left over that are looked at for that; where there are more, none is."""
BOTH, OTHER_ANSWER, OTHER_PROMPT, OTHER_TEXT = "both", "answer changed", "prompt changed", "text changed"
ONLY_A, ONLY_B = "only A", "only B"
CHANGED = (OTHER_ANSWER, OTHER_PROMPT, OTHER_TEXT)
STATUSES = (BOTH, *CHANGED, ONLY_A, ONLY_B)


@dataclass(frozen=True)
class Matching:
    """How rows were matched, and every row of A and of B in exactly one line."""

    how: str  # records, text, sketches
    carried_out: bool  # B is what A's plan leaves of A, row for row
    table: pl.DataFrame  # content, copy, status; columns of both sides with _a and _b, null where there is no such row


def match(a: Side, b: Side) -> Matching:
    """Match the rows of two runs.

    Of the copies of one content, those that are kept are matched with one another first, then in order of row_id.
    content: number of the content, in the order of its hash, which is the same for (a, b) and (b, a); of a changed
    row that of A. copy: from 0 within the content. RunError where nothing can be compared, with the reason.
    """
    if a.table["content_hash"].sort().equals(b.table["content_hash"].sort()):
        how, keys = "records", [pl.DataFrame({"key": side.table["content_hash"]}) for side in (a, b)]
        parts = None
    elif a.has_text and b.has_text:
        how, found = "text", [_texts(side) for side in (a, b)]
        keys, parts = [f[0] for f in found], [f[1] for f in found]
    else:
        how, keys, parts = "sketches", _sketches(a, b), None
    placed = None
    names = keys[0].columns
    left, right = (_numbered(side, key) for side, key in zip((a, b), keys, strict=True))
    joined = left.join(right, on=[*names, "copy"], how="full", coalesce=True).sort(*names, "copy")
    a_there, b_there = pl.col("row_id_a").is_not_null(), pl.col("row_id_b").is_not_null()
    joined = joined.with_columns(
        content=pl.struct(names).rle_id().cast(pl.Int64),
        status=pl.when(a_there & b_there)
        .then(pl.lit(BOTH))
        .when(a_there)
        .then(pl.lit(ONLY_A))
        .otherwise(pl.lit(ONLY_B)),
    )
    if parts:
        for status, part_a, part_b in zip((BOTH, OTHER_ANSWER, OTHER_PROMPT), *parts, strict=True):
            joined = _changed(joined, part_a, part_b, status)
        placed = _carried_out(a, b, *keys)
        either = placed or (_carried_out(b, a, *keys[::-1]) or ())[::-1]
        joined = _changed(joined, *either, OTHER_TEXT) if either else _alike(joined, a, b)
    first = ["content", "copy", "status"]
    rest = [c for c in joined.columns if c not in (*first, *names)]
    return Matching(how, placed is not None, joined.select(*first, *rest).sort("row_id_a", "row_id_b", nulls_last=True))


def _numbered(side: Side, key: pl.DataFrame) -> pl.DataFrame:
    """The rows with their keys and the number of each among its copies; other columns end in the side's letter."""
    names = key.columns
    own = side.table.rename({c: f"{c}_{side.name.lower()}" for c in side.table.columns})
    action, row_id = f"action_{side.name.lower()}", f"row_id_{side.name.lower()}"
    place = pl.col(action).replace_strict(list(ACTIONS), list(range(len(ACTIONS))), default=0, return_dtype=pl.Int8)
    ordered = pl.concat([key, own], how="horizontal").sort(*names, place, row_id)
    return ordered.with_columns(copy=pl.int_range(pl.len(), dtype=pl.Int64).over(names))


def _changed(joined: pl.DataFrame, part_a: pl.DataFrame, part_b: pl.DataFrame, status: str) -> pl.DataFrame:
    """Join rows that are only in one run and share a part, in order of row_id. part_x: row_id_x, part_1, part_2."""
    of_a = [c for c in joined.columns if c.endswith("_a")]
    of_b = [c for c in joined.columns if c.endswith("_b")]
    part = ["part_1", "part_2"]

    def left_over(status: str, own: pl.DataFrame, row_id: str, columns: list[str]) -> pl.DataFrame:
        alone = joined.filter(pl.col("status") == status).select(columns)
        ordered = alone.join(own, on=row_id, how="inner").sort(*part, row_id)
        return ordered.with_columns(nth=pl.int_range(pl.len()).over(part))

    keys = [c for c in joined.columns if c not in (*of_a, *of_b)]
    mine = left_over(ONLY_A, part_a, "row_id_a", [*keys, *of_a])
    theirs = left_over(ONLY_B, part_b, "row_id_b", of_b)
    pairs = mine.join(theirs, on=[*part, "nth"], how="inner")
    return _joined(joined, pairs.with_columns(status=pl.lit(status)))


def _joined(joined: pl.DataFrame, pairs: pl.DataFrame) -> pl.DataFrame:
    """The lines with those of rows that were found to be one in place of two."""
    if not len(pairs):
        return joined
    taken_a = (pl.col("status") == ONLY_A) & pl.col("row_id_a").is_in(pairs["row_id_a"].implode())
    taken_b = (pl.col("status") == ONLY_B) & pl.col("row_id_b").is_in(pairs["row_id_b"].implode())
    return pl.concat([joined.filter(~(taken_a | taken_b)), pairs.select(joined.columns)])


def _carried_out(
    a: Side, b: Side, key_a: pl.DataFrame, key_b: pl.DataFrame
) -> tuple[pl.DataFrame, pl.DataFrame] | None:
    """The place of each row, as a part, where B is what A's plan leaves, in order; None where it is something else.

    At least half of the rows must be there as they were: any rows at all could stand for redacted ones.
    """
    left = a.table["action"] != "drop"
    stays, keys = a.table.filter(left), key_a.filter(left)
    if len(stays) != len(b.table):
        return None
    same = (keys["key_1"] == key_b["key_1"]) & (keys["key_2"] == key_b["key_2"])
    if not (same | (stays["action"] == "redact")).all() or 2 * same.sum() < len(same):
        return None
    place = pl.int_range(len(stays), dtype=pl.Int64, eager=True)
    columns = {"part_1": place, "part_2": place}
    return pl.DataFrame({f"row_id_{a.name.lower()}": stays["row_id"], **columns}), pl.DataFrame(
        {f"row_id_{b.name.lower()}": b.table["row_id"], **columns}
    )


def _alike(joined: pl.DataFrame, a: Side, b: Side) -> pl.DataFrame:
    """Join rows that are only in one run and are each other's most similar one, by signature; equals by content."""
    left, right = (joined.filter(pl.col("status") == only).sort("content", "copy") for only in (ONLY_A, ONLY_B))
    if not 0 < len(left) * len(right) <= MOST_PAIRS or not _have_like_sketches(a, b):
        return joined
    from scanner.kernels.agreement import agreement

    mine, theirs = (_signatures(side, t[f"row_id_{side.name.lower()}"]) for side, t in ((a, left), (b, right)))
    i, j = (at.ravel().astype(np.uint64) for at in np.indices((len(left), len(right))))
    equal = np.empty(len(i), np.int32)
    agreement(mine, theirs, i << np.uint64(32) | j, equal)
    table = equal.reshape(len(left), len(right))
    sketched = is_sketched(mine)[:, None] & is_sketched(theirs)
    table[~sketched] = 0
    best, chosen = table.argmax(axis=1), np.arange(len(left))
    mutual = (table.argmax(axis=0)[best] == chosen) & (table[chosen, best] >= ALIKE * mine.shape[1])
    of_b = [c for c in joined.columns if c.endswith("_b")]
    pairs = left.filter(mutual).drop(of_b).hstack(right.select(of_b)[best[mutual]])
    return _joined(joined, pairs.with_columns(status=pl.lit(OTHER_TEXT)).select(joined.columns))


def _signatures(side: Side, row_ids: pl.Series) -> UInt32:
    """(k, permutations) signatures of some rows."""
    there = np.asarray(side.run.read_array("row_id"))
    return np.ascontiguousarray(side.run.read_array("minhash")[np.searchsorted(there, row_ids.to_numpy())])


def _texts(side: Side) -> tuple[pl.DataFrame, tuple[pl.DataFrame, ...]]:
    """Hashes of every row's text with roles; of rows with prompt and answer those of both, either, longer answers."""
    whole, prompt, answer = _hashes(side.run.segments(), len(side.table))
    sides = prompt * np.uint64(0x9E3779B97F4A7C15) ^ answer
    table = side.table
    asked, answered = table["prompt_chars"].to_numpy() > 0, table["response_chars"].to_numpy() > 0
    long = table["length.supervised_tokens"].to_numpy() >= SHARED_ANSWER

    def parts(hashes: UInt64, some: Bool) -> pl.DataFrame:
        ids = {f"row_id_{side.name.lower()}": table["row_id"].to_numpy()[some]}
        return pl.DataFrame({**ids, "part_1": hashes[some, 0], "part_2": hashes[some, 1]})

    key = pl.DataFrame({"key_1": whole[:, 0], "key_2": whole[:, 1]})
    two = asked & answered
    return key, (parts(sides, two), parts(prompt, two), parts(answer, two & long))


def _hashes(reader: SegmentReader, rows: int) -> tuple[UInt64, UInt64, UInt64]:
    """(rows, 2) hashes of every row's text with roles: of all of it, of what is asked, of what is learned."""
    from scanner.fingerprints import PART_OF_ROLE
    from scanner.kernels.minhash import ANSWER_PART, text_hashes

    whole, prompt, answer = (np.empty((rows, 2), np.uint64) for _ in range(3))
    first = 0
    for batch in reader:
        if not len(batch):
            continue
        starts, begin, end = batch.row_starts(), batch.offsets[:-1], batch.offsets[1:]
        last = first + len(starts) - 1
        there = end > begin
        asked = there & ~batch.supervised & (PART_OF_ROLE[batch.role] != ANSWER_PART)
        for out, chosen in ((whole, there), (prompt, asked), (answer, there & batch.supervised)):
            places = np.concatenate(([0], np.cumsum(chosen)))[starts]
            unlearned = np.zeros(int(places[-1]), np.bool_)  # which turns are learned is a setting, not content
            text_hashes(
                batch.data, begin[chosen], end[chosen], places, batch.role[chosen], unlearned, out[first:last]
            )  # fmt: skip
        first = last
    return whole, prompt, answer


def _sketches(a: Side, b: Side) -> list[pl.DataFrame]:
    """Signatures and lengths, where text is gone; RunError where the signatures mean different things."""
    purged = " and ".join(str(side.run.path) for side in (a, b) if not side.has_text)
    if not _have_like_sketches(a, b):
        raise RunError(
            f"the rows of {a.run.path} and {b.run.path} cannot be matched: the text of {purged} was purged, and their "
            "signatures (index/) are missing or of different kinds; audit the purged data again"
        )
    keys = []
    for side in (a, b):
        signature = np.ascontiguousarray(side.run.read_array("minhash"))
        lengths = side.table.select("turns", "prompt_chars", "response_chars")
        sketch = pl.Series("sketch", list(map(bytes, signature)), dtype=pl.Binary)
        keys.append(lengths.select(pl.all().name.prefix("key_")).with_columns(sketch))
    return keys


def _have_like_sketches(a: Side, b: Side) -> bool:
    """Whether the signatures of both runs are there and mean the same."""
    facts = []
    for side in (a, b):
        described = side.run.index / "index.json"
        facts.append(side.run.read_json("index/index.json") if described.exists() else {})
    names = ("algorithm", "permutations", "seed", "shingle_tokens", "probe")
    return all(facts) and all(facts[0].get(name) == facts[1].get(name) for name in names)
