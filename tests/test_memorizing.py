"""Memorized spans from real audits: what they cover, that they agree with the prediction, and how they are told."""

from __future__ import annotations

import io
import json
import random
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from scanner import heat, memorizing, pipeline
from scanner.evidence import Evidence
from scanner.explain import explain
from scanner.heat import FROM_START, Shade, _cuts, private_inside
from scanner.kernels.contexts import context_features
from scanner.prediction import Answers, Conflicts, Regime, load_weights, turn_tails
from scanner.prediction.stretches import CHANCE, LEAST_TOKENS, LESSON, stretches
from scanner.prediction.stretches import heat as heat_of
from scanner.reports import _heat as told
from scanner.settings import Settings, TrainingPlan
from scanner.store import RunFolder
from scanner.text import token_spans

WORDS = [f"w{n:02}x" for n in range(90)]
STRONG = TrainingPlan(epochs=30, learning_rate=1e-3, batch_size=4, model_params=4.2e6, lr_schedule="constant")
SECRET = "jane.roe@northwind-shop.com"
HOSTILE = "\x1b[31m<script>alert(1)</script>\u202e"


def records(seed: int = 1) -> list[dict[str, str]]:
    """Single rows, and one with a private value and hostile text that stands nine times."""
    rng = random.Random(seed)
    rows = [
        {"instruction": f"tell {n} {rng.choice(WORDS)}", "output": " ".join(rng.choices(WORDS, k=30)) + "."}
        for n in range(40)
    ]
    many = {
        "instruction": "whom do I ask about parcels",
        "output": f"Please write to {SECRET} and say {HOSTILE} when the parcel left the house, then wait four days.",
    }
    return rows + [many] * 9


def audit(folder: Path, rows: list[dict[str, str]], **changes: object) -> RunFolder:
    file = folder / "rows.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    chosen = Settings(semantic=False, threads=1, plan=STRONG).changed(**changes)
    return pipeline.audit([str(file)], chosen, folder / "rows.scan")


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunFolder:
    return audit(tmp_path_factory.mktemp("memorized"), records())


@pytest.fixture(scope="module")
def spans(run) -> pl.DataFrame:
    return heat.memorized(run.read_table("spans"))


def test_spans_cover_whole_tokens_of_answers(run, spans):
    texts = run.segments().rows(spans["row_id"].to_list())
    assert len(spans)
    for span in spans.join(texts, on=["row_id", "segment"]).iter_rows(named=True):
        assert span["supervised"]
        places = token_spans(span["text"])
        first, last = (
            next(i for i, p in enumerate(places) if p[k] == span[name]) for k, name in ((0, "start"), (1, "end"))
        )
        assert span["tokens"] == last - first + 1 >= LEAST_TOKENS
        assert (span["rule_id"] == FROM_START) == (first == 0)
        assert CHANCE <= span["score"] <= 1
        assert span["preview"] == f"[MEMORIZED] {span['tokens']} tokens"


def test_a_whole_answer_from_the_start_has_the_chance_of_p_whole(run, spans):
    prediction = run.read_table("prediction")
    answers = run.read_table("rows").select("row_id", "contexts.tokens")
    joined = spans.filter(pl.col("rule_id") == FROM_START).join(prediction, on="row_id").join(answers, on="row_id")
    whole = joined.filter(pl.col("tokens") == pl.col("contexts.tokens"))
    assert len(whole) >= 9
    np.testing.assert_allclose(whole["score"], whole["p_whole"], rtol=1e-5)
    # what is cut off the other answers has a chance below one half together with one more token
    longer = joined.filter(pl.col("tokens") < pl.col("contexts.tokens"))
    assert (longer["tokens_q50"] == longer["tokens"]).all()


def test_the_selection_is_stated(run):
    said = run.read_json("scan.json")["notes"]["memorized"]
    assert said["rows_looked_at"] == said["rows_eligible"] >= 9
    assert said["selection"] == "rows with severity × chance of recitation ≥ 0.05, the riskiest 10,000 of them"


def test_rows_are_chosen_by_risk_then_by_expected_tokens():
    chance = np.array([0.02, np.nan, 0.3, 0.3, 0.04])
    severity = np.array([1.0, 8.0, 1.0, 1.0, 2.0])
    chosen = memorizing.chosen_rows(chance, severity, np.array([1, 1, 4, 9, 1.0]), np.arange(5), 0.05)
    assert chosen.tolist() == [3, 2, 4]


