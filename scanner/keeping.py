"""Which row of a cluster of duplicates stays, and why.

    first         the one that comes first
    longest       the one with the longest answer, in tokens
    best          the one with the best answer (features.quality: complete, longer, more varied)
    source:A,B    the one from input A, else B, else from the others in their order; the best of several
    field:NAME    the one whose field NAME is largest (latest, for dates); field:-NAME: smallest; rows without a
                  comparable value come last; the order of the inputs, then the best, decide between equals

With the first three, rows of an earlier input are preferred to those of a later one. A row that an earlier run holds
(--against) stands before all others: the data that it came with were there first. What is still equal is decided by
the content hash, so that the same text stays wherever it stood.

With --keep N the N rows that stand first stay, of every cluster; a copy in an earlier run counts as one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from scanner.errors import SettingsError
from scanner.objects import Bool, Clusters, Float64, Int64, Rows
from scanner.text import one_line


@dataclass(frozen=True)
class Policy:
    """--keep-policy, taken apart."""

    kind: str  # best, first, longest, source, field
    sources: tuple[str, ...] = ()
    field: str = ""
    smaller: bool = False  # field:-NAME


@dataclass(frozen=True)
class Key:
    """One thing that rows are ordered by; smaller values stay."""

    what: str
    values: np.ndarray  # (n,)


@dataclass(frozen=True)
class Preference:
    """The order in which rows stay: rank (n,), 0 first, and what it was made from, the weightiest first."""

    rank: Int64
    policy: Policy
    keys: tuple[Key, ...] = field(repr=False)
    sources: tuple[str, ...]  # names, by index
    source: np.ndarray  # (n,) index


def parse(text: str) -> Policy:
    """A policy taken apart; its form was checked where it was set (scanner/settings.py)."""
    kind, _, rest = text.partition(":")
    if kind == "source":
        return Policy(kind, sources=tuple(name.strip() for name in rest.split(",") if name.strip()))
    if kind == "field":
        return Policy(kind, field=rest.removeprefix("-"), smaller=rest.startswith("-"))
    return Policy(kind)


def check_sources(policy: Policy, sources: Sequence[str]) -> None:
    """SettingsError where source: names an input that there is not."""
    unknown = [name for name in policy.sources if name not in sources]
    if unknown:
        raise SettingsError(
            f"--keep-policy source: names {', '.join(unknown)}, which is no input; the inputs are "
            f"{', '.join(dict.fromkeys(sources))}"
        )


def preference(
    rows: Rows,
    policy: str,
    sources: Sequence[str],
    quality: np.ndarray,
    answer_tokens: Int64,
    field_rank: Float64 | None = None,
    is_earlier: Bool | None = None,
) -> Preference:
    """The order in which rows stay.

    quality, answer_tokens (n,) · field_rank (n,): place of the field's value among all values, NaN for rows without a
    comparable one; needed for field: · is_earlier (n,): an earlier run holds the row.
    """
    chosen = parse(policy)
    check_sources(chosen, sources)
    before = Key("source", rows.source)
    best = Key("quality", -np.nan_to_num(quality))
    if chosen.kind == "source":
        wanted = {name: i for i, name in enumerate(chosen.sources)}
        order = np.array([wanted.get(name, len(wanted)) for name in sources], np.int64)
        keys = [Key("wanted", order[rows.source]), before, best]
    elif chosen.kind == "field":
        assert field_rank is not None
        values = np.where(np.isnan(field_rank), np.inf, field_rank if chosen.smaller else -field_rank)
        keys = [Key("field", values), before, best]
    else:
        own = {"longest": ("tokens", -answer_tokens), "first": ("place", rows.row_id)}
        keys = [before, best if chosen.kind == "best" else Key(*own[chosen.kind])]
    if is_earlier is not None and is_earlier.any():
        keys.insert(0, Key("earlier", (~is_earlier).astype(np.int8)))
    order = rows.content_order
    for key in reversed(keys):
        order = _sorted_stably(order, key.values)
    keys.append(Key("content", rows.content_rank))
    rank = np.empty(len(rows), np.int64)
    rank[order] = np.arange(len(rows))
    return Preference(rank, chosen, tuple(keys), tuple(sources), rows.source)


def _sorted_stably(order: Int64, values: np.ndarray) -> Int64:
    """`order` sorted by its values, equal ones as they stood; fast where most rows have the same value, as most do."""
    if not len(order) or values.min() == values.max():
        return order
    here = values[order]
    seen, times = np.unique(here[:: max(1, len(here) // 64)], return_counts=True)
    common = seen[np.argmax(times)]
    others = np.flatnonzero(here != common)
    others = others[np.argsort(here[others], kind="stable")]
    below = int(np.searchsorted(here[others], common))
    same = order[here == common]
    return np.concatenate((order[others[:below]], same, order[others[below:]]))


def spared(clusters: Clusters, rank: Int64, keep: int, may_stay: Bool) -> Bool:
    """(n,) rows that stay besides the kept row of their cluster: the keep - 1 next ones by rank, of those that may."""
    n = len(rank)
    member = (clusters.keep != np.arange(n)) & may_stay
    out = np.zeros(n, np.bool_)
    if keep > 1 and member.any():
        inside = np.flatnonzero(member)
        order = inside[np.lexsort((rank[inside], clusters.keep[inside]))]
        centre = clusters.keep[order]
        first = np.flatnonzero(np.concatenate(([True], centre[1:] != centre[:-1])))
        place = np.arange(len(order)) - np.repeat(first, np.diff(np.append(first, len(order))))
        out[order[place < keep - 1]] = True
    return out


def because(preferred: Preference, kept: Int64, gone: Int64) -> pl.Series:
    """Why each kept row (positions) stays rather than the other: the first of the keys in which they differ."""
    said = np.full(len(kept), "", object)
    open_ = np.ones(len(kept), np.bool_)
    for key in preferred.keys:
        a, b = key.values[kept], key.values[gone]
        decided = np.flatnonzero(open_ & (a != b))
        open_[decided] = False
        for i in decided.tolist():
            said[i] = _words(preferred, key, int(kept[i]), int(gone[i]), a[i], b[i])
    return pl.Series(said.tolist(), dtype=pl.String)


def _words(preferred: Preference, key: Key, kept: int, gone: int, a: float, b: float) -> str:
    names = [preferred.sources[preferred.source[i]] for i in (kept, gone)]
    policy = preferred.policy
    if key.what == "earlier":
        return "an earlier run holds it"
    if key.what == "wanted":
        return f"it is from {names[0]}, which --keep-policy prefers to {names[1]}"
    if key.what == "source":
        return f"it is from {names[0]}, which stands before {names[1]} among the inputs"
    if key.what == "quality":
        decimals = next((d for d in range(2, 16) if f"{a:.{d}f}" != f"{b:.{d}f}"), 16)  # as many as tell them apart
        return f"its answer is better (quality {-a:.{decimals}f} against {-b:.{decimals}f})"
    if key.what == "tokens":
        return f"its answer is longer ({-a:,.0f} against {-b:,.0f} tokens)"
    if key.what == "place":
        return "it comes first"
    if key.what == "field":
        name = one_line(policy.field, 40)
        if np.isinf(b):
            return f"the other has no comparable value in field {name}"
        return f"its field {name} is {'smaller' if policy.smaller else 'larger'}"
    return "the policy finds both equal; the hash of their content decides, then their place"


def in_words(policy: str, keep: int) -> str:
    """Policy and number as one sentence without a full stop."""
    chosen = parse(policy)
    many = "s" if keep > 1 else ""
    which = {
        "best": f"with the best answer{many}",
        "longest": f"with the longest answer{many}",
        "first": "that come first" if many else "that comes first",
        "source": f"from {', then '.join(one_line(name, 40) for name in chosen.sources)}, then the other inputs",
        "field": f"whose field {one_line(chosen.field, 40)} is {'smallest' if chosen.smaller else 'largest'}",
    }[chosen.kind]
    order = ", rows of earlier inputs first" if chosen.kind in ("best", "longest") else ""
    if many:
        options = f"(--keep-policy {chosen.kind} --keep {keep})"
        return f"of each cluster of duplicates up to {keep} rows {which} stay{order} {options}"
    return f"of each cluster of duplicates the row {which} stays{order} (--keep-policy {chosen.kind})"
