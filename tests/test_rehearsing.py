"""scan rehearse from end to end with a tiny base: what is drawn, trained, measured, written and said."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from small_base import PLAIN_WORDS, shrink

from scanner import (
    alongside,
    calibrating,
    models,
    pipeline,
    pretraining,
    recounting,
    rehearsed,
    rehearsing,
    retelling,
    training,
)
from scanner.errors import ModelError, RunError, SettingsError
from scanner.progress import Progress
from scanner.reports import _measured
from scanner.settings import Settings, TrainingPlan
from scanner.store import RunFolder
from scanner.untuned import fingerprint


@pytest.fixture
def small(monkeypatch):
    shrink(monkeypatch)


@pytest.fixture(scope="module")
def audited(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("rehearse")
    rng = np.random.default_rng(1)
    lines = [
        {
            "instruction": " ".join(rng.choice(PLAIN_WORDS, 8)),
            "input": "",
            "output": " ".join(rng.choice(PLAIN_WORDS, 30)),
        }
        for _ in range(260)
    ]
    lines += lines[:5] * 3
    (folder / "d.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    return pipeline.audit([str(folder / "d.jsonl")], Settings(semantic=False), folder / "d.scan").path


def test_the_whole_road_with_a_tiny_base(small, audited, monkeypatch):
    monkeypatch.setattr(pretraining, "FEWEST_PRETRAINING_TOKENS", 1000)
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
    assert any(o.startswith("model size") for o in beside["outside"]), "a base of a few thousand parameters"
    assert "Outside what was validated, so that this number was a guess: model size" in text.replace("\n", " ")
    at_16 = {p["epochs"]: p["expected_rows"] for p in beside["skew"] if p["tokens"] == 16}
    assert at_16[2.0] == pytest.approx(beside["expected_rows"], rel=1e-4)
    said: list[str] = []
    listening = Progress()
    listening.say = said.append  # type: ignore[method-assign]
    assert "Calibration on the rehearsal" in (audited / "report.html").read_text("utf-8"), "the report draws it at once"
    again = pipeline.rehearse(audited, asked, listening)
    assert again.facts == json.loads((done.folder / "rehearsal.json").read_text())
    assert any("already" in s for s in said)
    with pytest.raises(RunError, match="holds another rehearsal; choose another --name"):
        pipeline.rehearse(audited, {**asked, "rows": 61})


def test_a_plan_that_ends_within_an_epoch_is_told_and_fitted_as_ending_there(small, audited, monkeypatch):
    monkeypatch.setattr(pretraining, "FEWEST_PRETRAINING_TOKENS", 1000)
    said: list[str] = []
    listening = Progress()
    listening.say = said.append  # type: ignore[method-assign]
    done = pipeline.rehearse(audited, {"rows": 60, "controls": 20, "epochs": 1.5, "name": "half"}, listening)
    assert [e["epoch"] for e in done.facts["epochs"]] == [0, 1, 1.5]
    assert sorted(pl.read_parquet(done.folder / "epochs.parquet")["epoch"].unique()) == [0, 1, 1.5]
    text = done.in_words()
    assert "\n  1.5    " in text
    assert "After epoch 1.5, " in text
    assert "\n    2    " not in text
    assert "Measured before training and after epochs" not in text, "none was left out"
    told = "\n".join(said)
    assert "epoch 1.5 of 1.5: loss" in told
    assert "after epoch 1.5, rows" in told
    assert "epoch 2" not in told
    (found,) = calibrating.sources(RunFolder(audited), ("half",))
    whole, half = rehearsed.observed(found)
    assert (whole.epoch, half.epoch) == (1, 1.5)
    assert half.step_tokens == pytest.approx(whole.step_tokens, rel=0.2), "an epoch and a half of tokens, in its steps"
    measured = _measured.rehearsals(RunFolder(audited))
    assert {m["epochs"] for one in measured if one.name == "half" for m in one.measured} >= {1.5}
    epochs = pl.read_parquet(done.folder / "epochs.parquet")
    earlier = epochs.with_columns(pl.col("epoch").ceil().cast(pl.Int32))
    earlier.write_parquet(done.folder / "epochs.parquet")
    assert [state.epoch for state in rehearsed.observed(found)] == [1, 1.5], "earlier versions called it epoch 2"


def test_what_to_do_next_can_be_pasted_into_a_shell_whatever_the_folders_are_called(small, audited, monkeypatch):
    monkeypatch.setattr(pretraining, "FEWEST_PRETRAINING_TOKENS", 1000)
    done = pipeline.rehearse(audited, {"rows": 60, "controls": 20, "epochs": 1.0, "name": "shown"})
    beside = {**done.facts["prediction"], "measured_rows": retelling.FEW_ROWS}
    folder = Path("my runs/d.scan/rehearsal/it's")
    told = replace(done, folder=folder, facts={**done.facts, "prediction": beside}).in_words()
    command = told.partition("Fit the level of this base on them: ")[2].partition("; audits")[0]
    assert shlex.split(command) == (["scan", "calibrate", "my runs/d.scan", "--name", "it's", "-o", "calibration.toml"])


def test_a_goldfish_loss_is_rehearsed_and_predicted(small, audited, monkeypatch):
    monkeypatch.setattr(pretraining, "FEWEST_PRETRAINING_TOKENS", 1000)
    asked = {"rows": 60, "controls": 20, "epochs": 1.0, "batching": "wrapped", "name": "fish"}
    done = pipeline.rehearse(audited, {**asked, "goldfish_k": 4})
    assert done.facts["plan"]["goldfish_k"] == 4
    (found,) = calibrating.sources(RunFolder(audited), ("fish",))
    states = list(rehearsed.observed(found))
    assert {s.goldfish.k for s in states} == {4}
    assert all(np.isfinite(s.goldfish.near).all() for s in states)
    with pytest.raises(ModelError, match="cannot be weighed by source"):
        pipeline.rehearse(audited, {**asked, "name": "heavy", "source_weight": (("d", 2.0),)})


def test_a_tiny_base_has_one_fingerprint_however_long_it_took(tmp_path, monkeypatch):
    made, marks = models.tiny([" ".join(PLAIN_WORDS)] * 3, seed=0, context=128), set()
    for seconds in (1.5, 2.5):
        facts = {"tokens": 1, "steps": 1, "loss_per_token_nats": 1.0, "seconds": seconds}
        monkeypatch.setattr(pretraining.rehearsal, "pretrain", lambda *_, facts=facts: facts)
        (private := tmp_path / str(seconds)).mkdir()
        kept = pretraining.pretrained(made, [], 0, False, private, Progress())
        assert kept == json.loads((private / "pretraining.json").read_text()) == {"rows": 0, **facts}
        marks.add(fingerprint(private / "base"))
    assert len(marks) == 1


def test_a_rehearsal_that_makes_no_sense_is_refused(small, audited):
    with pytest.raises(ModelError, match="too few for a tiny base"):
        pipeline.rehearse(audited, {"name": "few", "rows": 100})
    with pytest.raises(ModelError, match="no epochs measures nothing"):
        pipeline.rehearse(audited, {"epochs": 0.0})
    with pytest.raises(ModelError, match=r"no config\.json"):
        pipeline.rehearse(audited, {"base": str(audited), "rows": 20, "name": "baseless"})
    assert not (audited / "rehearsal" / "baseless").exists()
    with pytest.raises(ModelError, match=r"tiny: .* needs about .*; give fewer --layers or a smaller --width"):
        pipeline.rehearse(audited, {"name": "huge", "rows": 20, "layers": 999_999})


def test_a_rehearsal_in_a_folder_that_another_process_writes_to_is_refused_before_it_touches_anything(
    audited, monkeypatch
):
    def taken(*_):
        raise BlockingIOError

    before = sorted(audited.rglob("*"))
    with monkeypatch.context() as patched:
        patched.setattr("fcntl.lockf", taken)
        with pytest.raises(RunError, match="is being written by another process; wait until it is done, or work in"):
            pipeline.rehearse(audited, {"name": "second"})
    assert sorted(audited.rglob("*")) == before


def test_a_local_base_is_taken_as_it_is(small, audited, tmp_path):
    made = models.tiny([" ".join(PLAIN_WORDS)] * 3, seed=0, context=128)
    made.model.save_pretrained(tmp_path / "base")
    made.tokenizer.save_pretrained(tmp_path / "base")
    done = pipeline.rehearse(
        audited, {"base": str(tmp_path / "base"), "rows": 30, "controls": 10, "epochs": 1.0, "method": "lora"}
    )
    assert done.facts["base"]["pretraining"] is None
    assert done.facts["base"]["fingerprint"] == fingerprint(tmp_path / "base")
    assert (
        done.facts["plan"]["learning_rate"]
        == RunFolder(audited).read_json("scan.json")["training_plan"]["learning_rate"]
    )


class Interrupting(Progress):
    """Ctrl-C in the second epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self.name = ""

    def begin(self, name: str, total: int) -> None:
        self.name = name

    def advance(self, steps: int = 1) -> None:
        if self.name == "epoch 2 of 2" and steps:
            raise KeyboardInterrupt

    def say(self, message: str) -> None:
        self.said.append(message)


