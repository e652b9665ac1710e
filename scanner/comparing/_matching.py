"""Which rows of two runs have the same content, row for row: copies count, each row is matched with one other at most.

records   both data sets hold the same records, whatever their order, files and format: by content_hash, which is
          keyed by the content of the whole data set and so means the same in both
text      otherwise by what is trained on, the text of every segment with its role (128-bit hashes, never written);
          rows of which one is what redacting makes of the other are the same row, wherever they stand, and so are
          rows that are left over and share their prompt, or a longer answer, with the other side changed
sketches  where a run was purged of its text: the MinHash signature and the lengths of prompt and answer agree
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from scanner.comparing._sides import ACTIONS, Side
from scanner.errors import RuleError, RunError
from scanner.objects import Bool, SegmentBatch, UInt64
from scanner.pairing import packed
from scanner.redacting import redactions
from scanner.settings import Settings
from scanner.signatures import is_sketched
from scanner.storedtext import with_texts

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
class _Texts:
    """What rows are matched by: hashes of 128 bits, as key_1 and key_2, or beside row_id_x as part_1 and part_2."""

    key: pl.DataFrame  # of every row's text with roles
    parts: tuple[pl.DataFrame, ...]  # of rows with prompt and answer: of both, of the prompt, of longer answers
    every: pl.DataFrame  # key as a part
    redacted: dict[str, pl.DataFrame]  # the same of rows to redact as they will be, by what that changes
    left: list[bytes]  # what the plan leaves of each source, in order: keys of its rows as they will be


@dataclass(frozen=True)
class Matching:
    """How rows were matched, and every row of A and of B in exactly one line."""

    how: str  # records, text, sketches
    carried_out: bool  # B is what A's plan leaves of A, row for row; its files may come in another order
    table: pl.DataFrame  # content, copy, status; columns of both sides with _a and _b, null where there is no such row


def match(a: Side, b: Side) -> Matching:
    """Match the rows of two runs.

    Of the copies of one content, those that are kept are matched with one another first, then in order of row_id.
    content: number of the content, in the order of its hash, which is the same for (a, b) and (b, a); of a changed
    row that of A. copy: from 0 within the content. RunError where nothing can be compared, with the reason.
    """
    texts = None
    if a.table["content_hash"].sort().equals(b.table["content_hash"].sort()):
        how, keys = "records", [pl.DataFrame({"key": side.table["content_hash"]}) for side in (a, b)]
    elif a.has_text and b.has_text:
        how, texts = "text", (_texts(a), _texts(b))
        keys = [of.key for of in texts]
    else:
        how, keys = "sketches", _sketches(a, b)
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
    if texts:
        of_a, of_b = texts
        for status in CHANGED:
            joined = _changed(joined, of_a.redacted[status], of_b.every, status)
            joined = _changed(joined, of_a.every, of_b.redacted[status], status)
        for status, part_a, part_b in zip((BOTH, OTHER_ANSWER, OTHER_PROMPT), of_a.parts, of_b.parts, strict=True):
            joined = _changed(joined, part_a, part_b, status)
        joined = _alike(joined, a, b)
    first = ["content", "copy", "status"]
    rest = [c for c in joined.columns if c not in (*first, *names)]
    carried_out = texts is not None and _is_left(texts[0].left, _rows_of_sources(b.table, texts[1].key))
    return Matching(how, carried_out, joined.select(*first, *rest).sort("row_id_a", "row_id_b", nulls_last=True))


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


def _rows_of_sources(table: pl.DataFrame, key: pl.DataFrame) -> list[bytes]:
    """The keys of the rows of each source, in order; sources without rows are left out."""
    parts = key.with_columns(table["source"]).partition_by("source", maintain_order=True)
    return [part.drop("source").to_numpy().tobytes() for part in parts]


def _is_left(planned: list[bytes], there: list[bytes]) -> bool:
    """Whether rows are those planned, in order: all, or file by file, since a folder is read in an order of its own."""
    return b"".join(planned) == b"".join(there) or sorted(planned) == sorted(there)


def _alike(joined: pl.DataFrame, a: Side, b: Side) -> pl.DataFrame:
    """Join rows that are only in one run and are each other's most similar one, by signature; equals by content."""
    left, right = (joined.filter(pl.col("status") == only).sort("content", "copy") for only in (ONLY_A, ONLY_B))
    if not 0 < len(left) * len(right) <= MOST_PAIRS or not _have_like_sketches(a, b):
        return joined
    from scanner.kernels.agreement import agreement

    mine, theirs = (_signatures(side, t[f"row_id_{side.name.lower()}"]) for side, t in ((a, left), (b, right)))
    i, j = (at.ravel().astype(np.uint64) for at in np.indices((len(left), len(right))))
    equal = np.empty(len(i), np.int32)
    agreement(mine, theirs, packed(i, j), equal)
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


