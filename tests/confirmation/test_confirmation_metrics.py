"""Every metric holds the identity that its source states, on real models and on numbers worked out by hand."""

from __future__ import annotations

import math
import zlib
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from said import SAMPLER, answer

from scanner import chat, confirmation, models, training
from scanner.confirmation import (
    Row,
    Said,
    Sampler,
    compressibility,
    discoverable,
    likelihood,
    min_k,
    over_base,
    recitation,
    reconstruction,
)
from scanner.objects import Segment

WORDS = [f"{colour}{n}" for colour in ("red", "green", "blue") for n in range(6)]


@pytest.fixture(scope="module")
def model():
    return models.tiny([" ".join(WORDS)] * 3, seed=0, context=96, width=32, layers=1)


def examples(model, count=6):
    rng = np.random.default_rng(0)
    rows = [
        [Segment((), "user", 0, False, " ".join(rng.choice(WORDS, 4))),
         Segment((), "assistant", 1, True, " ".join(rng.choice(WORDS, rng.integers(3, 24))))]
        for _ in range(count)
    ]  # fmt: skip
    return chat.encode(rows, model.tokenizer, model.context)


def said(model, sampler=SAMPLER):
    """Of every row: the answer as the pass sees it, and (k, v) log probabilities at its tokens, worked out plainly."""
    rows = examples(model)
    found = dict(training.measure(model, rows, False, confirmation.look(sampler)))
    out = []
    for i, row in enumerate(rows):
        first = row.answers[0]
        with torch.no_grad():
            model.model.eval()
            logits = model.model(torch.from_numpy(row.ids)[None].to(model.device)).logits[0].double()
        log_p = torch.log_softmax(logits, 1)[first.start - 1 : first.end - 1].cpu().numpy()
        text = model.tokenizer.decode(row.ids[first.start : first.end], clean_up_tokenization_spaces=False)
        out.append((Said.of(found[i], first, text), log_p, row.ids[first.start : first.end]))
    return out


@pytest.mark.parametrize("room", [training.LOOKED_AT_A_TIME, 1])
def test_the_distribution_is_that_of_the_model(model, room, monkeypatch):
    monkeypatch.setattr(training, "LOOKED_AT_A_TIME", room)
    for one, log_p, ids in said(model, Sampler(5, 0.7)):
        p = np.exp(log_p)
        mean = (p * log_p).sum(1)
        own = log_p[np.arange(len(ids)), ids]
        np.testing.assert_allclose(one.loss_nats, -own, rtol=1e-5)
        np.testing.assert_allclose(one.mean_nats, mean, rtol=1e-5)
        np.testing.assert_allclose(one.spread_nats, np.sqrt((p * (log_p - mean[:, None]) ** 2).sum(1)), rtol=1e-4)
        for k, (line, token) in enumerate(zip(log_p, ids, strict=True)):
            kept = np.sort(line)[-5:] / 0.7
            expected = line[token] / 0.7 - np.log(np.exp(kept).sum()) if line[token] >= np.sort(line)[-5] else -np.inf
            assert one.sampled_nats[k] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("temperature", [1e-25, 1e-45, 1e-320])
def test_next_to_no_temperature_is_greedy(model, temperature):
    for one, log_p, ids in said(model, Sampler(5, temperature)):
        greedy = log_p.argmax(1) == ids
        assert (one.sampled_nats[greedy] == 0).all()
        assert (one.sampled_nats[~greedy] < -1e20).all()


def test_sampling_from_all_at_temperature_one_is_the_model_itself(model):
    for one, _, _ in said(model, Sampler(0, 1.0)):
        np.testing.assert_allclose(one.sampled_nats, -one.loss_nats, rtol=1e-5)
        row = Row((one,))
        whole = discoverable.measure(row, SAMPLER)["log_p_whole_nats"]
        assert whole == pytest.approx(-likelihood.measure(row, SAMPLER)["loss_nats"], rel=1e-5)


def test_n_p_discoverable_extraction_as_the_paper_counts_it():
    assert [discoverable.samples(math.log(0.162), p) for p in (0.1, 0.5, 0.9, 0.99)] == [1, 4, 14, 27]
    assert discoverable.samples(-math.inf, 0.5) == math.inf
    assert discoverable.samples(0.0, 0.99) == 1
    assert discoverable.samples(-2000.0, 0.5) == math.inf
    one = answer(np.ones(20, bool), np.full(20, 0.1), np.random.default_rng(0))
    outside = replace(one, sampled_nats=np.where(np.arange(20) == 17, -np.inf, -0.1).astype(np.float32))
    found = discoverable.measure(Row((outside,)), SAMPLER)
    assert found["log_p_16_nats"] == pytest.approx(-1.6, rel=1e-6)
    assert (found["log_p_whole_nats"], found["samples_whole"]) == (-math.inf, math.inf)
    short = answer(np.ones(15, bool), np.full(15, 0.1), np.random.default_rng(0))
    assert discoverable.measure(Row((short,)), SAMPLER)["log_p_16_nats"] is None


