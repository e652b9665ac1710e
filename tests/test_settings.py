"""Settings: defaults, round trip, messages, scan.toml."""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError, fields, replace
from pathlib import Path

import pytest

from scanner.errors import SettingsError
from scanner.settings import Settings, TrainingPlan, model_size, read_settings_file, settings_for


def test_defaults_round_trip_through_json():
    settings = Settings()
    assert Settings.from_dict(json.loads(json.dumps(settings.as_dict()))) == settings


def test_every_kind_of_value_round_trips():
    plan = TrainingPlan(
        epochs=1.5, method="lora", model_params=7e9, batch_tokens=4096, batching="packed",
        source_weight=(("a.jsonl", 0.5), ("b", 2.0)), goldfish_k=4,
    )  # fmt: skip
    settings = Settings(rules=(Path("r1"), Path("r2")), tokenizer=Path("t/tokenizer.json"), layout="pair", plan=plan)
    assert Settings.from_dict(json.loads(json.dumps(settings.as_dict()))) == settings


def test_settings_are_frozen():
    with pytest.raises(FrozenInstanceError):
        Settings().jaccard = 0.9  # type: ignore[misc]


def test_changed_sends_names_of_the_plan_to_the_plan():
    changed = Settings().changed(jaccard=0.9, epochs=7.0)
    assert (changed.jaccard, changed.plan.epochs) == (0.9, 7.0)
    assert Settings().plan.epochs == 3.0


def test_a_plan_that_names_no_size_takes_that_of_the_base():
    assert Settings().sized(22_800).plan == replace(TrainingPlan(), model_params=22_800.0)
    named = Settings().changed(model_params=7e9)
    assert named.sized(22_800) == named


