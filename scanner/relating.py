"""Which rows have a side in common: the prompt, the answer, the first question; and what the other sides are.

Everything is grouped by hashes of the folded text (64 bits), so that it is complete and costs a few sorts; the pairs
that are shown for a group are measured on the text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from scanner.objects import LONG_TURN, Bool, Clusters, Fingerprints, Int64, Rows, Shared, Turns, UInt64
from scanner.progress import Progress
from scanner.settings import Settings
from scanner.signals import group_by
from scanner.store import RunFolder

_FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)


@dataclass(frozen=True)
class Related:
    """What rows have in common beside whole copies."""

    pairs: pl.DataFrame  # as in pairs.parquet: rows that share one side only
    features: list[pl.DataFrame]
    notes: dict[str, Any]


def relate(
    run: RunFolder,
    rows: Rows,
    prints: Fingerprints,
    clusters: Clusters,
    near: pl.DataFrame,
    settings: Settings,
    threads: int,
    progress: Progress,
) -> Related:
    """Conflicts, shared answers, answers inside others, openings, repeated turns and scripts; pairs for what has a say.

    near: the verified near pairs as in pairs.parquet; pairs of these rows are not measured again.
    """
    from scanner import turns
    from scanner.features import answers, conflicts, script
    from scanner.features import turns as turn_features
    from scanner.signals import _inside, sides

    with progress.stage("compare turns", len(rows)):
        measured = turns.measure(run.segments(), len(rows), threads, progress.advance)
    with progress.stage("relate prompts and answers"):
        prompts = same_prompt(rows, prints, clusters.keep)
        replies = same_answer(rows, prints, clusters.keep)
        openings = same_opening(rows, prints, measured.turns)
        long = prints.supervised_tokens >= LONG_TURN
        within = _inside.find(rows, prints, run.segments(), settings.shingle, threads)
        found = sides.pairs(
            rows, prompts, replies, long, within, run.segments(), settings.shingle,
            known=(near["row_a"].to_numpy(), near["row_b"].to_numpy()),
        )  # fmt: skip
    features = [
        conflicts.features(prompts),
        answers.features(replies),
        turn_features.features(measured.turns, openings),
        script.features(measured.prompt_script, measured.answer_script),
    ]
    return Related(found.frame, features, {"sides": found.notes})


def same_prompt(rows: Rows, prints: Fingerprints, keep: Int64 | None = None) -> Shared:
    """Rows with the same prompt and context, by their answers; with `keep`, near copies give the same answer."""
    answer = prints.answer if keep is None else prints.answer[keep]
    return shared(rows, _mixed(prints.prompt, prints.context), answer, _asked(prints))


def same_answer(rows: Rows, prints: Fingerprints, keep: Int64) -> Shared:
    """Rows with the same answer, by their prompts; near copies have the same prompt."""
    return shared(rows, prints.answer, prints.prompt[keep], _asked(prints))


def same_opening(rows: Rows, prints: Fingerprints, turns: Turns) -> Shared:
    """Rows whose first user turn is the same, by their context and first answer."""
    n = len(rows)
    opening, reply = np.zeros(n, np.uint64), np.zeros(n, np.uint64)
    for side, out in ((~turns.is_answer, opening), (turns.is_answer, reply)):
        at = np.flatnonzero(side)[::-1]
        out[turns.row[at]] = turns.hash[at]  # backwards, so that the first turn is written last
    return shared(rows, opening, _mixed(reply, prints.context), opening != 0)


def shared(rows: Rows, side: UInt64, other: UInt64, takes_part: Bool) -> Shared:
    """Group rows by one side, and within a group by the other; see objects.Shared."""
    n = len(rows)
    none = np.full(n, -1, np.int64)
    one, own = np.ones(n, np.int64), np.arange(n)
    inside = rows.content_order[takes_part[rows.content_order]]
    if not len(inside):
        return Shared(none, one, np.zeros(n, np.int64), one.copy(), np.ones(n), own)
    groups = group_by(side[inside, None])
    ways = group_by(_mixed(side[inside], other[inside])[:, None])
    heads = np.flatnonzero(groups.group == np.arange(len(inside)))
    several = heads[groups.size[heads] > 1]
    number = np.full(len(inside), -1, np.int64)
    number[several] = np.arange(len(several))
    way_heads = np.flatnonzero(ways.group == np.arange(len(inside)))
    owner = groups.group[way_heads]
    order = np.lexsort((way_heads, -ways.size[way_heads], owner))
    owner, way_heads = owner[order], way_heads[order]
    start = np.flatnonzero(np.diff(owner, prepend=-1))
    lengths = np.diff(np.append(start, len(owner)))
    place, count = np.zeros(len(inside), np.int64), np.zeros(len(inside), np.int64)
    place[way_heads] = np.arange(len(owner)) - np.repeat(start, lengths)
    count[owner[start]] = lengths

    def spread(values: np.ndarray, empty: np.ndarray) -> np.ndarray:
        out = empty.copy()
        out[inside] = values
        return out

    return Shared(
        group=spread(number[groups.group], none),
        rows=spread(groups.size, one),
        way=spread(place[ways.group], np.zeros(n, np.int64)),
        ways=spread(count[groups.group], one),
        share=spread(ways.size / groups.size, np.ones(n)),
        first=spread(inside[ways.group], own),
    )


def _mixed(a: UInt64, b: UInt64) -> UInt64:
    """One hash of two; both are well mixed already."""
    return np.asarray(a * _FIRST + (b ^ (b >> np.uint64(29))) * _SECOND, np.uint64)


def _asked(prints: Fingerprints) -> Bool:
    """Rows with prompt text and an answer: "the same empty prompt" is not a question that was asked twice."""
    return (prints.prompt_chars > 0) & (prints.supervised_tokens > 0)
