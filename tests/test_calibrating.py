"""From a rehearsal in a run folder to a calibration file, and from there to an audit that says what it rests on."""

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
from click.testing import CliRunner

import cli
from scanner import calibrating, pipeline, recounting, rehearsed, trying
from scanner.errors import OutputError, RunError, SettingsError
from scanner.figures import amount
from scanner.prediction import level
from scanner.prediction.hazard import load_weights
from scanner.prediction.validated import ENOUGH_ROWS
from scanner.progress import Progress
from scanner.sampling import dose_unit, simulate, with_copies
from scanner.settings import Settings, TrainingPlan
from scanner.store import RunFolder

WORDS = [f"w{i}" for i in range(120)]
SHIPPED = load_weights()
PLAN = TrainingPlan(
    epochs=6, learning_rate=1e-3, batch_size=8, model_params=SHIPPED.priors.fitted_parameters, lr_schedule="constant"
)
TRUTH = 0.65
TINY = f"tiny ({amount(SHIPPED.priors.fitted_parameters)} parameters, full fine-tuning)"


pytestmark = pytest.mark.usefixtures("few_draws")


@pytest.fixture(scope="module")
def audited(tmp_path_factory) -> Path:
    """A run of 110 rows, five of them thrice, and a rehearsal of it drawn from the hazard model at a known level."""
    folder = tmp_path_factory.mktemp("calibrate") / "in [brackets]*"  # no pattern, only a name
    folder.mkdir()
    rng = np.random.default_rng(1)
    lines = [
        {"instruction": " ".join(rng.choice(WORDS, 6)), "input": "", "output": " ".join(rng.choice(WORDS, 30))}
        for _ in range(100)
    ]
    lines += lines[:5] * 2
    (folder / "d.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    run = pipeline.audit([str(folder / "d.jsonl")], Settings(semantic=False, plan=PLAN, threads=1), folder / "d.scan")
    rehearse(run, "tiny-0")
    return run.path


@pytest.fixture(scope="module")
def found(audited):
    """The calibration on that rehearsal; its file lies beside the run."""
    return pipeline.calibrate([audited], audited.parent / "c.toml")


def rehearse(run: RunFolder, rehearsal: str, offset: float = TRUTH, **base) -> None:
    """What `scan rehearse` writes, drawn from the hazard model; the row effect of a row is the same at every epoch."""
    ids = run.read_table("rows", ["row_id"])["row_id"].to_numpy()
    settings = Settings.from_dict(run.read_json("scan.json")["settings"])
    rows = recounting.alone(run, settings, ids)
    facts = {"asked": {"identity": "a" * 64}, "base": {}, "plan": asdict(PLAN), "dose_unit": dose_unit()}
    copies, together = rehearsed.meeting(rehearsed.Rehearsal(run, rehearsal, facts, settings, PLAN), rows)
    rng = np.random.default_rng(2)
    own, luck = rng.uniform(0.4, 2.7, len(ids)), np.random.default_rng(14).random(len(ids))
    tables = []
    for epoch in (1, 3, 6):
        dose = with_copies(own * epoch, copies, together)
        state = level.Observed(
            rows.features, rows.answers, rows.answers.end - rows.answers.start, dose, float(own.mean() * epoch),
            20 * epoch, PLAN, rows.alike[rows.answers.row], epoch, 0.0,
        )  # fmt: skip
        state = level.foretold(state, level.at(SHIPPED, (offset,)))
        curve = np.zeros(len(rows.features.log_probability))
        level._tails(state, rows.answers, level.at(SHIPPED, (offset,)), curve)
        n_pre = [
            int((curve[a:b] > u).sum()) for a, b, u in zip(rows.answers.start, rows.answers.end, luck, strict=True)
        ]
        tables.append(pl.DataFrame({
            "row_id": ids, "stratum": "member", "epoch": np.int32(epoch), "answer": np.int32(0), "n_pre": n_pre,
            "tokens": rows.answers.end - rows.answers.start, "own_dose": own * epoch, "steps": 20 * epoch,
        }))  # fmt: skip
    folder = run.path / "rehearsal" / rehearsal
    folder.mkdir(parents=True, exist_ok=True)
    pl.concat(tables).write_parquet(folder / "epochs.parquet")
    facts["base"] = {"name": "tiny", "parameters": int(SHIPPED.priors.fitted_parameters), **base}
    (folder / "rehearsal.json").write_text(json.dumps(facts))


def test_doses_of_another_version_are_counted_again(audited):
    run = RunFolder(audited)
    (old,) = calibrating.sources(run, ("tiny-0",))
    written = list(rehearsed.observed(old))
    with_unit, facts = old.facts, {k: v for k, v in old.facts.items() if k != "dose_unit"}
    assert with_unit["dose_unit"] == dose_unit()
    old = replace(old, facts=facts)
    again = list(rehearsed.observed(old))
    rows = recounting.alone(run, old.settings, run.read_table("rows", ["row_id"])["row_id"].to_numpy())
    supervised = np.bincount(rows.answers.row, rows.answers.end - rows.answers.start)
    for before, after in zip(written, again, strict=True):
        own = simulate(PLAN, supervised, rows.length, rows.order, seed=old.settings.seed, until=after.epoch).own
        trained = own > 0
        texts = np.unique(rows.copies[trained], return_counts=True)[1]
        assert after.set_dose == pytest.approx(own.sum() / len(texts))  # all answers are equally long
        assert not np.allclose(after.dose, before.dose)
    alone = replace(old, facts=with_unit, plan=replace(old.plan, batching="wrapped"))
    for before, after in zip(written, rehearsed.observed(alone), strict=True):
        assert (after.dose < 0.9 * before.dose).all()
        assert after.set_dose == before.set_dose
    weighed = replace(old, plan=replace(old.plan, source_weight=(("d", 2.0),)))
    with pytest.raises(RunError, match="cannot be counted again; rehearse again under another --name"):
        list(rehearsed.observed(weighed))


def test_the_level_is_found_tested_and_written(audited, found, tmp_path):
    done = found
    assert abs(done.table.level.offset - TRUTH) <= 2 * done.table.level.offset_sd
    values = tomllib.loads(done.path.read_text())
    assert values["fitted_on"]["rows"] == 110
    assert values["fitted_on"]["independent_rows"] == 100
    assert values["fitted_on"]["epochs"] == [1, 3, 6]
    assert values["format"] == 2
    missing = "what the base knew untuned was not kept by d.scan/tiny-0 of an earlier version"
    assert values["with_base"] == {"missing": missing}
    assert values["level"]["offset"] == pytest.approx(done.table.level.offset, rel=1e-4)
    assert values["evaluation"]["true_rows"] == done.table.within.true_rows
    assert values["evaluation"]["ahead"]["fitted_epochs"] == [1]
    assert 0.9 < values["evaluation"]["cover"] <= 1
    assert not done.table.within.is_off
    text = done.in_words()
    assert text.startswith(f"{TINY}: 110 rows at epochs 1, 3 and 6 of d.scan/tiny-0")
    assert "Rows predicted by a level fitted on other rows (5 folds), epoch 6:" in text
    assert f"For audits with --base there is no level: {missing}" in text
    assert done.with_base is None
    assert text.endswith("c.toml")
    told, known = values["evaluation"], values["validated"]
    for test in (told, told["ahead"]):
        assert sum(b[2] for b in test["bins"]) == test["rows"]
        assert sum(b[0] * b[2] for b in test["bins"]) == pytest.approx(test["expected_rows"], rel=1e-3)
        assert sum(b[1] * b[2] for b in test["bins"]) == pytest.approx(test["true_rows"], rel=1e-3)
    assert told["on"] == "110 rows of d.scan/tiny-0 after epoch 6, each predicted by a level fitted on others"
    assert (known["epochs"], known["optimizer_steps"], known["learning_rate"]) == ([1, 6], [20, 120], [1e-3, 1e-3])
    assert (known["methods"], known["scripts"]) == (["full"], ["Latin"])
    assert [t["value"] for t in known["tested"]] == ["rows left out", "later epochs"]
    assert 1 <= values["level"]["misfit"] <= values["level"]["misfit_later"]
    again = pipeline.calibrate([audited], tmp_path / "d.toml")
    assert done.path.read_bytes() == again.path.read_bytes()
    assert again.table.level == done.table.level


def test_an_audit_with_it_says_so(audited, found, tmp_path):
    shutil.copy(found.path, tmp_path / "c.toml")
    data = str(audited.parent / "d.jsonl")
    settings = Settings(semantic=False, plan=PLAN, threads=1, calibration=tmp_path / "c.toml")
    run = pipeline.audit([data], settings, tmp_path / "e.scan")
    assert run.read_table("prediction")["calibrated"].all()
    scan = run.read_json("scan.json")
    assert scan["summary"]["calibrated"] is True
    assert scan["notes"]["prediction"]["calibration"]["on"].startswith(TINY)
    assert Settings.from_dict(scan["settings"]).calibration == tmp_path / "c.toml"
    shown = CliRunner().invoke(cli.scan, ["report", str(run.path), "--format", "markdown"])
    assert shown.exit_code == 0
    assert f"Calibrated on {TINY}: 110 rows" in (run.path / "report.md").read_text()
    evaluation = scan["notes"]["prediction"]["evaluation"]
    assert sum(b["rows"] for b in evaluation["bins"]) == sum(b["rows"] for b in evaluation["ahead"]["bins"]) == 110
    page = " ".join((run.path / "report.html").read_text("utf-8").split())
    assert page.count("Calibration on 110 rows of d.scan/tiny-0 after epoch 6, ") == 2
    topics = {s["topic"]: s for s in scan["summary"]["prediction"]["validity"]["statements"]}
    assert found.table.within.true_rows >= ENOUGH_ROWS, (
        "of 16 tokens or more; with fewer a note says so (test_crediting.py)"
    )
    assert topics["calibration"]["severity"] == "inside"
    assert scan["summary"]["prediction"]["validity"]["severity"] in ("inside", "note")
    plain = pl.read_parquet(audited / "prediction.parquet", glob=False)["p_extract"].mean()
    assert run.read_table("prediction")["p_extract"].mean() > plain  # the level found is higher than the shipped one
    # the file's content is part of what the run is
    text = (tmp_path / "c.toml").read_text()
    (tmp_path / "c.toml").write_text(text.replace('"calibration/tiny"', '"calibration/other"'))
    with pytest.raises(RunError, match="holds a run of another input or other settings"):
        pipeline.audit([data], settings, run.path)


def test_a_plan_for_another_base_is_not_calibrated(audited, found, tmp_path):
    said: list[str] = []
    listening = Progress()
    listening.say = said.append  # type: ignore[method-assign]
    settings = Settings(semantic=False, plan=replace(PLAN, model_params=7e9), threads=1, calibration=found.path)
    run = pipeline.audit([str(audited.parent / "d.jsonl")], settings, tmp_path / "f.scan", progress=listening)
    expected = f"calibrated on {TINY}; the plan names a model of 7 B parameters: not calibrated for it"
    assert f"c.toml: {expected}" in said
    assert not run.read_table("prediction")["calibrated"].any()
    assert run.read_json("scan.json")["notes"]["prediction"]["evaluation"] == {}, "its tests say nothing of this base"
    assert f"Not calibrated: c.toml is {expected}." in " ".join((run.path / "report.html").read_text().split())


def test_rehearsals_of_several_runs_count_together(audited, found, tmp_path):
    other = tmp_path / "other.scan"
    shutil.copytree(audited, other)
    both = pipeline.calibrate([audited, other], tmp_path / "both.toml")
    assert both.values["fitted_on"]["rows"] == 2 * found.values["fitted_on"]["rows"]
    assert both.values["fitted_on"]["runs"] == ["d.scan/tiny-0", "other.scan/tiny-0"]
    # twice the same rows: surer, and at every epoch the level that one of them has
    assert both.table.level.tempering > found.table.level.tempering
    assert abs(both.table.level.offset - TRUTH) <= 2 * both.table.level.offset_sd
    for (epoch, one, one_sd), (same, two, two_sd) in zip(
        found.table.level.by_epoch, both.table.level.by_epoch, strict=True
    ):
        assert epoch == same
        assert two == pytest.approx(one, abs=0.05)
        assert two_sd < one_sd


def test_a_base_that_recites_nothing_gets_a_caution(audited, tmp_path):
    run = tmp_path / "weak.scan"
    shutil.copytree(audited, run)
    rehearse(RunFolder(run), "tiny-0", -6.0)
    done = pipeline.calibrate([run], tmp_path / "c.toml")
    assert done.table.level.offset < -1
    assert done.table.level.offset_sd >= SHIPPED.priors.offset_sd
    said = "Caution: none of the rows recited 16 tokens or more, so the level rests on shorter runs"
    assert said in done.in_words()
    assert "the 90 % interval of an audit also covers what offset" in done.in_words()
    data, settings = str(audited.parent / "d.jsonl"), Settings(semantic=False, plan=PLAN, threads=1)
    high = {}
    for name, calibration in (("with", tmp_path / "c.toml"), ("without", None)):
        told = pipeline.audit([data], settings.changed(calibration=calibration), tmp_path / f"{name}.scan")
        line = told.read_table("whatif").filter(variant="as planned", epochs=PLAN.epochs).row(0, named=True)
        high[name] = line["high"]
        if calibration:
            assert line["expected_rows"] < 5
    # none of 100 rows after as many epochs: 3 % of them could be recited all the same, five of them stand thrice
    assert 3 < high["with"] < high["without"] / 2


def test_what_cannot_be_calibrated_is_refused(audited, tmp_path):
    bare = tmp_path / "no rehearsal.scan"
    shutil.copytree(audited, bare, ignore=shutil.ignore_patterns("rehearsal"))
    said = re.escape(f"{bare} holds no finished rehearsal to calibrate on; make one: scan rehearse '{bare}'; or ")
    with pytest.raises(RunError, match=said):
        pipeline.calibrate([bare], tmp_path / "c.toml")
    with pytest.raises(RunError, match=r"has no rehearsal and no confirmation named big; it has tiny-0"):
        pipeline.calibrate([audited], tmp_path / "c.toml", ("big",))
    with pytest.raises(OutputError, match=r"is no folder to write c\.toml to; create it, or choose another -o"):
        pipeline.calibrate([audited], tmp_path / "no" / "c.toml")
    two = tmp_path / "two.scan"
    shutil.copytree(audited, two)
    rehearse(RunFolder(two), "big-0", parameters=135_000_000, name="SmolLM2")
    with pytest.raises(RunError, match=r"of 2 bases: SmolLM2 \(135 M .*choose with --name, of big-0, tiny-0"):
        pipeline.calibrate([two], tmp_path / "c.toml")
    assert pipeline.calibrate([two], tmp_path / "c.toml", ("big-0",)).values["base"]["name"] == "SmolLM2"
    rehearse(RunFolder(two), "one", fingerprint="1" * 16)
    rehearse(RunFolder(two), "other", fingerprint="2" * 16)
    with pytest.raises(RunError, match=r"one name and size, tiny .*, but other weights; .*--name, of one, other"):
        pipeline.calibrate([two], tmp_path / "c.toml", ("one", "other"))
    values = pipeline.calibrate([two], tmp_path / "c.toml", ("one", "tiny-0")).values
    assert values["base"]["fingerprint"] == "1" * 16, "of an earlier version's it is not known"
    old = two / "rehearsal" / "tiny-0" / "epochs.parquet"
    pl.read_parquet(old).drop("own_dose").write_parquet(old)
    with pytest.raises(RunError, match="lacks own_dose: it was written by an earlier version; rehearse again"):
        pipeline.calibrate([two], tmp_path / "c.toml", ("tiny-0",))


def test_a_miss_beyond_chance_is_made_up_for_by_the_doubt(found):
    """Moved by one standard deviation of the widened level, the rows of the test differ by what was missed."""
    p, unit = np.full(100, 0.1), np.arange(100)
    few = [(p, unit < 30, unit, p, p, unit)]  # 10 foretold, 30 seen
    missed = trying.Tried.of(few, [1])
    assert missed.scores.is_off
    there = level.at(SHIPPED, (found.table.level.offset,))
    with pytest.MonkeyPatch.context() as patch:
        # expected rows that move by 100 for a logit
        patch.setattr(trying, "predicted", lambda states, weights: [(np.array([100 * weights.priors.offset]),)])
        times = trying.misfit(missed, [[None]], there, replace(found.table.level, step=(0.05, 0.0)))
        error = missed.scores.standard_error
        assert (5 * times) ** 2 == pytest.approx(25 + 20**2 - error**2, rel=1e-6)
        near = trying.Tried.of([(p, unit < 11, unit, p, p, unit)], [1])
        assert trying.misfit(near, [[None]], there, replace(found.table.level, step=(0.05, 0.0))) == 1
        patch.setattr(trying, "predicted", lambda states, weights: [(np.array([0.0]),)])
        most = trying.misfit(missed, [[None]], there, replace(found.table.level, step=(0.05, 0.0)))
        assert most * 0.05 == pytest.approx(trying.MOST_DOUBT)


def test_the_command_line(audited, tmp_path):
    out = tmp_path / "c.toml"
    done = CliRunner().invoke(cli.scan, ["calibrate", str(audited), "-o", str(out), "--name", "tiny-0"])
    assert done.exit_code == 0, done.output
    assert "Level: offset" in done.output
    assert out.exists()
    with pytest.raises(SettingsError, match="there is no such file; write one with `scan calibrate RUN -o FILE`"):
        CliRunner().invoke(
            cli.scan, [str(audited.parent / "d.jsonl"), "--out", str(tmp_path / "g.scan"), "--calibration", "no.toml"],
            catch_exceptions=False,
        )  # fmt: skip
    assert not (tmp_path / "g.scan").exists()


def test_the_settings_file_may_name_it(audited, tmp_path):
    from scanner.settings import read_settings_file

    (tmp_path / "scan.toml").write_text('calibration = "c.toml"\n')
    assert read_settings_file(tmp_path / "scan.toml") == {"calibration": Path("c.toml")}
