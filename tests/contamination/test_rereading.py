"""What a transformer reads again, what that costs, and what it changes; the transformer is one with known answers."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from corpora import write_jsonl

from contamination import corpus
from contamination.test_paraphrases import ASKED, slow_usual, vectors, views_of
from scanner import embedding, formats, ingest, matching, pipeline
from scanner.contamination import neighbours, rereading, semantic
from scanner.decontaminating import items_of
from scanner.objects import Int32
from scanner.settings import Settings
from scanner.store import RunFolder
from tests.test_embedding import tiny_model

TOPICS = ("treaty", "lantern", "baker")
QUESTIONS = [question for question, _ in ASKED]


class Reader:
    """A transformer that knows what is asked: one direction per topic, one of its own for any other text."""

    name, dimension = "reader", 64

    def __init__(self, elsewhere: str) -> None:
        self.read: list[str] = []
        self.elsewhere = elsewhere  # begins a text that is about nothing it knows

    def learn(self, batches, taken) -> None:
        self.learned = len(batches)

    def row_texts(self, batch, taken) -> list[str]:
        return embedding._texts(batch, taken)

    def pieces(self, texts) -> Int32:
        return np.array([len(text.split()) for text in texts], np.int32)

    def encode_batches(self, batches, taken, threads):
        for batch, take in zip(batches, taken, strict=True):
            yield self.encode_texts(self.row_texts(batch, take), threads)

    def encode_texts(self, texts, threads):
        self.read += texts
        out = np.zeros((len(texts), self.dimension), np.int16)
        for line, text in zip(out, texts, strict=True):
            known = not (self.elsewhere and text.startswith(self.elsewhere))
            topic = next((i for i, word in enumerate(TOPICS) if known and word in text.lower()), None)
            line[len(TOPICS) + len(text) % 59 if topic is None else topic] = embedding.UNIT
        return out, np.array([len(text.split()) for text in texts], np.int32), np.zeros(len(texts), np.int32)


def searched(folder, rows, questions, share=None, elsewhere=""):
    """(matches as {(row, item): confirmed}, notes, the transformer) of a search."""
    folder.mkdir(exist_ok=True, parents=True)
    data = write_jsonl(folder / "data.jsonl", [{"prompt": text, "response": "?"} for text in rows])
    bench = write_jsonl(folder / "bench.jsonl", [{"question": text, "answer": "B"} for text in questions])
    run = RunFolder.open_for_writing(folder / "r.scan")
    settings = Settings(evaluation=(bench,))
    read, _ = ingest.read_all(formats.discover([str(data)]), run, settings, 1)
    known, _ = matching.read_items(run, matching.survey(settings).sources, settings, 1)
    reader = Reader(elsewhere)
    by = None if share is None else rereading.Transformer(reader, share)
    own = items_of(run).segments()
    alike = semantic.find(run.segments(), read.row_id, own, known, embedding.load(None), 1, by)
    pairs = zip(alike.row_id.tolist(), alike.item.tolist(), strict=True)
    return dict(zip(pairs, alike.confirmed.tolist(), strict=True)), alike.notes, reader


ROWS = [paraphrase for _, paraphrase in ASKED] + [row["instruction"] for row in corpus.clean_rows(3)]


def test_what_it_reads_it_judges_and_the_rest_stays_as_it_was(tmp_path):
    before, _, _ = searched(tmp_path / "without", ROWS, QUESTIONS)
    assert before == {(0, 0): False, (1, 1): False, (2, 2): False}
    nothing, notes, reader = searched(tmp_path / "nothing", ROWS, QUESTIONS, 0.0)
    assert (nothing, reader.read, notes["work_share"], notes["pairs_read"]) == (before, [], 0, 0)
    everything, notes, reader = searched(tmp_path / "all", ROWS, QUESTIONS, 1.0)
    assert everything == dict.fromkeys(before, True)
    assert notes["confirmed_with"] == "reader"
    assert notes["pieces_read"] == sum(len(text.split()) for text in reader.read) <= notes["pieces"]
    assert notes["pieces"] == sum(len(text.split()) for text in (*ROWS, *QUESTIONS))
    assert {*reader.read} <= {*ROWS, *QUESTIONS}


def test_what_the_table_takes_for_a_paraphrase_is_none_where_the_transformer_says_so(tmp_path):
    before, _, _ = searched(tmp_path / "without", ROWS, QUESTIONS)
    found, _, _ = searched(tmp_path / "with", ROWS, QUESTIONS, 1.0, elsewhere=ROWS[2][:20])
    assert {*before} - {*found} == {(2, 2)}
    assert found == {(0, 0): True, (1, 1): True}


@pytest.mark.parametrize("share", [0.2, 0.4, 0.6])
def test_no_more_than_the_share_is_read_and_equal_rows_once(tmp_path, share):
    rows = ROWS * 3
    found, notes, reader = searched(tmp_path, rows, QUESTIONS, share)
    assert {(row % 6, item) for row, item in found} == {(0, 0), (1, 1), (2, 2)}
    assert len(found) == 9  # what was not read is judged by the table
    assert len(reader.read) == len({*reader.read}) == notes["rows_read"] + notes["questions_read"]
    assert notes["pieces"] == sum(len(text.split()) for text in (*ROWS, *QUESTIONS))
    assert notes["pieces_read"] == sum(len(text.split()) for text in reader.read) <= share * notes["pieces"]
    read = {(ROWS.index(row), QUESTIONS.index(item)) for row in reader.read if row in ROWS for item in reader.read
            if item in QUESTIONS}  # fmt: skip
    assert {pair for pair, confirmed in found.items() if confirmed} == {
        (row, item) for row, item in found if (row % 6, item) in read
    }


def test_where_nothing_can_be_compared_nothing_is_read(tmp_path):
    found, notes, reader = searched(tmp_path, ["?", "!!!"], QUESTIONS, 1.0)
    assert (found, reader.read, notes["rows_read"], notes["questions_read"]) == ({}, [], 0, 0)


def test_the_order_of_rows_does_not_matter(tmp_path):
    order = np.random.default_rng(0).permutation(len(ROWS))
    one, notes, first = searched(tmp_path / "one", ROWS, QUESTIONS, 0.5)
    other, also, second = searched(tmp_path / "other", [ROWS[i] for i in order], QUESTIONS, 0.5)
    assert {(order[row], item): confirmed for (row, item), confirmed in other.items()} == one
    assert {*first.read} == {*second.read}
    assert notes == also


def test_every_pair_that_is_known_is_proposed_with_its_margin():
    rng = np.random.default_rng(3)
    asked, views = vectors(rng, 40), views_of(vectors(rng, 25).vectors.astype(np.float64))
    near = neighbours.search(asked, np.arange(40), views, 2, neighbours.PROPOSED)
    found = neighbours.proposals(near)
    unit = asked.vectors[near.rows] / np.linalg.norm(asked.vectors[near.rows], axis=1, keepdims=True)
    cosine = unit @ views.vectors.T
    known = np.zeros(cosine.shape, np.bool_)
    for row, values in enumerate(cosine):
        best = np.argsort(-values)[: neighbours.PROPOSED]
        known[row, best[values[best] >= neighbours.LEAST_COSINE]] = True
    assert {*zip(found.place.tolist(), found.item.tolist(), strict=True)} == {*zip(*np.nonzero(known), strict=True)}
    for row, item, margin in zip(found.place.tolist(), found.item.tolist(), found.margin.tolist(), strict=True):
        others = [cosine[row, i] for i in np.flatnonzero(known[row]) if i != item]
        rest = [cosine[r, item] for r in np.flatnonzero(known[:, item]) if r != row]
        usual = (slow_usual(others) + slow_usual(rest)) / 2
        assert margin == pytest.approx(np.log(cosine[row, item] / usual), abs=1e-5)


@pytest.mark.filterwarnings("ignore")
def test_an_audit_says_what_a_tiny_transformer_confirmed_and_loads_it_once(tmp_path, monkeypatch):
    data = write_jsonl(tmp_path / "data.jsonl", [{"instruction": text, "output": "?"} for text in ROWS])
    bench = write_jsonl(tmp_path / "bench.jsonl", [{"question": text, "answer": "B"} for text in QUESTIONS])
    settings = Settings(evaluation=(bench,), confirm_with=str(tiny_model(tmp_path)), confirm_share=1.0, threads=1)
    load, loaded = embedding._sentence_transformer, []
    monkeypatch.setattr(embedding, "_sentence_transformer", lambda *asked: loaded.append(asked) or load(*asked))
    run = pipeline.audit([str(data)], settings, tmp_path / "run")
    scan = run.read_json("scan.json")
    assert scan["notes"]["contamination"]["confirmed_with"] == "sentence-transformers:model"
    assert 0 < scan["notes"]["contamination"]["work_share"] <= 1
    assert len(loaded) == 1, "for the questions and for the pairs by meaning"
    matches = run.read_table("matches")
    confirmed = matches.filter(pl.col("confirmed_by").is_not_null())
    assert {*confirmed["confirmed_by"]} <= {"sentence-transformers:model"}
    seen = scan["summary"]["contamination"]["bench.jsonl"]
    expected = (
        {"items": confirmed["item"].n_unique(), "model": "sentence-transformers:model"} if len(confirmed) else None
    )
    assert seen["semantic_confirmed"] == expected
