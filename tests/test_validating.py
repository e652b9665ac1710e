"""An audit says of plan and rows what lies outside of what the weights were fitted on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from scanner import pipeline
from scanner.explain import explain
from scanner.settings import Settings, TrainingPlan
from scanner.store import RunFolder
from scanner.validating import interval

TEXT = "the old mill by the river grinds wheat for seven villages and its keeper counts every sack that leaves"
ENGLISH = TEXT.split()
CHINESE = "河边的老磨坊为七个村庄磨面守磨的人清点每一袋面粉并记在一本厚厚的册子里"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("validating")
    rng = np.random.default_rng(0)
    rows = []
    for i in range(60):
        answer = " ".join(rng.permutation(ENGLISH)) if i % 3 else "".join(rng.permutation(list(CHINESE)))
        rows.append({"instruction": f"Say {i} again", "output": answer})
    rows.append({"instruction": "Short?", "output": "Yes."})
    path = folder / "d.jsonl"
    path.write_text("".join(json.dumps(r) + "\n" for r in rows), "utf-8")
    plan = TrainingPlan(method="lora", model_params=7e9, epochs=2)
    return pipeline.audit([str(path)], Settings(semantic=False, threads=1, plan=plan), folder / "d.scan")


def test_the_statements_stand_in_the_run(run: RunFolder) -> None:
    said = run.read_json("scan.json")["summary"]["prediction"]["validity"]
    assert said["severity"] == "order"
    assert said["rows"] == 60
    assert said["rows_outside"] == {"dose": 0, "script": 20}
    by_topic = {s["topic"]: s for s in said["statements"]}
    assert by_topic["method"]["short"] == "LoRA of rank 16"
    assert by_topic["Han script"]["short"] == "Chinese rows (20 of 60)"
    assert by_topic["Han script"]["rows"] == 20
    order = ["inside", "note", "count", "order"]
    ranks = [order.index(s["severity"]) for s in said["statements"]]
    assert ranks == sorted(ranks, reverse=True)


def test_every_row_says_why_it_is_outside(run: RunFolder) -> None:
    table = run.read_table("prediction").sort("row_id")
    scripts = run.read_table("rows").sort("row_id")["script.answer"]
    measured = table["p_extract"].is_not_nan()
    wanted = ["script" if s == "Han" and m else "" for s, m in zip(scripts, measured, strict=True)]
    assert table["outside"].to_list() == wanted
    assert table["outside"][60] == "", "what is not measured is not outside either"
    told = " ".join(explain(run, 0).sentences())
    assert "Outside what was validated, by its script: these numbers are extrapolated." in told
    assert "Outside what was validated, by" not in " ".join(explain(run, 1).sentences())


def test_the_skew_is_stored_and_drawn(run: RunFolder) -> None:
    skew = run.read_table("skew")
    assert skew.columns == ["epochs", "tokens", "expected_rows"]
    assert skew["epochs"].unique().sort().to_list() == [1.0, 2.0, 4.0]
    planned = skew.filter((pl.col("epochs") == 2) & (pl.col("tokens") == 16))["expected_rows"].item()
    assert planned == pytest.approx(run.read_table("prediction")["p_extract"].fill_nan(0).sum(), rel=1e-4, abs=1e-9)
    page = (run.path / "report.html").read_text("utf-8")
    assert "Expected skew of memorized length by epochs" in page
    assert "How far to trust these numbers" in page


def test_the_interval_is_the_plans_own(tmp_path: Path) -> None:
    table = pl.DataFrame({
        "variant": ["as planned", "as planned", "after deduplication"], "epochs": [1.0, 3.0, 3.0],
        "expected_rows": [1.0, 5.0, 2.0], "low": [0.2, 1.0, 0.1], "high": [3.0, 20.0, 4.0],
    })  # fmt: skip
    assert interval(table, 3.0) == [1.0, 20.0]
    assert interval(table, 2.0) is None
    assert interval(table.drop("low"), 3.0) is None
    assert interval(table.with_columns(low=None), 3.0) is None


def test_packing_rows_source_by_source_lies_outside(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in "ab":
        rows = [{"instruction": f"Say {i} again", "output": " ".join(rng.permutation(ENGLISH))} for i in range(60)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), "utf-8")
    files = [str(tmp_path / f"{name}.jsonl") for name in "ab"]
    topic = "order of the rows"
    for batching, outside in (("packed", ["count"]), ("random", [])):
        plan = TrainingPlan(epochs=2, batching=batching, batch_tokens=400)
        asked = Settings(semantic=False, threads=1, plan=plan, max_length=200)
        made = pipeline.audit(files, asked, tmp_path / batching).read_json("scan.json")["summary"]["prediction"]
        assert [s["severity"] for s in made["validity"]["statements"] if s["topic"] == topic] == outside, batching
