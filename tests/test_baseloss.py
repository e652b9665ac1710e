"""The base's own losses stand at our own tokens, and none of them is lost or counted twice."""

from __future__ import annotations

import copy
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_base import shrink

from scanner import baseloss, chat, models
from scanner.errors import ModelError
from scanner.objects import ROLE_CODE, Segment, SegmentBatch
from scanner.tokenising import TokenisedRows, tokens_of_rows

ANSWERS = [
    "Yes, (really)... the answer is 42.",
    "No!",
    "  数字是四十二。 It is forty-two.  ",
    "def f(x):\n    return x + 1",
]
ROWS = [
    [Segment((), "user", 0, False, f"Question {i}?"), Segment((), "assistant", 1, True, text)]
    for i, text in enumerate(ANSWERS)
] + [
    [
        Segment((), "user", 0, False, "One?"), Segment((), "assistant", 1, True, "First answer."),
        Segment((), "user", 2, False, "Two?"), Segment((), "assistant", 3, True, "Second answer, longer."),
    ]
]  # fmt: skip


@pytest.fixture(scope="module")
def base():
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        yield models.tiny(ANSWERS * 3, seed=0, context=96)


def tokenised(rows: list[list[Segment]], max_length: int | None = None) -> TokenisedRows:
    flat = [(i, segment) for i, row in enumerate(rows) for segment in row]
    raw = [segment.text.encode() for _, segment in flat]
    batch = SegmentBatch(
        row_id=np.array([i for i, _ in flat], np.int64),
        segment=np.zeros(len(flat), np.int32),
        turn=np.array([s.turn for _, s in flat], np.int32),
        role=np.array([ROLE_CODE[s.role] for _, s in flat], np.uint8),
        supervised=np.array([s.supervised for _, s in flat], np.bool_),
        offsets=np.concatenate(([0], np.cumsum([len(r) for r in raw]))).astype(np.int64),
        data=np.frombuffer(b"".join(raw), np.uint8),
    )
    return tokens_of_rows([batch], tokenizer=None, max_length=max_length, threads=1)


def plain_losses(base, row: list[Segment]) -> tuple[chat.Example, np.ndarray]:
    """Loss of every token of a row, one row at a time, from the logits."""
    example = chat.encode([row], base.tokenizer, base.context)[0]
    with torch.no_grad():
        logits = base.model(torch.tensor(example.ids)[None]).logits[0]
    cost = torch.nn.functional.cross_entropy(logits[:-1], torch.tensor(example.ids[1:]), reduction="none")
    return example, np.append(np.nan, cost.numpy())


def test_every_token_gets_the_loss_of_the_tokens_that_cover_it(base):
    text = tokenised(ROWS)
    found = baseloss.base_losses(base, ROWS, text, bf16=False)
    assert (found.rows_beyond_context, found.rows_not_aligned) == (0, 0)
    expected = np.full(len(text.tokens), np.nan)
    span = 0
    for row in ROWS:
        example, cost = plain_losses(base, row)
        for answer in example.answers:
            covering = [[w for w, (a, b) in enumerate(answer.words) if a <= j < b] for j in range(len(cost))]
            for j, words in enumerate(covering):
                for w in words:
                    at = text.answer_start[span] + w
                    expected[at] = np.nan_to_num(expected[at]) + cost[j] / len(words)
            span += 1
    assert span == len(text.answer_row)
    np.testing.assert_allclose(found.loss_nats, expected, rtol=2e-4, atol=1e-5)
    assert found.measured == int((text.answer_end - text.answer_start).sum())
    assert found.row_tokens.tolist() == [len(plain_losses(base, row)[0].ids) for row in ROWS]


def test_blocks_of_rows_change_nothing(base, monkeypatch):
    text = tokenised(ROWS)
    whole = baseloss.base_losses(base, ROWS, text, bf16=False)
    monkeypatch.setattr(baseloss, "ROWS_AT_ONCE", 2)
    done = []
    cut = baseloss.base_losses(base, ROWS, text, bf16=False, advance=done.append)
    np.testing.assert_allclose(whole.loss_nats, cut.loss_nats, rtol=1e-4, atol=1e-5)
    assert cut.row_tokens.tolist() == whole.row_tokens.tolist()
    assert done == [2, 2, 1]


