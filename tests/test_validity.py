"""What is said about how far a prediction can be trusted: golden sentences, laws, and the file it is read from."""

from __future__ import annotations

import tomllib
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.errors import RuleError
from scanner.figures import amount
from scanner.prediction import load_weights
from scanner.prediction.hazard import WEIGHTS
from scanner.prediction.statements import SEVERITIES, times, visits
from scanner.prediction.validated import KINDS, RANGES, Transfer, Validated, observed, read
from scanner.prediction.validity import Facts, Validity, judge, outside_of
from scanner.settings import TrainingPlan

KNOWN = Validated(
    epochs=(1, 8), optimizer_steps=(128, 1024), dose_per_row=(0.8, 200), learning_rate=(3e-4, 3e-4),
    parameters=(4.2e6, 4.2e6), answer_tokens=(7, 90), mean_answer=(22, 66), step_tokens=(250, 1400), methods=("full",),
    batchings=("random", "length-grouped"), loss_averages=("token",), lr_schedules=("constant",), scripts=("Latin",),
    languages=("English",),
)  # fmt: skip
WEIGHTS_HERE = replace(load_weights(), validated=KNOWN)
FITTED = TrainingPlan(epochs=4, learning_rate=3e-4, lr_schedule="constant", model_params=4.2e6)


def facts(n: int = 4000, other: int = 0, script: str = "Han", dose: float = 10.0, steps: float = 500, **more) -> Facts:
    scripts = ["Latin"] * (n - other) + [script] * other
    return Facts(np.full(n, dose), np.full(n, 40), pl.Series(scripts, dtype=pl.String), steps, **more)


def said(plan: TrainingPlan = FITTED, known: Validated = KNOWN, **data) -> Validity:
    return judge(plan, replace(WEIGHTS_HERE, validated=known), facts(**data))


def about(found: Validity, topic: str) -> tuple[str, str]:
    return next((s.severity, s.text) for s in found.statements if s.topic == topic)


def test_a_plan_like_the_fit_is_inside():
    found = said()
    assert found.severity == "note"
    assert [s.topic for s in found.statements if s.severity != "inside"] == ["Latin script"]
    assert about(found, "Latin script")[1] == (
        "4,000 of 4,000 rows are answered in Latin script, of which English is validated; other languages in it "
        "are not told apart."
    )
    assert found.rows_outside == {"dose": 0, "script": 0}


CARRIED = (
    "that was trained and measured (4.2 M). Beyond these sizes the number of rows is carried over by a rule of how "
    "fast models learn, and is a guess"
)
MEASURE = "measure it on your base (scan rehearse RUN --base PATH), and calibrate on that (scan calibrate)"
GOLDEN = [
    ({"model_params": 7e9}, "model size", "order",
     f"The plan's model has 7 B parameters, 1,670 times the largest {CARRIED}; the order of rows was never checked at "
     f"this size: {MEASURE}."),
    ({"model_params": 2e7}, "model size", "count",
     f"The plan's model has 20 M parameters, 4.8 times the largest {CARRIED}: {MEASURE}."),
    ({"model_params": None}, "model size", "order",
     f"The plan names no model size (--model-params); 1 B parameters are assumed, 238 times the largest {CARRIED}; "
     f"the order of rows was never checked at this size: {MEASURE}."),
    ({"model_params": 1e5}, "model size", "order",
     "The plan's model has 100 k parameters, the smallest has 42 times as many of those that were "
     f"{CARRIED.removeprefix('that was ')}; the order of rows was never checked at this size: {MEASURE}."),
    ({"method": "lora"}, "method", "order",
     "LoRA of rank 16 was never rehearsed for these weights: that a first visit is worth 0.25 of one under "
     "full fine-tuning, and that adapters hold 2.6 visits a text at most, comes from small rehearsals; the number of "
     "rows is a guess and their order was never checked."),
    ({"batching": "packed"}, "batching", "count",
     "Never rehearsed for these weights: packed batches. The dose follows from the simulated trainer; what it does "
     "was not measured, so the number of rows is a guess."),
    ({"lr_schedule": "cosine"}, "schedule", "note",
     "Never rehearsed for these weights: a cosine learning-rate schedule. The dose follows from the simulated trainer; "
     "what it does was not measured."),
    ({"goldfish_k": 4}, "goldfish loss", "count",
     "Never rehearsed for these weights: a goldfish loss. The dose follows from the simulated trainer; what it does "
     "was not measured, so the number of rows is a guess."),
    ({"goldfish_k": 3}, "goldfish loss", "count",
     "Never rehearsed for these weights: a goldfish loss of k = 3. The dose follows from the simulated trainer; what "
     "it does was not measured, so the number of rows is a guess."),
    ({"learning_rate": 2e-5}, "learning rate", "count",
     "The learning rate of 2e-05 is 15 times smaller than validated (0.0003): how a dose grows with it was not "
     "measured this far, so the number of rows is a guess."),
    ({"epochs": 12}, "epochs", "count",
     "12 epochs are 1.5 times the longest training validated (8): the number of rows is a guess."),
    ({"epochs": 40}, "epochs", "order",
     "40 epochs are 5 times the longest training validated (8): the number of rows is a guess; the order of rows was "
     "never checked after so many."),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "topic", "severity", "text"), GOLDEN, ids=[str(g[0]) for g in GOLDEN])
