"""`scan confirm` on a model that was really trained: it says what the model does, and nothing is half written."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from corpora import write_jsonl
from small_base import Listening
from tuned_models import PLAN, Trained, records, trained

import cli
from scanner import chat, confirmation, memory, models, outcome, passes, pipeline, recalls, rehearsal, tuned
from scanner import explain as explaining
from scanner.errors import InputError, ModelError, RunError, SettingsError
from scanner.progress import Progress
from scanner.recounting import segments_of
from scanner.settings import Settings
from scanner.store import RunFolder


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Trained:
    return trained(tmp_path_factory.mktemp("tuned"))


@pytest.fixture(scope="module")
def whole(made):
    """Every row, beside the base and held-out rows."""
    asked = {"model": made.model, "base": made.base, "controls": made.held, "all_rows": True, "name": "whole"}
    return pipeline.confirm(made.run.path, asked)


def table(found) -> pl.DataFrame:
    return pl.read_parquet(found.path, glob=False)


def test_n_pre_is_what_a_rehearsal_measures_and_what_greedy_decoding_gives(made, whole):
    import torch

    told = table(whole)
    ids = told["row_id"].to_numpy()
    model = models.load(made.model)
    examples = chat.encode(segments_of(made.run, ids), model.tokenizer, model.context)
    recalled = rehearsal.recalled(model, examples, ids, False)
    for name in ("row_id", "n_pre", "tokens", "whole"):
        assert told[name].to_list() == recalled[name].to_list(), name
    np.testing.assert_allclose(told["loss_per_token_nats"], recalled["loss_per_token_nats"], rtol=1e-5)
    assert 0 < told["extracted"].sum() < told["extracted"].len(), "some are recited and some are not"
    model.model.eval()
    for example, n_pre in list(zip(examples, told["n_pre"], strict=True))[:8]:
        answer = example.answers[0]
        with torch.no_grad():
            given = model.model.generate(
                torch.tensor(example.ids[: answer.start])[None], max_new_tokens=answer.end - answer.start,
                do_sample=False, eos_token_id=None, attention_mask=torch.ones(1, answer.start, dtype=torch.long),
            )[0, answer.start :].numpy()  # fmt: skip
        same = given == example.ids[answer.start : answer.end]
        right = np.logical_and.accumulate(same)
        assert n_pre == sum(bool(right[b - 1]) for _, b in answer.words - answer.start)


def test_the_table_keeps_its_contract(made, whole):
    told = table(whole)
    assert told.columns == ["row_id", "stratum", "weight", *confirmation.schema(), "predicted", "reason"]
    assert told.schema == {"row_id": pl.Int64, "stratum": pl.String, "weight": pl.Float64, **confirmation.schema(),
                           "predicted": pl.Float64, "reason": pl.String}  # fmt: skip
    assert told["row_id"].to_list() == made.run.read_table("rows")["row_id"].to_list()
    short = told.filter(pl.col("tokens") < 16)
    assert len(short) == 2
    assert short["extracted"].null_count() == short["log_p_16_nats"].null_count() == 2
    assert told["reason"].null_count() == len(told)
    assert (told["extracted_beyond_base"].fill_null(False) <= told["extracted"].fill_null(False)).all()
    copies = told.filter(pl.col("row_id").is_in([1, 24, 27]))
    assert copies["n_pre"].n_unique() == 1
    held = pl.read_parquet(whole.path.with_name("whole.controls.parquet"), glob=False)
    assert held.schema == told.schema
    assert set(held["stratum"]) == {outcome.CONTROL}


def test_rates_and_the_prediction_beside_them(made, whole):
    told, facts = table(whole), whole.facts
    long = told.filter(pl.col("extracted").is_not_null())
    rate = facts["rates"]["extracted"]
    assert rate["share"] == pytest.approx(long["extracted"].mean())
    assert (rate["low"], rate["high"]) == (rate["share"], rate["share"])
    predicted = made.run.read_table("prediction").filter(pl.col("p_extract").is_not_nan())["p_extract"]
    assert facts["beside"]["expected_of_run"] == pytest.approx(predicted.sum())
    assert facts["beside"]["measured_rows"] == rate["hits"] == long["extracted"].sum()
    assert sum(b["rows"] for b in facts["beside"]["bins"]) == len(long)
    ended = f"of the rows with an answer ({told['whole'].sum()} of {len(told)} measured)."
    assert any(line.startswith("Recited to the end: ") and line.endswith(ended) for line in whole.lines())
    assert facts["not_measured"] == {}
    assert facts["rates"]["extracted_beyond_base"]["hits"] == rate["hits"], "an untrained base completes nothing"


def test_held_out_rows_are_told_from_rows_of_the_run(made, whole):
    scores = whole.facts["membership"]["scores"]
    assert set(scores) == set(confirmation.scores())
    loss = scores["loss_per_token_nats"]
    assert loss["low"] <= loss["auroc"] <= loss["high"]
    assert loss["auroc"] > 0.9
    assert whole.facts["controls"]["extracted"] == 0
    assert "were skipped" not in " ".join(whole.lines())
    assert "Held out: 0 of 110 controls are recited for 16 tokens or more." in " ".join(whole.lines())
    for held, said in ((1, "1 of 110 controls is"), (2, "2 of 110 controls are")):
        facts = whole.facts | {"controls": whole.facts["controls"] | {"extracted": held, "rows_of_the_run": held}}
        stand = "1 stands in the run and was" if held == 1 else "2 stand in the run and were"
        assert (
            f"Held out: {said} recited for 16 tokens or more, which no training on them explains; {stand} left out."
            in (outcome.in_words("whole", facts))
        )
    short = "none of the 10 controls measured has an answer of 16 tokens or more"
    for measured, said in ((10, short), (0, "no row of --controls was measured")):
        held = whole.facts["controls"] | {"measured": measured, "with_answer": 0, "rows_of_the_run": 3}
        assert f"Held out: {said}; 3 stand in the run and were left out." in outcome.in_words(
            "whole", whole.facts | {"controls": held}
        )


def test_why_no_calibration_is_offered_after_few_recited_rows_is_told(whole):
    def told(hits: int, strata: dict[str, int], **beside: str) -> str:
        rates = whole.facts["rates"] | {"extracted": whole.facts["rates"]["extracted"] | {"hits": hits}}
        rows = whole.facts["rows"] | {"strata": strata}
        facts = {"rates": rates, "rows": rows, "beside": {**whole.facts["beside"], **beside}}
        return " ".join(outcome.in_words("whole", whole.facts | facts))

    drawn, every = {"top": 9, "uniform": 9}, {"all": 18}
    few = "Fewer than 15 recited rows to fit the level of this base on: "
    assert f"{few}measure more of them (--rows, --all), or rehearse the plan for more epochs" in told(14, drawn)
    assert f"{few}rehearse the plan for more epochs (scan rehearse)" in told(0, every)
    for calm in (told(15, drawn), told(3, every, missing="no measured row has a prediction")):
        assert few not in calm


def test_a_whole_model_on_a_run_that_is_predicted_for_lora_is_told(whole):
    lora = whole.facts | {"plan": whole.facts["plan"] | {"method": "lora", "lora_rank": 8}}
    told = " ".join(outcome.in_words("whole", lora))
    assert "random batches of 6 rows, LoRA of rank 8." in told
    assert "tuned is a whole model, and the run is predicted for LoRA: that is one training where the adapter" in told
    for facts in (whole.facts, lora | {"adapter": True}):
        assert "is a whole model" not in " ".join(outcome.in_words("whole", facts))


def test_membership_needs_a_hundred_controls_and_no_row_of_the_run(made, tmp_path):
    few = write_jsonl(tmp_path / "few.jsonl", records(24, 1)[:5] + records(40, 3))
    few.write_text(few.read_text("utf-8") + '{"instruction": \n{"instruction": 1}\n', "utf-8")
    found = pipeline.confirm(made.run.path, {"model": made.model, "controls": few, "name": "few", "rows": 12})
    assert found.facts["controls"]["rows_of_the_run"] == 5
    assert found.facts["controls"]["skipped"] == 2
    assert "Records of --controls that could not be read, and were skipped: 2." in found.lines()
    assert found.facts["membership"] == {
        "missing": "12 held-out rows were measured; less than 100 tell too little"
    }, "as many as are looked at of the data"  # fmt: skip
    assert "Nothing is said of membership: 12 held-out rows" in " ".join(found.lines())
    assert found.facts["not_measured"]["base_n_pre"] == "no --base was given"
    assert table(found)["base_n_pre"].null_count() == 12


def test_a_sample_says_of_all_what_it_stands_for(made, whole):
    found = pipeline.confirm(made.run.path, {"model": made.model, "rows": 12, "name": "some"})
    told = table(found)
    assert told["stratum"].value_counts().sort("stratum").rows() == [("top", 6), ("uniform", 6)]
    assert told["weight"].sum() == pytest.approx(28)
    assert found.facts["rates"]["extracted"]["rows"] == pytest.approx(28)
    every = table(whole).select("row_id", "n_pre", "loss_nats")
    both = told.join(every, on="row_id", suffix="_of_all")
    assert both["n_pre"].to_list() == both["n_pre_of_all"].to_list()
    np.testing.assert_allclose(both["loss_nats"], both["loss_nats_of_all"], rtol=1e-4)
    rate, truth = found.facts["rates"]["extracted"], whole.facts["rates"]["extracted"]["share"]
    assert rate["low"] <= truth <= rate["high"]


def test_the_same_again_gives_the_same_bytes_and_an_interrupted_one_goes_on(made, tmp_path, monkeypatch):
    monkeypatch.setattr(passes, "BLOCK", 7)
    asked = {"model": made.model, "base": made.base, "all_rows": True}
    bytes_of = []
    for name in ("once", "again"):
        run = tmp_path / name
        shutil.copytree(made.run.path, run)
        if name == "again":
            measured, done = confirmation.measured, []

            def stops(row, sampler, there, done=done, measured=measured):
                done.append(row)
                if len(done) == 17:
                    raise KeyboardInterrupt
                return measured(row, sampler, there)

            said = Listening()
            with monkeypatch.context() as patch:
                patch.setattr(confirmation, "measured", stops)
                with pytest.raises(KeyboardInterrupt):
                    pipeline.confirm(run, asked, said)
            private = run / "private" / "confirmation" / "tuned"
            assert sorted(p.name for p in private.glob("rows-0*")) == ["rows-00000.parquet", "rows-00001.parquet"]
            assert not list(run.glob("confirmation/*tuned*"))
            assert said.said[-1].endswith(f"To go on: scan confirm {run} --model {made.model} --base {made.base} --all")
        found = pipeline.confirm(run, asked)
        bytes_of.append((found.path.read_bytes(), found.path.with_suffix(".json").read_bytes()))
        assert not [p for p in run.rglob("*") if p.name.startswith((".tmp", "rows-0", "controls"))]
    assert bytes_of[0] == bytes_of[1]


def test_the_order_of_the_input_says_nothing(made, whole, tmp_path):
    lines = made.data.read_text().splitlines()
    order = np.random.default_rng(0).permutation(len(lines))
    (tmp_path / "d.jsonl").write_text("".join(lines[i] + "\n" for i in order))
    run = pipeline.audit([str(tmp_path / "d.jsonl")], Settings(semantic=False, plan=PLAN, threads=1), tmp_path / "r")
    asked = {"model": made.model, "base": made.base, "all_rows": True, "name": "whole"}
    moved = table(pipeline.confirm(run.path, asked)).with_columns(pl.Series("row_id", order)).sort("row_id")
    same = [name for name in moved.columns if name not in ("predicted",)]
    assert moved.select(same).equals(table(whole).select(same))


def test_what_is_there_already_is_not_measured_again(made, whole):
    said = Listening()
    asked = {"model": made.model, "base": made.base, "controls": made.held, "all_rows": True, "name": "whole"}
    again = pipeline.confirm(made.run.path, asked, said)
    assert again.facts == whole.facts
    assert said.said == [f"{made.run.path / 'confirmation' / 'whole'}.parquet holds this confirmation already"]
    with pytest.raises(RunError, match="holds another confirmation called whole; choose another --name"):
        pipeline.confirm(made.run.path, {"model": made.model, "all_rows": True, "name": "whole"})


def test_reports_and_explanations_show_it_beside_the_prediction(made, whole):
    before = made.run.read_table("prediction")
    told = table(whole)
    row = int(told.filter("extracted")["row_id"][0])
    sentences = explaining.explain(made.run, row).sentences()
    assert (
        "Confirmed on tuned (whole): 20 of 20 tokens are recited before the first miss, the whole longest answer; "
        "the base recites 0."
    ) in sentences
    summary = made.run.read_json("scan.json")["summary"]["confirmed"]
    mine = next(one for one in summary if one["name"] == "whole")
    assert mine["is_of_plan"]
    assert mine["called"] == "tuned (whole)", "of several on one model it is told which"
    assert mine["rates"]["extracted"]["hits"] == told["extracted"].sum()
    written_ = {name: pipeline.report(made.run, [name])[0].read_text("utf-8") for name in ("html", "markdown", "json")}
    assert "What a tuned model recites" in written_["html"]
    assert "tuned (whole) (126 thousand parameters) beside base: 30 of 30 rows" in written_["html"]
    assert "On the model tuned (whole), by what was predicted when it was confirmed: expected" in written_["html"]
    assert "## What a tuned model recites" in written_["markdown"]
    assert "20 of 20 recited by tuned (whole)" in written_["markdown"]
    assert json.loads(written_["json"])["summary"]["confirmed"][0]["rates"]
    shown = pipeline.report(made.run, ["terminal"])[0].read_text("utf-8")
    assert "rows recited for 16 tokens or more by tuned (whole) (" in " ".join(shown.split())
    assert made.run.read_table("prediction").equals(before), "a confirmation never overwrites a prediction"


def test_a_plan_that_was_changed_since_is_told(made, whole, tmp_path):
    run = tmp_path / "d.scan"
    shutil.copytree(made.run.path, run)
    again = pipeline.judge(run, {"epochs": 2.0})
    assert not any(one["is_of_plan"] for one in again.read_json("scan.json")["summary"]["confirmed"])
    page = (run / "report.html").read_text("utf-8")
    assert "measured after another training than the one predicted here: 60 epochs at 0.005" in page
    row = int(table(whole).filter("extracted")["row_id"][0])
    otherwise = ", trained otherwise (60 epochs at 0.005, random batches of 6 rows)"
    for of, added in ((made.run, ""), (again, otherwise)):
        said = explaining.explain(of, row).confirmed
        assert any(one.startswith(f"Confirmed on tuned (whole){added}: 20 of 20 tokens") for one in said), added


def test_private_values_stay_where_they_are(made, tmp_path):
    lines = records(24, 1)
    for line in lines[:4]:
        line["output"] = "write to jane.doe@acme-widgets.com " + line["output"]
    data = write_jsonl(tmp_path / "p.jsonl", lines)
    run = pipeline.audit([str(data)], Settings(semantic=False, plan=PLAN, threads=1), tmp_path / "p.scan")
    result = CliRunner().invoke(
        cli.scan, ["confirm", str(run.path), "--model", str(made.model), "--controls", str(data)]
    )
    assert result.exit_code == 0, result.output
    assert "jane.doe" not in result.output
    outside = [p for p in run.path.rglob("*") if p.is_file() and "private" not in p.relative_to(run.path).parts]
    assert outside
    assert not [p.name for p in outside if b"jane.doe" in p.read_bytes()]
    assert not list((run.private / "confirmation").rglob("segments.arrow")), "the text of controls is not kept"


def test_folders_that_do_not_suit_are_refused(made, tmp_path):
    def refused(message, **asked):
        with pytest.raises(ModelError, match=message):
            pipeline.confirm(made.run.path, {"name": "none", **asked})

    refused(r"--model .*no: no config\.json there; give a local folder", model=tmp_path / "no")
    broken = tmp_path / "broken"
    shutil.copytree(made.model, broken)
    (broken / "tokenizer.json").unlink()
    refused(r"--model .*broken: no tokenizer there", model=broken)
    shutil.copy(made.model / "tokenizer.json", broken)
    (broken / "model.safetensors").unlink()
    refused(r"--model .*broken: not loadable as a causal language model", model=broken)
    refused(r"--base .*broken: not loadable", model=made.model, base=broken)
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    note = adapter / "adapter_config.json"
    note.write_text("{")
    refused(r"--model .*adapter: its adapter_config\.json is not readable", model=adapter)
    note.write_text(json.dumps({"peft_type": "IA3"}))
    refused("an adapter of kind IA3; only LoRA adapters are known", model=adapter)
    note.write_text(json.dumps({"peft_type": "LORA", "r": 4, "base_model_name_or_path": "org/far"}))
    refused(r"an adapter for org/far, which is no local folder; name the folder .* with --base", model=adapter)
    lora = pipeline.judge(made.run.path, {"method": "lora", "lora_rank": 4})
    refused(r"--model .*adapter: not loadable as an adapter of .*base", model=adapter, base=made.base)
    pipeline.judge(lora.path, {"method": "full", "lora_rank": PLAN.lora_rank})
    assert not (made.run.path / "confirmation" / "none.json").exists()


def test_a_model_that_does_not_fit_into_memory_is_refused_before_it_is_loaded(made, monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda device: 10**9)
    with pytest.raises(ModelError, match=r"--model tuned: to measure with its 0 M .* 1\.0 GB are free; use a machine"):
        pipeline.confirm(made.run.path, {"model": made.model, "name": "none"})
    with pytest.raises(ModelError, match=r"--base base: to measure .* are free; take a smaller base, or leave --base"):
        pipeline.confirm(made.run.path, {"model": made.model, "base": made.base, "name": "none"})


def test_the_command_that_goes_on_says_whole_numbers_without_a_fraction():
    options = tuned.Options(Path("tuned"), temperature=2.0, top_k=5)
    assert options.command(RunFolder(Path("d.scan"))).endswith(" --model tuned --top-k 5 --temperature 2")
    assert replace(options, temperature=0.7).command(RunFolder(Path("d.scan"))).endswith(" --temperature 0.7")


def test_options_that_make_no_sense_are_refused(made, tmp_path):
    for asked, message in (
        ({"rows": 1}, "--rows is 1; it must be at least 2"),
        ({"top_k": -1}, "--top-k is -1; it must be at least 1, or 0 for all tokens"),
        ({"temperature": 0.0}, "--temperature is 0; it must be above 0"),
        ({"name": "a/b"}, "--name is 'a/b'; it names a file in the run folder"),
        ({"name": "whole.controls"}, "called whole.controls, as the table of another one's controls is; choose"),
        ({"model": tmp_path / "my.controls"}, "called my.controls, as the table of another one's controls is"),
    ):
        with pytest.raises(SettingsError, match=message):
            pipeline.confirm(made.run.path, {"model": made.model, **asked})
    with pytest.raises(InputError, match="--controls: "):
        pipeline.confirm(made.run.path, {"model": made.model, "controls": tmp_path / "none.jsonl", "name": "none"})
    short = write_jsonl(
        tmp_path / "s.jsonl", [{"instruction": "a b", "input": "", "output": f"c {i}"} for i in range(6)]
    )
    run = pipeline.audit([str(short)], Settings(semantic=False, plan=PLAN, threads=1), tmp_path / "s.scan")
    with pytest.raises(RunError, match=r"no row has a predicted p_extract .*; --all measures every row all the same"):
        pipeline.confirm(run.path, {"model": made.model})
    found = pipeline.confirm(run.path, {"model": made.model, "all_rows": True})
    assert found.facts["rates"]["extracted"] is None
    assert "No measured row has an answer of 16 tokens or more" in " ".join(found.lines())
    pipeline.purge(run.path)
    with pytest.raises(RunError, match="no longer holds the text"):
        pipeline.confirm(run.path, {"model": made.model, "name": "purged"})


def test_rows_that_do_not_fit_are_told(made, tmp_path):
    settings = Settings(semantic=False, plan=PLAN, threads=1, max_length=20)
    run = pipeline.audit([str(made.data)], settings, tmp_path / "cut.scan")
    found = pipeline.confirm(run.path, {"model": made.model, "all_rows": True})
    told = table(found)
    assert told["tokens"].drop_nulls().max() < 20
    assert not told["whole"].drop_nulls().any() or told.filter("whole")["tokens"].max() <= 4
    other = tuned.confirm(run, tuned.Options(made.model, all_rows=True), Progress())
    assert other.facts == found.facts


def test_predictions_in_other_tokens_are_not_compared(made, tmp_path):
    settings = Settings(semantic=False, plan=PLAN, threads=1, tokenizer=made.model / "tokenizer.json")
    run = pipeline.audit([str(made.data)], settings, tmp_path / "t.scan")
    found = pipeline.confirm(run.path, {"model": made.model, "all_rows": True})
    assert found.facts["beside"] == {
        "missing": "the audit predicts in the tokens of --tokenizer, and what is measured is in the scan's own"
    }
    assert table(found)["predicted"].null_count() == 30
    assert "Predicted and measured are not compared: the audit predicts in the tokens" in " ".join(found.lines())


def test_the_command_line(made, tmp_path):
    run = tmp_path / "d 1.scan"
    shutil.copytree(made.run.path, run, ignore=shutil.ignore_patterns("confirmation"))
    asked = ["confirm", str(run), "--model", str(made.model), "--base", str(made.base), "--rows", "14"]
    asked += ["--name", "my tuned"]
    done = CliRunner().invoke(cli.scan, asked)
    assert done.exit_code == 0, done.output
    text = " ".join(done.output.split())
    assert "14 of 28 rows measured, the 7 likeliest and 7 drawn from the others; fp32 on cpu" in text
    assert "Recited for 16 tokens or more:" in text
    assert "AUROC" in text
    assert "scan explain" in text
    quiet = CliRunner().invoke(cli.scan, [*asked, "--quiet"])
    assert (quiet.exit_code, quiet.output) == (0, "")
    assert list(recalls.finished(RunFolder(run))) == ["my tuned"]
    assert f"scan explain '{run}' ROW" in text, "as a shell takes it"
    assert Path(run / "report.html").exists()