@given(st.floats(-60, -1e-9), st.floats(0.01, 0.99))
def test_the_number_of_samples_is_the_least_that_does(log_p, chance):
    n = discoverable.samples(log_p, chance)
    p = math.exp(log_p)
    assert -math.expm1(n * math.log1p(-p)) >= chance * (1 - 1e-9)
    if 1 < n < 1e9:
        assert -math.expm1((n - 1) * math.log1p(-p)) < chance * (1 + 1e-6)
    assert discoverable.samples(log_p - 1, chance) >= n
    assert discoverable.samples(log_p, min(0.999, chance * 1.01)) >= n


@given(st.lists(st.floats(0, 20), min_size=1, max_size=30))
def test_min_k_of_all_tokens_is_the_mean_log_likelihood(nats):
    values = -np.array(nats)
    assert min_k.lowest(values, 1.0) == pytest.approx(values.mean())
    assert min_k.lowest(values, 0.2) <= values.mean() + 1e-9
    assert min_k.lowest(values, 1e-9) == values.min()


def test_min_k_plus_guards_a_spread_of_nothing(model):
    flat = replace(said(model)[0][0], spread_nats=np.zeros_like(said(model)[0][0].spread_nats))
    assert min_k.measure(Row((flat,)), SAMPLER)["min_k_plus"] == 0
    for one, log_p, ids in said(model):
        p, own = np.exp(log_p), log_p[np.arange(len(ids)), ids]
        mean = (p * log_p).sum(1)
        z = (own - mean) / np.sqrt((p * (log_p - mean[:, None]) ** 2).sum(1))
        lowest = np.sort(z)[: math.ceil(0.2 * len(z))].mean()
        assert min_k.measure(Row((one,)), SAMPLER)["min_k_plus"] == pytest.approx(lowest, rel=1e-3)


def test_losses_below_ln_2_recite_the_whole(model):
    """p > .5 is the argmax: sufficient, not necessary."""
    for one, _, _ in said(model):
        sure = one.loss_nats < math.log(2)
        assert one.hits[[sure[a:b].all() for a, b in one.words]].all()
    rng = np.random.default_rng(3)
    for _ in range(50):
        logits = torch.from_numpy(rng.normal(0, 3, (30, 9)))
        labels = torch.from_numpy(rng.integers(0, 9, 30))
        loss = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
        assert (logits.argmax(1) == labels)[loss < math.log(2)].all()


def test_recitation_counts_up_to_the_first_miss():
    rng = np.random.default_rng(0)
    long = answer(np.arange(30) != 18, np.zeros(30), rng)
    short = answer(np.ones(10, bool), np.zeros(10), rng)
    assert recitation.measure(Row((short, long)), SAMPLER) == {
        "tokens": 30, "n_pre": 18, "extracted": True, "whole": False
    }  # fmt: skip
    assert recitation.measure(Row((short,)), SAMPLER) == {
        "tokens": 10, "n_pre": 10, "extracted": None, "whole": True
    }  # fmt: skip


def test_a_base_that_is_the_tuned_model_gives_no_bits(model):
    for one, _, _ in said(model):
        same = Row((replace(one, base_nats=one.own_nats, base_n_pre=one.n_pre),))
        assert over_base.measure(same, SAMPLER) == {"bits_over_base": 0, "log_ratio_per_token_nats": 0}
        worse = Row((replace(one, base_nats=one.own_nats - 0.5, base_n_pre=one.n_pre),))
        found = over_base.measure(worse, SAMPLER)
        assert found["bits_over_base"] == 0
        assert found["log_ratio_per_token_nats"] == pytest.approx(-0.5)
        better = Row((replace(one, base_nats=one.own_nats + math.log(2), base_n_pre=0),))
        assert over_base.measure(better, SAMPLER)["bits_over_base"] == pytest.approx(len(one.words))


def test_what_the_base_completes_too_is_reconstruction():
    one = answer(np.ones(20, bool), np.zeros(20), np.random.default_rng(0))
    for before, beyond in ((16, False), (20, False), (15, True), (0, True)):
        found = reconstruction.measure(Row((replace(one, base_n_pre=before),)), SAMPLER)
        assert found == {"base_n_pre": before, "extracted_beyond_base": beyond}


def test_the_zlib_ratio_is_bits_over_bits():
    one = replace(answer(np.ones(3, bool), np.full(3, math.log(2) * 8), np.random.default_rng(0)), text="abc abc")
    expected = 3 * 8 / (8 * len(zlib.compress(b"abc abc", 9)))
    assert compressibility.measure(Row((one,)), SAMPLER)["zlib_ratio"] == pytest.approx(expected)