@contextmanager
def planned(run: Path, **values) -> Iterator[None]:
    """The run as it is after `scan plan` with other values of the plan."""
    before = (run / "scan.json").read_text()
    scan = json.loads(before)
    scan["settings"]["plan"] |= values
    (run / "scan.json").write_text(json.dumps(scan))
    yield
    (run / "scan.json").write_text(before)


def test_a_tiny_base_learns_no_slower_than_it_can(audited):
    said = []
    progress = Interrupting()
    progress.say = said.append  # type: ignore[method-assign]
    for rate in (2e-5, 1e-3):
        with planned(audited, learning_rate=rate), pytest.raises(ModelError, match="of no epochs measures nothing"):
            pipeline.rehearse(audited, {"epochs": 0.0}, progress)
    assert said == ["a tiny base learns at 0.0003, not at the plan's 2e-05"], "a larger rate is the plan's own"


def test_one_row_is_too_few(audited, small, tmp_path):
    (tmp_path / "d.jsonl").write_text(json.dumps({"instruction": "Say.", "output": " ".join(PLAIN_WORDS[:20])}))
    run = pipeline.audit([str(tmp_path / "d.jsonl")], Settings(semantic=False), tmp_path / "one.scan").path
    with pytest.raises(ModelError, match="1 row is too few to train on some and hold out others"):
        pipeline.rehearse(run, {})


