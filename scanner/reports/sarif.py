"""Findings as SARIF 2.1.0, which code hosts and editors show beside the line of the file."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import polars as pl

from scanner.evidence import PRIVATE
from scanner.reports import _words as words
from scanner.shownnames import without_private_paths
from scanner.store import RunFolder

NAME = "sarif"
EXTENSION = "sarif"
RESULTS = 5_000
"""Results at most, the worst first; code hosts refuse more. What was left out is told in the run's properties."""
SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"
LEVEL = {"secret": "error", "private": "warning", "high": "warning", "medium": "note", "drop": "note", "review": "note"}


def render(run: RunFolder, text: str = "masked") -> bytes:
    """One result per private or secret span, per risky row and per row the plan acts on; no text of the data."""
    del text  # results hold places, rules and lengths only
    scan = without_private_paths(run.read_json("scan.json"))
    where = run.read_table("rows", ["row_id", "source", "line"]).with_columns(pl.col("source").cast(pl.String))
    found = pl.concat([_spans(run), _risks(run), _plan(run)])
    found = found.join(where, on="row_id", how="left", maintain_order="left")
    order = pl.col("level").replace_strict({"error": 0, "warning": 1, "note": 2}, return_dtype=pl.Int8)
    shown = found.with_columns(order.alias("order")).sort("order", "row_id", "rule", maintain_order=True).head(RESULTS)
    rules = {rule: i for i, rule in enumerate(sorted(set(shown["rule"])))}
    results: list[dict[str, Any]] = [
        {
            "ruleId": rule,
            "ruleIndex": rules[rule],
            "level": level,
            "message": {"text": message},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": quote(source or "")},
                        "region": {"startLine": max(1, line or 1)},
                    }
                }
            ],
            "properties": {"row_id": row_id},
        }
        for rule, level, message, source, line, row_id in shown.select(
            "rule", "level", "message", "source", "line", "row_id"
        ).iter_rows()
    ]
    driver = {
        "name": "sftscan",
        "version": str((scan.get("versions") or {}).get("sftscan", "")),
        "rules": [{"id": rule, "shortDescription": {"text": words.of_rule(rule)}} for rule in rules],
    }
    properties = {"results_found": len(found), "results_left_out": len(found) - len(shown)}
    properties["calibrated"] = bool(scan["summary"].get("calibrated"))
    document = {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [{"tool": {"driver": driver}, "results": results, "properties": properties}],
    }
    return json.dumps(document, indent=1, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def _results(frame: pl.DataFrame, rule: pl.Expr, level: pl.Expr, message: pl.Expr) -> pl.DataFrame:
    level = level.replace_strict(LEVEL, default="note", return_dtype=pl.String)
    return frame.select("row_id", rule.alias("rule"), level.alias("level"), message.alias("message"))


def _spans(run: RunFolder) -> pl.DataFrame:
    spans = run.read_table("spans", ["row_id", "rule_id", "kind", "preview"])
    spans = spans.with_columns(pl.col("rule_id", "kind", "preview").cast(pl.String))
    spans = spans.filter(PRIVATE)
    message = pl.format("{} found: {}", pl.col("rule_id"), pl.col("preview").fill_null(""))
    return _results(spans, pl.col("rule_id"), pl.col("kind"), message)


def _risks(run: RunFolder) -> pl.DataFrame:
    table = run.read_table("prediction", ["row_id", "p_extract", "band", "reasons"])
    table = table.with_columns(pl.col("band").cast(pl.String)).filter(pl.col("band").is_in(["high", "medium"]))
    if isinstance(table.schema["reasons"], pl.List):
        table = table.with_columns(pl.col("reasons").list.join("; "))
    message = pl.format(
        "likely to be memorized: p_extract {} ({})", pl.col("p_extract").round(2), pl.col("reasons").fill_null("")
    )
    return _results(table, pl.lit("risk/") + pl.col("band"), pl.col("band"), message)


def _plan(run: RunFolder) -> pl.DataFrame:
    plan = run.read_table("plan", ["row_id", "action", "keep_row_id", "why"])
    plan = plan.with_columns(pl.col("action", "why").cast(pl.String)).filter(pl.col("action").is_in(["drop", "review"]))
    kept = pl.format(" (kept: row {})", pl.col("keep_row_id"))
    kept = pl.when(pl.col("keep_row_id").is_null()).then(pl.lit("")).otherwise(kept)
    message = pl.format("{}: {}{}", pl.col("action"), pl.col("why").fill_null(""), kept)
    return _results(plan, pl.lit("plan/") + pl.col("action"), pl.col("action"), message)
