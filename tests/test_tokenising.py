"""All rows as one array of tokens, and the answers in it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import texts, words

from scanner.errors import SettingsError
from scanner.objects import ROLES, Segment
from scanner.text import OWN_UNIT, token_spans
from scanner.tokenising import tokens_of_rows


def tokenised(corpus, **values):
    return tokens_of_rows(corpus.reader(), **{"tokenizer": None, "max_length": None, "threads": 2, **values})


def twin(rows, max_length):
    """Tokens of every row, and its answers as (row, tokens): runs of learned tokens within one turn, cut."""
    tokens, answers, cut = [], [], 0
    for r, row in enumerate(rows):
        mine = [(token, s.turn if s.supervised else -1) for s in row for token in tokens_in(s.text)]
        tokens.append([token for token, _ in mine])
        kept = mine if max_length is None else mine[:max_length]
        cut += len(kept) < len(mine)
        before = -1
        for token, turn in kept:
            if turn >= 0 and turn == before:
                answers[-1][1].append(token)
            elif turn >= 0:
                answers.append((r, [token]))
            before = turn
    return tokens, answers, cut


def tokens_in(text):
    return [text[a:b] for a, b in token_spans(text)]


def segment(turn, role, supervised, text):
    return Segment((str(turn),), role, turn, supervised, text)


def trained(kind, text):
    """A tokenizer of one kind, trained on a text."""
    import tokenizers as t

    models = {
        "byte-level": t.models.BPE(),
        "fallback": t.models.BPE(byte_fallback=True),
        "pieces": t.models.WordPiece(),
    }
    made = t.Tokenizer(models[kind])
    if kind == "byte-level":
        made.pre_tokenizer, made.decoder = t.pre_tokenizers.ByteLevel(add_prefix_space=False), t.decoders.ByteLevel()
        alphabet = t.pre_tokenizers.ByteLevel.alphabet()
        made.train_from_iterator([text], t.trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet))
    elif kind == "fallback":
        made.pre_tokenizer = t.pre_tokenizers.Metaspace()
        made.decoder = t.decoders.Sequence([t.decoders.Metaspace(), t.decoders.ByteFallback()])
        special = [f"<0x{b:02X}>" for b in range(256)]
        made.train_from_iterator([text], t.trainers.BpeTrainer(vocab_size=400, special_tokens=special))
    else:
        made.model = t.models.WordPiece(unk_token="[UNK]")
        made.pre_tokenizer, made.decoder = t.pre_tokenizers.Whitespace(), t.decoders.WordPiece()
        made.train_from_iterator([text], t.trainers.WordPieceTrainer(vocab_size=60, special_tokens=["[UNK]"]))
    return made


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("byte-level", "the cat sat on the mat; \u732b\u5750\u5728\u57ab\u5b50\u4e0a, na\u00efve"),
        ("fallback", "the cat sat on the mat"),
        ("pieces", "the cat sat on the mat"),
    ],
)
def test_widths_are_those_of_the_text(segments_of, tmp_path, kind, text):
    """Not those of how a vocabulary writes it: the bytes of what is no white space, each once."""
    file = tmp_path / "tokenizer.json"
    trained(kind, text).save(str(file))
    found = tokenised(segments_of([[segment(0, "user", False, text)]]), tokenizer=file)
    assert found.widths.sum() == len("".join(text.split()).encode())
    if kind == "fallback":  # letters that it never saw are three bytes
        found = tokenised(segments_of([[segment(0, "user", False, "\u732b")]]), tokenizer=file)
        assert found.widths[-3:].tolist() == [1, 1, 1]


turns = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from(ROLES), st.booleans(), st.one_of(words, texts, st.just(""))),
    min_size=1,
    max_size=5,
)


def build(steps):
    """Turns never go back; a segment begins the next turn or stays in this one."""
    turn, row = 0, []
    for step, role, supervised, text in steps:
        turn += step
        row.append(segment(turn, role, supervised, text))
    return row


@given(st.lists(turns.map(build), min_size=1, max_size=6), st.integers(1, 3), st.one_of(st.none(), st.integers(1, 12)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_equals_the_twin(segments_of, rows, per_batch, max_length):
    found = tokenised(segments_of(rows, per_batch=per_batch), max_length=max_length)
    tokens, answers, cut = twin(rows, max_length)
    assert np.diff(found.offsets).tolist() == [len(t) for t in tokens]
    assert found.offsets[-1] == len(found.tokens)
    flat = [token for row in tokens for token in row]
    assert len(set(zip(flat, found.tokens.tolist(), strict=True))) == len(set(flat)) == len(set(found.tokens.tolist()))
    assert found.answer_row.tolist() == [r for r, _ in answers]
    spans = zip(found.answer_start.tolist(), found.answer_end.tolist(), strict=True)
    assert [flat[a:b] for a, b in spans] == [t for _, t in answers]
    assert found.rows_cut == cut
    assert found.unit == OWN_UNIT


def test_batches_and_threads_do_not_matter(segments_of):
    rows = [(f"question {i}", f"answer {i} " * (i % 4)) for i in range(20)]
    one, many = tokenised(segments_of(rows), threads=1), tokenised(segments_of(rows, per_batch=3), threads=3)
    for name, value in vars(one).items():
        assert np.array_equal(getattr(many, name), value), name


def test_an_empty_part_does_not_split_an_answer(segments_of):
    row = [segment(0, "user", False, "q"), *(segment(1, "assistant", True, t) for t in ("one two", "", "three"))]
    found = tokenised(segments_of([row]))
    assert (found.answer_start.tolist(), found.answer_end.tolist()) == ([1], [4])


def test_what_the_trainer_cuts_is_in_no_answer(segments_of):
    rows = [("one two three", "four five"), ("one", "two three four"), ("a", "b")]
    found = tokenised(segments_of(rows), max_length=3)
    assert found.answer_row.tolist() == [1, 2]
    assert (found.answer_end - found.answer_start).tolist() == [2, 1]
    assert found.rows_cut == 2
    assert np.diff(found.offsets).tolist() == [5, 4, 2]


@pytest.fixture
def own_tokenizer(tmp_path):
    """A model's tokenizer.json: words, with an unknown and a special token that must not be added."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    vocabulary = {"[UNK]": 0, "<s>": 1, "one": 2, "two": 3, "é": 4}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    folder = tmp_path / "model"
    folder.mkdir()
    made.save(str(folder / "tokenizer.json"))
    return folder


def test_a_models_own_tokens(segments_of, own_tokenizer):
    corpus = segments_of([("one", "two é one"), ("", "three")], per_batch=1)
    found = tokenised(corpus, tokenizer=own_tokenizer / "tokenizer.json")
    assert found.unit == "token of tokenizer.json"
    one, two, e, unknown = found.tokens[[0, 1, 2, 4]].tolist()
    assert found.tokens.tolist() == [one, two, e, one, unknown]
    assert len({one, two, e, unknown}) == 4
    assert (found.answer_start.tolist(), found.answer_end.tolist()) == ([1, 4], [4, 5])
    again = tokenised(corpus, tokenizer=own_tokenizer)
    assert (again.tokens == found.tokens).all()


@pytest.mark.parametrize("content", [None, b"", b"{}", json.dumps({"model": 1}).encode()])
def test_a_broken_tokenizer_is_refused(segments_of, tmp_path, content):
    path = tmp_path / "tok.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(
        SettingsError, match=r"--tokenizer .*tok\.json: not readable as a tokenizer\.json .* give the file"
    ):
        tokenised(segments_of(["a"]), tokenizer=path)