def test_plans_outside(changes, topic, severity, text):
    found = said(replace(FITTED, **changes))
    assert about(found, topic) == (severity, text)
    assert found.severity == severity
    assert found.statements[0].topic == topic


def test_rows_outside():
    found = said(other=1203)
    assert about(found, "Han script") == (
        "order",
        "Chinese rows (1,203 of 4,000): the weights were fitted on English; how many of these are recited is a guess, "
        "and their order was never checked.",
    )
    assert found.severity == "order"
    assert found.rows_outside == {"dose": 0, "script": 1203}
    few = said(other=3, script="Cyrillic")
    assert few.severity == "note", "three rows of 4,000 do not take the whole prediction out"
    assert few.statements[0].short == "Cyrillic script rows (3 of 4,000)"
    assert about(said(dose=1010.0), "dose") == (
        "count",
        "4,000 of 4,000 rows have a dose beyond the largest validated (200 visits; the largest here 1,010, counted as "
        "what they are worth to the plan's model and kind of tuning): for them the curve is extrapolated.",
    )
    assert about(said(steps=9753), "optimizer steps")[0] == "count"
    assert about(said(own_tokens=False), "tokenizer")[0] == "count"
    for order in ("source_by_source", "side_by_side"):
        assert about(said(**{order: True}), "order of the rows")[0] == said(**{order: True}).severity == "count"
    assert about(said(other=10, script="none"), "Latin script")[0] == "note"


def test_answers_of_another_length_on_average():
    assert [about(said(mean_answer=mean), "answer length")[0] for mean in (21, 72)] == ["inside", "inside"]
    assert about(said(mean_answer=19), "answer length")[0] == said(mean_answer=19).severity == "count"
    assert about(said(mean_answer=74), "answer length") == (
        "count",
        "Rows have 74 answer tokens on average, all turns together; validated: 22 to 66. The more a step has to "
        "teach, the fewer rows are recited, and how many beyond these lengths is extrapolated: the number of rows "
        "is a guess.",
    )
    assert "Rows have 1 answer token on average" in about(said(mean_answer=1.0), "answer length")[1]
    bare = replace(KNOWN, mean_answer=None)
    assert about(said(known=bare, mean_answer=500), "answer length")[0] == "inside", "an earlier file has no such range"
    of_mean = Transfer("answer length", "110", 549, 60, 58.0, 0.98)
    held, failed = (replace(KNOWN, tested=(replace(of_mean, auroc=auroc),)) for auroc in (0.98, 0.6))
    assert about(said(known=held, mean_answer=118), "answer length")[0] == "inside"
    assert about(said(known=failed, mean_answer=118), "answer length")[0] == "count"


def test_longer_trainings_that_held_widen_the_range_of_steps():
    longer = Transfer("optimizer steps", "5800", 2800, 350, 330.0, 0.96)
    held, failed = (replace(KNOWN, tested=(replace(longer, expected_rows=rows),)) for rows in (330.0, 900.0))
    assert about(said(known=held, steps=8000), "optimizer steps") == (
        "inside", "The plan takes 8,000 optimizer steps; validated: up to 5,800.",
    )  # fmt: skip
    assert about(said(known=held, steps=9753), "optimizer steps")[0] == "count"
    assert about(said(known=failed, steps=8000), "optimizer steps")[0] == "count"


