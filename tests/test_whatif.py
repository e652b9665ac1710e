"""The prediction for other plans: sums over the sample equal the whole, and what goes is gone."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_rows import LENGTHS, PLAN, SHIPPED, Predicted, Rows, run

from scanner import pipeline, projecting
from scanner.prediction import EXTRACTED, Conflicts, Regime, predict, turn_tails, whatif
from scanner.settings import BATCHINGS, Settings, TrainingPlan

# the level's own doubt is wide; here it is held still where only sums are compared
SURE = replace(SHIPPED, log_factor_step=0.0)


def test_the_curve_grows_with_epochs_and_passes_through_the_prediction():
    one = Predicted(LENGTHS)
    table = one.curve()
    assert table.schema == whatif.SCHEMA
    assert table["epochs"].to_list() == [PLAN.epochs * f for f in whatif.EPOCH_FACTORS]
    assert table["expected_rows"].is_sorted()
    assert table["mean_tokens"].is_sorted()
    assert table["q99_tokens"].is_sorted()
    planned = table.filter(pl.col("epochs") == PLAN.epochs).row(0, named=True)
    assert planned["expected_rows"] == pytest.approx(np.nansum(one.result.p_extract))
    long = ~np.isnan(one.result.p_extract)
    assert planned["mean_tokens"] == pytest.approx(one.result.expected_tokens[long].mean())
    assert ((table["low"] <= table["expected_rows"]) & (table["expected_rows"] <= table["high"])).all()
    assert (table["high"] <= sum(length >= EXTRACTED for length in LENGTHS)).all()
    none = run(plan=replace(PLAN, epochs=0))
    assert table["expected_rows"][0] == pytest.approx(np.nansum(none.p_extract))


def test_no_epochs_make_one_line():
    one = Predicted(LENGTHS, plan=replace(PLAN, epochs=0))
    assert one.curve()["epochs"].to_list() == [0.0]
    others = whatif.variants(one.sample(), one.plan, one.under, SHIPPED, 1)
    assert others["expected_rows"].to_list() == pytest.approx([one.curve()["expected_rows"][0]] * 3)


def test_order_of_rows_and_threads_change_nothing():
    lengths, rng = [20 + i % 50 for i in range(60)], np.random.default_rng(0)
    plain, moved = Predicted(lengths), Predicted(lengths, rng.permutation(60).tolist())
    for most in (2000, 16):
        a, b = plain.sample(most), moved.sample(most)
        assert plain.order[a.rows].tolist() == moved.order[b.rows].tolist()
        first = whatif.curve(a, plain.amounts, PLAN, SHIPPED, 1)
        assert first.equals(whatif.curve(b, moved.amounts, PLAN, SHIPPED, 3))


def test_a_sample_stands_for_all_rows():
    lengths = [16 + (7 * i) % 60 for i in range(400)]
    one = Predicted(lengths)
    some = one.sample(80)
    assert len(some.rows) <= 80
    assert some.stands_for.sum() == pytest.approx(400)
    whole, part = (whatif.curve(s, one.amounts, PLAN, SURE, 1)["expected_rows"] for s in (one.sample(), some))
    assert part.to_list() == pytest.approx(whole.to_list(), rel=0.1)


def test_copies_widen_the_interval_and_go_with_the_sample():
    one = Predicted([20] * 12, order=[0] * 6 + list(range(1, 7)))
    sample = one.sample()
    assert sample.copies[np.argsort(sample.rows)].tolist() == [6] * 6 + [1] * 6
    apart = replace(sample, copies=np.ones(12))
    both = [whatif.curve(s, one.amounts, PLAN, SURE, 1).filter(pl.col("expected_rows") > 0.5) for s in (sample, apart)]
    assert both[0]["expected_rows"].equals(both[1]["expected_rows"])
    assert (both[0]["high"] - both[0]["low"] >= both[1]["high"] - both[1]["low"]).all()
    assert (whatif.Sample.from_arrays(sample.arrays()).copies == sample.copies).all()
    before = {k: v for k, v in sample.arrays().items() if k != "copies"}  # runs of before they were counted
    assert (whatif.Sample.from_arrays(before).copies == 1).all()


def test_the_first_tokens_say_the_same_and_a_stored_sample_comes_back():
    one = Predicted(LENGTHS)
    torn = Conflicts(np.where(np.arange(len(LENGTHS)) == 5, 2, -1), np.full(len(LENGTHS), 0.5))
    sample = whatif.draw(one.features, one.answers, one.result.p_extract, one.order, torn)
    short = sample.first_tokens()
    again = whatif.Sample.from_arrays(short.arrays())
    assert (np.diff(short.answers.row) >= 0).all()
    dose, regime = one.amounts.total[sample.rows], Regime(one.amounts.set_dose, one.amounts.steps)
    direct = turn_tails(one.features, one.answers, one.amounts.total, one.amounts.total, regime, SHIPPED, torn, 1)
    for part in (sample, short, again):
        found = turn_tails(part.features, part.answers, dose, dose, regime, SHIPPED, part.conflicts, 1)
        np.testing.assert_array_equal(found.extract, direct.extract[sample.rows])
    assert again.measurable == sample.measurable == sum(length >= EXTRACTED for length in LENGTHS)


@pytest.mark.parametrize("batching", BATCHINGS)
def test_a_variant_is_the_prediction_under_its_plan(batching):
    plan = replace(PLAN, batching=batching, epochs=3)
    one = Predicted(LENGTHS, plan=plan)
    table = whatif.variants(one.sample(), plan, one.under, SHIPPED, 1, 64)
    others = dict(whatif.other_batches(plan, 64))
    assert table["variant"].to_list() == list(others)
    names = {"random": "grouped by length", "length-grouped": "random batches"}
    assert list(others)[2] == names.get(batching, "random, as many tokens")
    for name, expected in table.select("variant", "expected_rows").iter_rows():
        direct = predict(*Rows(LENGTHS).arrays(list(range(len(LENGTHS)))), others[name], SHIPPED)
        assert expected == pytest.approx(np.nansum(direct.p_extract)), name


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 6), st.sampled_from([None, 500]))
def test_every_other_plan_is_a_plan(micro, devices, times, tokens):
    plan = TrainingPlan(micro_batch=micro, devices=devices, batch_size=micro * devices * times, batch_tokens=tokens)
    found = dict(whatif.other_batches(plan))  # settings refuse what does not go together
    assert found[whatif.TWICE].batch_size == 2 * plan.batch_size
    assert (whatif.HALF in found) == (plan.batch_size > 1 or tokens is not None)


def test_long_plans_are_simulated_for_a_few_epochs():
    one = Predicted(LENGTHS)
    asked: list[float] = []

    def under(plan: TrainingPlan):
        asked.append(plan.epochs)
        return one.under(plan)

    plan = replace(PLAN, epochs=12)
    table = whatif.variants(one.sample(), plan, under, SHIPPED, 1)
    assert set(asked) == {whatif.SIMULATED_EPOCHS}
    assert table["epochs"].to_list() == [12.0] * 3
    long = Predicted(LENGTHS, plan=replace(plan, batch_size=8))
    assert table["expected_rows"][0] == pytest.approx(np.nansum(long.result.p_extract), rel=0.2)


def test_dropping_nothing_changes_nothing_and_dropping_copies_takes_their_dose():
    one = Predicted(LENGTHS)
    all_stay = np.ones(len(LENGTHS))
    regime = Regime(one.amounts.set_dose, one.amounts.steps)
    doses_of_all = one.amounts.total, one.amounts.exact
    table = whatif.deduplicated(one.sample(), *doses_of_all, all_stay, regime, PLAN, SHIPPED, 1)
    assert table["expected_rows"][0] == pytest.approx(np.nansum(one.result.p_extract))
    half = whatif.deduplicated(one.sample(), *doses_of_all, all_stay / 2, regime, PLAN, SHIPPED, 1)
    assert half["expected_rows"][0] == pytest.approx(np.nansum(one.result.p_extract) / 2)

    pairs = pl.DataFrame(
        {
            "row_a": [10, 10, 10], "row_b": [11, 12, 14], "signal": ["exact", "exact", "minhash"],
            "relation": ["same_both", "same_both", "near"], "similarity": [1.0, 1.0, 1.0],
            "answer_similarity": [None, None, 0.8],
        },
        schema_overrides={"similarity": pl.Float32, "answer_similarity": pl.Float32},
    )  # fmt: skip
    row_id, own = np.arange(10, 15), np.array([1.0, 1.0, 1.0, 5.0, 2.0])
    apart = np.ones(5)
    total, exact, copies, left = projecting.doses_of_rest(own, apart, np.ones(5, bool), row_id, pairs, 3)
    assert exact.tolist() == [3, 3, 3, 5, 2]
    near = total[4] / 3 - 2 / 3  # kappa, from its share of three copies
    assert total.tolist() == pytest.approx([3 + 2 * near, 3 + 2 * near, 3 + 2 * near, 5, 2 + 3 * near])
    assert copies.tolist() == [3, 3, 3, 1, 1]
    assert left.tolist() == [1] * 5
    stays = np.array([True, False, False, True, True])
    total, exact, copies, left = projecting.doses_of_rest(own, apart, stays, row_id, pairs, 3)
    assert exact.tolist() == [1, 1, 1, 5, 2]
    assert total.tolist() == pytest.approx([1 + 2 * near, 1 + 2 * near, 1 + 2 * near, 5, 2 + near])
    assert copies.tolist() == [1] * 5
    assert left.tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 1, 1])
    # copies that met lose a part of their sum, but the last one left counts in full, also for those that went
    total, _, _, _ = projecting.doses_of_rest(own, np.array([0.4, 0.4, 0.4, 1, 1]), stays, row_id, pairs, 3)
    assert total.tolist() == pytest.approx([1, 1, 1, 5, 2 + near])


@pytest.mark.parametrize(("memorized", "rows"), [(97, 295), (10, 2516), (1, 9237)])
def test_the_audit_sizes_of_the_paper(memorized, rows):
    assert whatif.audit_size(9723, memorized) == rows


def test_a_sample_for_a_part_of_a_row_is_none():
    assert whatif.audit_size(600, 0.99) is whatif.audit_size(600, 0.0) is None
    assert whatif.audit_size(600, 1.0) == whatif.audit_size(600, 1.4) == 570
    assert whatif.audit_size(600, 1.6) == whatif.audit_size(600, 2.0)


@given(st.integers(0, 60), st.integers(-1, 60), st.sampled_from([0.5, 0.95, 0.99]))
def test_the_audit_size_is_the_smallest_that_is_sure_enough(rows, memorized, certainty):
    memorized = min(memorized, rows)
    found = whatif.audit_size(rows, memorized, certainty)
    if memorized <= 0:
        assert found is None
        return
    missed = [math.comb(rows - memorized, z) / math.comb(rows, z) for z in range(rows + 1)]
    assert found == next(z for z, share in enumerate(missed) if share <= 1 - certainty + 1e-12)


@pytest.fixture(scope="module")
def audited(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whatif")
    rng = np.random.default_rng(1)
    words = [f"word{i}" for i in range(300)]
    lines = [
        {"instruction": " ".join(rng.choice(words, 8)), "input": "", "output": " ".join(rng.choice(words, 30))}
        for _ in range(120)
    ]
    lines += lines[:10] * 5
    (folder / "d.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    settings = Settings(semantic=False).changed(learning_rate=8e-4, epochs=4, batch_size=4, model_params=4.2e6)
    return pipeline.audit([str(folder / "d.jsonl")], settings, folder / "d.scan")


def test_an_audit_asks_what_if_and_a_new_plan_asks_again(audited):
    table = audited.read_table("whatif")
    planned = table.filter((pl.col("variant") == "as planned") & (pl.col("epochs") == 4)).row(0, named=True)
    expected = np.nansum(audited.read_table("prediction")["p_extract"].to_numpy())
    assert planned["expected_rows"] == pytest.approx(expected)
    told = audited.read_json("scan.json")["notes"]["prediction"]["audit_size"]
    assert told["rows"] == 170
    assert told["sample"] == whatif.audit_size(170, round(expected))
    fewer = deduplicated(table)
    assert 0 <= fewer < expected / 2  # ten rows of six copies each were most of it

    again = pipeline.judge(audited.path, {"keep": 3}).read_table("whatif")
    assert fewer < deduplicated(again) < expected
    pipeline.judge(audited.path, {"keep": 1})
    assert audited.read_table("whatif").equals(table)
    (audited.private / projecting.STORED).unlink()  # as `scan purge` does
    assert "after deduplication" not in pipeline.judge(audited.path, {}).read_table("whatif")["variant"]


def deduplicated(table: pl.DataFrame) -> float:
    (rows,) = table.filter(pl.col("variant") == "after deduplication")["expected_rows"]
    return float(rows)
