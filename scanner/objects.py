"""The things that flow between the stages: small frozen dataclasses over numpy arrays and polars frames.

    Source -> Records -> SegmentBatch -> {Pairs, Neighbours} -> Clusters -> Features -> Prediction -> Plan

Shapes are written (n,) with n rows, s segments; -1 stands for "none" in integer arrays; not measured is NaN.
`row_id` is the place of a record in the inputs, counted over all inputs in order and over skipped records too,
from 0; it is never renumbered. Arrays over rows are in ascending row_id order and hold only the rows read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Int64 = npt.NDArray[np.int64]
Int32 = npt.NDArray[np.int32]
Int16 = npt.NDArray[np.int16]
UInt64 = npt.NDArray[np.uint64]
UInt8 = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]


ROLES = ("system", "tools", "user", "assistant", "tool", "rejected", "text")
"""Who speaks in a segment; SegmentBatch.role holds the index.

system: instructions above the dialogue · tools: tool schemas offered to the model · user: prompt text ·
assistant: answers, tool calls included · tool: what a tool returned · rejected: the worse answer of a preference
pair (never learned as an answer) · text: plain text without turns (learned as a whole).
"""
ROLE_CODE = {name: code for code, name in enumerate(ROLES)}


LONG_TURN = 8
"""Tokens from which a turn that stands in several rows says something about them: a longer answer is boilerplate, while
shorter turns (yes, thanks, go on, a label) recur and mean nothing by it."""


EXTRACTED = 16
"""Tokens recited before the first miss from which on an answer counts as extracted; `p_extract` is about them."""


@dataclass(frozen=True)
class Source:
    """One input file, as the user named it and as it was opened.

    `member` names the file inside an archive ("" otherwise). `format` is the plugin's name in scanner/formats.
    """

    index: int
    path: Path
    name: str  # what tables and reports call it: the path's name, with the member; private values masked
    format: str
    member: str = ""
    compression: str = ""  # "", "gz", "zst", "zip"
    bytes_on_disk: int = 0

    @property
    def names(self) -> tuple[str, str]:
        """What reports call the file, and the member of it ("" where it is none)."""
        parts = self.name.split("/")
        inside = len(self.member.split("/")) if self.member else 0
        return "/".join(parts[: len(parts) - inside]), "/".join(parts[len(parts) - inside :])


@dataclass(frozen=True)
class Skip:
    """A record that could not be read. `raw` holds at most the first 4 kB of it, for private/ only."""

    row_id: int
    file: str
    line: int  # from 1; the record's number where the format has no lines
    reason: str  # shows types, lengths and positions, never values
    raw: bytes = field(default=b"", repr=False)


class Damage(NamedTuple):
    """Something that was tolerated while reading, in how many records or headers, and where it was met first."""

    what: str
    records: int
    first: str  # file:line
    of: str = "record"  # or "header": the row that names the columns


@dataclass(frozen=True)
class Records:
    """A run of consecutive records of one source, not yet understood.

    Either `buffer` holds their JSON text (record i is buffer[start[i]:end[i]]) or `values` holds them parsed.
    `row_id` is ascending but may have gaps where records were skipped.
    """

    source: Source
    row_id: Int64  # (n,)
    line: Int64  # (n,) from 1; the record's number where the format has no lines
    start: Int64  # (n,) byte offset in the decompressed source; -1 where the format has none
    end: Int64  # (n,) first byte after the record; -1 likewise
    buffer: UInt8 | None = None  # the decompressed source
    values: Sequence[Any] | None = None
    skips: tuple[Skip, ...] = ()
    notes: tuple[str, ...] = ()  # what was tolerated, as "line 3: bytes that are not UTF-8, ..." or "header 1: ..."

    def __len__(self) -> int:
        return len(self.row_id)

    def raw(self, i: int) -> bytes:
        """The JSON text of record i; only where there is a buffer."""
        assert self.buffer is not None
        return self.buffer[self.start[i] : self.end[i]].tobytes()


class Segment(NamedTuple):
    """One string of a record as it stands there, so that a span can be written back into exactly that string.

    `path` leads to the string from the record's root: keys and list indexes. A string that itself holds JSON (the
    arguments of a tool call) is one segment with its raw text.
    """

    path: tuple[str | int, ...]
    role: str  # one of ROLES
    turn: int  # from 0; a prompt and its answer are two turns
    supervised: bool  # an answer the model is trained on, before --supervise narrows it
    text: str


@dataclass(frozen=True)
class SegmentBatch:
    """Segments of whole rows, as views over one record batch of private/segments.arrow.

    Text i is data[offsets[i]:offsets[i + 1]], valid UTF-8 (lone surrogates replaced by U+FFFD, one for one).
    """

    row_id: Int64  # (s,) ascending
    segment: Int32  # (s,) from 0 within the row
    turn: Int32  # (s,)
    role: UInt8  # (s,) index into ROLES
    supervised: Bool  # (s,)
    offsets: Int64  # (s + 1,) into data
    data: UInt8
    first: int = 0  # index of the first of these segments in the whole file
    starts: Int64 | None = None  # row_starts, where they are known already

    def __len__(self) -> int:
        return len(self.row_id)

    def row_starts(self) -> Int64:
        """(rows + 1,) index of each row's first segment, and the number of segments at the end."""
        return self._row_starts

    @cached_property
    def _row_starts(self) -> Int64:
        if self.starts is not None:
            return self.starts
        change = np.flatnonzero(self.row_id[1:] != self.row_id[:-1]) + 1
        return np.concatenate(([0], change, [len(self.row_id)])).astype(np.int64)

    def only(self, places: Int64) -> SegmentBatch:
        """Some of the segments, their text copied together; `first` is 0, for they are no longer those of the file."""
        size = np.diff(self.offsets)[places]
        offsets = np.concatenate(([0], np.cumsum(size))).astype(np.int64)
        text = self.data.data
        spans = zip(self.offsets[places].tolist(), self.offsets[np.asarray(places) + 1].tolist(), strict=True)
        data = np.frombuffer(b"".join([text[a:b] for a, b in spans]), np.uint8)
        return SegmentBatch(
            self.row_id[places], self.segment[places], self.turn[places], self.role[places], self.supervised[places],
            offsets, data,
        )  # fmt: skip


