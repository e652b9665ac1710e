"""Templates that few rows follow: a wrapper in a handful of rows, or in a thousandth of a large set.

    near pairs that would be dropped -> families of rows that they connect -> what a family's rows have in common
                                     -> its pairs compared anew on what they put into it

Templates of a source are told by how many of its rows hold them (templating.py). A rarer one is told by the rows that
it would make copies of one another: in a family of near copies, edited here and there, nearly all rows agree in every
place; in one of payloads in a wrapper there are places where they differ, and most of what a row puts there stands in
no other. Where it stands in others too (the same task in the words of five people), they are near copies as before. Of
less than five rows nobody can tell which of the two they are.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from scanner import templating, wording
from scanner.kernels import templates as kernels
from scanner.objects import Bool, Fingerprints, Int64, Rows, UInt64
from scanner.pairing import connected
from scanner.running import run
from scanner.storedtext import TextReader
from scanner.templating import Marked, Templates, Verdicts
from scanner.wording import Wording

LEAST_ROWS = 5
"""Distinct rows of a family."""
HOLDING = 0.5
"""Share of a family's rows that must hold a context before what follows it is judged ..."""
AGREEING = 0.6
"""... and share of these that must go on in the same way for the text to be fixed there. Edits of near copies stand in
different places: in each, one or two of five rows differ."""
DISTINCT = 0.4
"""Share of what a family's rows put into its template that must stand in one row alone: a payload of one number beside
a label of few kinds has half."""


@dataclass(frozen=True)
class Families:
    """Rows that belong together and what is template in them, as another source each."""

    number: Int64  # (n,) of the row's family, -1 for none
    rows: Rows  # their source is the family
    marked: Marked


def find(
    reader: TextReader,
    rows: Rows,
    prints: Fingerprints,
    a: Int64,
    b: Int64,
    droppable: Bool,
    width: int,
    threads: int,
) -> Families | None:
    """Families of rows (positions) that droppable pairs connect, directly or not; None where none has a template."""
    number, members = _connected(rows, prints, a[droppable], b[droppable])
    if not len(members):
        return None
    count = int(number.max()) + 1
    own = replace(rows, source=np.maximum(number, 0).astype(np.int32), layout=("",) * count, order=rows.content_order)
    templates = _learnt(reader, own, prints, np.split(members, np.cumsum(np.bincount(number[members]))[:-1]), threads)
    if templates is None:
        return None
    fixed = np.zeros((len(rows), kernels.PARTS), np.int32)
    for some in templating.gathered(reader, own, np.flatnonzero(number >= 0)):
        fixed[some.position] = templating.marked(some, templates)[0].reshape(-1, kernels.PARTS)
    nothing = np.zeros(0, np.int64)
    marked = Marked(templates, fixed, np.zeros_like(fixed), pl.DataFrame(), nothing, nothing)
    members = np.sort(members)
    sets = wording.payloads(reader, own, prints, marked, members, number[members], width, threads)
    apart = _are_apart(number[members], *sets, count)
    inside = number >= 0
    number[inside] = np.where(apart[number[inside]], number[inside], -1)
    return Families(number, own, marked) if apart.any() else None


def _connected(rows: Rows, prints: Fingerprints, a: Int64, b: Int64) -> tuple[Int64, Int64]:
    """(n,) family of every row, -1 for none, and one row for each text of theirs, by family and in content order."""
    groups = connected(len(rows), a, b)
    large = np.flatnonzero(groups.size >= LEAST_ROWS)
    large = large[np.argsort(rows.content_rank[large])]
    first = np.unique(np.column_stack((groups.group[large], prints.normal[large])), axis=0, return_index=True)[1]
    members = large[np.sort(first)]
    heads, size = np.unique(groups.group[members], return_counts=True)
    heads = heads[size >= LEAST_ROWS]
    number = np.full(len(rows), -1, np.int64)
    number[heads] = np.arange(len(heads))
    number = number[groups.group]
    members = members[number[members] >= 0]
    return number, members[np.argsort(number[members], kind="stable")]


def _learnt(
    reader: TextReader, own: Rows, prints: Fingerprints, families: list[Int64], threads: int
) -> Templates | None:
    """What the families' rows, each in content order, say about contexts."""

    def learn(members: Int64) -> Verdicts:
        members = members[: templating.SAMPLE_ROWS]
        members = np.sort(members[np.cumsum(prints.tokens[members]) <= templating.SAMPLE_TOKENS])
        least = max(LEAST_ROWS, int(np.ceil(HOLDING * len(members))))
        return templating.verdicts(reader, own, prints, members, least, 1, AGREEING)

    said = [verdicts for verdicts in run(learn, families, threads) if len(verdicts.context)]
    return templating.table_of(said) if said else None


def _are_apart(family: Int64, shingle: UInt64, bounds: Int64, count: int) -> Bool:
    """(count,) whether most of what a family's rows (m,) put into its template stands in one of them alone.

    shingle, bounds (2 m + 1,): see kernels.templates.payload_sets.
    """
    row = np.repeat(np.arange(len(family)), np.diff(bounds[::2]))
    order = np.lexsort((row, shingle, family[row]))
    shingle, row = shingle[order], row[order]
    new = np.ones(len(shingle), np.bool_)
    new[1:] = (shingle[1:] != shingle[:-1]) | (row[1:] != row[:-1])  # what stands in prompt and answer counts once
    shingle, holder = shingle[new], family[row[new]]
    alone = np.ones(len(shingle), np.bool_)
    again = (shingle[1:] == shingle[:-1]) & (holder[1:] == holder[:-1])
    alone[1:] &= ~again
    alone[:-1] &= ~again
    whole = np.bincount(holder, minlength=count)
    apart: Bool = (whole > 0) & (np.bincount(holder[alone], minlength=count) >= DISTINCT * whole)
    return apart


def compare(
    reader: TextReader,
    prints: Fingerprints,
    found: Families,
    known: Wording,
    a: Int64,
    b: Int64,
    width: int,
    threads: int,
) -> Wording:
    """What the pairs (p,) have in common, as `wording.compare` has told it, but without the families' templates."""
    inside = np.flatnonzero((found.number[a] >= 0) & (found.number[a] == found.number[b]))
    every = np.ones(len(inside), np.bool_)
    own = wording.compare(reader, found.rows, prints, found.marked, a[inside], b[inside], every, width, threads)
    told = ~np.isnan(own.payload)
    inside = inside[told]
    payload, words = known.payload.copy(), known.words.copy()
    payload[inside] = np.fmin(payload[inside], own.payload[told])
    words[inside] = np.fmin(words[inside], own.words[told])
    return Wording(payload, words)
