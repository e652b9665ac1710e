"""The main job on the demo data set, against what was planted in it; and the promises that hold for every run."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from scanner import pipeline
from scanner.errors import RunError
from scanner.settings import Settings
from scanner.store import RunFolder

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = Settings().changed(epochs=8.0, learning_rate=3e-4)
TABLES = ("rows", "pairs", "spans", "prediction", "plan", "whatif")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """demo.jsonl, truth.json and the finished run demo.scan."""
    folder = tmp_path_factory.mktemp("demo")
    subprocess.run(
        [sys.executable, str(ROOT / "examples" / "make_demo.py"), str(folder)], check=True, capture_output=True
    )
    pipeline.audit([str(folder / "demo.jsonl")], SETTINGS, folder / "demo.scan")
    return folder


@pytest.fixture(scope="module")
def truth(demo: Path) -> dict[str, Any]:
    return json.loads((demo / "truth.json").read_text("utf-8"))


def table(run: Path, name: str) -> pl.DataFrame:
    return pl.read_parquet(run / f"{name}.parquet")


def linked(pairs: pl.DataFrame, group: list[dict[str, Any]]) -> bool:
    """Whether every row of a planted group stands in a pair with another of the group."""
    ids = [member["row_id"] for member in group]
    inside = pairs.filter(pl.col("row_a").is_in(ids) & pl.col("row_b").is_in(ids))
    return set(inside["row_a"]) | set(inside["row_b"]) == set(ids)


def test_planted_duplicates_are_found(demo: Path, truth: dict[str, Any]) -> None:
    pairs = table(demo / "demo.scan", "pairs")
    assert all(linked(pairs.filter(pl.col("signal") == "exact"), g) for g in truth["exact"])
    minhash = pairs.filter(pl.col("signal") == "minhash")
    assert all(linked(minhash.filter(pl.col("similarity") >= 0.8), g) for g in truth["near"])
    assert np.mean([linked(minhash, g) for g in truth["loose"]]) >= 0.85


def test_copies_are_dropped_down_to_one_and_only_copies(demo: Path, truth: dict[str, Any]) -> None:
    plan = table(demo / "demo.scan", "plan")
    gone = set(plan.filter(pl.col("action") == "drop")["row_id"])
    pairs = table(demo / "demo.scan", "pairs")
    torn = pairs.filter((pl.col("signal") == "minhash") & (pl.col("answer_similarity") < 0.8))
    kept_apart = set(torn.select("row_a", "row_b").iter_rows())
    for group in (*truth["exact"], *truth["near"]):
        ids = {member["row_id"] for member in group}
        left = ids - gone
        assert len(left) == 1 or tuple(sorted(left)) in kept_apart
    planted = {m["row_id"] for kind in ("exact", "near", "boilerplate") for g in truth[kind] for m in g}
    assert len(gone - planted) <= 3  # two sentences of the grammar may turn out alike by chance; they are verified too
    conflicting = {m["row_id"] for g in truth["conflict"] for m in g}
    assert not conflicting & gone


def test_planted_conflicts_go_to_review(demo: Path, truth: dict[str, Any]) -> None:
    rows = table(demo / "demo.scan", "rows")
    torn = set(rows.filter(pl.col("conflicts.answers") > 1)["row_id"])
    assert {m["row_id"] for g in truth["conflict"] for m in g} <= torn


def test_planted_private_data_is_found_masked_and_removed(demo: Path, truth: dict[str, Any], tmp_path: Path) -> None:
    run = demo / "demo.scan"
    spans = table(run, "spans").filter(pl.col("kind").is_in(["private", "secret"]))
    entries = [entry for group in truth["private"] for entry in group]
    expected = {entry["row_id"] for entry in entries}
    assert expected <= set(spans["row_id"])
    assert len(set(spans["row_id"]) - expected) <= 0.02 * len(expected)
    pipeline.apply(run, tmp_path / "clean.jsonl")
    pipeline.verify(tmp_path / "clean.jsonl", run)
    outside = [p for p in run.rglob("*") if p.is_file() and "private" not in p.relative_to(run).parts]
    for path in (*outside, *tmp_path.iterdir()):
        text = readable(path)
        shown = {e["kind"] for e in entries if e["value"] in text}
        assert not shown, f"{path.name} shows planted values of kinds {shown}"


def readable(path: Path) -> str:
    if path.suffix == ".parquet":
        return pl.read_parquet(path).write_ndjson()
    return path.read_bytes().decode("utf-8", "replace")


def test_broken_lines_are_skipped_listed_and_left_out(demo: Path, truth: dict[str, Any], tmp_path: Path) -> None:
    run = demo / "demo.scan"
    skipped = [json.loads(line) for line in (run / "skipped.jsonl").read_text().splitlines()]
    assert [s["row_id"] for s in skipped] == truth["broken"]
    assert all(s["line"] == s["row_id"] + 1 and s["reason"] for s in skipped)
    facts = json.loads((run / "scan.json").read_text())
    assert facts["rows_read"] + facts["rows_skipped"] == truth["records"]
    done = pipeline.apply(run, tmp_path / "clean.jsonl")
    assert done.rows_unreadable == len(skipped)
    assert len((tmp_path / "clean.jsonl").read_bytes().splitlines()) == done.rows_kept


def test_copies_and_dose_raise_the_prediction(demo: Path, truth: dict[str, Any]) -> None:
    predicted = table(demo / "demo.scan", "prediction")
    copied = {m["row_id"] for g in truth["exact"] if len(g) >= 4 for m in g}
    measured = predicted.filter(pl.col("p_extract").is_not_nan())
    there = measured["row_id"].is_in(sorted(copied))
    assert measured.filter(there)["p_extract"].mean() > measured.filter(~there)["p_extract"].mean()
    assert measured.filter(there)["exposures"].min() > measured.filter(~there)["exposures"].median()
    assert not predicted["calibrated"].any()


@pytest.mark.parametrize("threads", [1, 2])
def test_tables_do_not_depend_on_threads(demo: Path, tmp_path: Path, threads: int) -> None:
    run = pipeline.audit([str(demo / "demo.jsonl")], SETTINGS.changed(threads=threads), tmp_path / "again.scan")
    for name in TABLES:
        assert (run.path / f"{name}.parquet").read_bytes() == (demo / "demo.scan" / f"{name}.parquet").read_bytes(), (
            name
        )


def test_tables_do_not_depend_on_row_order(demo: Path, tmp_path: Path) -> None:
    lines = (demo / "demo.jsonl").read_bytes().splitlines(keepends=True)
    order = list(range(len(lines)))
    random.Random(3).shuffle(order)
    (tmp_path / "shuffled.jsonl").write_bytes(b"".join(lines[i] for i in order))
    run = pipeline.audit([str(tmp_path / "shuffled.jsonl")], SETTINGS, tmp_path / "s.scan").path
    back = pl.DataFrame({"row_id": range(len(order)), "was": order})
    before, after = demo / "demo.scan", run

    def in_old_numbers(name: str, columns: list[str]) -> pl.DataFrame:
        return (
            table(after, name)
            .join(back, on="row_id")
            .with_columns(row_id="was")
            .drop("was")
            .sort("row_id")
            .select(columns)
        )

    names = [c for c in table(before, "prediction").columns if c != "reasons"]
    assert in_old_numbers("prediction", names).equals(table(before, "prediction").select(names))
    features = [c for c in table(before, "rows").columns if c not in ("source", "line", "byte_offset", "cluster_id")]
    assert in_old_numbers("rows", features).equals(table(before, "rows").select(features))
    # which of several equal rows stays may differ, how many stay may not
    counted = [table(r, "plan")["action"].value_counts(sort=True) for r in (before, after)]
    assert counted[0].sort("action").equals(counted[1].sort("action"))
    pair = ["signal", "relation", "similarity"]
    found = [table(r, "pairs").group_by(pair).len().sort(pair) for r in (before, after)]
    assert found[0].equals(found[1])


@pytest.mark.parametrize("seen", ["private/*segments.arrow", "index/*", "private/known.npz", "rows.parquet"])
def test_a_killed_run_leaves_no_half_file_and_can_be_finished(demo: Path, tmp_path: Path, seen: str) -> None:
    shutil.copy(demo / "demo.jsonl", tmp_path / "demo.jsonl")
    command = [sys.executable, str(ROOT / "cli.py"), "demo.jsonl", "--epochs", "8", "--learning-rate", "3e-4", "-q"]
    started = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    run = tmp_path / "demo.scan"
    while not any(run.glob(seen)) and started.poll() is None:
        time.sleep(0.001)
    started.send_signal(signal.SIGKILL)
    assert started.wait() == -signal.SIGKILL
    for path in run.rglob("*.parquet") if run.exists() else ():
        if not path.name.startswith(".tmp-"):
            pl.read_parquet(path)
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, timeout=300, env={**os.environ})
    assert done.returncode == 0, done.stderr.decode()
    assert not list(run.rglob(".tmp-*"))
    for name in TABLES:
        assert (run / f"{name}.parquet").read_bytes() == (demo / "demo.scan" / f"{name}.parquet").read_bytes(), name


def test_private_text_stays_in_a_private_folder(demo: Path) -> None:
    run = RunFolder(demo / "demo.scan")
    assert run.path.stat().st_mode & 0o777 == 0o700
    assert (run.private / "segments.arrow").exists()
    assert pipeline.purge(_copy(run.path)) > 0


def _copy(run: Path) -> Path:
    return Path(shutil.copytree(run, run.with_name("purged.scan")))


def test_force_replaces_a_run_and_touches_nothing_else(demo: Path, tmp_path: Path) -> None:
    data = tmp_path / "d.jsonl"
    data.write_bytes(b"".join((demo / "demo.jsonl").read_bytes().splitlines(keepends=True)[:50]))
    settings = SETTINGS.changed(semantic=False)
    run = tmp_path / "d.scan"
    RunFolder.open_for_writing(run)  # all that a run killed at its very beginning leaves
    pipeline.audit([str(data)], settings, run, force=True)
    (run / "report.old").write_text("x")
    pipeline.audit([str(data)], settings.changed(epochs=1.0), run, force=True)
    assert not (run / "report.old").exists()
    assert json.loads((run / "scan.json").read_text())["training_plan"]["epochs"] == 1
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("keep me")
    with pytest.raises(RunError, match="holds files but no run; it is not touched"):
        pipeline.audit([str(data)], settings, mine, force=True)
    assert (mine / "notes.txt").read_text() == "keep me"


def test_what_the_batching_does_is_said(demo: Path, tmp_path: Path) -> None:
    settings = SETTINGS.changed(semantic=False, batching="length-grouped")
    run = pipeline.audit([str(demo / "demo.jsonl")], settings, tmp_path / "g.scan").path
    fact, meeting, lengths = json.loads((run / "scan.json").read_text())["notes"]["prediction"]["batching"]
    assert fact.startswith("grouping by length ")
    assert re.fullmatch(r"copies of \d+ rows often meet in a step; \d+ to \d+ % of the dose is left", meeting)
    assert "in the scan's own tokens" in lengths
    before, after = (table(r, "prediction")["exposures"].to_numpy() for r in (demo / "demo.scan", run))
    named = [int(row) for row in re.search(r"most (?:raised:|that of) rows ([\d, ]+)", fact)[1].split(",")]
    ratio = after / before
    rows = table(run, "rows")["row_id"].to_list()
    assert all(ratio[rows.index(row)] > np.nanmedian(ratio) for row in named)
    assert fact.partition(" ")[2] in (run / "report.html").read_text("utf-8")
    plain = json.loads((demo / "demo.scan" / "scan.json").read_text())
    assert plain["notes"]["prediction"]["batching"] == []
