"""What the loss covers, under templates of several kinds; checked by decoding it again."""

from __future__ import annotations

import pytest

from scanner import chat, models
from scanner.errors import ModelError
from scanner.objects import Segment
from scanner.text import token_spans

CHATML = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] | trim }}<|im_end|>\n{% endfor %}"
TEXTS = ["How are you today?", "  I am fine, thank you: 42 times! ", "你好 world", "naïve café 🙂 done"]


def segment(role: str, text: str, turn: int, learned: bool | None = None) -> Segment:
    return Segment((), role, turn, role == "assistant" if learned is None else learned, text)


@pytest.fixture(scope="module")
def tokenizer():
    return models.tiny(TEXTS * 20, seed=0, context=64).tokenizer


@pytest.fixture(params=["own", "chatml", "plain"])
def any_tokenizer(request, tokenizer):
    import copy

    other = copy.deepcopy(tokenizer)
    if request.param == "chatml":
        other.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
        other.chat_template = CHATML
    if request.param == "plain":
        other.chat_template = None
    return other


ROW = [
    segment("system", "Be brief.", 0), segment("user", "How are", 1), segment("user", "you today?", 1),
    segment("assistant", "I am fine, thank you: 42 times!", 2), segment("user", "你好?", 3),
    segment("assistant", "naïve café 🙂 done", 4),
]  # fmt: skip


def test_the_marked_tokens_decode_to_the_answers(any_tokenizer):
    (example,) = chat.encode([ROW], any_tokenizer, 1000)
    assert len(example.answers) == 2
    for answer, segment_ in zip(example.answers, (ROW[3], ROW[5]), strict=True):
        decoded = any_tokenizer.decode(example.ids[answer.start : answer.end])
        assert decoded.strip() == segment_.text
        assert answer.whole
        words = [segment_.text[a:b] for a, b in token_spans(segment_.text)]
        assert len(answer.words) == len(words)
        for (first, last), word in zip(answer.words, words, strict=True):
            assert word in any_tokenizer.decode(example.ids[first:last])
    marked = any_tokenizer.decode(example.ids[example.supervised])
    assert "Be brief" not in marked
    assert "today" not in marked


def test_the_mark_that_closes_a_turn_is_learned_too(any_tokenizer):
    (example,) = chat.encode([ROW], any_tokenizer, 1000)
    closing = example.ids[example.answers[0].end]
    assert example.supervised[example.answers[0].end]
    assert closing in any_tokenizer.all_special_ids


def test_a_row_is_cut_where_the_context_ends(tokenizer):
    (whole,) = chat.encode([ROW], tokenizer, 1000)
    (cut,) = chat.encode([ROW], tokenizer, whole.answers[1].start + 2)
    assert len(cut.ids) == whole.answers[1].start + 2
    assert cut.answers[0].whole
    assert not cut.answers[1].whole
    assert cut.answers[1].end == len(cut.ids)
    assert (cut.answers[1].words[:, 1] <= len(cut.ids)).all()
    (gone,) = chat.encode([ROW], tokenizer, whole.answers[1].start)
    assert len(gone.answers) == 1


def test_plain_text_is_learned_whole(tokenizer):
    (example,) = chat.encode([[segment("text", "I am fine, thank you", 0, True)]], tokenizer, 1000)
    assert example.supervised.all()
    assert tokenizer.decode(example.ids, skip_special_tokens=True) == "I am fine, thank you"


def test_a_rejected_answer_is_never_seen(tokenizer):
    (example,) = chat.encode([[*ROW[:4], segment("rejected", "Go away, you", 2, False)]], tokenizer, 1000)
    assert "Go away" not in tokenizer.decode(example.ids)


def test_a_row_without_answers_teaches_nothing(tokenizer):
    (example,) = chat.encode([ROW[:3]], tokenizer, 1000)
    assert example.supervised_tokens == 0
    assert example.answers == ()


def test_templates_that_change_the_text_are_refused(tokenizer):
    import copy

    shouting = copy.deepcopy(tokenizer)
    shouting.chat_template = "{% for m in messages %}{{ m['content'] | upper }}{% endfor %}"
    with pytest.raises(ModelError, match="changes the text of a turn"):
        chat.encode([ROW], shouting, 1000)
    refusing = copy.deepcopy(tokenizer)
    refusing.chat_template = "{{ raise_exception('roles must alternate') }}"
    with pytest.raises(ModelError, match="roles must alternate"):
        chat.encode([ROW], refusing, 1000)


ALTERNATING = (
    "{% for m in messages %}{% if m['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "<|{{ m['role'] }}|>{{ m['content'] | trim }}<|end|>{% endfor %}"
)


def with_template(tokenizer, template):
    import copy

    other = copy.deepcopy(tokenizer)
    other.chat_template = template
    return other


def test_a_template_that_takes_no_system_turn_gets_it_in_the_users(tokenizer):
    picky = with_template(tokenizer, ALTERNATING)
    (example,) = chat.encode([ROW], picky, 1000)
    assert example.adapted
    assert "<|user|>Be brief.\n\nHow are\nyou today?<|end|>" in picky.decode(example.ids)
    assert [picky.decode(example.ids[a.start : a.end]) for a in example.answers] == [ROW[3].text, ROW[5].text]
    called = [
        ROW[1],
        segment("assistant", "look it up", 2),
        segment("tool", "42", 3),
        segment("user", "so?", 4),
        ROW[3],
    ]
    (example,) = chat.encode([called], picky, 1000)
    assert "<|user|>42\n\nso?<|end|>" in picky.decode(example.ids)
    assert not chat.encode([ROW], tokenizer, 1000)[0].adapted


def test_rows_that_a_template_refuses_are_told_apart(tokenizer):
    picky = with_template(tokenizer, ALTERNATING)
    begins_wrongly = [segment("assistant", "I am fine", 0), segment("user", "How are you", 1)]
    found = chat.encode_some([ROW[1:4], begins_wrongly, ROW], picky, 1000)
    assert isinstance(found[0], chat.Example)
    assert isinstance(found[2], chat.Example)
    assert isinstance(found[1], ModelError)
    assert "roles must alternate" in str(found[1])
    assert "refuses a row with the roles assistant, user" in str(found[1])


@pytest.mark.parametrize("answer", ["A", "assistant", "m", "### Assistant:", "end"])
def test_short_answers_are_not_taken_for_the_templates_own_words(any_tokenizer, answer):
    row = [segment("user", "a", 0), segment("assistant", answer, 1)]
    (example,) = chat.encode([row], any_tokenizer, 1000)
    (found,) = example.answers
    assert any_tokenizer.decode(example.ids[found.start : found.end]).strip() == answer
    (longer,) = chat.encode([[row[0], segment("assistant", answer + " yes", 1)]], any_tokenizer, 1000)
    assert longer.answers[0].start == found.start


def test_plain_text_begins_as_the_tokenizer_begins_it(tokenizer):
    import copy

    from tokenizers.processors import TemplateProcessing

    begun = copy.deepcopy(tokenizer)
    begun.add_special_tokens({"bos_token": "<|system|>"})
    begun.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|system|> $A", special_tokens=[("<|system|>", begun.bos_token_id)]
    )
    (example,) = chat.encode([[segment("text", "I am fine", 0, True)]], begun, 1000)
    assert example.ids[0] == begun.bos_token_id
    assert not example.supervised[0]
    assert begun.decode(example.ids[example.answers[0].start : example.answers[0].end]) == "I am fine"