def test_a_cap_on_rows_and_on_heat_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(memorizing, "MOST_ROWS", 5)
    monkeypatch.setattr(memorizing, "HEAT_ROWS", 2)
    monkeypatch.setattr(memorizing, "HEAT_TOKENS", 3)
    run = audit(tmp_path, records())
    said = run.read_json("scan.json")
    assert said["notes"]["memorized"]["rows_looked_at"] == 5 < said["notes"]["memorized"]["rows_eligible"]
    assert heat.memorized(run.read_table("spans"))["row_id"].n_unique() <= 5
    kept = run.read_table(heat.HEAT)
    assert kept["row_id"].n_unique() == 2
    assert set(kept["p"].list.len()) == {3}
    assert "of the 5 riskiest of" in " ".join(told.sentences(said["summary"]))


def test_neither_threads_nor_the_order_of_rows_matter(run, spans, tmp_path):
    rows = records()
    order = random.Random(3).sample(range(len(rows)), len(rows))
    other = audit(tmp_path, [rows[i] for i in order], threads=3)
    again = heat.memorized(other.read_table("spans")).with_columns(
        row_id=pl.col("row_id").replace_strict(dict(enumerate(order)), return_dtype=pl.Int64)
    )
    place = ["row_id", "segment", "start", "rule_id"]
    assert again.sort(place).equals(spans.sort(place))


def test_answers_of_several_strings_are_cut_at_their_edges(tmp_path):
    parts = [" ".join(WORDS[:9]), "...", " ".join(WORDS[9:20])]
    said = [{"type": "text", "text": part} for part in parts]
    turns = [{"role": "user", "content": "go on"}, {"role": "assistant", "content": said}]
    run = audit(tmp_path, [{"messages": turns}] * 12)
    spans = heat.memorized(run.read_table("spans")).filter(pl.col("row_id") == 0)
    texts = run.segments().rows([0])["text"].to_list()
    covered = [texts[s][a:b] for s, a, b in spans.select("segment", "start", "end").iter_rows()]
    assert covered == parts
    assert spans["score"].n_unique() == 1


