"""Run folders made by hand: real text and tables of the contract's shape, without running a single stage."""

from __future__ import annotations

import importlib.util
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa

from scanner.objects import ROLE_CODE
from scanner.reports import summarise
from scanner.settings import Settings
from scanner.store import RunFolder
from scanner.storedtext import SEGMENT_SCHEMA, SegmentWriter, roles_array

ROOT = Path(__file__).parents[2]
KINDS = {"key": "secret"}
NOTES = {
    "minhash": {"curve": [[s / 20, 1 - (1 - (s / 20) ** 5) ** 25] for s in range(21)], "target": [0.8, 0.95]},
    "semantic": {"embedder": "static table", "recall": 0.991, "not_measured": {"no text": 1, "unknown words": 2}},
    "prediction": {
        "dose": ["at equal epochs, grouping by length would raise the dose of 212 rows threefold"],
    },
}


def demo_module() -> ModuleType:
    """examples/make_demo.py, which is a script and not part of a package."""
    import sys

    path = ROOT / "examples" / "make_demo.py"
    spec = importlib.util.spec_from_file_location("make_demo", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_demo"] = module
    spec.loader.exec_module(module)
    return module


@dataclass
class Made:
    """What goes into a run; tests add to it before they write it."""

    texts: dict[int, tuple[str, str, str]]  # row_id: instruction, input, output
    skipped: list[dict[str, Any]] = field(default_factory=list)
    pairs: list[tuple[int, int, str, str, float]] = field(default_factory=list)
    spans: list[tuple[int, int, int, int, str, str]] = field(
        default_factory=list
    )  # row, segment, start, end, rule, kind
    clusters: list[list[int]] = field(default_factory=list)
    supervised: bool = True
    notes: dict[str, Any] = field(default_factory=lambda: dict(NOTES))
    whatif: bool = True

    def mark(self, row_id: int, value: str, rule: str = "private/email", kind: str = "private") -> None:
        """Every place of a value in a row becomes a span."""
        for segment, text in enumerate(self.texts[row_id]):
            at = text.find(value)
            if at >= 0:
                self.spans.append((row_id, segment, at, at + len(value), rule, kind))


def small(rows: int = 12) -> Made:
    """A few rows without any finding."""
    return Made(
        {i: (f"What is item {i}?", "", f"Item {i} is the {i * 7}th thing on shelf {i % 5}.") for i in range(rows)}
    )


def from_demo(rows: int = 300, seed: int = 3) -> tuple[Made, dict[str, Any]]:
    """The generated demo with its own truth as findings."""
    lines, truth = demo_module().build(rows, seed)
    broken = truth["broken"]
    records = {i: json.loads(line) for i, line in enumerate(lines) if i not in broken}
    made = Made({i: (r["instruction"], r["input"], r["output"]) for i, r in records.items()})
    made.skipped = [{"file": "demo.jsonl", "line": i + 1, "reason": "not a JSON object"} for i in broken]
    for group in truth["exact"]:
        ids = sorted(member["row_id"] for member in group)
        made.clusters.append(ids)
        made.pairs += [(a, b, "exact", "same_both", 1.0) for i, a in enumerate(ids) for b in ids[i + 1 :]]
    for kind, similarity in (("near", 0.88), ("loose", 0.61)):
        for group in truth[kind]:
            a, b = sorted(member["row_id"] for member in group)
            made.pairs.append((a, b, "minhash", "near", similarity))
            made.clusters += [[a, b]] if kind == "near" else []
    for group in truth["paraphrase"]:
        a, b = sorted(member["row_id"] for member in group)
        made.pairs.append((a, b, "semantic", "semantic", 0.93))
    for group in truth["conflict"]:
        ids = sorted(member["row_id"] for member in group)
        made.pairs += [(a, b, "exact", "same_prompt", 1.0) for i, a in enumerate(ids) for b in ids[i + 1 :]]
    for group in truth["private"]:
        for member in group:
            kind = KINDS.get(member["kind"], "private")
            made.mark(member["row_id"], member["value"], f"{kind}/{member['kind']}", kind)
    return made, truth


def write(made: Made, path: Path, settings: Settings | None = None) -> RunFolder:
    """The run folder, with predictions that grow with copies and answer length."""
    settings = settings or Settings()
    run = RunFolder.open_for_writing(path)
    ids = sorted(made.texts)
    position = {row_id: i for i, row_id in enumerate(ids)}
    n = len(ids)
    _write_segments(made, run, ids)
    cluster, size, copies = np.full(n, -1), np.ones(n, int), np.ones(n, int)
    keep: list[int | None] = [None] * n
    for number, members in enumerate(made.clusters):
        for row_id in members:
            cluster[position[row_id]], size[position[row_id]] = number, len(members)
            keep[position[row_id]] = None if row_id == members[0] else members[0]
    for a, b, signal, relation, _ in made.pairs:
        if (signal, relation) == ("exact", "same_both"):
            copies[position[a]] += 1
            copies[position[b]] += 1
    words = np.array([len(made.texts[i][2].split()) for i in ids], int)
    rng = np.random.default_rng(0)
    rows = pl.DataFrame({
        "row_id": pl.Series(ids, dtype=pl.Int64), "source": ["demo.jsonl"] * n,
        "line": pl.Series(ids, dtype=pl.Int64) + 1,
        "content_hash": [f"{i:016x}" for i in ids], "layout": ["alpaca"] * n, "turns": [2] * n,
        "prompt_chars": [len(made.texts[i][0]) for i in ids], "response_chars": [len(made.texts[i][2]) for i in ids],
        "cluster_id": cluster, "cluster_size": size, "copies_exact": copies, "copies.near_mass": copies * 1.2,
        "contexts.nll": rng.normal(4, 1, n), "density.cosine_mean": np.where(np.arange(n) % 9 == 0, math.nan, 0.4),
        "length.supervised_tokens": words, "script.answer": ["Latin"] * n,
        **_shared(made, ids, "same_prompt", ("conflicts", "answers", "answer")),
        **_shared(made, ids, "same_response", ("answers", "prompts", "prompt")),
    })  # fmt: skip
    pairs = pl.DataFrame(
        [(a, b, s, r, j, j, j) for a, b, s, r, j in sorted(set(made.pairs))],
        schema={"row_a": pl.Int64, "row_b": pl.Int64, "signal": pl.String, "relation": pl.String,
                "similarity": pl.Float32, "containment_ab": pl.Float32, "containment_ba": pl.Float32},
        orient="row",
    )  # fmt: skip
    spans = pl.DataFrame(
        [(*s, 0.9, f"[{s[4].split('/')[-1].upper()}] {s[3] - s[2]} chars") for s in sorted(set(made.spans))],
        schema={"row_id": pl.Int64, "segment": pl.Int32, "start": pl.Int64, "end": pl.Int64, "rule_id": pl.String,
                "kind": pl.String, "score": pl.Float32, "preview": pl.String},
        orient="row",
    )  # fmt: skip
    private = set(spans["row_id"])
    dose = copies * rng.uniform(0.6, 2.4, n)
    p = 1 / (1 + np.exp(5.2 - 1.9 * np.log2(1 + dose) - 0.2 * rng.normal(size=n)))
    p = np.where(words >= 16, p, math.nan) if made.supervised else np.full(n, math.nan)
    severity = np.where([i in private for i in ids], 4.0, 1.0)
    risk = severity * p
    band = np.select([risk >= 0.8, risk >= 0.21, risk >= 0.05], ["high", "medium", "low"], "none")
    expected = (
        np.where(words > 0, 1.2 + np.nan_to_num(p) * words, math.nan) if made.supervised else np.full(n, math.nan)
    )
    prediction = pl.DataFrame({
        "row_id": pl.Series(ids, dtype=pl.Int64), "p_extract": p, "p_whole": p * 0.3, "p_counterfactual": p / copies,
        "expected_tokens": expected, "tokens_q50": np.floor(np.nan_to_num(p) * words * 0.6),
        "tokens_q95": np.floor(np.minimum(words, 3 + np.nan_to_num(p) * words * 2.2)), "exposures": dose,
        "taxon": np.where(copies > 5, "recite", "recollect"), "severity": severity, "risk": risk, "band": band,
        "reasons": [f"{c} exact copies; dose {d:.1f} visits" if c > 1 else f"dose {d:.1f} visits"
                    for c, d in zip(copies, dose, strict=True)], "calibrated": [False] * n,
    })  # fmt: skip
    action = ["drop" if k is not None else "redact" if i in private else "keep" for i, k in zip(ids, keep, strict=True)]
    semantic = {i for a, b, s, _, _ in made.pairs if s == "semantic" for i in (a, b)}
    action = ["review" if a == "keep" and i in semantic else a for i, a in zip(ids, action, strict=True)]
    why = {
        "drop": "duplicate of a kept row",
        "redact": "private data",
        "review": "says the same as another row",
        "keep": "",
    }
    plan = pl.DataFrame({
        "row_id": pl.Series(ids, dtype=pl.Int64), "action": action, "keep_row_id": pl.Series(keep, dtype=pl.Int64),
        "rule_id": [{"drop": "duplicate", "redact": "private"}.get(a) for a in action], "why": [why[a] for a in action],
        "loss_mask": pl.Series([None] * n, dtype=pl.String), "sample_weight": [1.0] * n,
    })  # fmt: skip
    for name, frame in (("rows", rows), ("pairs", pairs), ("spans", spans), ("prediction", prediction), ("plan", plan)):
        run.write_table(name, frame)
    if made.whatif:
        epochs = np.array([0.5, 1, 2, 3, 4, 6, 8])
        rise = float(np.nansum(p)) * (epochs / 3) ** 1.4
        variant = pl.lit("as planned").alias("variant")
        curve = pl.DataFrame({"epochs": epochs, "expected_rows": rise, "low": rise * 0.6, "high": rise * 1.5})
        run.write_table("whatif", curve.with_columns(variant))
    skipped = "".join(json.dumps(s) + "\n" for s in made.skipped)
    (run.path / "skipped.jsonl").write_text(skipped, "utf-8")
    summary = summarise(rows, pairs, spans, prediction, plan, made.notes, {"jaccard": settings.jaccard})
    run.write_json("scan.json", {
        "schema_version": 1, "versions": {"sftscan": "0.1.0", "polars": pl.__version__},
        "settings": settings.as_dict(),
        "token_unit": "kernel token", "training_plan": settings.as_dict()["plan"],
        "inputs": [{"path": "/data/demo.jsonl", "sha256": "0" * 64, "bytes": 787_000, "layout": "alpaca"}],
        "rows_read": n, "rows_skipped": len(made.skipped), "timings": {"read": 0.21, "minhash": 0.34, "predict": 0.52},
        "peak_rss_bytes": 412_000_000, "summary": summary, "notes": made.notes,
    })  # fmt: skip
    return run


def _shared(made: Made, ids: list[int], relation: str, names: tuple[str, str, str]) -> dict[str, list[Any]]:
    """Columns about a shared side: the rows that pairs of this relation connect, each going its own way."""
    label = {i: i for i in ids}
    for a, b, _, found, _ in sorted(made.pairs):
        if found == relation:
            old, new = label[b], label[a]
            label = {i: new if at == old else at for i, at in label.items()}
    members = {at: [i for i in ids if label[i] == at] for at in ids}
    family, ways, way = names
    sizes = [len(members[label[i]]) for i in ids]
    numbers = {at: n for n, at in enumerate(at for at in ids if len(members[at]) > 1)}
    return {
        f"{family}.rows": sizes, f"{family}.{ways}": sizes,
        f"{family}.group": [numbers.get(label[i]) for i in ids],
        f"{family}.{way}": [members[label[i]].index(i) for i in ids],
    }  # fmt: skip


def _write_segments(made: Made, run: RunFolder, ids: list[int]) -> None:
    roles = [ROLE_CODE["user"], ROLE_CODE["user"], ROLE_CODE["assistant"]]
    columns = [
        pa.array([i for i in ids for _ in range(3)], pa.int64()),
        pa.array([s for _ in ids for s in range(3)], pa.int32()),
        pa.array([t for _ in ids for t in (0, 0, 1)], pa.int32()),
        roles_array(np.array(roles * len(ids), np.uint8)),
        pa.array(["/instruction", "/input", "/output"] * len(ids)),
        pa.array([made.supervised and s == 2 for _ in ids for s in range(3)]),
        pa.array([text for i in ids for text in made.texts[i]], pa.large_string()),
    ]
    with SegmentWriter(run.segments_path) as writer:
        writer.append(pa.record_batch(columns, schema=SEGMENT_SCHEMA))