def test_answers_wholly_behind_the_context_reach_nowhere(base):
    turns = [("user", "Go"), ("assistant", "word " * 150), ("user", "On"), ("assistant", "more of it")]
    rows = [[Segment((), role, i, i % 2 == 1, text) for i, (role, text) in enumerate(turns)]]
    found = baseloss.base_losses(base, rows, tokenised(rows), bf16=False)
    assert 0 < found.reach[0] < 150
    assert found.reach[1] == 0


def test_what_lies_behind_the_context_is_not_measured(base):
    rows = [[Segment((), "user", 0, False, "Go"), Segment((), "assistant", 1, True, "word " * 150)], ROWS[1]]
    text = tokenised(rows)
    found = baseloss.base_losses(base, rows, text, bf16=False)
    missing = np.isnan(found.loss_nats[text.answer_start[0] : text.answer_end[0]])
    assert found.rows_beyond_context == 1
    measured = text.answer_end[0] - text.answer_start[0] - missing.sum()
    assert found.reach.tolist() == [measured, text.answer_end[1] - text.answer_start[1]]
    assert not missing[:5].any()
    assert missing[-50:].all()
    assert np.isfinite(found.loss_nats[text.answer_start[1] : text.answer_end[1]]).all()


def test_what_max_length_cuts_is_not_measured(base):
    text = tokenised(ROWS, max_length=6)
    found = baseloss.base_losses(base, ROWS, text, bf16=False)
    inside = np.zeros(len(text.tokens), np.bool_)
    for a, b in zip(text.answer_start.tolist(), text.answer_end.tolist(), strict=True):
        inside[a:b] = True
    np.testing.assert_array_equal(np.isfinite(found.loss_nats), inside)


def test_rows_that_the_template_refuses_are_left_out_and_counted(base, monkeypatch):
    rows = [*ROWS * 3, [Segment((), "user", 0, False, "Hm?"), Segment((), "assistant", 1, True, "Refused answer.")]]
    tokenizer = copy.deepcopy(base.tokenizer)
    refusal = "{% for m in messages %}{% if m['content'] == 'Hm?' %}{{ raise_exception('no') }}{% endif %}{% endfor %}"
    tokenizer.chat_template = refusal + models.TINY_TEMPLATE
    text = tokenised(rows)
    found = baseloss.base_losses(replace(base, tokenizer=tokenizer), rows, text, bf16=False)
    whole = baseloss.base_losses(base, rows, text, bf16=False)
    last = slice(text.answer_start[-1], text.answer_end[-1])
    assert (found.rows_refused, whole.rows_refused) == (1, 0)
    assert found.row_tokens.tolist() == [*whole.row_tokens[:-1], 0]
    assert np.isnan(found.loss_nats[last]).all()
    np.testing.assert_allclose(found.loss_nats[: last.start], whole.loss_nats[: last.start], rtol=1e-4, atol=1e-5)
    said = (
        "--base tiny: at least 1 of 6 rows cannot be measured: the model's chat template refuses a row with the roles"
    )
    six, strict = rows[-6:], replace(base, tokenizer=tokenizer)
    with pytest.raises(ModelError, match=re.escape(said)):
        baseloss.base_losses(strict, six, tokenised(six), bf16=False)


def test_bf16_is_for_long_work_that_it_speeds_up(base, monkeypatch):
    examples = chat.encode(ROWS, base.tokenizer, base.context)
    took = {False: 2.0, True: 1.0}
    clock = [0.0]

    def measure(model, rows, bf16):
        clock[0] += took[bf16]
        return iter(())

    monkeypatch.setattr(baseloss, "measure", measure)
    monkeypatch.setattr(baseloss.time, "perf_counter", lambda: clock[0])
    assert not baseloss.bf16_pays(base, examples)  # two seconds in all
    assert baseloss.bf16_pays(base, examples, blocks=100.0)
    took[True] = 1.9
    assert not baseloss.bf16_pays(base, examples, blocks=100.0)
    assert not baseloss.bf16_pays(base, [], blocks=100.0)


def test_rows_without_an_answer(base):
    rows = [[Segment((), "user", 0, False, "No answer.")]]
    found = baseloss.base_losses(base, rows, tokenised(rows), bf16=False)
    assert (np.isnan(found.loss_nats).tolist(), found.measured) == ([True] * 3, 0)
