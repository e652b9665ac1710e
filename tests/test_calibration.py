"""A calibration file: written and read again, merged or refused, and what it says of plans it does not fit."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.errors import SettingsError
from scanner.prediction import load_weights
from scanner.prediction.calibration import toml, version
from scanner.prediction.carrying import PLAN_SD, to_plan
from scanner.prediction.hazard import load_weights as load_shipped
from scanner.prediction.validated import Validated
from scanner.settings import TrainingPlan

SHIPPED = load_shipped()
PLAN = TrainingPlan(model_params=5e6)


def tables(**level) -> dict:
    """A calibration of a model of 5 M parameters."""
    return {
        "kind": "calibration",
        "id": "calibration/mine",
        "level": {
            "fitted": "offset", "offset": -0.75, "offset_sd": 0.2, "dose_factor": 1.0, "log_factor_sd": 0.0,
            "offset_step": 0.2, "log_factor_step": 0.0, **level,
        },
        "weights": {"id": "weights/prediction", "version": version(SHIPPED), "date": "2026-11-21"},
        "base": {"name": "mine", "parameters": 5e6, "method": "full", "lora_rank": 0, "token_unit": "own"},
        "fitted_on": {
            "date": "2026-11-30", "rows": 200, "epochs": [1, 2, 4], "runs": ["d.scan/mine-0"],
            "plans": ["4 epochs at 0.0003, random batches of 8 rows"], "batchings": ["random"],
            "loss_averages": ["token"],
        },
        "evaluation": {"how": "somehow", "ahead": {"true_rows": 3}},
    }  # fmt: skip


@pytest.fixture
def file(tmp_path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(toml(tables()))
    return path


PLAIN = st.one_of(
    st.booleans(), st.integers(-(10**9), 10**9), st.text(max_size=12),
    st.floats(allow_nan=False, allow_infinity=False, width=16), st.lists(st.integers(0, 9), max_size=3),
)  # fmt: skip
TABLE = st.dictionaries(st.sampled_from(["a", "b_c", "d"]), PLAIN, max_size=3)


@given(TABLE, TABLE)
def test_what_is_written_is_read_again(plain, table):
    read = tomllib.loads(toml({**plain, "table": {**table, "inner": table}}))
    for seen, written in ((read, plain), (read["table"], table), (read["table"]["inner"], table)):
        for name, value in written.items():
            assert seen[name] == (pytest.approx(value, rel=1e-5) if isinstance(value, float) else value)
    assert read["table"]["inner"].keys() == table.keys()


def test_merged_into_the_shipped_weights(file):
    weights = load_weights(calibration=file, plan=PLAN)
    assert weights.calibrated
    assert (weights.priors.offset, weights.priors.offset_sd, weights.dose_factor) == (-0.75, 0.2, 1.0)
    assert weights.hazard == SHIPPED.hazard
    told = weights.provenance["calibration"]
    assert told["on"] == (
        "mine (5 M parameters, full fine-tuning): 200 rows measured at epochs 1, 2 and 4 of d.scan/mine-0 "
        "(4 epochs at 0.0003, random batches of 8 rows; 2026-11-30)"
    )
    assert not told["mismatch"]


def test_a_plan_that_names_no_size_means_the_base(file):
    unnamed, named = TrainingPlan(), PLAN
    weights = load_weights(calibration=file, plan=unnamed)
    assert weights.calibrated
    assert weights.strength(unnamed) == weights.strength(named)


def test_a_dose_factor_strengthens_every_visit(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text(toml(tables(fitted="offset and dose factor", dose_factor=0.5, log_factor_step=-0.1)))
    weights = load_weights(calibration=path, plan=PLAN)
    assert weights.strength(PLAN) == pytest.approx(0.5 * SHIPPED.strength(PLAN))
    assert weights.log_factor_step == -0.1


@pytest.mark.parametrize(
    ("plan", "unit", "said"),
    [
        (replace(PLAN, method="lora"), "own", "the plan names LoRA"),
        (replace(PLAN, model_params=7e9), "own", "the plan names a model of 7 B parameters"),
        (PLAN, "tokenizer.json", "the plan names another unit of tokens (--tokenizer)"),
    ],
)
def test_another_base_is_not_calibrated(file, plan, unit, said):
    weights = load_weights(calibration=file, plan=plan, token_unit=unit)
    assert not weights.calibrated
    assert weights.priors == SHIPPED.priors
    assert weights.provenance["calibration"]["mismatch"] == (
        f"calibrated on mine (5 M parameters, full fine-tuning); {said}: not calibrated for it"
    )


def test_a_base_of_the_same_size_with_other_weights_is_another_one(tmp_path, file):
    values = tables()
    values["base"] |= {"fingerprint": "a" * 16}
    path = tmp_path / "c.toml"
    path.write_text(toml(values))
    assert load_weights(calibration=path, plan=PLAN, mark="a" * 16).calibrated
    assert load_weights(calibration=path, plan=PLAN).calibrated, "without --base nobody knows"
    assert load_weights(calibration=file, plan=PLAN, mark="b" * 16).calibrated, "files of before do not know"
    other = load_weights(calibration=path, plan=PLAN, mark="b" * 16)
    assert not other.calibrated
    assert other.provenance["calibration"]["mismatch"] == (
        "calibrated on mine (5 M parameters, full fine-tuning); the plan names a base of that size with other weights "
        "(--base): not calibrated for it"
    )


def test_another_rank_is_another_tuning(tmp_path):
    values = tables()
    values["base"] |= {"method": "lora", "lora_rank": 8}
    path = tmp_path / "c.toml"
    path.write_text(toml(values))
    assert load_weights(calibration=path, plan=replace(PLAN, method="lora", lora_rank=8)).calibrated
    other = load_weights(calibration=path, plan=replace(PLAN, method="lora", lora_rank=64))
    assert (
        "mine (5 M parameters, LoRA of rank 8); the plan names LoRA of rank 64"
        in (other.provenance["calibration"]["mismatch"])
    )


def test_other_batches_make_the_level_less_sure_and_are_told(file):
    plan = replace(PLAN, batching="length-grouped")
    weights = load_weights(calibration=file, plan=plan)
    assert weights.calibrated
    assert to_plan(plan, weights).sd == PLAN_SD
    assert weights.provenance["calibration"]["plan"] == (
        "measured under random batches averaged per token; under the plan's (length-grouped, per token) the level is "
        "less sure"
    )
    as_rehearsed = load_weights(calibration=file, plan=PLAN)
    assert to_plan(PLAN, as_rehearsed).sd == 0
    assert "plan" not in as_rehearsed.provenance["calibration"]


def test_what_its_own_test_missed_widens_the_doubt(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(toml(tables(log_factor_step=0.1, misfit=1.5, misfit_later=4.0)))
    for epochs, times in ((2, 1.5), (4, 1.5), (5, 4.0)):  # it was rehearsed for four epochs
        found = load_weights(calibration=path, plan=replace(PLAN, epochs=epochs))
        assert (found.priors.offset_sd, found.log_factor_step) == pytest.approx((0.2 * times, 0.1 * times))


def test_how_far_it_was_trained_where_the_level_was_read_goes_with_the_weights(tmp_path):
    path = tmp_path / "mine.toml"
    for entry, found in (({"read_at": 6.5}, 6.5), ({}, None)):  # files of before it was recorded
        path.write_text(toml(tables(**entry)))
        assert load_weights(calibration=path, plan=PLAN).read_at == found
        assert load_weights(calibration=path, plan=replace(PLAN, model_params=1e8)).read_at is None


def test_its_test_and_what_it_covers_go_with_the_weights(tmp_path):
    values = tables()
    values["evaluation"] |= {"on": "200 rows", "bins": [[0.1, 0.25, 40, 0.1, 0.4]], "calibration_error": 0.02}
    runs = Validated(
        epochs=(1, 4), parameters=(5e6, 5e6), methods=("full",), batchings=("random",), loss_averages=("token",)
    )
    path = tmp_path / "mine.toml"
    path.write_text(toml(values, runs))
    found = load_weights(calibration=path, plan=PLAN)
    assert found.rehearsed == runs
    assert found.validated == SHIPPED.validated
    assert found.provenance["evaluation"] == {
        "on": "200 rows", "bins": [{"predicted": 0.1, "observed": 0.25, "rows": 40, "low": 0.1, "high": 0.4}],
        "calibration_error": 0.02, "calibration_error_by_chance": None, "ahead": {},
    }  # fmt: skip
    other = load_weights(calibration=path, plan=replace(PLAN, model_params=7e9))
    assert other.rehearsed is None
    assert "evaluation" not in other.provenance


def both(**level) -> dict:
    """A calibration with a level for predictions with the base's own losses."""
    known = load_shipped(with_base=True)
    beside = tables(offset=0.4, offset_step=0.3, **level)
    beside["weights"]["version"] = version(known)
    beside["evaluation"]["caution"] = "beside"
    return {**tables(), "format": 2, "with_base": {k: beside[k] for k in ("level", "weights", "evaluation")}}


