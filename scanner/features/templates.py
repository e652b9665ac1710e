"""How much of each row is template, text that its source repeats word for word around its slots (see templating).

templates.share         share of the row's tokens inside templates; 0 where its source has none, NaN without tokens
templates.prompt_share  likewise of its prompt's tokens
templates.answer_share  likewise of its answers' tokens
templates.id            the listed template (templates.parquet) that covers most of the row; null where none does
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from scanner.kernels import templates as kernels
from scanner.objects import ROLES, Fingerprints, Int32, Int64, Rows
from scanner.storedtext import SegmentReader
from scanner.templating import (
    FIXED_SHARE,
    LEAST_ROWS,
    LEAST_SHARE,
    SAMPLE_ROWS,
    Marked,
    Templates,
    gathered,
)  # fmt: skip
from scanner.text import code_point_classes, folded_code_points

SHOWN = 40
"""Patterns listed per run, the ones with the most tokens first."""

PATTERNS_SCHEMA: dict[str, pl.DataType | type[pl.DataType]] = {
    "template": pl.Int32,
    "source": pl.String,
    "role": pl.String,
    "rows": pl.Int64,
    "share": pl.Float32,  # of the source's rows
    "tokens": pl.Int64,  # in all its rows together
    "tokens_per_row": pl.Float32,
    "slots": pl.Int32,
    "example_row": pl.Int64,
    "segment": pl.Int32,
    "pieces": pl.List(pl.Struct({"start": pl.Int32, "end": pl.Int32})),  # code points of the example's segment
}
"""templates.parquet; it holds no text, the pieces say where it stands."""

NO_PATTERNS = pl.DataFrame(schema=PATTERNS_SCHEMA)


def features(prints: Fingerprints, marked: Marked | None, covering: pl.DataFrame) -> pl.DataFrame:
    """One row per row read; columns as named above.

    marked: None where no source has a template · covering: position, template.
    """
    n = len(prints.tokens)
    if marked is None:
        parts = {"share": prints.tokens, "prompt_share": prints.prompt_chars, "answer_share": prints.supervised_tokens}
        shares = {name: np.where(of > 0, 0.0, np.nan) for name, of in parts.items()}
    else:
        fixed, tokens = marked.fixed, marked.tokens
        with np.errstate(invalid="ignore", divide="ignore"):
            by_part = fixed / np.where(tokens > 0, tokens, np.nan)
            whole = tokens.sum(axis=1)
            share = fixed.sum(axis=1) / np.where(whole > 0, whole, np.nan)
        shares = {"share": share, "prompt_share": by_part[:, 1], "answer_share": by_part[:, 2]}
    number = np.full(n, -1, np.int32)
    number[covering["position"].to_numpy()] = covering["template"].to_numpy()
    return pl.DataFrame(
        {f"templates.{name}": value.astype(np.float32) for name, value in shares.items()}
        | {"templates.id": pl.Series(number).replace(-1, None)}
    )


def patterns(
    reader: SegmentReader, rows: Rows, marked: Marked | None, sources: list[str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """templates.parquet, and per row the listed template that covers most of it (position, template)."""
    if marked is None:
        return NO_PATTERNS, pl.DataFrame(schema={"position": pl.Int64, "template": pl.Int32})
    total = pl.DataFrame(
        {
            "source": np.arange(len(sources), dtype=np.int32),
            "name_of_source": sources,
            "all": np.bincount(rows.source, minlength=len(sources)),
        }
    )
    at = marked.segments["position"].to_numpy()
    places = marked.segments.with_columns(
        source=pl.Series(rows.source[at], dtype=pl.Int32), rank=pl.Series(rows.content_rank[at], dtype=pl.Int64)
    )
    key = ["source", "role", "name"]
    listed = (
        places.group_by(key)
        .agg(
            rows=pl.col("position").n_unique().cast(pl.Int64),
            tokens=pl.col("tokens").sum().cast(pl.Int64),
            example=pl.col("position").sort_by("rank", "segment").first(),
            segment=pl.col("segment").sort_by("rank", "segment").first(),
        )
        .join(total, on="source")
        .with_columns(share=(pl.col("rows") / pl.col("all")).cast(pl.Float32))
        .filter((pl.col("rows") >= LEAST_ROWS) & (pl.col("share") >= LEAST_SHARE))
        .sort("tokens", "name", descending=[True, False])
        .head(SHOWN)
        .with_row_index("template", 1)
    )
    example = listed["example"].to_numpy()
    pieces = _pieces(reader, rows, example, listed["segment"].to_numpy(), marked.templates)
    table = listed.select(
        pl.col("template").cast(pl.Int32), source="name_of_source",
        role=pl.col("role").replace_strict(dict(enumerate(ROLES)), return_dtype=pl.String),
        rows="rows", share="share", tokens="tokens",
        tokens_per_row=(pl.col("tokens") / pl.col("rows")).cast(pl.Float32),
        slots=pl.Series([slots for slots, _ in pieces], dtype=pl.Int32),
        example_row=pl.Series(rows.row_id[example], dtype=pl.Int64),
        segment="segment",
        pieces=pl.Series([places for _, places in pieces], dtype=PATTERNS_SCHEMA["pieces"]),
    )  # fmt: skip
    per_row = (
        places.join(listed.select(*key, "template"), on=key)
        .sort("position", "tokens", "template", descending=[False, True, False])
        .unique("position", keep="first", maintain_order=True)
        .select("position", pl.col("template").cast(pl.Int32))
    )
    return table, per_row


def told(rows: Rows, marked: Marked | None, found: pl.DataFrame, sources: list[str]) -> dict[str, Any]:
    """What scan.json says about templates: per source that has any, its rows, tokens and templates."""
    said: list[dict[str, Any]] = []
    for index, name in enumerate(sources):
        if marked is None:
            break
        mine = rows.source == index
        fixed, tokens = marked.fixed[mine], int(marked.tokens[mine].sum())
        if fixed.any():
            said.append(
                {
                    "source": name,
                    "templates": int((found["source"] == name).sum()),
                    "rows": int((fixed.sum(axis=1) > 0).sum()),
                    "share_of_rows": float((fixed.sum(axis=1) > 0).mean()),
                    "share_of_tokens": float(fixed.sum() / tokens),
                }
            )
    return {
        "sample_rows": SAMPLE_ROWS, "least_rows": LEAST_ROWS, "least_share": LEAST_SHARE, "fixed_share": FIXED_SHARE,
        "sources": said,
    }  # fmt: skip


def _pieces(
    reader: SegmentReader, rows: Rows, position: Int64, segment: Int32, templates: Templates
) -> list[tuple[int, list[dict[str, int]]]]:
    """Per segment the gaps in its fixed text, and the code points of its fixed stretches."""
    wanted = {(int(p), int(s)): i for i, (p, s) in enumerate(zip(position, segment, strict=True))}
    found: list[tuple[int, list[dict[str, int]]]] = [(0, [])] * len(position)
    for some in gathered(reader, rows, np.unique(position)):
        data, begins, ends_of, row_start, voices = some.text
        owner = np.repeat(some.position, np.diff(row_start))
        for p, number, begin, end, voice in zip(
            owner.tolist(), some.segments.segment.tolist(), begins.tolist(), ends_of.tolist(), voices.tolist(),
            strict=True,
        ):  # fmt: skip
            place = wanted.get((p, number))
            if place is None:
                continue
            starts, ends, kinds = (np.empty(end - begin, kind) for kind in (np.int64, np.int64, np.uint8))
            n = kernels.kinds_of(
                data, begin, end, voice, code_point_classes(), folded_code_points(),
                templates.keys, templates.values, templates.held, templates.seen, starts, ends, kinds,
            )  # fmt: skip
            points = np.concatenate(([0], np.cumsum((data[begin:end] & 0xC0) != 0x80)))
            fixed = np.concatenate(([0], (kinds[:n] == kernels.FIXED).astype(np.int8), [0]))
            opens, closes = np.flatnonzero(np.diff(fixed) == 1), np.flatnonzero(np.diff(fixed) == -1)
            stretches = [
                {"start": int(points[starts[i] - begin]), "end": int(points[ends[j - 1] - begin])}
                for i, j in zip(opens, closes, strict=True)
            ]
            inner = len(stretches) - 1
            found[place] = (inner + int(opens[0] > 0) + int(closes[-1] < n), stretches)
    return found