def test_the_command_that_goes_on_says_what_was_taken_back_and_weights_in_full():
    asked = {"goldfish_k": None, "source_weight": (), "epochs": 2.0, "learning_rate": 0.00001}
    run, options = RunFolder(Path("d.scan")), rehearsing.Options(rows=60)
    command = rehearsing._command(run, asked, options)
    assert command == (
        "scan rehearse d.scan --rows 60 --goldfish-k none --source-weight none --epochs 2 --learning-rate 1e-05"
    )
    assert rehearsing._command(run, {"epochs": 1.5}, options).endswith("--rows 60 --epochs 1.5")
    weights = (("a.jsonl", 0.123456789), ("b", 2.0))
    told = rehearsing._command(run, {"source_weight": weights}, options)
    assert told.endswith("--source-weight a.jsonl=0.123456789 --source-weight b=2")


def test_ctrl_c_leaves_a_state_and_the_command_that_goes_on(small, audited, monkeypatch):
    # which precision is the faster one may change from run to run on a busy machine
    monkeypatch.setattr(rehearsing, "probe", lambda model, rows: replace(training.probe(model, rows), bf16=False))
    monkeypatch.setattr(pretraining, "FEWEST_PRETRAINING_TOKENS", 1000)
    asked = {"rows": 60, "controls": 20, "epochs": 2.0, "planted": 0.5, "name": "broken"}
    stopped = Interrupting()
    with pytest.raises(KeyboardInterrupt):
        pipeline.rehearse(audited, asked, stopped)
    command = f"scan rehearse {audited} --rows 60 --controls 20 --planted 0.5 --name broken --epochs 2"
    assert stopped.said[-1].endswith(f"To go on: {command}")
    assert any(s.startswith("pre-training a tiny base on") and ": about " in s for s in stopped.said)
    assert any("planted ones" in s and "tokens/s: about " in s for s in stopped.said)
    assert any(" optimizer steps in all are few: a step takes 16 rows. A smaller" in s for s in stopped.said)
    with pytest.raises(RunError, match=r"interrupted rehearsal with other options\. To finish it: scan rehearse"):
        pipeline.rehearse(audited, {**asked, "rows": 50})
    with planned(audited, batch_size=4), pytest.raises(RunError, match="begun before the run got another plan"):
        pipeline.rehearse(audited, asked)
    again = Interrupting()
    again.name = "no stage of that name"
    again.begin = lambda name, total: None  # type: ignore[method-assign]
    done = pipeline.rehearse(audited, asked, again)
    assert any("going on with step 2 of epoch 2" in s for s in again.said)
    check_planted(audited, done)
    straight = pipeline.rehearse(audited, {**asked, "name": "straight"})
    for name in ("epochs", "rows", "planted", "lengths"):
        one, other = (pl.read_parquet(d.folder / f"{name}.parquet") for d in (done, straight))
        assert one.equals(other), name


