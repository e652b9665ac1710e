"""From confirmed rows to a calibration: the level that a rehearsal of the same rows gives, weights respected."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from scanner import confirmed, passes, pipeline, prediction, recounting, strata
from scanner.errors import RunError
from scanner.prediction import calibration, level
from scanner.prediction.hazard import load_weights
from scanner.sampling import dose_unit
from scanner.settings import Settings, TrainingPlan
from scanner.store import RunFolder

WORDS = [f"w{i}" for i in range(120)]
SHIPPED = load_weights()
SIZE = int(SHIPPED.priors.fitted_parameters)
PLAN = TrainingPlan(epochs=6, learning_rate=1e-3, batch_size=8, model_params=SIZE, lr_schedule="constant")
TRUTH = 0.65
COUNT = 160


pytestmark = pytest.mark.usefixtures("few_draws")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunFolder:
    """160 rows, five of them thrice, whose N_pre was drawn from the hazard model at a known level, confirmed whole."""
    folder = tmp_path_factory.mktemp("confirmed")
    rng = np.random.default_rng(1)
    lines = [
        {"instruction": " ".join(rng.choice(WORDS, 6)), "input": "", "output": " ".join(rng.choice(WORDS, 30))}
        for _ in range(COUNT)
    ]
    lines += lines[:5] * 2
    (folder / "d.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    made = pipeline.audit([str(folder / "d.jsonl")], Settings(semantic=False, plan=PLAN, threads=1), folder / "d.scan")
    confirm(made, "tuned")
    return made


def confirm(run: RunFolder, called: str, chosen: strata.Chosen | None = None, **model) -> None:
    """What `scan confirm` leaves, drawn from the hazard model; the luck of a row is the same in all of them."""
    ids = run.read_table("rows", ["row_id"])["row_id"].to_numpy()
    settings = Settings.from_dict(run.read_json("scan.json")["settings"])
    rows = recounting.alone(run, settings, ids)
    n_pre = drawn(rows, settings)
    place = np.arange(len(ids)) if chosen is None else chosen.place
    weight = np.ones(len(ids)) if chosen is None else chosen.weight
    folder, private = run.path / "confirmation", run.private / "confirmation" / called
    folder.mkdir(exist_ok=True)
    private.mkdir(parents=True, exist_ok=True)
    tokens = rows.answers.end - rows.answers.start
    pl.DataFrame({"row_id": ids[place], "weight": weight}).write_parquet(folder / f"{called}.parquet")
    answers = [(int(ids[i]), 0, int(tokens[i]), int(n_pre[i]), None) for i in place]
    pl.DataFrame(answers, schema=passes.ANSWERS, orient="row").write_parquet(private / "answers.parquet")
    lengths = [(int(i), int(n), [int(t)]) for i, n, t in zip(ids, rows.length, tokens, strict=True)]
    pl.DataFrame(lengths[1:], schema=passes.LENGTHS, orient="row").write_parquet(private / "lengths.parquet")
    model = {"name": "tuned", "parameters": SIZE, "context": 2048, "fingerprint": "f" * 16, **model}
    facts = {"asked": {"identity": "a" * 64}, "plan": asdict(PLAN), "model": model, "base": None}
    (folder / f"{called}.json").write_text(json.dumps(facts))


def drawn(rows: recounting.RowsAlone, settings: Settings) -> np.ndarray:
    """(m,) N_pre of each answer at TRUTH."""
    amounts = doses(rows, settings)
    state = level.Observed(
        rows.features, rows.answers, rows.answers.end - rows.answers.start, amounts.total, amounts.set_dose,
        int(amounts.steps), PLAN, rows.alike[rows.answers.row], 6, 0.0,
    )  # fmt: skip
    state = level.foretold(state, level.at(SHIPPED, (TRUTH,)))
    curve = np.zeros(len(rows.features.log_probability))
    level._tails(state, rows.answers, level.at(SHIPPED, (TRUTH,)), curve)
    luck = np.random.default_rng(14).random(len(rows.row_id))
    ends = zip(rows.answers.start, rows.answers.end, luck, strict=True)
    return np.array([int((curve[a:b] > u).sum()) for a, b, u in ends])


def doses(rows: recounting.RowsAlone, settings: Settings) -> prediction.Doses:
    return prediction.doses(
        PLAN, rows.length, rows.answers, rows.copies, rows.order, rows.near, seed=settings.seed
    )  # fmt: skip


def rehearse(run: RunFolder, name: str) -> None:
    """A rehearsal that trained on all rows and saw the same."""
    ids = run.read_table("rows", ["row_id"])["row_id"].to_numpy()
    settings = Settings.from_dict(run.read_json("scan.json")["settings"])
    rows = recounting.alone(run, settings, ids)
    amounts = doses(rows, settings)
    folder = run.path / "rehearsal" / name
    folder.mkdir(parents=True)
    pl.DataFrame({
        "row_id": ids, "stratum": "member", "epoch": np.int32(6), "answer": np.int32(0), "n_pre": drawn(rows, settings),
        "tokens": rows.answers.end - rows.answers.start, "own_dose": amounts.own, "steps": int(amounts.steps),
    }).write_parquet(folder / "epochs.parquet")  # fmt: skip
    facts = {"asked": {"identity": "a" * 64}, "base": {"name": "tuned", "parameters": SIZE}, "plan": asdict(PLAN),
             "dose_unit": dose_unit()}  # fmt: skip
    (folder / "rehearsal.json").write_text(json.dumps(facts))


def test_the_level_of_a_confirmation_is_that_of_a_rehearsal_of_the_same_rows(run, tmp_path):
    both = tmp_path / "both.scan"
    shutil.copytree(run.path, both)
    rehearse(RunFolder(both), "same")
    one = pipeline.calibrate([both], tmp_path / "c.toml", ("tuned",))
    two = pipeline.calibrate([both], tmp_path / "r.toml", ("same",))
    assert one.table.level.offset == pytest.approx(two.table.level.offset, abs=1e-6)
    assert one.table.level.offset_sd == pytest.approx(two.table.level.offset_sd, rel=1e-6)
    assert one.table.within.expected_rows == pytest.approx(two.table.within.expected_rows, rel=1e-9)
    assert abs(one.table.level.offset - TRUTH) <= 2 * one.table.level.offset_sd
    together = pipeline.calibrate([both], tmp_path / "b.toml")
    assert together.values["fitted_on"]["rows"] == 2 * (COUNT + 10)


def test_the_file_says_what_it_rests_on(run, tmp_path):
    found = pipeline.calibrate([run.path], tmp_path / "c.toml")
    values = tomllib.loads(found.path.read_text())
    assert values["fitted_on"]["runs"] == ["d.scan, confirmed on tuned"]
    assert values["fitted_on"]["epochs"] == [6]
    assert values["fitted_on"]["hits"] == found.values["fitted_on"]["hits"] > 0
    assert (values["base"]["name"], values["base"]["fingerprint"]) == ("tuned", ""), "of the base nothing was given"
    missing = "what the base knew untuned was not measured (d.scan, confirmed on tuned, without --base)"
    assert values["with_base"] == {"missing": missing}
    told = calibration.read(found.path).on()
    assert f"{COUNT + 10} rows measured at epoch 6 of d.scan, confirmed on tuned (6 epochs at 0.001" in told
    assert found.in_words().startswith("tuned (")
    assert f"{values['fitted_on']['hits']} of them, copies counted once, with N_pre >= 16\n" in found.in_words()
    again = Settings(semantic=False, plan=PLAN, threads=1, calibration=found.path)
    audit = pipeline.audit([str(run.path.parent / "d.jsonl")], again, tmp_path / "e.scan")
    assert audit.read_table("prediction")["calibrated"].all()


def test_rows_count_as_the_rows_that_they_stand_for(run, tmp_path):
    """An answer of weight 2 pulls as two of it would, but makes the level no surer than one."""
    (whole,) = confirmed.confirmations(run)
    (state,) = whole.observed()
    count = len(state.n_pre)
    assert (state.weight == 1).all()
    plain = level.fit([replace(state, weight=None)], SHIPPED)
    assert level.fit([state], SHIPPED) == plain
    heavy = level.fit([replace(state, weight=np.full(count, 7.0))], SHIPPED)
    assert heavy.offset == pytest.approx(plain.offset, abs=2e-3)
    assert heavy.offset_sd == pytest.approx(plain.offset_sd, rel=2e-2)
    assert heavy.nats == pytest.approx(plain.nats, abs=1e-4)
    some = np.arange(count) % 3 == 0
    doubled = level.fitted_weights([replace(state, weight=np.where(some, 2.0, 1.0))], SHIPPED, False)
    extra = replace(
        state, n_pre=state.n_pre[some], unit=state.unit[some],
        answers=prediction.Answers(*(getattr(state.answers, n)[some] for n in ("row", "start", "end"))),
        weight=np.ones(some.sum()),
    )  # fmt: skip
    twice = level.fitted_weights([state, extra], SHIPPED, False)
    assert doubled.priors.offset == pytest.approx(twice.priors.offset, abs=1e-6)


def test_a_sample_gives_the_level_of_the_whole(run, tmp_path):
    sampled = tmp_path / "some.scan"
    shutil.copytree(run.path, sampled, ignore=shutil.ignore_patterns("confirmation"))
    predicted = run.read_table("prediction")["p_extract"].to_numpy()
    rank = np.asarray(run.read_array("content_rank"))
    confirm(RunFolder(sampled), "some", strata.choose(predicted, rank, 80, 3))
    some = pipeline.calibrate([sampled], tmp_path / "s.toml")
    every = pipeline.calibrate([run.path], tmp_path / "e.toml")
    away = abs(some.table.level.offset - every.table.level.offset)
    assert away <= 2 * some.table.level.offset_sd
    assert abs(some.table.level.offset - TRUTH) <= 2 * some.table.level.offset_sd
    assert some.table.level.offset_sd > every.table.level.offset_sd
    assert some.values["fitted_on"]["rows"] == 80


def test_what_is_not_there_is_told(run, tmp_path):
    copy = tmp_path / "d.scan"
    shutil.copytree(run.path, copy)
    with pytest.raises(RunError, match=r"has no rehearsal and no confirmation named big; it has tuned"):
        pipeline.calibrate([copy], tmp_path / "c.toml", ("big",))
    confirm(RunFolder(copy), "other", name="larger", parameters=7_000_000_000)
    with pytest.raises(RunError, match=r"what was measured is of 2 bases: larger \(7 B .*choose with --name, of other"):
        pipeline.calibrate([copy], tmp_path / "c.toml")
    confirm(RunFolder(copy), "all of it")
    same = "^all of it and tuned confirm one and the same model, whose rows count once; choose one of them with --name"
    with pytest.raises(RunError, match=same):
        pipeline.calibrate([copy], tmp_path / "c.toml", ("tuned", "all of it"))
    one = pipeline.calibrate([copy], tmp_path / "c.toml", ("all of it",))
    assert one.values["fitted_on"]["runs"] == ["d.scan, confirmed on tuned (all of it)"]
    confirm(RunFolder(copy), "second", fingerprint="e" * 16)
    two = pipeline.calibrate([copy], tmp_path / "c.toml", ("tuned", "second"))
    assert two.values["fitted_on"]["hits"] == 2 * one.values["fitted_on"]["hits"], "of two models every row counts"
    (copy / "private" / "confirmation" / "tuned" / "answers.parquet").unlink()
    with pytest.raises(RunError, match=r"answers\.parquet is gone \(purged\?\); confirm again under another --name"):
        pipeline.calibrate([copy], tmp_path / "c.toml", ("tuned",))
    pipeline.purge(copy)
    with pytest.raises(RunError, match="no longer holds the text"):
        pipeline.calibrate([copy], tmp_path / "c.toml", ("tuned",))
    bare = tmp_path / "bare.scan"
    shutil.copytree(run.path, bare, ignore=shutil.ignore_patterns("confirmation"))
    said = re.escape(f"or measure the model that you have tuned: scan confirm {bare} --model FOLDER")
    with pytest.raises(RunError, match=said):
        pipeline.calibrate([bare], Path(tmp_path / "c.toml"))