@dataclass(frozen=True)
class Rows:
    """Where every row that was read stands, and hashes of its content."""

    row_id: Int64  # (n,) ascending, with gaps where records were skipped
    source: Int32  # (n,) index into the sources
    line: Int64  # (n,) from 1
    start: Int64  # (n,) byte offset in the decompressed source, -1 where the format has none
    end: Int64  # (n,)
    turns: Int32  # (n,)
    digest: UInt64  # (n, 2) MurmurHash3 x64 128 of the canonical record; internal, never published
    layout: tuple[str, ...]  # per source
    first_row: tuple[int, ...]  # per source: row_id of its first record, read or skipped
    damage: tuple[Damage, ...] = ()  # what was tolerated while reading
    order: Int64 | None = field(default=None, repr=False)  # (n,) content_order, where it is known already
    private_names: Int32 | None = None  # (n,) names of its fields that hold private values; None: not looked for

    def __len__(self) -> int:
        return len(self.row_id)

    @cached_property
    def place(self) -> Int64:
        """(n,) from 1, what tells the records of a file apart: their lines, or where several stand in one line (JSON
        written without line breaks) their numbers, skipped ones counted."""
        sharing = (np.diff(self.line) == 0) & (np.diff(self.source) == 0)
        numbered = np.isin(self.source, self.source[1:][sharing])
        first = np.array(self.first_row, np.int64)[self.source[numbered]]
        place: Int64 = self.line.copy()
        place[numbered] = self.row_id[numbered] - first + 1
        return place

    @cached_property
    def content_order(self) -> Int64:
        """(n,) positions sorted by content digest; equal content by place in the input."""
        return np.lexsort((self.digest[:, 1], self.digest[:, 0])) if self.order is None else self.order

    @cached_property
    def content_rank(self) -> Int64:
        """(n,) place of each row in `content_order`."""
        rank = np.empty(len(self), np.int64)
        rank[self.content_order] = np.arange(len(self))
        return rank


@dataclass(frozen=True)
class Fingerprints:
    """What one pass over the text leaves behind per row, fixed width."""

    signature: npt.NDArray[np.uint32]  # (n, permutations) MinHash, datasketch affine32
    prompt: UInt64  # (n,) hash of the normalised prompt
    answer: UInt64  # (n,) hash of the normalised answer
    context: UInt64  # (n,) hash of system prompt, tool schemas and rejected answers
    normal: UInt64  # (n, 2) hash of the whole normalised row
    tokens: Int64  # (n,)
    supervised_tokens: Int64  # (n,)
    shingles: Int64  # (n,) repeats counted
    prompt_chars: Int64  # (n,) code points before and between the supervised segments
    response_chars: Int64  # (n,) code points of the supervised segments


