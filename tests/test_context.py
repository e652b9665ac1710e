"""Under --base rows end where its context does, unless --max-length ends them before: what is left no trainer shows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from corpora import write_jsonl

from scanner import pipeline, predicting, untuned
from scanner.progress import Progress
from scanner.settings import Settings, TrainingPlan
from scanner.store import RunFolder
from tests.small_base import WORDS, Listening, saved

ROWS = 12  # the last one goes on behind the context


@pytest.fixture(scope="module")
def settings(tmp_path_factory) -> Settings:
    path = saved(tmp_path_factory.mktemp("bases") / "mine")
    return Settings(semantic=False, plan=TrainingPlan(epochs=4, batch_size=4), threads=1, base=path)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    rng = np.random.default_rng(5)
    answers = [" ".join(rng.choice(WORDS, 20)) for _ in range(ROWS - 1)] + [" ".join(rng.choice(WORDS, 200))]
    lines = [{"instruction": " ".join(rng.choice(WORDS, 5)), "input": "", "output": answer} for answer in answers]
    return write_jsonl(tmp_path_factory.mktemp("cut") / "d.jsonl", lines)


def reach(run: RunFolder) -> np.ndarray:
    kept = untuned.Untuned.load(run)
    assert kept is not None
    return kept.reach


def test_what_lies_behind_the_context_is_not_predicted(data, settings, tmp_path):
    heard = Listening()
    run = pipeline.audit([str(data)], settings, tmp_path / "d.scan", progress=heard)
    said = "--max-length is not given: rows are taken as cut at the context of --base (96 tokens; answers that go on "
    assert f"{said}behind it: 1 row)" in heard.said
    text = predicting.tokenise(run, ROWS, Settings(), 1, Progress())
    kept = untuned.Untuned.load(run)
    assert kept is not None
    size, whole = (t.answer_end - t.answer_start for t in (kept.within(text), text))
    assert whole.tolist() == [20] * (ROWS - 1) + [200]
    assert size[:-1].tolist() == [20] * (ROWS - 1)
    assert 30 < size[-1] < 96
    nothing = replace(kept, reach=np.where(np.arange(ROWS) == 3, 0, kept.reach))
    assert nothing.within(text).answer_row.tolist() == [i for i in range(ROWS) if i != 3]
    assert "what lies behind is not predicted (1 row)" in (run.path / "report.html").read_text("utf-8")


def test_max_length_cuts_before_the_context_does(data, settings, tmp_path):
    heard = Listening()
    run = pipeline.audit([str(data)], settings.changed(max_length=48), tmp_path / "d.scan", progress=heard)
    assert not any("--max-length" in said for said in heard.said)
    assert reach(run)[-1] < 30
    assert run.read_json("scan.json")["notes"]["prediction"]["base"]["context_tokens"] == 48


@pytest.mark.parametrize(("max_length", "room"), [(None, 96), (48, 48)])
def test_rows_end_to_end_fill_the_context(data, settings, tmp_path, max_length, room):
    plan = settings.changed(batching="wrapped", batch_size=1, max_length=max_length)
    run = pipeline.audit([str(data)], plan, tmp_path / "d.scan")
    lengths = np.load(run.private / untuned.STORED)["row_tokens"]
    steps = -(-int(lengths.sum()) // room)
    assert abs(run.read_json("scan.json")["notes"]["prediction"]["optimizer_steps"] / 4 - steps) <= 2
    asked = {v: rows for v, epochs, rows, *_ in run.read_table("whatif").iter_rows() if epochs == 4}
    assert asked["as planned"] > 0
    assert asked["after deduplication"] == pytest.approx(asked["as planned"], rel=1e-6)  # nothing goes
    assert asked["random, as many tokens"] > asked["as planned"]
