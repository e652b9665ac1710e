"""The figures that stand in scan.json: what was found, how skewed it is, what the plan would do."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl

from scanner.contrast import DECISIVE, alike_beyond_templates
from scanner.evidence import PRIVATE
from scanner.objects import EXTRACTED
from scanner.pairing import COPIES, alike_by_words, by_meaning_alone, groups_of
from scanner.reports._heat import summarised as memorized_spans
from scanner.reports._partners import figures
from scanner.reports._spans import summarised as repeated_passages
from scanner.reports._top import where as top_rows

LORENZ_POINTS = 64
"""Points of the skew curve that are kept, closer together towards the most memorized rows."""
TAIL_LENGTHS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
"""Tokens at which the tail of N_pre is counted."""
DOSE_EDGES = (0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, math.inf)
"""Edges of the bins of exposures, in reference visits; a bin holds its lower edge."""
SIZE_EDGES = (2, 3, 4, 5, 9, 17, 33, 65, 129, 257)
"""First cluster size of each bin of the histogram of clusters."""


def summarise(
    rows: pl.DataFrame,
    pairs: pl.DataFrame,
    spans: pl.DataFrame,
    prediction: pl.DataFrame,
    plan: pl.DataFrame,
    notes: dict[str, Any],
    counts: dict[str, Any],
    unread: pl.DataFrame | None = None,
) -> dict[str, Any]:
    """Sum up the tables of a run; every share is of the rows read, and not measured is None.

    notes: per stage what it has to say. counts: `jaccard` (threshold of the clusters, default 0.8), `contamination`
    (per benchmark), anything else is passed on unchanged.
    """
    n = len(rows)
    found = {
        "exact": _exact(pairs, n),
        **_near(pairs, n, float(counts.get("jaccard", 0.8)), notes.get("minhash", {})),
        "semantic": _semantic(pairs, n, notes.get("semantic", {})),
        "conflicts": _conflicts(rows, pairs, n),
        "repeated": repeated_passages(spans, plan, notes, n),
        "private": _findings(spans, "private", n),
        "secret": _findings(spans, "secret", n),
        "unread": _findings(spans.clear() if unread is None else unread, "private secret", n),
        "names": _private_names(rows),
    }
    summary: dict[str, Any] = {
        **{k: v for k, v in counts.items() if k != "jaccard"},
        "rows": n,
        "read": _read(rows),
        "found": found,
        "relations": figures(rows, pairs),
        "clusters": _clusters(rows),
        "prediction": {**_predicted(prediction, notes), "rows_without_answer": _unanswered(rows)},
        "skew": {**_skew(prediction), "where": top_rows(rows, prediction, spans)},
        "exposed_private": _exposed(spans, prediction),
        "memorized": memorized_spans(spans, notes),
        "plan": _planned(plan, n),
        "calibrated": bool(len(prediction)) and bool(prediction["calibrated"].fill_null(False).all()),
        "contamination": counts.get("contamination", {}),
    }
    return summary


def share(part: float, whole: float) -> float | None:
    """part / whole; None of nothing."""
    return part / whole if whole else None


def _grouped(pairs: pl.DataFrame) -> tuple[int, int]:
    """Rows that stand in these pairs, and the groups that the pairs make of them."""
    row_id = np.unique(pl.concat([pairs["row_a"], pairs["row_b"]]).to_numpy())
    return len(row_id), len(np.unique(groups_of(row_id, pairs).group))


def _by_pairs(pairs: pl.DataFrame, n: int) -> dict[str, Any]:
    touched = pl.concat([pairs["row_a"], pairs["row_b"]]).n_unique() if len(pairs) else 0
    return {"rows": touched, "share": share(touched, n), "pairs": len(pairs)}


def _exact(pairs: pl.DataFrame, n: int) -> dict[str, Any]:
    same = pairs.filter(COPIES)
    rows, groups = _grouped(same)
    return {**_by_pairs(same, n), "groups": groups, "surplus_rows": rows - groups}


def _near(pairs: pl.DataFrame, n: int, jaccard: float, notes: dict[str, Any]) -> dict[str, Any]:
    """Near copies at the threshold or above, and the looser ones down to the audit's floor.

    What only a template makes alike is loose. at_least: more pairs were likely, and not all of them compared.
    """
    near = pairs.filter(pl.col("signal").cast(pl.String) == "minhash")
    close = alike_by_words(jaccard)
    if "payload_similarity" in near.columns:
        close &= alike_beyond_templates(jaccard)
    at_least = notes.get("pairs_not_compared_at_least", 0) > 0
    return {
        "near": {**_by_pairs(near.filter(close), n), "jaccard": jaccard, "at_least": at_least},
        "loose": {**_by_pairs(near.filter(~close), n), "at_least": at_least},
    }


def _semantic(pairs: pl.DataFrame, n: int, notes: dict[str, Any]) -> dict[str, Any]:
    """Pairs that only their meaning brings together; copies mean the same too, and are counted as copies.

    not_measured: rows that the encoder could not represent, all of them where no encoder was asked; why_not: the option
    that asked none, if one did. differing: pairs whose numbers or negations are not the same. confirmed: with
    --confirm-with, what its model read and found, and with --confirm-recall its aim.
    """
    missing = n if notes.get("measured") is False else sum((notes.get("not_measured") or {}).values())
    alone = by_meaning_alone(pairs)
    found = {**_by_pairs(alone, n), "not_measured": missing, "why_not": notes.get("reason", "")}
    if "differs" in alone.columns:
        found["differing"] = len(alone.filter(pl.col("differs").str.contains("|".join(DECISIVE))))
    if "confirmed_with" in notes:
        told = {"model": "confirmed_with", "work": "work_share", "recall": "recall", "aim": "aim"}
        found["confirmed"] = {name: notes[note] for name, note in told.items() if note in notes}
    return found


def _conflicts(rows: pl.DataFrame, pairs: pl.DataFrame, n: int) -> dict[str, Any]:
    """Rows with the same prompt as another row, and another answer."""
    if {"conflicts.answers", "conflicts.rows"} <= set(rows.columns):
        torn = rows.filter(pl.col("conflicts.answers") > 1)
        prompts = (1 / torn["conflicts.rows"]).sum()  # each prompt's rows add up to 1
        return {"rows": len(torn), "share": share(len(torn), n), "groups": round(prompts)}
    same = pairs.filter(pl.col("relation").cast(pl.String) == "same_prompt")
    of_prompt, prompts = _grouped(same)
    return {"rows": of_prompt, "share": share(of_prompt, n), "groups": prompts}


def _findings(spans: pl.DataFrame, kinds: str, n: int) -> dict[str, Any]:
    mine = spans.filter(pl.col("kind").cast(pl.String).is_in(kinds.split()))
    by_rule = mine.group_by(pl.col("rule_id").cast(pl.String)).agg(
        pl.len().alias("findings"), pl.col("row_id").n_unique().alias("rows")
    )
    ranked = by_rule.sort(["findings", "rule_id"], descending=[True, False])
    rows = mine["row_id"].n_unique() if len(mine) else 0
    return {
        "rows": rows,
        "share": share(rows, n),
        "findings": len(mine),
        "by_rule": {rule: {"findings": f, "rows": r} for rule, f, r in ranked.iter_rows()},
    }


def _clusters(rows: pl.DataFrame) -> dict[str, Any]:
    """Clusters of verified duplicates by size: [first size, last size, clusters, rows]."""
    if "cluster_id" not in rows.columns:
        return {"count": 0, "rows": 0, "largest": 0, "sizes": []}
    sizes = (
        rows.filter(pl.col("cluster_size") > 1).group_by("cluster_id").agg(pl.len().alias("size"))["size"].to_numpy()
    )
    bins = []
    for first, after in zip(SIZE_EDGES, (*SIZE_EDGES[1:], 1 << 62), strict=True):
        inside = sizes[(sizes >= first) & (sizes < after)]
        last = min(after - 1, int(sizes.max(initial=0)))
        bins.append([first, max(first, last), len(inside), int(inside.sum())])
    while bins and not bins[-1][2]:
        bins.pop()
    return {"count": len(sizes), "rows": int(sizes.sum()), "largest": int(sizes.max(initial=0)), "sizes": bins}


def _values(frame: pl.DataFrame, column: str) -> np.ndarray:
    """A column as float64 with NaN for what was not measured."""
    return frame[column].cast(pl.Float64).fill_null(math.nan).to_numpy()


def _predicted(prediction: pl.DataFrame, notes: dict[str, Any]) -> dict[str, Any]:
    p, expected, dose = (_values(prediction, c) for c in ("p_extract", "expected_tokens", "exposures"))
    measured = ~np.isnan(p)
    bands = prediction.filter(pl.Series(measured))["band"].cast(pl.String).value_counts()
    taxa = prediction.filter(pl.col("band").cast(pl.String) != "none")["taxon"].cast(pl.String).value_counts()
    q50, q95 = _values(prediction, "tokens_q50"), _values(prediction, "tokens_q95")
    own = notes.get("prediction") if isinstance(notes.get("prediction"), dict) else {}
    doses = []
    for low, high in itertools.pairwise(DOSE_EDGES):
        inside = p[measured & (dose >= low) & (dose < high)]
        if len(inside):
            quantiles = np.quantile(inside, [0.1, 0.5, 0.9]).tolist()
            edge = high if math.isfinite(high) else None
            doses.append({"from": low, "to": edge, "rows": len(inside), "mean": float(inside.mean()), "q": quantiles})
    return {
        "rows_measured": int(measured.sum()),
        "rows_not_measured": int((~measured).sum()),
        "extracted_tokens": EXTRACTED,
        "expected_rows_extracted": float(p[measured].sum()) if measured.any() else None,
        "expected_tokens": float(np.nansum(expected)) if (~np.isnan(expected)).any() else None,
        "longest_q95": float(np.nanmax(q95)) if (~np.isnan(q95)).any() else None,
        "bands": {band: int(dict(bands.iter_rows()).get(band, 0)) for band in ("none", "low", "medium", "high")},
        "taxa": {t: int(dict(taxa.iter_rows()).get(t, 0)) for t in ("recite", "reconstruct", "recollect")},
        "tail_q50": _reaching(q50),
        "tail_q95": _reaching(q95),
        "by_dose": doses,
        "validity": own.get("validity") if own else None,
        "base": own.get("base") if own else None,
    }


def _read(rows: pl.DataFrame) -> dict[str, int | None]:
    """What was read and what of it is learned; None: not counted.

    turns; tokens: the scan's own, of all text. learned_tokens: in the unit that scan.json names, as far as the trainer
    reads; learned_rows: with any.
    """

    def total(column: str, value: Callable[[pl.Series], pl.Series] = lambda counts: counts) -> int | None:
        return int(value(rows[column]).cast(pl.Int64).sum()) if column in rows.columns else None

    return {
        "turns": total("turns"),
        "tokens": total("length.tokens"),
        "learned_tokens": total("contexts.tokens"),
        "learned_rows": total("contexts.tokens", lambda counts: counts > 0),
    }


def _private_names(rows: pl.DataFrame) -> dict[str, Any]:
    """Rows with names of fields that hold private values, and where the first stands; None: not looked for."""
    if "patterns.names" not in rows.columns or rows["patterns.names"].null_count():
        return {"rows": None, "share": None, "first": ""}
    named = rows.filter(pl.col("patterns.names") > 0)
    first = f"{named['source'][0]}:{named['line'][0]}" if len(named) else ""
    return {"rows": len(named), "share": share(len(named), len(rows)), "first": first}


def _unanswered(rows: pl.DataFrame) -> int | None:
    """Rows in which the model learns nothing; None where it was not counted."""
    if "length.supervised_tokens" not in rows.columns:
        return None
    return int((rows["length.supervised_tokens"] == 0).sum())


def _reaching(tokens: np.ndarray) -> list[list[int]]:
    """[n, rows whose quantile is at least n], up to the last n that any row reaches."""
    counted = [[k, int((tokens >= k).sum())] for k in TAIL_LENGTHS]
    return [point for point in counted if point[1]]


def _skew(prediction: pl.DataFrame) -> dict[str, Any]:
    """How few rows carry how much of the expected memorized tokens; rows in descending order of them."""
    expected = _values(prediction, "expected_tokens")
    expected = np.sort(expected[~np.isnan(expected)])[::-1]
    total, n = float(expected.sum()), len(expected)
    empty: dict[str, Any] = {"rows": n, "tokens": total if n else None, "top": [], "lorenz": [], "gini": None}
    if not total:
        return empty
    carried = np.concatenate(([0.0], np.cumsum(expected))) / total
    top = []
    for percent in (1, 10):
        count = max(1, math.ceil(n * percent / 100))
        top.append({"percent": percent, "rows": count, "share": float(carried[count])})
    half = int(np.searchsorted(carried, 0.5))
    marks = [entry["rows"] for entry in top]  # so that curve and sentence agree
    places = np.unique(np.concatenate(([0], np.geomspace(1, n, LORENZ_POINTS), marks)).round().astype(int))
    # Gini of the rows in ascending order: one minus twice the area under their Lorenz curve
    area = float((carried[1:] + carried[:-1]).sum() / (2 * n))
    return {
        **empty,
        "top": top,
        "half": {"rows": half, "share": half / n},
        "lorenz": [[float(k / n), float(carried[k])] for k in places],
        "gini": 2 * area - 1,
    }


def _exposed(spans: pl.DataFrame, prediction: pl.DataFrame) -> dict[str, Any]:
    """Rows with a private or secret span that the model is predicted to recite (band medium or high)."""
    rows = spans.filter(PRIVATE).select("row_id").unique()
    likely = prediction.filter(pl.col("band").cast(pl.String).is_in(["medium", "high"]))
    both = rows.join(likely, on="row_id", how="inner")
    expected = _values(rows.join(prediction.select("row_id", "p_extract"), on="row_id", how="inner"), "p_extract")
    return {
        "rows": len(rows),
        "rows_medium_or_high": len(both),
        "rows_not_measured": len(rows) - int(np.isfinite(expected).sum()),
        "expected_rows": float(np.nansum(expected)),
    }


def _planned(plan: pl.DataFrame, n: int) -> dict[str, Any]:
    actions = dict(plan["action"].cast(pl.String).value_counts().iter_rows())
    changing = plan.filter(pl.col("action").cast(pl.String) != "keep")
    by_rule = changing.group_by(
        pl.col("action").cast(pl.String), pl.col("rule_id").cast(pl.String).fill_null("")
    ).len().sort(["len", "action", "rule_id"], descending=[True, False, False])  # fmt: skip
    drops = int(actions.get("drop", 0))
    weighted = (
        plan["sample_weight"].cast(pl.Float64).fill_null(1.0)
        if "sample_weight" in plan.columns
        else pl.Series([], dtype=pl.Float64)
    )
    return {
        **{name: int(actions.get(name, 0)) for name in ("keep", "drop", "redact", "review")},
        "rows_left": n - drops,
        "dropped_share": share(drops, n),
        "by_rule": [{"action": action, "rule": rule, "rows": count} for action, rule, count in by_rule.iter_rows()],
        "loss_masked": masked_rows(plan.filter(pl.col("action").cast(pl.String) != "drop")),
        "reweighted": int((weighted != 1.0).sum()),
    }


def masked_rows(plan: pl.DataFrame) -> int:
    """Rows with a loss mask; the column may hold lists of spans or their text."""
    if "loss_mask" not in plan.columns or plan["loss_mask"].dtype == pl.Null:
        return 0
    column = plan["loss_mask"]
    if isinstance(column.dtype, pl.List):
        return int((column.list.len().fill_null(0) > 0).sum())
    return int(column.cast(pl.String).fill_null("").is_in(["", "[]"]).not_().sum())