def test_no_name_stands_in_both():
    assert not {f.name for f in fields(Settings)} & {f.name for f in fields(TrainingPlan)}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"jaccard": 1.2}, r"--jaccard is 1\.2; it must lie between 0 and 1"),
        ({"cosine": math.nan}, "--cosine is nan"),
        ({"max_removal_share": -0.1}, "--max-removal-share is -0.1"),
        ({"floor": 0.9}, r"--floor is 0\.9, above --jaccard 0\.8; .* choose a floor at or below"),
        ({"recall": 1.0}, "--recall must be below 1"),
        ({"confirm_limit": 1.5}, r"--confirm-limit is 1\.5; it must lie between 0 and 1"),
        ({"confirm_limit": 0.5}, r"--confirm-limit is 0\.5; it bounds what --confirm-recall reads, which was not"),
        ({"confirm_recall": 0.95}, "--confirm-recall is the share of a model's pairs to find: name it with"),
        (
            {"confirm_recall": 1, "confirm_with": "minilm"},
            r"--confirm-recall is 1; it must lie between 0 and 1, such as 0\.95: .* --confirm-share 1 reads all",
        ),
        ({"confirm_recall": math.nan, "confirm_with": "minilm"}, "--confirm-recall is nan; it must lie between"),
        (
            {"confirm_recall": 0.9, "confirm_with": "minilm", "confirm_share": 0.3, "confirm_limit": 0.2},
            r"--confirm-limit is 0\.2, below --confirm-share 0\.3; that share is read first",
        ),
        ({"supervise": "first"}, "--supervise is 'first'; it must be one of all-assistant, last, everything"),
        ({"text": "raw"}, "--text is 'raw'; it must be one of masked, none, full"),
        ({"keep_policy": "newest"}, "--keep-policy is 'newest'; it must be one of best, first, longest"),
        ({"shingle": 0}, "--shingle is 0; it must be at least 1"),
        ({"shingle": 65}, "--shingle is 65; it must be at most 64"),
        ({"permutations": 4}, "--permutations is 4; it must be at least 8"),
        ({"span_tokens": 9}, "--span-tokens is 9; it must be at least 10, or 0 to look for no repeated passages"),
        ({"neighbours": 1}, "--neighbours is 1"),
        ({"neighbours": 1001}, "--neighbours is 1,001; it must be at most 1,000"),
        ({"threads": 10**30}, "--threads is 1,000,000,.*; it must be at most 1,024"),
        ({"max_length": 10**30}, "--max-length is 1,000,000,.*; it must be at most 2,147,483,647"),
        ({"span_tokens": 2**31}, "--span-tokens is 2,147,483,648; it must be at most 2,147,483,647"),
        ({"batch_tokens": 2**31}, "--batch-tokens is 2,147,483,648; it must be at most 2,147,483,647"),
        ({"threads": -1}, "--threads is -1; it must be at least 0"),
        ({"epochs": -1}, "--epochs is -1; it must be at least 0"),
        ({"seed": -5}, "--seed is -5; it must be at least 0"),
        ({"epochs": 1e12}, r"--epochs is 1e\+12; it must be at most 10,000: each is simulated"),
        ({"epochs": math.inf}, "--epochs is infinite; it must be a number"),
        ({"max_length": 0}, "--max-length is 0; it must be at least 1"),
        ({"model_params": -7e9}, "--model-params is -7000000000.0; it must be at least 1000"),
        ({"model_params": 7}, "--model-params is 7; it must be at least 1000: parameters, such as 350M or 7B"),
        ({"learning_rate": math.inf}, "--learning-rate is infinite; it must be a number"),
        ({"epochs": math.nan}, "--epochs is nan"),
        ({"batching": "sorted"}, "--batching is 'sorted'; it must be one of random, length-grouped, packed, wrapped"),
        ({"loss_average": "batch"}, "--loss-average is 'batch'; it must be one of token, micro-batch, row"),
        ({"method": "qlora"}, "--method is 'qlora'; it must be one of full, lora"),
        ({"lr_schedule": "step"}, "--lr-schedule is 'step'; it must be one of linear, cosine, constant"),
        ({"source_weight": (("a", 1.0), ("b", -1.0))}, r"--source-weight b is -1\.0; it must be at least 0"),
        ({"source_weight": (("a", math.nan),)}, "--source-weight a is nan; it must be at least 0"),
        ({"source_weight": (("a", math.inf),)}, "--source-weight a is infinite; it must be a number"),
        ({"warmup": -0.1}, "--warmup is -0.1; it must be at least 0"),
        ({"warmup": 100}, "--warmup is 100; it is a share of the steps, from 0 to 1"),
        ({"loss_average": "micro-batch"}, "needs the rows of one: give --micro-batch ROWS"),
        ({"micro_batch": 0}, "--micro-batch is 0"),
        ({"devices": 0}, "--devices is 0"),
        ({"drop_last": "rows"}, "--drop-last is 'rows'; it must be one of none, micro-batch, step"),
        ({"devices": 3, "micro_batch": 2}, "--batch-size is 16; 3 devices x micro-batches of 2 rows make steps of a"),
        ({"batch_size": 0}, "--batch-size is 0; it must be at least 1"),
        ({"batch_tokens": 0}, "--batch-tokens is 0; it must be at least 1"),
        ({"lora_rank": 0, "method": "lora"}, "--lora-rank is 0"),
        ({"lora_rank": 8}, "--lora-rank is 8, and the plan is one of full fine-tuning; give --method lora"),
    ],
)
def test_senseless_values_are_refused_with_what_to_do(values, message):
    with pytest.raises(SettingsError, match=message) as error:
        Settings().changed(**values)
    assert error.value.exit_code == 2


def test_steps_given_in_rows_are_counted_in_rows_again(tmp_path):
    tokens = Settings().changed(batch_tokens=4096)
    assert tokens.changed(batch_size=8).plan.batch_tokens is None
    assert tokens.changed(epochs=2).plan.batch_tokens == 4096
    assert tokens.changed(batch_size=8, batch_tokens=64).plan.batch_tokens == 64
    (tmp_path / "scan.toml").write_text("batch-tokens = 4096\nbatch-size = 4")
    named = [settings_for([str(tmp_path / "d.jsonl")], options).plan for options in ({}, {"batch_size": 8})]
    assert [(plan.batch_size, plan.batch_tokens) for plan in named] == [(4, 4096), (8, None)]


def test_a_rank_is_taken_where_the_plan_is_lora():
    lora = Settings().changed(method="lora")
    assert lora.changed(lora_rank=8).plan.lora_rank == 8
    assert Settings().changed(lora_rank=8, method="full").plan.method == "full"


def test_a_stored_setting_of_another_version_is_named():
    values = Settings().as_dict()
    with pytest.raises(SettingsError, match="settings: unknown entries colour"):
        Settings.from_dict({**values, "colour": 1})
    with pytest.raises(SettingsError, match="plan: unknown entries momentum"):
        Settings.from_dict({**values, "plan": {**values["plan"], "momentum": 1}})


