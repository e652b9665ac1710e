"""What the runs behind a calibration add to what is validated, and what is said of the level they gave."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from scanner.prediction import load_weights
from scanner.prediction.crediting import covered, credited, of_level
from scanner.prediction.statements import SEVERITIES, Statement
from scanner.prediction.validated import CALIBRATION, LATER, LEFT_OUT, Transfer, Validated
from scanner.prediction.validity import Facts, Validity, judge
from scanner.settings import TrainingPlan

FIT = Validated(
    epochs=(1, 8), optimizer_steps=(128, 1024), dose_per_row=(0.8, 200), learning_rate=(3e-4, 3e-4),
    parameters=(4.2e6, 4.2e6), answer_tokens=(7, 90), mean_answer=(22, 66), methods=("full",), batchings=("random",),
    loss_averages=("token",), lr_schedules=("linear",), scripts=("Latin",), languages=("English",),
)  # fmt: skip
RUNS = Validated(
    epochs=(1, 3), optimizer_steps=(50, 150), dose_per_row=(0.1, 4), learning_rate=(2e-5, 2e-5),
    parameters=(1.35e8, 1.35e8), answer_tokens=(7, 150), mean_answer=(110, 110), methods=("lora",),
    batchings=("packed",), loss_averages=("row",), lr_schedules=("cosine",), scripts=("Han",),
    languages=("Chinese",),
)  # fmt: skip
PLAN = TrainingPlan(epochs=3, learning_rate=2e-5, method="lora", model_params=1.35e8, batching="packed",
                    loss_average="row", lr_schedule="cosine")  # fmt: skip
FACTS = Facts(np.full(300, 2.0), np.full(300, 40), pl.Series(["Han"] * 300), 150, mean_answer=105.0)
GOOD = Transfer(CALIBRATION, LEFT_OUT, 300, 30, 28.9, 0.98, standard_error=3.0)
BARE = replace(load_weights(), validated=FIT)


def after(*tests: Transfer, runs: Validated = RUNS):
    return replace(BARE, rehearsed=replace(runs, tested=tests))


def about(found: Validity, topic: str) -> tuple[str, str]:
    return next((s.severity, s.text) for s in found.statements if s.topic == topic)


def test_the_very_base_and_plan_that_were_rehearsed_are_inside():
    alone, found = judge(PLAN, BARE, FACTS), judge(PLAN, after(GOOD), FACTS)
    assert alone.severity == "order"
    assert found.severity == "inside"
    assert found.rows_outside == {"dose": 0, "script": 0}
    for topic, said in (
        ("method", "LoRA of rank 16"),
        ("batching", "Packed batches"),
        ("Han script", "Chinese (300 rows)"),
        ("model size", "Model size (135 M; trained and measured were 4.2 M to 135 M)"),
        ("learning rate", "Learning rate 2e-05 (validated 2e-05 to 0.0003)"),
        ("answer length", "Answers up to 150 tokens"),
    ):
        assert about(alone, topic)[0] != "inside"
        assert about(found, topic) == (
            "inside",
            f"{said}: within what the runs behind the calibration went through; the shipped weights alone were not "
            "fitted there.",
        )
    assert about(found, "calibration") == (
        "inside",
        "Rows of its own runs, predicted by a level that was fitted on the others: 28.9 of 300 rows predicted, 30 "
        "recited, AUROC 0.980: order and number held.",
    )


def test_what_neither_the_fit_nor_the_runs_saw_stays_outside():
    found = judge(replace(PLAN, epochs=16, learning_rate=3e-3), after(GOOD), FACTS)
    assert about(found, "epochs")[0] == "count"
    assert about(found, "learning rate")[0] == "count"
    assert about(found, "method")[0] == "inside"
    elsewhere = judge(PLAN, after(GOOD), replace(FACTS, script=pl.Series(["Arabic"] * 300)))
    assert about(elsewhere, "Arabic script")[0] == "order"


@pytest.mark.parametrize(
    ("test", "severity", "ending"),
    [
        (replace(GOOD, recited_rows=9, expected_rows=9.0), "note",
         "too few to tell whether the number holds, so the calibration widens nothing of what is validated."),
        (replace(GOOD, auroc=0.7), "order", "the order of the rows did not hold."),
        (replace(GOOD, expected_rows=38.0), "count", "order and number did not both hold; the order did."),
        (replace(GOOD, expected_rows=37.0), "inside", "order and number held."),  # within 25 %
        (replace(GOOD, expected_rows=38.0, standard_error=4.5), "inside", "order and number held."),
        (replace(GOOD, recited_rows=0, expected_rows=0.5, auroc=math.nan), "note",
         "0.5 of 300 rows predicted, 0 recited: too few to tell whether the number holds, so the calibration widens "
         "nothing of what is validated."),
    ],
)  # fmt: skip
def test_the_level_is_judged_by_its_own_test(test, severity, ending):
    seen, text = about(judge(PLAN, after(test), FACTS), "calibration")
    assert seen == severity
    assert text.endswith(ending)
    assert (covered(after(test)) == FIT) == (test.recited_rows < 10)


def test_a_plan_that_trains_longer_hears_how_later_epochs_were_foretold():
    longer = replace(PLAN, epochs=6)
    later = Transfer(CALIBRATION, LATER, 300, 30, 26.0, 0.98, standard_error=3.0)
    assert [s.topic for s in of_level(PLAN, after(GOOD, later))] == [CALIBRATION]
    _, told = of_level(longer, after(GOOD, later))
    assert (told.severity, told.text) == (
        "note",
        "The plan trains for 6 epochs, the runs behind the calibration for 3; their last epoch, foretold from the "
        "first ones: 26.0 rows predicted, 30 recited: the number held.",
    )
    _, wrong = of_level(longer, after(GOOD, replace(later, expected_rows=12.0)))
    assert wrong.severity == "count"
    assert wrong.text.endswith("30 recited: the number did not hold, so that of the plan is a guess.")
    _, few = of_level(longer, after(GOOD, replace(later, expected_rows=0.0, recited_rows=0)))
    assert few.severity == "note"
    assert few.text.endswith("0.0 rows predicted, 0 recited: too few to tell whether the number holds.")
    _, untried = of_level(longer, after(GOOD))
    assert (untried.severity, untried.text.split(": ")[1]) == (
        "note",
        "how far their level holds after that was not tried.",
    )


@pytest.mark.parametrize(
    ("rate", "parameters", "method", "severity"),
    [(1e-3, 4.5e6, "full", "count"), (6e-4, 4.4e6, "full", "note"), (1e-3, 4.5e6, "lora", "note"),
     (2e-4, 1.35e8, "full", "count"), (5e-5, 1.35e8, "full", "note")],
)  # fmt: skip
def test_a_level_read_on_fewer_epochs_at_a_high_rate_is_a_guess(rate, parameters, method, severity):
    """1e-3 on the base of the fit, and what is as large a step on a larger one; adapters have rates of their own."""
    later = Transfer(CALIBRATION, LATER, 300, 30, 29.0, 0.98, standard_error=3.0)
    runs = replace(RUNS, learning_rate=(rate, rate), parameters=(parameters, parameters), methods=(method,))
    plan = TrainingPlan(epochs=6, learning_rate=rate, method=method, model_params=parameters)
    _, told = of_level(plan, after(GOOD, later, runs=runs))
    assert (told.topic, told.severity) == (LATER, severity)
    assert ("rather too small. Rehearse as many epochs as the plan has" in told.text) == (severity == "count")
    assert [s.topic for s in of_level(replace(plan, epochs=3), after(GOOD, later, runs=runs))] == [CALIBRATION]


def test_a_file_of_before_it_was_recorded_changes_nothing():
    old = replace(BARE, rehearsed=Validated())
    assert covered(old) == covered(BARE) == FIT
    assert not list(of_level(PLAN, old))
    assert not list(of_level(PLAN, BARE))
    assert judge(PLAN, old, FACTS) == judge(PLAN, BARE, FACTS)


def test_what_was_inside_before_gives_the_calibration_no_credit():
    for now, before, changed in (("inside", "count", True), ("note", "order", True), ("inside", "inside", False),
                                 ("count", "order", False)):  # fmt: skip
        said, shipped = (Statement("t", severity, "a thing", "text") for severity in (now, before))
        assert (credited(said, shipped).text != "text") == changed
        assert credited(said, shipped).severity in SEVERITIES