def test_steps_of_more_answer_tokens_than_any_that_were_fitted():
    assert about(said(step_tokens=480.0), "batch size") == (
        "inside",
        "An optimizer step holds 480 answer tokens on average; validated: 250 to 1,400.",
    )
    large = said(replace(FITTED, batch_size=128), step_tokens=5600.0)
    assert about(large, "batch size") == (
        "count",
        "An optimizer step holds 5,600 answer tokens on average, 4 times the most validated (250 to 1,400): what a "
        "visit is worth in such steps was not measured, so the number of rows is a guess.",
    )
    assert large.severity == "count"
    assert about(said(step_tokens=60_000.0), "batch size")[0] == "order"
    assert "fewer than the fewest validated (250 to 1,400)" in about(said(step_tokens=100.0), "batch size")[1]
    bare = replace(KNOWN, step_tokens=None)
    for nothing in (said(known=bare, step_tokens=60_000.0), said()):
        assert "batch size" not in [s.topic for s in nothing.statements], "an earlier file, or no step at all"


def test_what_was_tested_is_said_as_it_came_out():
    held = Transfer("method", "lora", 700, 60, 45.0, 0.93, 0.95)
    known = replace(KNOWN, tested=(held,))
    plan = replace(FITTED, method="lora")
    assert about(said(plan, known), "method") == (
        "count",
        "LoRA was tested and not fitted: 60 of 700 rows were recited, 45 predicted, AUROC 0.930, where "
        "another seed reaches 0.950: order and number held. That is the sum of nine trainings (ranks 8 to 64, rates "
        "3e-4 to 3e-3, one of them falling), each foretold from the other eight; single ones were off by threefold and "
        "more (5 rows foretold for 14, and for none), and rank told nothing that held: the number of rows is a guess.",
    )
    off = replace(known, tested=(held, replace(held, expected_rows=200.0)))
    assert about(said(plan, off), "method")[0] == "count", "the worst test of a kind counts"
    assert "the order held, the number did not. That is" in about(said(plan, off), "method")[1]
    wrong = replace(known, tested=(replace(held, auroc=0.7),))
    assert about(said(plan, wrong), "method")[0] == "order"
    few = replace(known, tested=(replace(held, recited_rows=4),))
    one = replace(known, tested=(replace(held, recited_rows=1),))
    assert "not fitted: 1 of 700 rows was recited, 45 predicted" in about(said(plan, one), "method")[1]
    told = replace(known, tested=(held, replace(held, recited_rows=4)))
    assert told.test_of(held.topic, held.value) == held  # four rows cannot tell otherwise
    assert "too few to say whether the order holds. That is" in about(said(plan, few), "method")[1]
    size = replace(KNOWN, tested=(replace(held, topic="parameters", value="1.2e8"),))
    assert about(said(replace(FITTED, model_params=1.35e8), size), "model size")[0] == "note"
    # what held at a tested size is validated up to there: the next is counted from it
    assert about(said(replace(FITTED, model_params=3e8), size), "model size") == (
        "count",
        f"The plan's model has 300 M parameters, 2.5 times the largest {CARRIED.replace('4.2 M', '4.2 M to 120 M')}: "
        f"{MEASURE}.",
    )
    missed = replace(size, tested=(replace(size.tested[0], expected_rows=10 * held.recited_rows),))
    assert about(said(replace(FITTED, model_params=3e8), missed), "model size")[0] == "order"
    chinese = replace(KNOWN, tested=(replace(held, topic="script", value="Han", auroc=0.6),))
    severity, text = about(said(known=chinese, other=1203), "Han script")
    assert severity == "order"
    assert text.startswith("Chinese rows (1,203 of 4,000): Chinese data was tested and not fitted: 60 of 700")


def test_nothing_recorded_is_nothing_validated():
    found = said(known=Validated())
    assert found.severity == "order"
    assert about(found, "dose")[1] == (
        "The weights file does not say which dose it was fitted on: nothing is validated."
    )
    assert judge(FITTED, WEIGHTS_HERE, facts(0)).rows == 0


def test_rows_by_themselves():
    dose, script = np.array([1.0, 300.0, 300.0, 1.0]), pl.Series(["Latin", "none", "Thai", "Kana"])
    assert outside_of(dose, script, KNOWN).to_list() == ["", "dose", "dose, script", "script"]


@given(st.floats(1e3, 1e13), st.floats(1, 1e3))
def test_further_away_is_never_better(size, factor):
    near, far = (
        SEVERITIES.index(about(said(replace(FITTED, model_params=4.2e6 * f)), "model size")[0])
        for f in (factor, factor * max(1.0, size / 1e3))
    )
    assert near <= far