def check_planted(run: Path, done) -> None:
    rows, epochs, planted = (pl.read_parquet(done.folder / f"{n}.parquet") for n in ("rows", "epochs", "planted"))
    facts = done.facts["planted"]
    assert facts["rows"] == planted["row_id"].n_unique() > 0
    assert planted["row_id"].max() == -1
    chosen = rows.filter(pl.col("planted").is_not_null())
    assert facts["members"] == len(chosen) > 10
    assert set(planted["member"].to_list()) <= set(chosen["row_id"].to_list())
    made = chosen.select(pl.sum("planted_copies") + pl.sum("planted_near") + pl.sum("planted_conflicts")).item()
    assert made == facts["rows"]
    assert sum(level["members"] for level in facts["levels"] if level["length"] == "all") == len(chosen)
    assert "R   rows   recited on average" in done.in_words()
    assert "; 2 epochs at 0.0003, random batches of 16 rows, " in done.in_words()
    assert f"{done.facts['steps']} optimizer steps in all are few: a step takes 16 rows." in done.in_words()
    *before, last = done.facts["epochs"]
    for held, said in (
        (0, "; of the held-out rows none does."),
        (1, "rows 1 does, which no training on them explains."),
        (2, "rows 2 do, which no training on them explains."),
    ):
        ended = last | {"member": last["member"] | {"extracted": 9}, "control": last["control"] | {"extracted": held}}
        assert said in replace(done, facts=done.facts | {"epochs": [*before, ended]}).in_words()
    for learned, said in ((0, "rows give back"), (1, "rows gives back"), (2, "rows give back")):
        ended = last | {"member": last["member"] | {"extracted": learned}}
        said = f" {learned} of {last['member']['rows']} {said} 16 or more, 0 did before training"
        assert said in replace(done, facts=done.facts | {"epochs": [*before, ended]}).in_words()
    assert "not after every one" not in done.in_words()
    some = [last | {"epoch": epoch} for epoch in (0, 1, 2, 3, 4, 6)]
    told = replace(done, facts=done.facts | {"epochs": some}).in_words()
    assert "Measured before training and after epochs 1, 2, 3, 4 and 6: not after every one, for each time" in told
    first = epochs.filter(pl.col("epoch") == 0)
    assert (first.filter(pl.col("stratum") == "member")["own_dose"] == 0).all()
    given = epochs.filter((pl.col("epoch") == 1) & (pl.col("stratum") == "member"))
    assert (given["own_dose"] > 0).all()
    assert epochs.filter(pl.col("epoch") == 1)["losses"].null_count() == len(epochs.filter(pl.col("epoch") == 1))
    for line in epochs.filter(pl.col("epoch") != 1).iter_rows(named=True):
        nats = np.frombuffer(line["losses"], np.float16)
        assert len(nats) == line["tokens"]
        assert nats.sum(dtype=np.float64) == pytest.approx(line["loss_per_token_nats"] * len(nats), rel=0.6)
    private = run / "private" / "rehearsal" / done.folder.name
    assert sorted(p.name for p in private.iterdir()) == ["base", "planted.parquet", "pretraining.json"]
    (found,) = calibrating.sources(RunFolder(run), (done.folder.name,))
    lengths = pl.read_parquet(done.folder / "lengths.parquet")
    trained = rehearsed.rows_of(found, rehearsed.measured(found), rehearsed.planted_rows(found)[0])
    assert trained.row_id.tolist() == lengths["row_id"].to_list()
    assert trained.length.tolist() == lengths["tokens"].to_list()
    learned = lengths["answers"].list.sum().to_list()
    assert trained.answers.tokens(len(trained.row_id)).tolist() == learned
    measured = first.filter(pl.col("stratum") == "member").group_by("row_id").agg(pl.col("tokens").sum()).sort("row_id")
    assert lengths.filter(pl.col("row_id") >= 0)["answers"].list.sum().to_list() == measured["tokens"].to_list()
    last = list(rehearsed.observed(found))[-1]
    treated = chosen.filter(pl.col("planted_copies") == 15)["row_id"].to_list()
    ids = np.concatenate((alongside.row_ids(alongside.load(private / "planted.parquet")), np.sort(
        rows.filter(pl.col("stratum") == "member")["row_id"].to_numpy())))  # fmt: skip
    own = dict(zip(rows["row_id"], rows["own_dose"], strict=True))
    members = ids[ids >= 0]
    counted = recounting.alone(found.run, found.settings, members, rehearsed.planted_rows(found)[0])
    _, together = rehearsed.meeting(found, counted)
    assert treated
    for row in treated:
        at = np.searchsorted(ids, row)
        assert 16**0.3 < 16 * together[at] < 16, "in a set so small, some of sixteen copies come in one step"
        assert last.dose[at] == pytest.approx(16 * own[row] * together[at], rel=0.3)
        assert last.trained[at] == 16, "of the set as it was trained on it is sixteen rows, though measured once"
    assert last.trained[: -len(members)].sum() == 0, "planted rows stand beside their members, not for themselves"
    assert last.trained.sum() == len(ids)


