"""`scan DATASET --base MODEL`: the base's own losses stand in the prediction, are kept, and are measured once."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import transformers
from click.testing import CliRunner
from corpora import write_jsonl
from hypothesis import given
from hypothesis import strategies as st

import cli
from scanner import (
    baseloss,
    calibrating,
    chat,
    contextual,
    memory,
    models,
    pipeline,
    predicting,
    prediction,
    rehearsed,
    rowlengths,
    untuned,
)
from scanner.contextual import token_features
from scanner.errors import ModelError, RunError, SettingsError
from scanner.heat import HEAT
from scanner.kernels.contexts import context_features
from scanner.prediction import calibration
from scanner.progress import Progress
from scanner.settings import Settings, TrainingPlan
from scanner.store import RunFolder
from tests.small_base import WORDS, Listening, saved
from tests.test_calibration import tables

PLAN = TrainingPlan(epochs=4, learning_rate=1e-3, batch_size=4)
TABLES = ("rows", "pairs", "spans", "prediction", "whatif", "skew", "plan", "templates", HEAT)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return saved(tmp_path_factory.mktemp("bases") / "mine")


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    rng = np.random.default_rng(5)

    def words(n: int) -> str:
        return " ".join(rng.choice(WORDS, n))

    lines = [{"instruction": words(5), "input": "", "output": words(int(rng.integers(16, 30)))} for _ in range(40)]
    lines += [lines[i % 4] for i in range(12)]
    lines += [{"instruction": words(5), "input": "", "output": words(200)}]  # goes on behind the context
    return write_jsonl(tmp_path_factory.mktemp("untuned") / "d.jsonl", lines)


@pytest.fixture(scope="module")
def settings(folder) -> Settings:
    return Settings(semantic=False, plan=PLAN, threads=1, base=folder)


@pytest.fixture(scope="module")
def audited(data, settings) -> RunFolder:
    return pipeline.audit([str(data)], settings, data.parent / "d.scan")


@pytest.fixture
def run(audited, tmp_path) -> RunFolder:
    shutil.copytree(audited.path, tmp_path / "d.scan")
    return RunFolder(tmp_path / "d.scan")


def test_the_prediction_rests_on_what_the_base_knows(data, audited, settings, folder, tmp_path):
    scan = audited.read_json("scan.json")
    base = scan["notes"]["prediction"]["base"]
    parameters = models.load(folder).parameters
    assert (base["name"], base["parameters"], base["context_tokens"]) == ("mine", parameters, 96)
    assert (base["rows_beyond_context"], base["rows_not_aligned"], base["rows_refused"]) == (1, 0, 0)
    assert 0 < base["tokens_measured"] < base["answer_tokens"]
    assert base["precision"].startswith("fp32 on ")
    assert scan["training_plan"]["model_params"] == parameters
    table = settings.changed(base=None, model_params=float(parameters))
    without = pipeline.audit([str(data)], table, tmp_path / "table.scan")
    assert not audited.read_table("prediction").equals(without.read_table("prediction"))
    for name in ("pairs", "rows", "templates"):
        found, expected = audited.read_table(name), without.read_table(name)
        if name == "rows":  # the last one is cut at the context, so its answer has other features
            found, expected = found[:52], expected[:52]
        assert found.equals(expected), name
    assert without.read_json("scan.json")["notes"]["prediction"]["base"] is None
    said = (
        f"What the base knows untuned was measured: mine, {parameters:,} parameters, on {base['tokens_measured']:,} of "
        f"{base['answer_tokens']:,} tokens of the answers ({base['precision']}). Rows are taken as cut after 96 of its "
        "tokens, as a trainer cuts them: what lies behind is not predicted (1 row)."
    )
    assert said in (audited.path / "report.html").read_text("utf-8")
    assert "What the base knows" not in (without.path / "report.html").read_text("utf-8")


def test_the_losses_are_those_of_the_model_and_lie_under_private_only(audited, folder):
    kept = untuned.Untuned.load(audited)
    assert kept is not None
    rows = predicting.tokenise(audited, 53, Settings(), 1, Progress())
    texts = untuned.segments_of(audited, np.arange(53))
    again = baseloss.base_losses(models.load(folder), texts, rows, bf16=False)
    inside = untuned.in_answers(rows)
    np.testing.assert_allclose(kept.loss_nats, again.loss_nats[inside], rtol=2e-3, atol=1e-3)
    assert np.isnan(again.loss_nats[~inside]).all()
    assert [p.relative_to(audited.path).parts[0] for p in audited.path.rglob(untuned.STORED)] == ["private"]


def test_batches_are_made_by_the_lengths_of_the_base(data, audited, folder, settings, tmp_path):
    kept = untuned.Untuned.load(audited)
    assert kept is not None
    model, texts = models.load(folder), list(untuned.segments_of(audited, np.arange(53)))
    expected = [len(example.ids) for example in chat.encode(texts, model.tokenizer, model.context)]
    text = predicting.tokenise(audited, 53, Settings(), 1, Progress())
    assert kept.lengths(text).tolist() == expected
    assert max(expected) == 96  # cut at the context
    refused = replace(kept, row_tokens=np.where(np.arange(53) == 7, 0, kept.row_tokens))
    assert refused.lengths(text)[7] == np.diff(text.offsets)[7] != expected[7]
    run = pipeline.audit([str(data)], settings.changed(batching="packed", batch_tokens=128), tmp_path / "p.scan")
    table = settings.changed(base=None, batching="packed", batch_tokens=128, model_params=float(model.parameters))
    without = pipeline.audit([str(data)], table, tmp_path / "own.scan")
    told, own = (r.read_json("scan.json")["notes"]["prediction"]["batching"] for r in (run, without))
    assert "in the scan's own tokens" in own[-1]
    assert not any("in the scan's own tokens" in fact for fact in told)
    assert not run.read_table("prediction")["exposures"].equals(without.read_table("prediction")["exposures"])


def test_a_tokenizer_gives_the_lengths_of_its_base(audited, folder, tmp_path):
    kept = untuned.Untuned.load(audited)
    assert kept is not None
    own = predicting.tokenise(audited, 53, Settings(), 1, Progress())

    def lengths(**values) -> list[int]:
        mine = Settings(**values)
        text = predicting.tokenise(audited, 53, mine, 1, Progress())
        return rowlengths.row_lengths(audited, np.arange(53), text, mine, None, Progress()).tolist()

    wanted = kept.lengths(own).tolist()
    assert lengths(tokenizer=folder, max_length=96) == wanted
    assert lengths(tokenizer=folder / "tokenizer.json", max_length=96) == wanted
    shutil.copy(folder / "tokenizer.json", tmp_path)  # without its template: in headings, as a base without one
    alone = lengths(tokenizer=tmp_path / "tokenizer.json")
    assert all(a > w for a, w in zip(alone[:52], wanted, strict=False))
    assert lengths() == np.diff(own.offsets).tolist()
    assert lengths(max_length=20) == np.minimum(np.diff(own.offsets), 20).tolist()


def test_a_rehearsal_knows_what_the_audit_knows(run, folder, tmp_path):
    """Lengths and losses of the same base are the same, so that one level fits both; the audit then takes it."""
    pipeline.rehearse(run.path, {"base": str(folder), "rows": 30, "controls": 5, "epochs": 1.0, "name": "same"})
    (found,) = calibrating.sources(run, ("same",))
    rows = rehearsed.rows_of(found, rehearsed.measured(found), [])
    kept, text = untuned.Untuned.load(run), predicting.tokenise(run, 53, Settings(), 1, Progress())
    assert kept is not None
    assert rows.length.tolist() == kept.lengths(text)[rows.row_id].tolist()
    turns = (text.answer_row, text.answer_start, text.answer_end)
    known = token_features(text.tokens, text.widths, text.offsets, turns, np.arange(53), True, 1)
    known = kept.beside_table(known, text)
    compared = 0
    for place, (row, start, end) in enumerate(zip(*vars(rows.answers).values(), strict=True)):
        (theirs,) = np.flatnonzero(text.answer_row == rows.row_id[row])
        assert rows.number[place] == 0
        first = text.answer_start[theirs]
        np.testing.assert_allclose(rows.features.base[start:end], known.base[first : first + end - start], rtol=0.05)
        compared += 1
    assert compared == len(rows.row_id) > 20
    told = json.loads((run.path / "rehearsal" / "same" / "rehearsal.json").read_text())["prediction"]
    assert told["with_base"] is True, "the audit was made with --base"
    done = pipeline.calibrate([run.path], tmp_path / "c.toml")
    assert done.with_base is not None
    assert "For audits with --base, whose predictions know the base's own losses:" in done.in_words()
    assert done.with_base.level.offset != done.table.level.offset
    assert done.table.level.ends is not None, "nothing was recited"
    pipeline.judge(run.path, {"calibration": tmp_path / "c.toml"})
    scan = run.read_json("scan.json")
    assert scan["summary"]["calibrated"] is True
    assert scan["notes"]["prediction"]["calibration"]["with_base"] is True
    report = " ".join((run.path / "report.html").read_text("utf-8").split())
    assert "It is the level for predictions with the base's own losses." in report.replace("&#39;", "'")


def test_losses_of_a_version_without_lengths_are_measured_again(run):
    kept = untuned.Untuned.load(run)
    assert kept is not None
    path = run.private / untuned.STORED
    np.savez(path, loss_nats=kept.loss_nats, row_tokens=kept.row_tokens, facts=np.array(json.dumps(kept.facts)))
    assert untuned.Untuned.load(run) is None


def test_predicting_again_is_the_prediction_of_an_audit(data, run, settings, tmp_path):
    changes = {"epochs": 8.0, "batching": "length-grouped", "model_params": 7e9}
    wanted = pipeline.audit([str(data)], settings.changed(**changes), tmp_path / "e.scan")
    found = pipeline.judge(run.path, changes)
    for name in TABLES:
        assert found.read_table(name).equals(wanted.read_table(name)), name
    seen, expected = (r.read_json("scan.json") for r in (found, wanted))
    for name in ("settings", "training_plan", "notes", "summary"):
        assert seen[name] == expected[name], name


def test_a_size_that_is_taken_back_is_that_of_the_base_again(audited, run):
    named = pipeline.judge(run.path, {"model_params": 7e9}).read_json("scan.json")["training_plan"]
    assert named["model_params"] == 7e9
    again = pipeline.judge(run.path, {"model_params": None})
    for name in ("settings", "summary"):
        assert again.read_json("scan.json")[name] == audited.read_json("scan.json")[name], name
    for name in TABLES:
        assert again.read_table(name).equals(audited.read_table(name)), name


def test_an_interrupted_audit_does_not_measure_again(data, settings, audited, tmp_path, monkeypatch):
    def stop(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(predicting, "predict_known", stop)
        with pytest.raises(KeyboardInterrupt):
            pipeline.audit([str(data)], settings, tmp_path / "d.scan")
    monkeypatch.setattr(baseloss, "base_losses", stop)
    listening = Listening()
    run = pipeline.audit([str(data)], settings, tmp_path / "d.scan", progress=listening)
    assert "the losses of the base were measured before the interruption" in listening.said
    for name in TABLES:
        assert run.read_table(name).equals(audited.read_table(name)), name


def test_a_base_is_what_it_holds_not_where_it_lies(data, run, settings, folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy" / "mine")
    listening = Listening()
    pipeline.audit([str(data)], settings.changed(base=tmp_path / "copy" / "mine"), run.path, progress=listening)
    assert listening.said[0].startswith(f"{run.path} holds this audit already; use --force")
    pipeline.audit([str(data)], settings, run.path, progress=listening)
    assert listening.said[1] == f"{run.path} holds this audit already; use --force to run it again"
    (tmp_path / "copy" / "mine" / "tokenizer_config.json").write_text("{}")
    with pytest.raises(RunError, match="holds a run of another input or other settings"):
        pipeline.audit([str(data)], settings.changed(base=tmp_path / "copy" / "mine"), run.path)


def test_the_size_that_the_plan_names_stays(settings):
    listening = Listening()
    named = settings.changed(model_params=7e9)
    assert untuned.sized(named, listening) == named
    assert listening.said == []
    assert untuned.sized(settings, listening).plan.model_params == models.parameters_of(settings.base)
    assert listening.said == ["--model-params is not given: those of --base are taken (22.8 k)"]


def test_where_nothing_was_measured_the_table_stays():
    text = SimpleNamespace(tokens=np.zeros(6), answer_start=np.array([1, 4]), answer_end=np.array([3, 6]))
    features = SimpleNamespace(background=np.array([-1, -2, -3, -4, -5, -6], np.float32))
    kept = untuned.Untuned(
        np.array([0.5, np.nan, 0.25, 2], np.float16), np.ones(1, np.int32), {}, np.full(2, 2, np.int32)
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(contextual, "replace", lambda old, base: base)
        expected = np.exp([-1, -0.5, -3, -4, -0.25, -2])
        np.testing.assert_allclose(kept.beside_table(features, text), expected, rtol=1e-6)


@given(st.integers(0, 40), st.floats(0, 1), st.floats(0.5, 20))
def test_what_the_base_gives_anyhow_is_likelier(seed, share, dose):
    rng = np.random.default_rng(seed)
    tokens, offsets = rng.integers(1, 9, 60).astype(np.uint64), np.array([0, 30, 60])
    features = context_features(tokens, offsets, np.arange(2), 1)
    answers = prediction.Answers(np.arange(2), offsets[:-1] + 5, offsets[1:])
    plain = prediction.load_weights(with_base=True)
    assert isinstance(plain.hazard, prediction.HazardWithBase)

    def extract(base: np.ndarray | None, bias: float = 0.0) -> np.ndarray:
        weights = replace(plain, hazard=replace(plain.hazard, bias=plain.hazard.bias + bias))
        known = replace(features, base=base)
        dosed = np.full(2, dose)
        return prediction.turn_tails(known, answers, dosed, dosed, prediction.Regime(1.0, 100.0), weights).extract

    even = np.full(60, share, np.float32)
    np.testing.assert_allclose(extract(even), extract(None, plain.hazard.base_known * np.float32(share)), rtol=1e-6)
    uneven = rng.random(60).astype(np.float32)
    assert (extract(np.minimum(1, uneven + even)) >= extract(uneven) - 1e-12).all()


def test_weights_without_the_base_take_no_notice_of_it():
    tokens, offsets = np.arange(1, 31, dtype=np.uint64), np.array([0, 30])
    features = context_features(tokens, offsets, np.arange(1), 1)
    answers, dosed = prediction.Answers(np.arange(1), np.array([5]), np.array([30])), np.full(1, 9.0)
    weights, regime = prediction.load_weights(), prediction.Regime(1.0, 100.0)
    found = [
        prediction.turn_tails(replace(features, base=base), answers, dosed, dosed, regime, weights).mean
        for base in (None, np.ones(30, np.float32))
    ]
    assert found[0] == found[1]


def test_a_calibration_without_the_base_is_told(data, run, tmp_path):
    file = tmp_path / "c.toml"
    file.write_text(calibration.toml(tables()))
    pipeline.judge(run.path, {"calibration": file})
    scan = run.read_json("scan.json")
    assert scan["summary"]["calibrated"] is False
    assert scan["notes"]["prediction"]["calibration"]["mismatch"] == (
        "calibrated on mine (5 M parameters, full fine-tuning) with the table of general text alone, for it is of a "
        "version that fitted nothing else; this audit predicts with the base's own losses (--base), by other weights: "
        "not calibrated for them; calibrate again, or leave --base out to use it"
    )


def test_losses_that_are_gone_are_missed(run):
    (run.private / untuned.STORED).unlink()
    with pytest.raises(RunError, match="lacks the losses of its base; audit the data again: scan DATASET --base"):
        pipeline.judge(run.path, {"epochs": 6.0})


def test_purging_takes_the_losses_too(run):
    pipeline.purge(run.path)
    assert untuned.Untuned.load(run) is None


def test_what_cannot_be_a_base_is_refused_before_anything_is_written(data, folder, settings, tmp_path, monkeypatch):
    out = tmp_path / "e.scan"

    def refused(base: Path) -> str:
        with pytest.raises(ModelError) as error:
            pipeline.audit([str(data)], settings.changed(base=base), out)
        assert not out.exists()
        return str(error.value)

    assert refused(tmp_path / "none") == (
        f"--base {tmp_path / 'none'}: no config.json there; give a local folder of a causal language model as "
        "`save_pretrained` writes it (nothing is downloaded); `scan rehearse RUN --base tiny` builds a small one from "
        "the data itself"
    )
    other = tmp_path / "other"
    transformers.T5Config(d_model=32, num_layers=1, num_heads=2, vocab_size=100).save_pretrained(other)
    assert "no tokenizer there (tokenizer.json)" in refused(other)
    shutil.copy(folder / "tokenizer.json", other)
    said = refused(other)
    assert said.startswith(f"--base {other}: not loadable as a causal language model (Unrecognized configuration class")
    monkeypatch.setattr(memory, "free_bytes", lambda device: 10**9)
    assert refused(folder).startswith("--base mine: to measure with its 0 M parameters needs about 1.1 GB on ")
    assert refused(folder).endswith("where 1.0 GB are free; take a smaller base, or leave --base out")


def test_it_goes_with_no_other_tokens(folder):
    with pytest.raises(SettingsError, match="--base and --tokenizer cannot be combined: what the base knows is"):
        Settings(base=folder, tokenizer=folder / "tokenizer.json")


def test_a_template_that_takes_too_few_rows_is_refused(data, folder, settings, tmp_path):
    shutil.copytree(folder, tmp_path / "strict")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = "{{ raise_exception('no') }}"
    tokenizer.save_pretrained(tmp_path / "strict")
    with pytest.raises(ModelError) as error:
        pipeline.audit([str(data)], settings.changed(base=tmp_path / "strict"), tmp_path / "e.scan")
    assert str(error.value) == (
        "--base strict: at least 53 of 53 rows cannot be measured: the model's chat template refuses a row with the "
        "roles user, assistant (no); use a base whose template takes them, or one without a template"
    )


def test_out_of_memory_is_told(data, settings, tmp_path, monkeypatch):
    def out(*arguments: object) -> None:
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(baseloss, "measure", out)
    with pytest.raises(ModelError, match="mine: out of memory while it was measured; take a smaller base, rows cut"):
        pipeline.audit([str(data)], settings, tmp_path / "e.scan")


def test_the_command_line(data, folder, tmp_path):
    asked = [str(data), "--base", str(folder), "--out", str(tmp_path / "d.scan"), "--no-semantic", "--threads", "1"]
    done = CliRunner().invoke(cli.scan, asked)
    assert done.exit_code == 0, done.output
    told = " ".join(done.output.split())
    assert "--model-params is not given: those of --base are taken (22.8 k)" in told
    assert "What the base knows untuned was measured: mine" in told
    again = CliRunner().invoke(cli.scan, ["plan", str(tmp_path / "d.scan"), "--epochs", "6"])
    assert "What the base knows untuned was measured: mine" in " ".join(again.output.split())
