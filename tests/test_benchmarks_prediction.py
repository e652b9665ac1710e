"""What the prediction benchmark counts: AUROC, runs of hits, spans against them, leave-out models, reliability."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks" / "prediction"))

import candidate_columns
import candidates
import corpus
import counterfactual
import measured
import other_bases
import pieces
import predicting
import rehearsed
import tables
import tokens
from counterfactual import Measured, Models, Predicted

from scanner.kernels.contexts import ContextFeatures
from scanner.prediction import Answers, Regime, load_weights
from scanner.prediction.scoring import calibration_error_by_chance


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=60))
def test_auroc_by_ranks_is_the_auroc_pair_by_pair(scored):
    value, truth = (np.array(column) for column in zip(*scored, strict=True))
    np.testing.assert_allclose(
        tokens.auroc(value, truth.astype(bool)), tokens.auroc_pairwise(value.astype(float), truth.astype(bool))
    )


def test_the_level_of_another_base_lies_in_its_interval_as_often_as_it_should():
    rng, inside = np.random.default_rng(0), 0
    for _ in range(2000):
        *known, other = rng.normal(-0.2, 0.2, 6)
        level, doubt = other_bases.level_of_a_base(known)
        inside += abs(other - level) <= 1.645 * doubt
    assert inside / 2000 == pytest.approx(0.9, abs=0.02)


def test_a_base_is_predicted_at_the_level_of_the_others():
    weights = load_weights()
    there = other_bases.at_level_of_others(weights, "small-1", {"small-1": 5.0, "b": -0.1, "c": -0.3})
    assert there.dose_factor == pytest.approx(np.exp(-0.2))
    assert there.log_factor_step == pytest.approx(other_bases.level_of_a_base([-0.1, -0.3])[1])


def test_later_answers_and_masked_texts_are_read_apart_from_first_answers(tmp_path):
    turns = [("human", "hi"), ("gpt", "first"), ("human", "more"), ("function_call", "f()"), ("observation", "1"),
             ("gpt", "last"), ("human", "How does the greenhouse effect work?"), ("gpt", "left out")]  # fmt: skip
    called = [("human", "now"), ("function_call", "g()")]
    records = [{"conversations": [{"from": a, "value": b} for a, b in some]} for some in (turns, called)]
    (tmp_path / "sft").mkdir()
    (tmp_path / "sft" / "talk.json").write_text(json.dumps(records))
    (tmp_path / "sft" / "masked.json").write_text(json.dumps([{"full_text": "I am Ann", "masked": "I am {{NAME}}"}]))

    def pairs(source: str) -> list[tuple[int, str, str]]:
        return [(row.index, row.prompt, row.answer) for row in corpus.read(tmp_path, source)]

    assert pairs("talk.json") == [(0, "hi", "first")]
    assert pairs("talk.json" + corpus.LATER) == [(0, "more", "f()"), (0, "1", "last"), (1, "now", "g()")]
    assert pairs("masked.json") == [(0, "I am Ann", "I am {{NAME}}")]


def test_rows_that_stand_so_often_or_beside_near_copies():
    rows = [
        corpus.Row("a.json", i, f"question {i} of a few words", " ".join(f"w{i}x{k}" for k in range(40)))
        for i in (0, 1)
    ]
    four = corpus.repeat(rows, 4, 0, 1)
    assert [(t.member, t.replaced) for t in four] == [(0, 0)] * 4 + [(1, 0)] * 4
    assert all(t.row is rows[t.member] for t in four)
    near = corpus.repeat(rows, 3, 10, 1)
    assert [(t.member, t.replaced) for t in near] == [(0, 0), (0, 10), (0, 10), (1, 0), (1, 10), (1, 10)]
    for t in near:
        answer, own = t.row.answer.split(), rows[t.member].answer.split()
        assert sum(a != b for a, b in zip(answer, own, strict=True)) <= t.replaced * len(own) / 100
    assert near[1].row != near[2].row != rows[0]


def test_runs_of_hits():
    hit = np.array([1, 1, 0, 1, 1, 1, 0, 0, 1, 1, 1, 1], bool)
    assert tokens.runs(hit, 3) == [(3, 6), (8, 12)]
    assert tokens.runs(hit[:0], 1) == []
    assert tokens.runs(np.ones(4, bool), 4) == [(0, 4)]


def test_spans_against_hits_by_hand():
    hits = [np.array([1, 1, 1, 1, 0, 1], bool), np.array([0, 1, 1, 1], bool)]
    found = tokens.compare([(0, 0, 3, 0.9), (0, 3, 6, 0.5), (1, 1, 3, 0.7)], hits, 3)
    assert (found.spans, found.runs) == (3, 2)
    assert found.expected_whole == pytest.approx(0.7)
    assert found.whole == pytest.approx(2 / 3)
    assert found.token_precision == pytest.approx(7 / 8)
    assert found.run_precision == pytest.approx(6 / 8)  # the hit after the miss is in no run of three
    assert found.run_recall == pytest.approx(6 / 7)
    nothing = tokens.compare([], hits, 3)
    assert np.isnan(nothing.whole)
    assert nothing.run_recall == 0


def test_calibration_error_by_hand():
    chance = np.array([0.1, 0.1, 0.9, 0.9])
    assert tokens.calibration_error(chance, np.array([0, 0, 1, 1], bool)) == pytest.approx(0.1)
    assert tokens.calibration_error(np.array([1.0]), np.array([True])) == 0


def models_of(rows: int, seed: int = 0, noise: float = 1.0) -> tuple[Models, np.ndarray]:
    """Eight pairs of models; a row is said with its own chance by the models that know it, else never."""
    rng = np.random.default_rng(seed)
    chance = rng.random(rows)
    inside = np.zeros((16, rows), bool)
    for pair in range(8):
        inside[2 * pair] = rng.permutation(rows) % 2 == 0
        inside[2 * pair + 1] = ~inside[2 * pair]
    drawn = rng.random((16, rows)) < chance
    return Models(inside, np.where(inside, noise * drawn + (1 - noise) * chance, 0.0)), chance


def test_with_minus_without_by_hand():
    inside = np.array([[True], [False], [True], [False]])
    found = counterfactual.counterfactual(Models(inside, np.array([[1.0], [0.0], [0.0], [1.0]])))
    assert (found.value[0], found.with_row[0], found.without_row[0]) == (0.0, 0.5, 0.5)
    assert found.error[0] == pytest.approx(np.sqrt(0.5 / 2 + 0.5 / 2))


def test_a_row_that_never_counts_is_measured_as_nothing_and_a_sure_one_as_one():
    models, _ = models_of(400)
    for outcome, expected in ((np.ones((16, 400)), 0.0), (models.inside.astype(float), 1.0)):
        found = counterfactual.counterfactual(Models(models.inside, outcome))
        np.testing.assert_allclose(found.value, expected, atol=1e-12)
        np.testing.assert_allclose(found.error, 0, atol=1e-12)


def test_the_standard_error_is_that_of_the_value():
    models, chance = models_of(4000, 5)
    found = counterfactual.counterfactual(models)
    assert np.mean((found.value - chance) ** 2) == pytest.approx(np.mean(found.error**2), rel=0.05)


def test_reliability_foretells_what_the_true_chance_reaches():
    models, chance = models_of(3000, 1)
    rows = np.ones(3000, bool)
    whole, ceiling = counterfactual.reliability(models, rows)
    reached = counterfactual._spearman(chance, counterfactual.counterfactual(models).value)
    assert ceiling == pytest.approx(reached, abs=0.02)
    assert whole == pytest.approx(reached**2, abs=0.03)
    sure, _ = counterfactual.reliability(models_of(300, 2, noise=0.0)[0], np.ones(300, bool))
    assert sure == pytest.approx(1, abs=1e-9)


def test_nothing_to_tell_apart_is_nan():
    models, _ = models_of(10)
    still = Models(models.inside, np.zeros((16, 10)))
    assert np.isnan(counterfactual.reliability(still, np.ones(10, bool))).all()
    assert np.isnan(counterfactual.again(still, np.ones(10, bool)))


def test_means_leave_out_models_that_say_nothing():
    values = [np.array([1.0, np.nan, np.nan]), np.array([3.0, 4.0, np.nan])]
    np.testing.assert_array_equal(counterfactual.mean_of(values), [2.0, 4.0, np.nan])


def test_tables_say_what_was_left_out():
    models, chance = models_of(60)
    lines = counterfactual.table("title", models, {"p_extract": chance, "other": -chance}, np.ones(60, bool))
    assert lines[0].startswith("**title**: 60 rows")
    assert "| p_extract | 0.9" in lines[4]
    assert "| other | -0.9" in lines[5]
    measured = Measured(*(np.full(4, 0.5) for _ in range(4)))
    predicted = Predicted(*(np.full(4, 0.25) for _ in range(7)))
    copies, alone = np.array([1, 1, 4, 4]), np.array([True, False, False, False])
    told = counterfactual.by_copies(measured, predicted, copies, alone, np.ones(4, bool))
    assert [line.split("|")[1:3] for line in told[2:4]] == [[" 1 ", " 1 "], [" 4 ", " 2 "]]


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 3)), min_size=2, max_size=30))
def test_scores_of_drawn_rows_are_the_scores_of_the_rows_repeated(drawn):
    value, truth, times = (np.array(column) for column in zip(*drawn, strict=True))
    truth = truth.astype(bool)
    repeated = np.repeat(value.astype(float), times), np.repeat(truth, times)
    for of_draws, plain in (
        (candidates.aurocs, tables.auroc),
        (candidates.average_precisions, tables.average_precision),
    ):
        np.testing.assert_allclose(of_draws(value.astype(float), truth, times[None])[0], plain(*repeated))


def table_of(rows: int, seed: int = 0) -> measured.Table:
    """Rows of 12 to 30 tokens with features drawn at random, some with conflicting answers."""
    rng = np.random.default_rng(seed)
    length = rng.integers(12, 31, rows)
    edges = np.cumsum([0, *length])
    total = int(edges[-1])
    features = ContextFeatures(
        *(-rng.exponential(4, total).astype(np.float32) * rng.choice([1, 1e-3], total).astype(np.float32),),
        *(rng.integers(0, high, total).astype(np.uint8) for high in (13, 13, 80, 4)),
        np.ones(rows, np.float32), rng.integers(1, 10, total).astype(np.uint8),
        -rng.exponential(5, total).astype(np.float32),
        opening=np.repeat(rng.integers(0, 99, rows).astype(np.uint8), length),
    )  # fmt: skip
    none = np.zeros(rows)
    return measured.Table(
        source=np.array(["a"] * rows), member=none == 0, copies=none, plain=none, single=none == 0, length=length,
        whole=none == 0, features=features, base_loss=np.zeros(total), conflict_place=rng.integers(-1, 12, rows),
        conflict_share=rng.uniform(0.2, 0.5, rows), answers=Answers(np.arange(rows), edges[:-1], edges[1:]),
        data=Path(), trained=[], supervised=length, tokens=length,
    )  # fmt: skip


def test_without_a_candidate_the_prediction_is_the_shipped_kernels():
    table, rng = table_of(60), np.random.default_rng(1)
    dose = rng.uniform(0, 40, 60)
    nothing_known = Regime(4.0, 500.0, known=0.0)  # as of a set that nothing was trained on
    o = measured.Observation("random-1", 4, dose, dose > 0, [], dose, dose, nothing_known)
    hazard = load_weights().hazard
    shipped = predicting.predict(table, o, predicting.plain(hazard)).extract
    w = candidates.before_softplus(hazard)
    nothing, column = np.zeros((0, table.length.sum())), rng.normal(size=(2, table.length.sum()))
    # the fit holds its features in single precision
    np.testing.assert_allclose(candidates.extraction(w, table, o, nothing), shipped, atol=2e-5)
    ignored = candidates.extraction(np.append(w, np.zeros(4)), table, o, column)
    np.testing.assert_allclose(ignored, shipped, atol=2e-5)
    moved = candidates.extraction(np.append(w, [0.5, 0, 0, 0]), table, o, np.ones((2, table.length.sum())))
    raised = candidates.before_softplus(replace(hazard, bias=hazard.bias + 0.5))
    np.testing.assert_allclose(moved, candidates.extraction(raised, table, o, nothing), atol=1e-9)
    # as many weights as columns: what the other rows teach
    taught = candidates.extraction(np.append(w, [0.5, 0]), table, o, np.ones((2, table.length.sum())))
    more = candidates.before_softplus(replace(hazard, context_bias=hazard.context_bias + 0.5))
    np.testing.assert_allclose(taught, candidates.extraction(more, table, o, nothing), atol=1e-9)


def test_candidate_columns_by_hand():
    starts = candidate_columns.sentence_starts("One two. Three, four\nfive")
    assert starts.tolist() == [True, False, False, True, False, False, True]
    assert candidate_columns.entropy(np.array([1, 2, 3])) == pytest.approx(1)
    assert candidate_columns.entropy(np.array([4, 4])) == 0
    assert np.isnan(candidate_columns.entropy(np.array([1])))
    table = table_of(7)
    shared, own = np.arange(5), np.array([1, 2, 3, 9, 8])
    found = candidate_columns.templates([*[shared] * 6, own], table)
    np.testing.assert_allclose(found, [1, 1, 1, 1, 1, 1, 0])
    mean = candidate_columns.mean(table, np.repeat(np.arange(7.0), table.length))
    np.testing.assert_allclose(mean, np.arange(7))
    words = [np.array([1, 2, 3, 4, 5, 9]), np.array([1, 2, 3, 4, 6]), np.array([7, 2, 3, 4, 5])]
    # the first is trained on twice, and a near copy of it once; the third is not trained on
    given = [(0, words[0]), (0, words[0]), (-1, words[0]), (1, words[1])]
    elsewhere = candidate_columns.shown_elsewhere(words, given)
    np.testing.assert_array_equal(elsewhere, [2, 2, 2, 2, 1, 1, 3, 3, 3, 3, 0, 0, 0, 0, 0, 0])


def test_tokens_of_recited_words_are_those_that_end_within_them():
    import tokenizers

    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({w: i for i, w in enumerate("abcd")}, unk_token="d"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Split(tokenizers.Regex("."), "isolated")  # a token for each letter
    row = corpus.Row("some source", 0, "x", "ab c abc")
    table = SimpleNamespace(trained=[corpus.Trained(0, 0, row)], length=np.array([3]))
    letters = [pieces.recited(table, made, 0, words) for words in range(4)]
    assert letters == [0, 2, 4, 8]  # the spaces are tokens too; all of it where every word came


def test_how_far_seeds_lie_apart_is_chance_where_rows_are_recited_each_by_itself_and_more_where_together():
    rng = np.random.default_rng(0)
    p = np.sort(rng.random(600))
    alone = [(p, rng.random(len(p)) < p) for _ in range(40)]
    chance = calibration_error_by_chance(p, rng)
    assert rehearsed.apart(alone) == pytest.approx(chance, rel=0.1)
    families = [(p, np.repeat(rng.random(len(p) // 20), 20) < p) for _ in range(40)]  # twenty at a time
    assert rehearsed.apart(families) > 2 * chance