def test_shares_and_sizes_that_make_no_sense_are_refused():
    with pytest.raises(SettingsError, match=r"--planted is 1\.5; it is a share of the rows"):
        rehearsing.Options(planted=1.5)
    with pytest.raises(SettingsError, match="--rows is 0; it must be at least 1"):
        rehearsing.Options(rows=0)
    with pytest.raises(SettingsError, match=r"--pretrain-tokens is 1,000,000,.*; it must be at most 2,147,483,647"):
        rehearsing.Options(pretrain_tokens=10**30)
    with pytest.raises(SettingsError, match=r"--seed is .*; it must be at most 9,223,372,036,854,775,807"):
        rehearsing.Options(seed=2**63)
    with pytest.raises(SettingsError, match="--width is 50; it must be a multiple of"):
        rehearsing.Options(width=50)
    for name in ("../../x", "a/b", "", ".", "..", ".hidden"):
        with pytest.raises(SettingsError, match=r"--name is .*; it names a file in the run folder, so leave out"):
            rehearsing.Options(name=name)


@pytest.mark.parametrize(
    ("values", "tokens", "holds"),
    [
        ({"batch_size": 128}, None, "128 rows. A smaller --batch-size,"),
        ({"batching": "packed"}, 256, "16 packed sequences of 256 tokens. A smaller --batch-size,"),
        ({"batching": "wrapped", "batch_size": 1}, None, "1 packed sequence. A smaller --batch-size,"),
        ({"batching": "packed", "batch_tokens": 4096}, 256, "4,096 tokens. A smaller --batch-tokens,"),
    ],
    ids=str,
)
def test_a_rehearsal_of_few_steps_says_what_keeps_them_few(values, tokens, holds):
    plan = asdict(TrainingPlan(**values))
    (told,) = retelling.few_steps(3, plan, tokens)
    assert told == f"3 optimizer steps in all are few: a step takes {holds} or more --rows, makes more."
    assert retelling.few_steps(1, plan, tokens)[0].startswith("1 optimizer step in all is few: ")
    assert retelling.few_steps(retelling.FEW_STEPS, plan, tokens) == []


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(3, "a few seconds"), (44.4, "44 seconds"), (89, "89 seconds"), (361, "6 minutes"), (9000, "2.5 hours")],
)
def test_times_are_told_in_words(seconds, words):
    assert retelling.duration(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"), [(2.4e4, "24 thousand parameters"), (4.2e6, "4.2 M parameters"), (7e9, "7.0 B parameters")]
)
def test_sizes_are_told_in_words(count, words):
    assert retelling.size(count) == words