@dataclass(frozen=True)
class Groups:
    """Rows that are equal in some sense: group (n,) is the smallest position of each row's group."""

    group: Int64  # (n,)
    size: Int64  # (n,)


@dataclass(frozen=True)
class Shared:
    """Rows that have one side in common (the prompt, or the answer), and in how many ways their other side goes on.

    Groups are numbered from 0 in content order, the ways of a group by how many rows go that way, equal ones in content
    order: no number depends on the order of rows. Rows that take no part, or share nothing, are a group of one row.
    """

    group: Int64  # (n,) number of the group; -1 for groups of one row
    rows: Int64  # (n,) rows of the group
    way: Int64  # (n,) number of the row's way in its group
    ways: Int64  # (n,) ways of the group
    share: Float64  # (n,) of the group's rows that go this way
    first: Int64  # (n,) position of the first row, in content order, that goes this way


@dataclass(frozen=True)
class Turns:
    """Every turn of user and assistant that says something, in the order of rows and turns; t turns.

    A turn is all segments of one row with the same number and side; single-turn rows have two.
    """

    row: Int64  # (t,) position of the row
    is_answer: Bool  # (t,) said by the assistant
    hash: UInt64  # (t,) of its folded tokens
    tokens: Int64  # (t,)


@dataclass(frozen=True)
class Pairs:
    """Verified pairs of rows, row_a < row_b, sorted; `signal` says what found them.

    relation: same_both | same_prompt | same_response | near | contained | semantic. Signal exact with another relation
    than same_both says that one side is the same, or (contained) that one answer stands inside the other: evidence,
    never a reason to drop a row.
    """

    signal: str  # exact, minhash, span, semantic
    row_a: Int64  # (p,)
    row_b: Int64  # (p,)
    relation: npt.NDArray[Any]  # (p,) of str
    similarity: Float32  # (p,) Jaccard; cosine for semantic; for span the share of the smaller row found in the other
    containment_ab: Float32  # (p,) share of a's shingles (span: tokens) found in b; NaN where not measured
    containment_ba: Float32
    notes: dict[str, Any] = field(default_factory=dict)  # parameters, measured recall, caps that were reached

    def __len__(self) -> int:
        return len(self.row_a)


@dataclass(frozen=True)
class Neighbours:
    """The k nearest rows of every row by embedding, nearest first; ties broken by content hash.

    position: index into the rows (not row_id), -1 where there are fewer than k or the row was not measured.
    """

    position: Int32  # (n, k)
    cosine: Float32  # (n, k) NaN where position is -1
    measured: Bool  # (n,) False where the encoder could not represent the row
    notes: dict[str, Any] = field(default_factory=dict)  # encoder, index, measured recall


@dataclass(frozen=True)
class Clusters:
    """Stars of verified duplicates: each member was verified against the kept row itself.

    cluster: (n,) index of the cluster, -1 for rows in none; keep: (n,) position of the row kept in its place, its
    own position for kept rows.
    """

    cluster: Int64
    size: Int64  # (n,) members of the row's cluster, 1 for rows in none
    keep: Int64


@dataclass(frozen=True)
class Timing:
    """How long a stage took and what it went through."""

    stage: str
    seconds: float
    items: int = 0


@dataclass(frozen=True)
class Edits:
    """What to change in one source; records that neither field names are kept as they are.

    Both name records by row_id; those of other sources are passed over. `first_row` is the row_id of the source's first
    record, as it was given to `read`.
    """

    first_row: int = 0
    drop: frozenset[int] = frozenset()
    replace: Mapping[int, Mapping[tuple[str | int, ...], str]] = field(default_factory=dict)  # row_id -> path -> text

    def __bool__(self) -> bool:
        return bool(self.drop or self.replace)


@dataclass(frozen=True)
class Written:
    """What came out of one source; kept + dropped + unreadable = its records (replaced are among the kept)."""

    kept: int
    dropped: int
    replaced: int
    unreadable: int  # copied as they stand by formats of text, left out where the target cannot hold them