def test_numbers_in_words():
    assert [amount(v) for v in (4.2e6, 1e9, 7e9, 1.24e11, 350e3, 999.9e6, 12)] == [
        "4.2 M", "1 B", "7 B", "124 B", "350 k", "1 B", "12"
    ]  # fmt: skip
    assert [times(v) for v in (1.53, 12.3, 236, 1649, 16_493)] == [
        "1.5 times", "12 times", "236 times", "1,650 times", "16,500 times"
    ]  # fmt: skip
    assert [visits(v) for v in (0.117, 3.42, 212.3, 1010.2)] == ["0.12", "3.4", "212", "1,010"]


LORA = {"topic": "method", "value": "lora", "rows": 7, "recited_rows": 1, "expected_rows": 1, "auroc": 1}
RANGE = st.one_of(st.none(), st.tuples(st.floats(0, 1e6), st.floats(1e6, 1e12)))
NAMES = st.lists(st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=8), max_size=3, unique=True)


@st.composite
def validated(draw) -> Validated:
    tests = st.builds(
        Transfer, topic=st.sampled_from(["method", "script"]), value=NAMES.map("".join), rows=st.integers(1, 999),
        recited_rows=st.integers(0, 999), expected_rows=st.integers(0, 999).map(float),
        auroc=st.sampled_from([0.5, 0.93]), ceiling=st.just(0.95),
    )  # fmt: skip
    rounded = {
        name: None if (r := draw(RANGE)) is None else (float(f"{r[0]:.6g}"), float(f"{r[1]:.6g}")) for name in RANGES
    }
    kinds = {name: tuple(draw(NAMES)) for name in KINDS}
    return Validated(**rounded, **kinds, tested=tuple(draw(st.lists(tests, max_size=2, unique=True))))


@given(validated(), validated())
def test_what_is_written_is_read_and_a_hull_holds_both(one, other):
    assert read(tomllib.loads(one.toml())["validated"], "x.toml") == one
    both = one.widened(other)
    assert both.widened(one) == both
    for name in RANGES:
        for part in (getattr(one, name), getattr(other, name)):
            if part is not None:
                assert getattr(both, name)[0] <= part[0] <= part[1] <= getattr(both, name)[1]
    for name in KINDS:
        assert set(getattr(one, name)) | set(getattr(other, name)) == set(getattr(both, name))


def test_a_run_says_what_it_validates():
    plan = replace(FITTED, batching="packed", loss_average="row")
    found = observed(plan, (1, 8), (128, 1024), np.arange(1.0, 102.0), np.arange(10, 30), 41.5, 332.0, 4.2e6,
                     ("Han",), ("Chinese",))  # fmt: skip
    assert found.mean_answer == (41.5, 41.5)
    assert found.step_tokens == (332.0, 332.0)
    assert found.dose_per_row == pytest.approx((2, 100)), "the rarest hundredth at each end makes no range"
    assert (found.batchings, found.loss_averages, found.scripts) == (("packed",), ("row",), ("Han",))
    assert found.parameters == (4.2e6, 4.2e6)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"epoch": [1, 2]}, r"w.toml: \[validated\] has unknown epoch; known are answer_tokens, batchings"),
        ({"epochs": [2, 1]}, r"w.toml: \[validated\] epochs is \[2, 1\]; expected \[smallest, largest\]"),
        ({"epochs": 8}, r"epochs is 8; expected \[smallest, largest\]"),
        ({"methods": "full"}, r"methods is 'full'; expected a list of texts"),
        ("all", r"w.toml: validated is str, expected a table"),
        ({"tested": [{"topic": "method"}]}, r"\[\[validated.tested\]\] has topic; expected topic, value, rows"),
        ({"tested": [{**LORA, "rows": "7"}]},
         r"\[\[validated.tested\]\] of 'lora': rows, recited_rows, expected_rows, auroc, ceiling, standard_error are"),
    ],
)  # fmt: skip
def test_a_broken_table_is_refused(table, message):
    with pytest.raises(RuleError, match=message):
        read(table, "w.toml")


def test_the_shipped_weights_say_where_they_were_fitted():
    shipped = load_weights().validated
    text = WEIGHTS.read_text("utf-8")
    assert "[validated]" in text
    assert read(tomllib.loads(shipped.toml())["validated"], "again") == shipped
    assert shipped.epochs is not None
    assert shipped.parameters is not None
    assert shipped.scripts
    assert shipped.methods


def test_one_row_and_one_epoch_are_told_as_one():
    found = said(replace(FITTED, epochs=1), n=1, mean_answer=1.2)
    assert about(found, "epochs")[1] == "The plan has 1 epoch; validated: up to 8."
    assert about(found, "Latin script")[1].startswith("1 of 1 row is answered in Latin script")
    assert "1 answer token on average" in about(found, "answer length")[1]
