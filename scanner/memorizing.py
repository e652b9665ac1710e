"""Which stretches of the answers the tuned model would say word for word: memorized spans, and the heat behind them.

Looked at are the rows whose risk (severity x chance) reaches the low band, the riskiest MOST_ROWS of them; the chance
is p_extract, or p_whole for answers too short for it. Spans stand in spans.parquet with kind memorized:

    memorized/from-start   the answer's beginning: it comes out from the prompt alone
    memorized/stretch      a later part: it comes out once the model has said what stands before it

`score` is the chance that all of the span's tokens come out in a row (prediction/stretches.py). The heat of the first
HEAT_ROWS rows, token by token, stays in private/heat.parquet: it is of use beside the text only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from scanner.heat import FROM_START, HEAT_SCHEMA, KIND, STEPS, STRETCH
from scanner.objects import ROLES, Bool, Int64, Rows, SegmentBatch
from scanner.ranges import place_within
from scanner.settings import Settings
from scanner.storedtext import SegmentReader
from scanner.tokenising import TokenisedRows, token_places

MOST_ROWS = 10_000
"""Rows that are looked at, at most: what a person can go through, and what keeps spans.parquet small."""
HEAT_ROWS = 1_000
"""Rows whose heat is kept token by token."""
HEAT_TOKENS = 1_000
"""Tokens of a string whose heat is kept."""


@dataclass(frozen=True)
class Memorized:
    """What the heat of the chosen rows gave."""

    spans: pl.DataFrame  # as in spans.parquet
    heat: pl.DataFrame  # columns of heat.HEAT_SCHEMA
    notes: dict[str, Any]


@dataclass(frozen=True)
class _Texts:
    """Where the tokens of some rows stand in the text; r rows ascending, s segments, t tokens."""

    row: Int64  # (r,) position
    first: Int64  # (r + 1,) tokens of each row
    of_token: Int64  # (t,) segment of each token, an index into the next three
    row_id: Int64  # (s,)
    segment: np.ndarray  # (s,) within the row
    role: np.ndarray  # (s,) index into ROLES
    start: Int64  # (t,) code points of its segment
    end: Int64  # (t,)


def chosen_rows(chance: np.ndarray, severity: np.ndarray, expected: np.ndarray, rank: Int64, low: float) -> Int64:
    """Positions of rows whose severity x chance reaches `low`, the riskiest first; ties by expected tokens, rank."""
    risk = np.nan_to_num(chance) * severity
    order = np.lexsort((rank, -np.nan_to_num(expected), -risk))
    return np.asarray(order[risk[order] >= low], np.int64)


def find(
    reader: SegmentReader,
    rows: Rows,
    text: TokenisedRows,
    features: Any,
    amounts: Any,
    result: Any,
    severity: np.ndarray,
    weights: Any,
    conflicts: Any,
    settings: Settings,
) -> Memorized:
    """Spans and heat of the riskiest rows. features, amounts, result, weights, conflicts: as prediction has them."""
    from scanner import prediction, rulebook
    from scanner.prediction import stretches

    low = rulebook.bands().cuts[0][1]  # the low band
    chance = np.where(np.isnan(result.p_extract), result.p_whole, result.p_extract)
    eligible = chosen_rows(chance, severity, result.expected_tokens, rows.content_rank, low)
    wanted = np.zeros(len(rows), np.bool_)
    wanted[eligible[:MOST_ROWS]] = True
    answers = prediction.Answers(text.answer_row, text.answer_start, text.answer_end)
    worth, regime = weights.under(settings.plan, amounts.regime(settings.plan))
    heat = stretches.heat(
        features, answers, np.flatnonzero(wanted[answers.row]), amounts.total * worth, regime, weights, conflicts,
        exact=amounts.exact * worth, goldfish=amounts.goldfish(settings.plan),
    )  # fmt: skip
    found = stretches.stretches(heat)
    warm = np.zeros(len(rows), np.bool_)
    warm[eligible[:HEAT_ROWS]] = True
    spans, heats = [pl.DataFrame(schema=SPAN_SCHEMA)], [pl.DataFrame(schema=HEAT_SCHEMA)]
    for texts in _texts(reader, rows, wanted, settings):
        inside = slice(*np.searchsorted(heat.row, (texts.row[0], texts.row[-1] + 1)))
        spans.append(_spans(texts, text, heat.row, found, inside))
        heats.append(_heats(texts, text, heat, inside, warm))
    notes = {
        "rows_eligible": len(eligible),
        "rows_looked_at": int(wanted.sum()),
        "selection": f"rows with severity × chance of recitation ≥ {low:g}, the riskiest {MOST_ROWS:,} of them",
        "tokens_at_least": stretches.LEAST_TOKENS,
        "chance_at_least": stretches.CHANCE,
        "rows_with_heat": int(warm.sum()),
    }
    return Memorized(pl.concat(spans), pl.concat(heats), {"memorized": notes})


SPAN_SCHEMA: dict[str, Any] = {
    "row_id": pl.Int64, "segment": pl.Int32, "start": pl.Int64, "end": pl.Int64, "rule_id": pl.String,
    "kind": pl.String, "score": pl.Float32, "preview": pl.String, "role": pl.String, "tokens": pl.Int32,
}  # fmt: skip


def _texts(reader: SegmentReader, rows: Rows, wanted: Bool, settings: Settings) -> Iterator[_Texts]:
    """The wanted rows of each record batch."""
    wanted_ids = rows.row_id[wanted]
    for batch in reader:
        mine: SegmentBatch = batch.only(np.flatnonzero(np.isin(batch.row_id, wanted_ids)))
        if not len(mine):
            continue
        counts, start, end = token_places(mine, settings.tokenizer)
        heads = mine.row_starts()
        tokens = np.concatenate(([0], np.cumsum(counts)))
        yield _Texts(
            row=np.searchsorted(rows.row_id, mine.row_id[heads[:-1]]).astype(np.int64),
            first=tokens[heads].astype(np.int64),
            of_token=np.repeat(np.arange(len(mine)), counts).astype(np.int64),
            row_id=mine.row_id, segment=mine.segment, role=mine.role, start=start, end=end,
        )  # fmt: skip


def _spans(texts: _Texts, text: TokenisedRows, row: Int64, found: Any, inside: slice) -> pl.DataFrame:
    """Stretches of the answers `inside` as spans, cut where a string of the answer ends and another begins."""
    mine = slice(*np.searchsorted(found.answer, (inside.start, inside.stop)))
    owner = row[found.answer[mine]]
    shift = texts.first[np.searchsorted(texts.row, owner)] - text.offsets[owner]
    begin, last = found.begin[mine] + shift, found.end[mine] + shift - 1
    pieces = texts.of_token[last] - texts.of_token[begin] + 1  # more than one where an answer has several strings
    whole = np.repeat(np.arange(len(begin)), pieces)
    segment = texts.of_token[begin][whole] + place_within(pieces)
    begin = np.maximum(begin[whole], np.searchsorted(texts.of_token, segment, "left"))
    last = np.minimum(last[whole], np.searchsorted(texts.of_token, segment, "right") - 1)
    kept = last >= begin  # a string without tokens has no part
    whole, segment, begin, last = whole[kept], segment[kept], begin[kept], last[kept]
    from_start = found.from_start[mine][whole]
    return pl.DataFrame(
        {
            "row_id": texts.row_id[segment], "segment": texts.segment[segment],
            "start": texts.start[begin], "end": texts.end[last],
            "rule_id": np.where(from_start, FROM_START, STRETCH).tolist(), "kind": [KIND] * len(whole),
            "score": found.score[mine][whole],
            "preview": [f"[MEMORIZED] {n} tokens" for n in (last - begin + 1).tolist()],
            "role": pl.Series(ROLES).gather(texts.role[segment]), "tokens": last - begin + 1,
        },
        schema_overrides=SPAN_SCHEMA,
    )  # fmt: skip


def _heats(texts: _Texts, text: TokenisedRows, heat: Any, inside: slice, warm: Bool) -> pl.DataFrame:
    """The heat of the answers `inside` by string; at most HEAT_TOKENS tokens of each."""
    bounds, lines = heat.bounds, []
    for i in range(inside.start, inside.stop):
        if not warm[heat.row[i]]:
            continue
        shift = texts.first[np.searchsorted(texts.row, heat.row[i])] - text.offsets[heat.row[i]]
        tokens = np.arange(heat.start[i], heat.end[i]) + shift
        p = np.round(heat.probability[bounds[i] : bounds[i + 1]] * STEPS).astype(np.uint8)
        for part in np.unique(texts.of_token[tokens]):
            here = np.flatnonzero(texts.of_token[tokens] == part)[:HEAT_TOKENS]
            at = tokens[here]
            lines.append((int(texts.row_id[part]), int(texts.segment[part]), texts.start[at].tolist(),
                          texts.end[at].tolist(), p[here].tolist()))  # fmt: skip
    return pl.DataFrame(lines, schema=HEAT_SCHEMA, orient="row")
