"""A rehearsal draws whole groups, trains as planned, and its measurements are those of the model."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner import chat, models, pipeline, rehearsal, rehearsing
from scanner.errors import ModelError, RunError
from scanner.objects import Segment
from scanner.progress import Progress
from scanner.settings import Settings, TrainingPlan
from scanner.store import RunFolder

WORDS = (
    "red",
    "green",
    "blue",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "sun",
    "moon",
)


@given(st.lists(st.integers(0, 12), min_size=5, max_size=60), st.integers(1, 30), st.integers(1, 10), st.integers(0, 5))
def test_groups_are_never_torn(labels, rows, controls, seed):
    group = np.array([labels.index(x) for x in labels])
    source = np.zeros(len(labels), np.int64)
    parts = rehearsal.split(group, source, np.arange(len(labels)), rows, controls, seed)
    trained, rest = set(parts.trained.tolist()), set(parts.rest.tolist())
    assert len(trained) <= rows
    assert not {group[i] for i in trained} & {group[i] for i in (*rest, *parts.controls.tolist())}
    assert len({group[i] for i in parts.controls}) == len(parts.controls)
    for i in trained:
        assert {j for j in range(len(labels)) if group[j] == group[i]} <= trained


def test_the_draw_follows_the_content_not_the_place():
    n, rng = 200, np.random.default_rng(0)
    shuffled = rng.permutation(n)
    straight = rehearsal.split(np.arange(n), np.zeros(n, np.int64), np.arange(n), 50, 20, 3)
    mixed = rehearsal.split(np.arange(n), np.zeros(n, np.int64), shuffled, 50, 20, 3)
    assert set(shuffled[mixed.trained].tolist()) == set(straight.trained.tolist())
    assert set(shuffled[mixed.controls].tolist()) == set(straight.controls.tolist())
    assert len(straight.trained) == 50
    assert len(straight.controls) == 20


@pytest.fixture
def small(monkeypatch):
    for name, value in {"WIDTH": 32, "LAYERS": 1, "HEAD": 16, "VOCABULARY": 320}.items():
        monkeypatch.setattr(models, f"TINY_{name}", value)


def examples(model, count=12, seed=0):
    rng = np.random.default_rng(seed)
    rows = [
        [
            Segment((), "user", 0, False, " ".join(rng.choice(WORDS, 5))),
            Segment((), "assistant", 1, True, " ".join(rng.choice(WORDS, 12))),
        ]
        for _ in range(count)
    ]
    return chat.encode(rows, model.tokenizer, model.context)


def tuned(plan, stops_at=None, folder=None):
    model = models.tiny([" ".join(WORDS)] * 3, seed=0, context=96)
    rows = examples(model)
    if plan.method == "lora":
        model = rehearsal.with_adapters(model, 4, seed=0)
    work = rehearsal.Rehearsal(model, plan, rows, None, seed=5, bf16=False)
    while work.epoch < plan.epochs:
        if stops_at == work.epoch:
            work.save(folder / "state.pt")
            again = rehearsal.Rehearsal(
                models.tiny([" ".join(WORDS)] * 3, seed=0, context=96), plan, rows, None, seed=5, bf16=False
            )
            again.resume(folder / "state.pt")
            work, stops_at = again, None
        work.run_epoch()
    return work, rows


@pytest.mark.parametrize("method", ["full", "lora"])
def test_training_memorizes_and_the_table_says_so(small, method):
    work, rows = tuned(TrainingPlan(epochs=60, learning_rate=1e-2, batch_size=6, method=method, lora_rank=4))
    table = rehearsal.recalled(work.model, rows, np.arange(12) * 10, False)
    assert table["row_id"].to_list() == [i * 10 for i in range(12)]
    assert (table["tokens"] == 12).all()
    assert table["n_pre"].mean() > (6 if method == "full" else 0.5)
    assert (table.filter("whole")["n_pre"] == 12).all()
    assert work.steps == 60 * 2
    assert work.losses[-1] < work.losses[0]
    hits = np.unpackbits(np.frombuffer(b"".join(table["hits"]), np.uint8).reshape(12, -1), axis=1)[:, :12].astype(bool)
    first = [len(h) if h.all() else int(np.argmin(h)) for h in hits]
    assert first == table["n_pre"].to_list()


def test_an_interrupted_rehearsal_ends_as_an_uninterrupted_one(small, tmp_path):
    import torch

    plan = TrainingPlan(epochs=3, learning_rate=1e-3, batch_size=4)
    straight, _ = tuned(plan)
    resumed, _ = tuned(plan, 2, tmp_path)
    for p, q in zip(straight.model.model.parameters(), resumed.model.model.parameters(), strict=True):
        assert torch.equal(p, q)
    assert resumed.dose == pytest.approx(straight.dose)
    assert resumed.losses == straight.losses


def test_the_dose_is_that_of_the_batches_that_were_made(small):
    plan = TrainingPlan(epochs=2, learning_rate=3e-4, lr_schedule="constant", batch_size=12)
    work, rows = tuned(plan)
    words = sum(len(a.words) for row in rows for a in row.answers)
    assert work.dose == pytest.approx(np.full(12, 2 * 1200 / words))
    falling, _ = tuned(replace(plan, lr_schedule="linear"))
    assert falling.dose == pytest.approx(np.full(12, (1 + 0.5) * 1200 / words))  # one step an epoch


@pytest.fixture(scope="module")
def audited(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("rehearse")
    rng = np.random.default_rng(1)
    lines = [
        {"instruction": " ".join(rng.choice(WORDS, 8)), "input": "", "output": " ".join(rng.choice(WORDS, 30))}
        for _ in range(260)
    ]
    lines += lines[:5] * 3
    (folder / "d.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    return pipeline.audit([str(folder / "d.jsonl")], Settings(semantic=False), folder / "d.scan").path


def test_the_whole_road_with_a_tiny_base(small, audited, monkeypatch):
    monkeypatch.setattr(rehearsing, "FEWEST_PRETRAINING_TOKENS", 1000)
    asked = {"rows": 60, "controls": 20, "epochs": 2.0}
    done = pipeline.rehearse(audited, asked)
    text = done.in_words()
    assert "rows trained on" in text.replace("\n", " ")
    rows = pl.read_parquet(done.folder / "rows.parquet")
    epochs = pl.read_parquet(done.folder / "epochs.parquet")
    assert sorted(epochs["epoch"].unique()) == [0, 1, 2]
    assert rows["stratum"].value_counts().sort("stratum")["count"].to_list() == [20, done.facts["trained"]]
    assert rows.filter(pl.col("stratum") == "control")["own_dose"].null_count() == 20
    assert (rows.filter(pl.col("stratum") == "member")["own_dose"] > 0).all()
    assert not (audited / "private" / "rehearsal" / "tiny-0" / "state.pt").exists()
    beside = done.facts["prediction"]
    assert sum(b["rows"] for b in beside["bins"]) == beside["rows"]
    at_16 = {p["epochs"]: p["expected_rows"] for p in beside["skew"] if p["tokens"] == 16}
    assert at_16[2.0] == pytest.approx(beside["expected_rows"], rel=1e-4)
    said: list[str] = []
    listening = Progress()
    listening.say = said.append  # type: ignore[method-assign]
    again = pipeline.rehearse(audited, asked, listening)
    assert again.facts == json.loads((done.folder / "rehearsal.json").read_text())
    assert any("already" in s for s in said)
    with pytest.raises(RunError, match="holds another rehearsal; choose another --name"):
        pipeline.rehearse(audited, {**asked, "rows": 61})


def test_a_rehearsal_that_makes_no_sense_is_refused(small, audited):
    with pytest.raises(ModelError, match="too few for a tiny base"):
        pipeline.rehearse(audited, {"name": "few", "rows": 100})
    with pytest.raises(ModelError, match="no epochs measures nothing"):
        pipeline.rehearse(audited, {"epochs": 0.0})
    with pytest.raises(ModelError, match=r"no config\.json"):
        pipeline.rehearse(audited, {"base": str(audited), "rows": 20})


def test_a_local_base_is_taken_as_it_is(small, audited, tmp_path):
    made = models.tiny([" ".join(WORDS)] * 3, seed=0, context=128)
    made.model.save_pretrained(tmp_path / "base")
    made.tokenizer.save_pretrained(tmp_path / "base")
    done = pipeline.rehearse(
        audited, {"base": str(tmp_path / "base"), "rows": 30, "controls": 10, "epochs": 1.0, "method": "lora"}
    )
    assert done.facts["base"]["pretraining"] is None
    assert (
        done.facts["plan"]["learning_rate"]
        == RunFolder(audited).read_json("scan.json")["training_plan"]["learning_rate"]
    )