@pytest.mark.parametrize(
    ("text", "parameters"),
    [
        ("7B", 7e9), ("350M", 350e6), ("1.5b", 1.5e9), ("4e6", 4e6), ("7_000_000", 7e6), ("7,000,000", 7e6),
        ("70 B", 70e9), (" 135m ", 135e6), ("1T", 1e12), ("7e9", 7e9), (".5B", 5e8), ("600k", 6e5), ("-7e9", -7e9),
    ],
)  # fmt: skip
def test_a_size_is_read_as_people_write_it(tmp_path, text, parameters):
    assert model_size(text) == pytest.approx(parameters, rel=1e-12)
    assert written(tmp_path, f'model-params = "{text}"')["model_params"] == model_size(text)


@pytest.mark.parametrize("text", ["", "big", "7G", "8x7B", "1,5B", "7BB", "inf", "nan", "0x10", "Llama-7B"])
def test_what_is_no_size_is_refused_with_what_to_write(tmp_path, text):
    with pytest.raises(SettingsError, match=r"--model-params is .*; expected the parameters .*: 350M, 1\.5B, 7e9 or"):
        model_size(text)
    with pytest.raises(SettingsError, match=r"scan\.toml: model_params is .*; expected the parameters"):
        written(tmp_path, f'model-params = "{text}"')


def written(tmp_path, text):
    path = tmp_path / "scan.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_settings_file(path)


def test_a_file_may_hold_any_option_with_dashes_or_underscores(tmp_path):
    values = written(
        tmp_path,
        """
        jaccard = 0.7
        batch-size = 8
        max_removal_share = 1
        epochs = 2
        redact = false
        model-params = 7e9
        batching = "length-grouped"
        rules = ["mine", "yours"]
        tokenizer = "tok"
        source-weight = { "a.jsonl" = 0.5, b = 2 }
        """,
    )
    settings = Settings().changed(**values)
    assert (settings.jaccard, settings.max_removal_share, settings.redact) == (0.7, 1, False)
    assert (settings.plan.batch_size, settings.plan.epochs, settings.plan.batching) == (8, 2, "length-grouped")
    assert settings.rules == (Path("mine"), Path("yours"))
    assert settings.tokenizer == Path("tok")
    assert settings.plan.source_weight == (("a.jsonl", 0.5), ("b", 2.0))
    assert Settings.from_dict(settings.as_dict()) == settings


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path):
    """As Notepad writes one."""
    assert written(tmp_path, "\ufeffepochs = 4") == {"epochs": 4.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("jaccard = ", r"scan\.toml: not readable as TOML"),
        (b"\xff\xfe", r"scan\.toml: not readable as TOML"),
        ("jacard = 0.7\ncolour = 1", r"scan\.toml: unknown entries colour, jacard; known are .* mean 'jaccard'\?"),
        ('jaccard = "high"', r"scan\.toml: jaccard is text, expected a number"),
        ("jaccard = true", r"scan\.toml: jaccard is true or false, expected a number"),
        ("batch-size = 1.5", r"scan\.toml: batch_size is a number, expected a whole number"),
        ("redact = 1", r"scan\.toml: redact is a whole number, expected true or false"),
        ("layout = 3", r"scan\.toml: layout is a whole number, expected text"),
        ('rules = "mine"', r"scan\.toml: rules is text, expected a list of texts"),
        ("source-weight = 2", r"scan\.toml: source_weight is a whole number, expected a table of numbers"),
        ("plan = { epochs = 2 }", r"scan\.toml: unknown entries plan"),
        ('fail-on = "low"', r"scan\.toml: fail_on cannot stand in a file; say --fail-on on the command line"),
        ("semantic = true\nno-semantic = true", r"scan\.toml: --semantic is said twice; leave one of the entries out"),
        ("leave-unread = 1", r"scan\.toml: redact_unread is a whole number, expected true or false"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused(tmp_path, text, message):
    with pytest.raises(SettingsError, match=message):
        written(tmp_path, text)


def test_a_file_calls_options_as_the_command_line_does(tmp_path):
    text = 'eval = ["gsm8k.jsonl"]\nno-semantic = true\nleave-unread = true\nno-header = true\nno-redact = false'
    assert written(tmp_path, text) == {
        "evaluation": (Path("gsm8k.jsonl"),), "semantic": False, "redact_unread": False, "header": False, "redact": True
    }  # fmt: skip


def test_settings_of_reading_are_all_that_shape_records_and_nothing_else():
    every = Settings(layout="pair", prompt_field="a", response_field="b", header=False, supervise="last", jaccard=0.9)
    assert every.of_reading() == replace(every, jaccard=0.8)
