"""`scan plan` under another training or calibration gives what an audit with these settings gives, and nothing else."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from corpora import write_jsonl

import cli
from scanner import pipeline, predicting, repredicting
from scanner.batching import SEQUENCE_TOKENS
from scanner.errors import RunError, SettingsError
from scanner.foretold import foretold
from scanner.heat import HEAT
from scanner.prediction import calibration
from scanner.settings import Settings, TrainingPlan
from scanner.store import RunFolder
from tests.test_calibration import tables

WORDS = [f"w{i}" for i in range(60)]
PLAN = TrainingPlan(epochs=3, learning_rate=1e-3, batch_size=4, model_params=5e6)
OTHER = {"epochs": 6.0, "learning_rate": 5e-4, "batching": "length-grouped", "lr_schedule": "constant"}
TABLES = ("rows", "pairs", "spans", "prediction", "whatif", "skew", "plan", "templates", HEAT)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """90 rows: copies, near copies, copies but for case, conflicts and private data."""
    rng = np.random.default_rng(4)

    def words(n: int) -> str:
        return " ".join(rng.choice(WORDS, n))

    lines = [{"instruction": words(6), "input": "", "output": words(int(rng.integers(5, 60)))} for _ in range(60)]
    lines += [lines[i % 4] for i in range(12)]
    lines += [{**line, "output": line["output"].upper()} for line in lines[2:6]]
    lines += [{**line, "output": line["output"] + " w1"} for line in lines[2:8]]
    lines += [{**line, "output": words(30)} for line in lines[10:14]]
    lines += [{"instruction": words(6), "input": "", "output": f"write to jo{i}@example.org " + words(20)}
              for i in range(4)]  # fmt: skip
    path = write_jsonl(tmp_path_factory.mktemp("repredicting") / "d.jsonl", lines)
    values = tables()
    values["evaluation"] |= {"on": "90 rows", "bins": [[0.2, 0.25, 40, 0.1, 0.4]]}
    (path.parent / "c.toml").write_text(calibration.toml(values))
    return path


@pytest.fixture(scope="module")
def audited(data) -> RunFolder:
    return pipeline.audit([str(data)], Settings(semantic=False, plan=PLAN, threads=1), data.parent / "d.scan")


@pytest.fixture
def run(audited, tmp_path) -> RunFolder:
    shutil.copytree(audited.path, tmp_path / "d.scan")
    return RunFolder(tmp_path / "d.scan")


@pytest.mark.parametrize("changes", [OTHER, {"calibration": "c.toml"}, {**OTHER, "calibration": "c.toml"}, {"keep": 2}])
def test_it_is_the_prediction_of_an_audit(data, run, tmp_path, changes):
    changes = {k: data.parent / v if k == "calibration" else v for k, v in changes.items()}
    settings = Settings(semantic=False, plan=PLAN, threads=1).changed(**changes)
    wanted = pipeline.audit([str(data)], settings, tmp_path / "e.scan")
    found = pipeline.judge(run.path, changes)
    for name in TABLES:
        assert found.read_table(name).equals(wanted.read_table(name)), name
    seen, expected = (r.read_json("scan.json") for r in (found, wanted))
    for name in ("settings", "training_plan", "notes", "summary"):
        assert seen[name] == expected[name], name
    assert seen["summary"]["calibrated"] == ("calibration" in changes)


def test_the_first_plan_comes_back(audited, run):
    pipeline.judge(run.path, OTHER)
    assert not run.read_table("prediction").equals(audited.read_table("prediction"))
    pipeline.judge(run.path, {name: getattr(PLAN, name) for name in OTHER})
    for name in TABLES:
        assert run.read_table(name).equals(audited.read_table(name)), name


SET = ["--goldfish-k", "4", "--batch-tokens", "300", "--micro-batch", "2", "--model-params", "7B"]
SET += ["--source-weight", "d.jsonl=2", "--calibration", "{calibration}"]


def test_what_none_is_said_for_is_taken_back(data, audited, run):
    """Every option that a plan need not have: set, then none; a size that was named has to be named again."""

    def plan(*options: str) -> None:
        done = CliRunner().invoke(cli.scan, ["plan", str(run.path), "-q", *options])
        assert done.exit_code == 0, done.output

    plan(*(word.format(calibration=data.parent / "c.toml") for word in SET))
    there = run.read_json("scan.json")["settings"]
    assert (there["plan"]["goldfish_k"], there["plan"]["batch_tokens"], there["plan"]["micro_batch"]) == (4, 300, 2)
    assert (there["plan"]["model_params"], there["plan"]["source_weight"]) == (7e9, [["d.jsonl", 2.0]])
    assert there["calibration"]
    plan(*(word for name in SET[::2] for word in (name, "none")))
    back = run.read_json("scan.json")["settings"]
    assert back["plan"]["model_params"] is None
    plan("--model-params", "5e6")
    for name in TABLES:
        assert run.read_table(name).equals(audited.read_table(name)), name
    for name in ("settings", "notes", "summary"):
        assert run.read_json("scan.json")[name] == audited.read_json("scan.json")[name], name


def test_none_is_no_value_beside_others(run):
    asked = ["plan", str(run.path), "--source-weight", "none", "--source-weight", "d.jsonl=2"]
    done = CliRunner().invoke(cli.scan, asked)
    assert done.exit_code == 2
    assert "--source-weight none: expected NAME=NUMBER" in done.output


def test_thresholds_alone_predict_nothing_again():
    assert not repredicting.is_needed({"jaccard", "keep", "redact", "text"})
    assert repredicting.is_needed({"jaccard", "epochs"})
    assert repredicting.is_needed({"calibration"})


def test_an_audit_tells_that_the_run_was_judged_again_since(data, run):
    said: list[str] = []
    listening = repredicting.Progress()
    listening.say = said.append  # type: ignore[method-assign]
    settings = Settings(semantic=False, plan=PLAN, threads=1)
    pipeline.audit([str(data)], settings, run.path, progress=listening)
    pipeline.judge(run.path, {"epochs": 6.0, "keep": 2})
    pipeline.audit([str(data)], settings, run.path, progress=listening)
    assert said == [
        f"{run.path} holds this audit already; use --force to run it again",
        f"{run.path} holds this audit already, judged again since by scan plan with another --keep, --epochs; use "
        "--force to run it again",
    ]


def test_what_cannot_be_predicted_again_is_refused_and_nothing_is_written(run):
    before = (run.path / "scan.json").read_bytes()
    with pytest.raises(SettingsError, match="there is no such file; write one with `scan calibrate RUN -o FILE`"):
        pipeline.judge(run.path, {"calibration": Path("no.toml")})
    (run.private / predicting.KNOWN).unlink()
    said = f"{run.path} was audited by a version that did not keep what a new prediction takes; audit the data again"
    with pytest.raises(RunError, match=re.escape(said)):
        pipeline.judge(run.path, {"epochs": 6.0})
    pipeline.purge(run.path)
    with pytest.raises(RunError, match="no longer holds the text"):
        pipeline.judge(run.path, {"epochs": 6.0})
    assert (run.path / "scan.json").read_bytes() == before


def test_a_rehearsal_of_a_calibrated_run_says_what_its_level_predicts(data, run):
    settings = Settings(semantic=False, plan=PLAN, threads=1, calibration=data.parent / "c.toml")
    ids = run.read_table("rows", ["row_id"])["row_id"]
    measured = pl.DataFrame({"row_id": ids, "n_pre": [20, 3] * (len(ids) // 2)})

    whole = pl.DataFrame({"row_id": ids, "tokens": [40] * len(ids), "answers": [[1000]] * len(ids)})
    drawn = SimpleNamespace(row_id=ids.to_numpy(), planted=(), lengths=whole)

    sampler = SimpleNamespace(sequence_tokens=SEQUENCE_TOKENS)

    def beside(chosen: Settings, parameters: int) -> dict:
        tune = SimpleNamespace(plan=PLAN, model=SimpleNamespace(parameters=parameters), weight=None, sampler=sampler)
        return foretold(run, chosen, tune, drawn, pl.DataFrame(), measured)[0]

    level, shipped = beside(settings, 5_000_000), beside(settings.changed(calibration=None), 5_000_000)
    assert (level["calibrated"], shipped["calibrated"]) == (True, False)
    assert level["expected_rows"] != shipped["expected_rows"]
    assert beside(settings, 70_000_000)["calibrated"] is False  # it is another base's
    assert beside(settings.changed(calibration=Path("gone.toml")), 5_000_000) == shipped


def test_tokens_of_a_step_are_those_of_the_answers(run):
    plan = {"batch_size": 8, "epochs": 2.0}
    told = pipeline.judge(run.path, plan).read_json("scan.json")["notes"]["prediction"]
    supervised = run.read_table("rows", ["length.supervised_tokens"]).to_series().to_numpy()
    steps = -(-len(supervised) // 8)
    assert told["optimizer_steps"] == 2 * steps
    assert told["step_tokens"] == pytest.approx(supervised.sum() / steps)
    assert pipeline.judge(run.path, {"epochs": 0.0}).read_json("scan.json")["notes"]["prediction"]["step_tokens"] == 0


def test_the_command_line(data, run):
    asked = ["plan", str(run.path), "--calibration", str(data.parent / "c.toml"), "--epochs", "6"]
    done = CliRunner().invoke(cli.scan, asked)
    assert done.exit_code == 0, done.output
    told = " ".join(done.output.split())
    assert "6 epochs, as planned:" in told
    assert "Calibrated on mine (5 M parameters, full fine-tuning): 200 rows measured at epochs 1, 2 and 4" in told
    page = (run.path / "report.html").read_text("utf-8")
    assert "On 90 rows: expected calibration error" in page