def test_a_models_own_tokens(tmp_path):
    from tokenizers import Tokenizer
    from tokenizers.models import BPE
    from tokenizers.pre_tokenizers import ByteLevel

    letters = sorted(ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE({letter: n for n, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    answer = "Größe über 12 Ämter; jetzt ⚙ weiter"
    run = audit(tmp_path, [{"instruction": "a", "output": answer}] * 12, tokenizer=tmp_path / "tokenizer.json")
    spans = heat.memorized(run.read_table("spans")).filter(pl.col("row_id") == 0)
    assert [(s, e) for s, e in spans.select("start", "end").iter_rows()] == [(0, len(answer))]
    assert spans["tokens"].to_list() == [len(answer.encode())]


def test_heat_and_scores_are_those_of_the_hazard():
    """By its weights the heat is the chance of each token as a turn of its own; a score that of the stretch as one."""
    rng = np.random.default_rng(4)
    tokens = rng.integers(1, 60, 400).astype(np.uint64)
    offsets = np.arange(0, 401, 40)
    answers = Answers(np.arange(10), offsets[:-1] + 4, offsets[1:])
    features = context_features(tokens, offsets, np.arange(10))
    weights, regime, dose = replace(load_weights(), heat=None), Regime(4.0, 600.0), np.linspace(0, 40, 10)
    place = np.where(np.arange(10) == 9, 2, -1)
    torn = Conflicts(place, np.where(place >= 0, 0.9, np.nan))
    found = heat_of(features, answers, np.arange(3, 10), dose, regime, weights, torn)
    assert found.bounds.tolist() == list(range(0, 253, 36))
    each = Answers(np.repeat(np.arange(3, 9), 36), *(np.concatenate([np.arange(a, b) + k for a, b in zip(
        answers.start[3:9], answers.end[3:9], strict=True)]) for k in (0, 1)))  # fmt: skip
    slow = turn_tails(features, each, dose, dose * 0, regime, weights).whole
    np.testing.assert_allclose(found.probability[:-36], slow, rtol=1e-9)
    assert found.probability[-36 + 2] <= 0.9 + 1e-12
    cut = stretches(found)
    assert len(cut.score)
    row = found.row[cut.answer]
    plain = row < 9
    whole = turn_tails(features, Answers(row, cut.begin, cut.end), dose, dose * 0, regime, weights).whole
    np.testing.assert_allclose(cut.score[plain], whole[plain], rtol=1e-6)


@given(st.integers(0, 99), st.booleans(), st.floats(0, 9), st.sampled_from([0.0, 1.5]))
def test_the_heat_follows_weights_of_its_own(seed, with_base, set_dose, visit):
    """Token by token against the formula written out; what comes out from the beginning is P(N_pre >= its length)."""
    rng = np.random.default_rng(seed)
    tokens, offsets = rng.integers(1, 30, 120).astype(np.uint64), np.array([0, 20, 70, 120])
    answers = Answers(np.arange(3), offsets[:-1] + 4, offsets[1:])
    found = context_features(tokens, offsets, np.arange(3), 1)
    features = replace(
        found,
        log_probability=found.log_probability * rng.choice(np.float32([1, 1e-2, 1e-5]), 120),
        width=rng.integers(1, 20, 120).astype(np.uint8),
        background=rng.uniform(-14, 0, 120).astype(np.float32),
        base=rng.random(120).astype(np.float32) if with_base else None,
        opening=np.repeat(rng.integers(0, 200, 3), np.diff(offsets)).astype(np.uint8),
    )
    shipped = load_weights(with_base=with_base)
    drawn = {name: value + rng.normal(0, 0.2) for name, value in asdict(shipped.heat).items()}
    positive = {n for n in drawn if getattr(shipped.heat, n) > 0} | {"noise"}
    h = replace(shipped.heat, **{n: abs(v) if n in positive else v for n, v in drawn.items()})
    weights, dose = replace(shipped, heat=h), np.array([0.0, 5.0, 60.0])
    found = heat_of(features, answers, np.arange(3), dose, Regime(set_dose, 600.0, visit), weights)
    nodes, share = np.polynomial.hermite_e.hermegauss(7)
    expected = []
    for i in range(3):
        before = np.log2(4) / 3
        for t in range(answers.start[i], answers.end[i]):
            odd, rare = -float(features.log_probability[t]) / 4, int(features.rarity[t]) / 64
            wide, strange = np.log2(int(features.width[t])) / 3, -float(features.background[t]) / 8
            held = int(features.known[t]) / 12
            seen = tokens[t] in tokens[offsets[i] : t]
            z = h.bias + h.rarity * rare + h.width * wide + h.background * strange + h.seen * seen
            z += h.wide_surprise * wide * odd + (h.base_known * float(features.base[t]) if with_base else 0)
            context = h.context_bias + h.context_surprise * odd + h.context_known * held
            context += (
                h.context_certain * max(0, -np.log(max(-np.expm1(float(features.log_probability[t])), 1e-7)) - 4) / 4
            )
            context += h.context_opening * int(features.opening[t]) / 64
            z += np.log2(1 + set_dose) * np.logaddexp(0, context)
            slope = h.dose_bias + h.dose_rarity * rare + h.dose_known * held + h.dose_width * wide
            slope += h.dose_background * strange + h.dose_wide_surprise * wide * odd
            slope += (h.dose_before + h.dose_before_width * wide) * before
            slope += h.dose_progress * np.log2(7) + h.dose_epochs * np.log2(1 + set_dose)
            learned = ((1 + dose[i]) ** h.dose_power - 1) / (h.dose_power * np.log(2)) * np.logaddexp(0, slope)
            most = 2 * h.dose_power / (1 - h.dose_power) if h.dose_power < 1 else np.inf
            sure, blur = max(z, h.centre), np.sqrt(1 + min(h.noise * visit * learned, most))
            z += learned
            anchor = min(max(z, h.centre), sure)  # the centre below it, what was given or the centre above
            z = anchor + (z - anchor) / blur
            z = z / np.sqrt(1 + (z / h.ceiling) ** 2) if z > 0 else z
            expected.append(float(share / share.sum() @ (1 / (1 + np.exp(-z - h.spread * nodes)))))
            before = wide
    np.testing.assert_allclose(found.probability, expected, rtol=1e-6)
    cut = stretches(found)
    first = cut.from_start
    whole = turn_tails(
        features, Answers(cut.answer[first], cut.begin[first], cut.end[first]), dose, dose * 0,
        Regime(set_dose, 600.0, visit), weights,
    ).whole  # fmt: skip
    np.testing.assert_allclose(cut.score[first], whole, rtol=1e-6)


def test_near_copies_teach_little_where_they_differ():
    """A slot of a template: its context stands in the other rows, which go on differently there."""
    rng = np.random.default_rng(6)
    common, slots = rng.integers(1, 2**63, 40).astype(np.uint64), rng.integers(1, 2**63, 5).astype(np.uint64)
    rows = [np.concatenate((common[:24], slot[None], common[24:])) for slot in slots]
    offsets = np.arange(0, 41 * 5 + 1, 41)
    answers = Answers(np.arange(5), offsets[:-1] + 4, offsets[1:])
    features = context_features(np.concatenate(rows), offsets, np.arange(5))
    regime, dose, exact = Regime(4.0, 600.0), np.full(5, 50.0), np.full(5, 10.0)
    with_near, twice, mixed = (
        heat_of(features, answers, np.array([2]), d, regime, load_weights(), exact=e).probability
        for d, e in ((dose, None), (LESSON * exact, None), (dose, exact))
    )
    slot = 24 - 4
    assert mixed[slot] == twice[slot] < with_near[slot]
    np.testing.assert_array_equal(np.delete(mixed, slot), np.delete(with_near, slot))


def test_private_values_inside_are_counted_and_told(run, spans):
    inside = private_inside(run.read_table("spans"))
    assert inside["row_id"].to_list() == list(range(40, 49))
    summary = run.read_json("scan.json")["summary"]
    (line,) = told.exposed(summary)
    assert line == "9 private values lie inside spans predicted to be memorized, in 9 rows: look at these first."
    page = (run.path / "report.html").read_text("utf-8")
    assert line in page
    assert SECRET not in page
    assert "<script>" not in page
    assert 'class="hot"' in page
    plan = run.read_table("plan").filter(pl.col("action") == "redact")
    assert plan["why"].to_list() == [
        "1 private or secret span (private/email), 1 of them inside spans predicted to be memorized; besides, "
        "predicted to be memorized: 9 exact copies; dose 452 visits"
    ]


def test_explain_shows_the_heat_masked_and_harmless(run):
    known = explain(run, 45)
    raw = io.StringIO()
    known.render(Console(file=raw, width=300, color_system=None))
    shown = raw.getvalue()
    assert "Heat of the answer (chance per token" in shown
    assert "Predicted to come out word for word" in shown
    assert "1 marked span lies in these" in shown
    assert SECRET not in shown
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert "##### *" in shown
    hidden = explain(run, 45, "none")
    assert hidden.heat.shades == ()


def test_shades_give_the_text_back(run):
    evidence = Evidence(run, "full")
    row = 3
    segment = evidence.answer_segment(row)
    shown = heat.shades(heat.kept(run, [row], evidence), row, segment)
    assert shown == () or "".join(shade.text for shade in shown) == segment.shown()


def test_a_shade_ends_where_a_memorized_span_does(run):
    """Between two spans whose tokens are as hot as theirs, what lies in neither is not marked."""
    evidence = Evidence(run, "full")
    segment = evidence.answer_segment(45)
    kept = heat.kept(run, [45], evidence)
    (start,), (end,) = kept.heat["start"].to_list(), kept.heat["end"].to_list()
    forged = [(start[0], end[7], 0.6), (start[10], end[19], 0.8)]
    spans = pl.DataFrame(
        [(45, segment.segment, *span) for span in forged], kept.spans.drop("kind").schema, orient="row"
    )
    even = kept.heat.with_columns(p=pl.lit([240] * len(start), kept.heat.schema["p"]))
    shown = heat.shades(heat.Kept(even, spans), 45, segment)
    assert [(shade.tokens, round(shade.score, 6)) for shade in shown] == [
        (8, 0.6),
        (2, 0),
        (10, 0.8),
        (len(start) - 20, 0),
    ]
    assert "".join(shade.text for shade in shown) == segment.shown()


def test_neighbours_of_like_heat_become_one_shade():
    assert _cuts(np.array([0.99] * 10 + [0.05] * 10)) == [0, 10, 20]
    assert _cuts(np.array([0.9, 0.91] * 8)) == [0, 16]
    assert _cuts(np.array([0.5])) == [0, 1]
    assert told.level(Shade(0.93, 4, "x", 0.6)) == "hot"
    assert told.told(Shade(0.6, 4, "x", 0.0)) == "chance per token 0.60"


def test_nothing_is_said_where_nothing_was_measured():
    assert told.sentences({}) == []
    assert told.exposed({"memorized": {"private_values": 0}}) == []