def test_an_audit_takes_the_level_that_is_made_like_its_prediction(tmp_path):
    path = tmp_path / "mine.toml"
    runs = [Validated(epochs=(1, e), batchings=("random",), loss_averages=("token",)) for e in (4, 5)]
    path.write_text(toml(both(), *runs))
    plain, known = (load_weights(calibration=path, plan=PLAN, with_base=it) for it in (False, True))
    assert (plain.priors.offset, known.priors.offset) == (-0.75, 0.4)
    assert (plain.with_base, known.with_base) == (False, True)
    assert plain.calibrated
    assert known.calibrated
    assert known.hazard == load_shipped(with_base=True).hazard
    assert [plain.rehearsed, known.rehearsed] == runs
    told = [w.provenance["calibration"] for w in (plain, known)]
    assert [t["with_base"] for t in told] == [False, True]
    assert [t["caution"] for t in told] == ["", "beside"]


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (tables(), "it is of a version that fitted nothing else"),
        ({**tables(), "format": 2, "with_base": {"missing": "the dog ate it"}}, "the dog ate it"),
    ],
)
def test_a_level_that_is_missing_is_told(tmp_path, values, why):
    path = tmp_path / "mine.toml"
    path.write_text(toml(values))
    assert load_weights(calibration=path, plan=PLAN).calibrated
    known = load_weights(calibration=path, plan=PLAN, with_base=True)
    assert not known.calibrated
    assert known.dose_factor == load_weights(plan=PLAN, with_base=True).dose_factor
    assert known.provenance["calibration"]["mismatch"] == (
        f"calibrated on mine (5 M parameters, full fine-tuning) with the table of general text alone, for {why}; this "
        "audit predicts with the base's own losses (--base), by other weights: not calibrated for them; calibrate "
        "again, or leave --base out to use it"
    )