def _texts(side: Side) -> _Texts:
    """Hashes of every row's text with roles, of parts of it, and of what redacting makes of it."""
    table = side.table
    n, row_id = len(table), f"row_id_{side.name.lower()}"
    hashes = np.stack(_hashes(side.run.segments(), n))  # (3, n, 2)
    asked, answered = table["prompt_chars"].to_numpy() > 0, table["response_chars"].to_numpy() > 0
    long = table["length.supervised_tokens"].to_numpy() >= SHARED_ANSWER

    def parts(hashes: UInt64, some: Bool) -> pl.DataFrame:
        ids = {row_id: table["row_id"].to_numpy()[some]}
        return pl.DataFrame({**ids, "part_1": hashes[some, 0], "part_2": hashes[some, 1]})

    def keys(hashes: UInt64, some: Bool) -> pl.DataFrame:
        return pl.DataFrame({"key_1": hashes[some, 0], "key_2": hashes[some, 1]})

    whole, prompt, answer = hashes
    two, every = asked & answered, np.ones(n, np.bool_)
    becomes = _redacted(side, hashes)
    other_prompt, other_answer = (becomes[1:] != hashes[1:]).any(axis=2)
    changes = {
        OTHER_ANSWER: two & other_answer & ~other_prompt,
        OTHER_PROMPT: two & other_prompt & ~other_answer,
        OTHER_TEXT: (becomes[0] != whole).any(axis=1) & ~(two & (other_prompt ^ other_answer)),
    }
    sides = prompt * np.uint64(0x9E3779B97F4A7C15) ^ answer
    stays = (table["action"] != "drop").to_numpy()
    return _Texts(
        key=keys(whole, every),
        parts=(parts(sides, two), parts(prompt, two), parts(answer, two & long)),
        every=parts(whole, every),
        redacted={status: parts(becomes[0], some) for status, some in changes.items()},
        left=_rows_of_sources(table.filter(stays), keys(becomes[0], stays)),
    )


def _redacted(side: Side, hashes: UInt64) -> UInt64:
    """(3, rows, 2) the hashes of `_hashes` once the side's plan has redacted its rows."""
    ids = side.table.filter(pl.col("action") == "redact")["row_id"]
    try:
        new = redactions(side.run, ids.to_list(), Settings.from_dict(side.scan["settings"])) if len(ids) else {}
    except RuleError:  # a folder of --rules that is gone: such rows are still told by what else they share
        return hashes
    texts = {(row, pointer): text for row, found in new.items() for pointer, text in found.texts.items()}
    batch = with_texts(side.run.segments().rows(ids.to_list()), texts)
    found = hashes.copy()
    if len(batch):
        places = np.searchsorted(side.table["row_id"].to_numpy(), np.unique(batch.row_id))
        found[:, places] = np.stack(_hashes([batch], len(places)))
    return found


def _hashes(reader: Iterable[SegmentBatch], rows: int) -> tuple[UInt64, UInt64, UInt64]:
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