def test_few_recited_rows_leave_the_ends_open(tmp_path):
    path = tmp_path / "mine.toml"
    values = tables(offset_lower=-2.0, log_factor_lower=-0.6, offset_upper=0.0, log_factor_upper=0.1)
    path.write_text(toml(values))
    assert load_weights(calibration=path, plan=PLAN).ends == ((-2.0, -0.6), (0.0, 0.1))
    assert load_weights(plan=PLAN).ends is None


def test_the_version_changes_with_the_weights_and_not_with_the_level():
    moved = replace(SHIPPED, priors=replace(SHIPPED.priors, offset=3.0, offset_sd=0.1))
    assert version(moved) == version(SHIPPED)
    assert version(replace(SHIPPED, hazard=replace(SHIPPED.hazard, bias=0.0))) != version(SHIPPED)


def broken(change) -> str:
    values = tables()
    change(values)
    return toml(values)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind = ", "mine.toml: not readable as TOML"),
        ('kind = "calibration"\nformat = 3\n', "mine.toml: it is of format 3, expected 1 to 2; write it again with"),
        (broken(lambda v: v.update(with_base=1)), "with_base is int, expected a table"),
        (broken(lambda v: v.update(with_base={"level": {}})), "offset in [with_base.level] is missing, expected a"),
        (
            broken(lambda v: v["level"].update(offset_upper=1.0)),
            "offset_lower, log_factor_lower, offset_upper and log_factor_upper in [level] must be finite numbers, all",
        ),
        ('kind = "weights"\n', "it is no calibration (kind = 'weights'); write it again with `scan calibrate RUN -o"),
        ('kind = "calibration"\n', "mine.toml: it has no table [level]; write it again"),
        (broken(lambda v: v["level"].pop("offset")), "offset in [level] is missing, expected a finite number"),
        (broken(lambda v: v["level"].update(offset="x")), "offset in [level] is str, expected a finite number"),
        (broken(lambda v: v["fitted_on"].update(runs="x")), "runs in [fitted_on] is str, expected list"),
        (
            broken(lambda v: v["level"].update(misfit=0.5)),
            "misfit and misfit_later in [level] must be",
        ),
        (broken(lambda v: v["level"].update(read_at=-1.0)), "read_at in [level] must be a finite number of at least 0"),
        (
            broken(lambda v: v["evaluation"].update(bins=[[1, 2]])),
            "its bins lists of predicted, observed, rows",
        ),
        (broken(lambda v: v.update(evaluation=3)), "[evaluation] must be a table"),
        (broken(lambda v: v) + "epochs = 3\n", "--calibration mine.toml: [validated] epochs is 3; expected [smallest"),
        (broken(lambda v: v["level"].update(offset_sd=0)), "must be above 0 and offset_step not below"),
        (
            broken(lambda v: v["weights"].update(version="0123456789ab")),
            "it belongs to other weights (weights/prediction, version 0123456789ab; now "
            f"{version(SHIPPED)}), so its level means nothing here; calibrate again with "
            "`scan calibrate RUN -o mine.toml`",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_refused(file, text, said):
    file.write_text(text)
    with pytest.raises(SettingsError, match=re.escape(said)):
        load_weights(calibration=file)


def test_a_number_that_is_none_is_refused(file):
    file.write_text(file.read_text().replace("offset = -0.75", "offset = nan"))
    with pytest.raises(SettingsError, match=r"offset in \[level\] is float, expected a finite number"):
        load_weights(calibration=file)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(SettingsError, match=r"there is no such file; write one with `scan calibrate RUN -o FILE`"):
        load_weights(calibration=tmp_path / "no.toml")
