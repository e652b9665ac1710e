"""The cascade on real rows: a hand-made reader with known answers, and a tiny real transformer in a whole audit."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from scanner import confirming, embedding, pipeline, stages
from scanner.errors import SettingsError
from scanner.formats import discover
from scanner.progress import Progress
from scanner.settings import Settings
from scanner.signals import _foretelling, semantic
from scanner.signals._odds import CLOSENESS
from scanner.store import RunFolder
from tests.test_embedding import tiny_model

TOPICS = [
    ("How do I cook rice?", "Boil it in water with some salt."),
    ("Which planet is the largest?", "Jupiter is the largest planet."),
    ("Name a river in France.", "The Loire flows through France."),
    ("Explain gravity to a child.", "It is what pulls everything down to the ground."),
    ("Write a haiku about the sea.", "Grey waves roll ashore."),
    ("Translate good morning into German.", "Guten Morgen."),
]
OTHER_WORDS = [
    ("What is the way to cook rice?", "You boil rice in salted water."),
    ("Name the largest planet.", "The largest planet is Jupiter."),
    ("Which river flows in France?", "In France there is the river Loire."),
]
WORDS = ["lantern", "saddle", "trumpet", "glacier", "bishop", "needle", "orchard", "pelican", "quarry", "ribbon"]
LONE = [(f"Tell me about item {i}, a {word}.", f"The {word} is kept in box {i * 7}.") for i, word in enumerate(WORDS)]


def records(pairs):
    return [{"instruction": prompt, "output": answer} for prompt, answer in pairs]


class Reader:
    """A confirmer that knows what the rows mean: one direction per topic; counts what it was given."""

    name, dimension = "reader", 32

    def __init__(self):
        self.read = []

    def learn(self, batches, taken):
        self.learned = len(batches)

    def row_texts(self, batch, taken):
        return embedding._texts(batch, taken)

    def split(self, texts):
        return [[0] * len(text.split()) for text in texts]

    def input_table(self):
        return None

    def encode_texts(self, texts, threads):
        self.read += texts
        keys = ("rice", "planet", "river", "gravity", "haiku", "morning")
        out = np.zeros((len(texts), self.dimension), np.int16)
        for line, text in zip(out, texts, strict=True):
            topic = next((i for i, key in enumerate(keys) if key in text.lower()), None)
            topic = 6 + next(i for i, word in enumerate(WORDS) if word in text) if topic is None else topic
            line[topic] = embedding.UNIT
        return out, np.zeros(len(texts), np.int32), np.zeros(len(texts), np.int32)


def cascade(folder, pairs, **changes):
    """(pairs by prompt with their cosine, Pairs, the reader) of one run of the cascade."""
    file = folder / "data.jsonl"
    file.write_text("".join(json.dumps(r) + "\n" for r in records(pairs)), "utf-8")
    run, progress = RunFolder.open_for_writing(folder / "run"), Progress()
    now = Settings(cosine=0.9, neighbours=5, confirm_share=1.0, threads=1).changed(**changes)
    rows, _, prints = stages.read(run, discover([str(file)]), now, 1, "test", progress)
    likeness = stages.find_likeness(run, rows, prints, now, 1, progress)
    batches = list(run.segments())
    fast = embedding.encode(batches, rows.row_id)
    near = semantic.search(fast, rows.content_order, now.neighbours, 1)
    reader = Reader()
    found, proposed = confirming.confirm(
        batches, rows, fast, near, likeness.texts.group, likeness.near, reader, now, 1, progress
    )
    assert len(proposed) == len(found)
    prompt = [p for p, _ in pairs]
    ends = zip(found.row_a.tolist(), found.row_b.tolist(), strict=True)
    return {frozenset((prompt[a], prompt[b])) for a, b in ends}, found, reader


EXPECTED = {frozenset((TOPICS[i][0], OTHER_WORDS[i][0])) for i in range(3)}


def test_the_reader_decides_and_its_cosine_is_the_similarity(tmp_path):
    named, found, reader = cascade(tmp_path, [*TOPICS, *OTHER_WORDS])
    assert named == EXPECTED
    assert found.similarity.tolist() == [1.0] * 3
    assert found.signal == "semantic"
    assert len(reader.read) <= 9
    notes = found.notes
    assert notes["confirmed_with"] == "reader"
    assert notes["work_share"] == notes["pieces_read"] / notes["pieces"] <= 1


def test_another_embedder_is_taken_at_its_word(tmp_path):
    ranked, found, _ = cascade(tmp_path, [*TOPICS, *OTHER_WORDS])
    assert found.notes["ranked_by"] == "closeness"
    (tmp_path / "again").mkdir()
    plain, again, _ = cascade(tmp_path / "again", [*TOPICS, *OTHER_WORDS], embedder="a-multilingual-model")
    assert again.notes["ranked_by"] == "cosine"
    assert ranked == plain == EXPECTED  # with all of the work allowed, the order does not matter


def test_copies_are_read_once_and_never_reported_again(tmp_path):
    near_copy = (TOPICS[3][0] + " Please.", TOPICS[3][1])
    named, found, reader = cascade(tmp_path, [*TOPICS, *OTHER_WORDS, TOPICS[0], TOPICS[0], near_copy], jaccard=0.5)
    assert named == EXPECTED
    assert sum("How do I cook rice?" in text for text in reader.read) == 1
    assert len(found) == 3


def test_the_order_of_rows_does_not_matter(tmp_path):
    rows = [*TOPICS, *OTHER_WORDS, *LONE]
    first, found, reader = cascade(tmp_path, rows, confirm_share=0.5)
    (tmp_path / "again").mkdir()
    moved = [rows[i] for i in np.random.default_rng(3).permutation(len(rows))]
    second, again, other = cascade(tmp_path / "again", moved, confirm_share=0.5)
    assert first == second
    assert reader.read == other.read  # in the same order too, so that the model sees the same batches
    assert found.notes == again.notes


def in_two_orders(folder, share):
    """What the cascade named, read and noted of 80 rows as they are and in another order."""
    many = [LONE[i % len(WORDS)] for i in range(80)]
    rows = [(p.replace("item", f"item {i},"), f"{a} It has been {i} years.") for i, (p, a) in enumerate(many)]
    told = []
    for at in (np.arange(80), np.random.default_rng(4).permutation(80)):
        (here := folder / str(len(told))).mkdir()
        named, found, reader = cascade(here, [rows[i] for i in at], confirm_share=share)
        told.append((named, reader.read, found.notes))
    return told


def test_themes_are_told_apart_within_the_budget_whatever_the_order(tmp_path):
    told = in_two_orders(tmp_path, 0.4)
    assert told[0] == told[1]
    assert told[0][0]
    assert told[0][2]["themes"] > 1
    assert told[0][2]["work_share"] <= 0.4


def test_forecasts_join_in_whatever_the_order(tmp_path, monkeypatch):
    monkeypatch.setattr(_foretelling, "LEAST_TAUGHT", 30)
    told = in_two_orders(tmp_path, 0.6)
    assert told[0] == told[1]
    assert len(told[0][2]["weights"]) == len(CLOSENESS.weights) + 1


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 1.0])
def test_no_more_is_read_than_allowed(tmp_path, share):
    named, found, reader = cascade(tmp_path, [*TOPICS, *OTHER_WORDS, *LONE], confirm_share=share)
    assert named <= EXPECTED
    assert found.notes["work_share"] <= share
    assert found.notes["rows_read"] == len(reader.read)
    assert found.notes["budget_reached"] == (share < 0.3)  # of which the likely pairs cost less


def test_reading_goes_on_until_the_recall_asked_for_and_says_so(tmp_path):
    rows = [*TOPICS, *OTHER_WORDS, *LONE]
    told = []
    for i, changes in enumerate(({}, {"confirm_recall": 0.95}, {"confirm_recall": 0.95, "confirm_limit": 0.2})):
        (folder := tmp_path / str(i)).mkdir()
        aimed = {"confirm_with": "reader", **changes} if changes else {}
        told.append(cascade(folder, rows, confirm_share=0.1, **aimed))
    (first, within, begun), (named, found, reader), (_, bounded, _) = told
    assert reader.read[: len(begun.read)] == begun.read
    assert first < named == EXPECTED
    assert "aim" not in within.notes
    assert found.notes["aim"] == {"recall": 0.95, "limit": 1.0, "reached": True, "all_read": True}
    assert found.notes["work_share"] > 0.1 >= within.notes["work_share"]
    assert bounded.notes["aim"] == {"recall": 0.95, "limit": 0.2, "reached": False, "all_read": False}
    assert bounded.notes["work_share"] <= 0.2


def test_nothing_to_compare(tmp_path):
    named, found, reader = cascade(tmp_path, [TOPICS[0]])
    assert (named, len(found), reader.read) == (set(), 0, [])
    assert found.notes["work_share"] == 0


def test_recall_turns_missed_pairs_round():
    said = confirming.recall(30, {"expected": 10.0, "low": 0.0, "high": 30.0})
    assert said == {"expected": 0.75, "low": 0.5, "high": 1.0}
    unknown = {"expected": None, "low": None, "high": None}
    assert confirming.recall(30, unknown) == unknown
    assert confirming.recall(0, {"expected": 0.1, "low": 0.0, "high": 0.2}) == unknown  # there was nothing to find


@pytest.mark.parametrize(
    ("found", "most", "aim", "reached"),
    [
        (95, 5.0, 0.95, True),
        (95, 5.1, 0.95, False),
        (7, 0.02, 0.95, True),  # though a pair may have been missed by chance
        (0, 0.3, 0.95, True),  # there is nothing to find
        (0, 0.6, 0.95, False),
        (80, 20.0, 0.8, True),
        (80, None, 0.8, False),  # not measured
    ],
)
def test_an_aim_is_reached_if_even_the_most_that_is_expected_leaves_it(found, most, aim, reached):
    assert confirming.is_reached(found, {"expected_most": most}, aim) is reached


def test_the_confirming_model_needs_semantic_pairs_to_confirm():
    with pytest.raises(SettingsError, match="--confirm-with confirms semantic pairs, and --no-semantic looks for none"):
        Settings(semantic=False, confirm_with="minilm")
    with pytest.raises(SettingsError, match=r"--confirm-share is 1\.5; it must lie between 0 and 1"):
        Settings(confirm_share=1.5)


@pytest.mark.filterwarnings("ignore")
def test_a_whole_audit_with_a_tiny_transformer(tmp_path):
    folder = tiny_model(tmp_path)
    numbers = [("How do I cook two eggs?", "Boil them."), ("How do I cook three eggs?", "Boil them in water.")]
    file = tmp_path / "data.jsonl"
    file.write_text("".join(json.dumps(r) + "\n" for r in records([*TOPICS, *OTHER_WORDS, *numbers, *LONE])), "utf-8")
    settings = Settings(confirm_with=str(folder), confirm_share=0.5, cosine=0.5, drop_semantic=True, threads=1)
    run = pipeline.audit([str(file)], settings, tmp_path / "run")
    pairs = run.read_table("pairs").filter(pl.col("signal") == "semantic")
    notes = run.read_json("scan.json")["notes"]["semantic"]
    assert notes["confirmed_with"] == "sentence-transformers:model"
    assert 0 < notes["work_share"] <= 0.5
    assert len(pairs) == notes["pairs_confirmed"] > 0
    assert pairs["proposal_cosine"].null_count() == 0
    model = embedding.ModelEncoder(str(folder))
    texts = [f"{r['instruction']}\n{r['output']}" for r in records([*TOPICS, *OTHER_WORDS, *numbers, *LONE])]
    unit = model.encode_texts(texts, 1)[0].astype(float)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    for a, b, cosine in pairs.select("row_a", "row_b", "similarity").iter_rows():
        assert cosine == pytest.approx(unit[a] @ unit[b], abs=2e-3)
        assert cosine >= 0.5
    eggs = pairs.filter((pl.col("row_a") == 9) & (pl.col("row_b") == 10))
    if len(eggs):
        assert eggs["differs"].to_list() == ["numbers"]
        plan = run.read_table("plan")
        kept = plan.filter(pl.col("keep_row_id").is_in([9, 10]) & pl.col("row_id").is_in([9, 10]))
        assert not len(kept)


@pytest.mark.filterwarnings("ignore")
def test_an_audit_that_was_interrupted_while_it_read_on_ends_as_if_it_had_not_been(tmp_path, monkeypatch):
    folder = tiny_model(tmp_path)
    file = tmp_path / "data.jsonl"
    rows = records([*TOPICS, *OTHER_WORDS, *LONE])
    file.write_text("".join(json.dumps(r) + "\n" for r in rows), "utf-8")
    settings = Settings(confirm_with=str(folder), confirm_share=0.2, confirm_recall=0.9, cosine=0.9, threads=1)
    whole = pipeline.audit([str(file)], settings, tmp_path / "whole")
    read, calls = embedding.ModelEncoder.encode_texts, []

    def interrupted(self, texts, threads):
        calls.append(len(texts))
        if sum(calls) > len(rows) // 4:  # after the share, before the end
            raise KeyboardInterrupt
        return read(self, texts, threads)

    with monkeypatch.context() as patched:
        patched.setattr(embedding.ModelEncoder, "encode_texts", interrupted)
        with pytest.raises(KeyboardInterrupt):
            pipeline.audit([str(file)], settings, tmp_path / "broken")
    assert not (tmp_path / "broken" / "scan.json").exists()
    resumed = pipeline.audit([str(file)], settings, tmp_path / "broken")
    for name in ("pairs", "rows", "plan", "prediction"):
        drop = [c for c in ("content_hash",) if c in whole.read_table(name).columns]  # keyed per run
        assert resumed.read_table(name).drop(drop).equals(whole.read_table(name).drop(drop), null_equal=True), name
    told = [run.read_json("scan.json")["notes"]["semantic"] for run in (whole, resumed)]
    assert told[0] == told[1]
    assert told[0]["work_share"] > 0.2
    assert set(told[0]["aim"]) == {"recall", "limit", "reached", "all_read"}


@pytest.mark.filterwarnings("ignore")
def test_a_missing_model_is_named_with_its_option(tmp_path):
    file = tmp_path / "data.jsonl"
    file.write_text("".join(json.dumps(r) + "\n" for r in records(TOPICS)), "utf-8")
    (tmp_path / "empty").mkdir()
    settings = replace(Settings(), confirm_with=str(tmp_path / "empty"))
    with pytest.raises(SettingsError, match=r"--confirm-with .*empty: not loaded"):
        pipeline.audit([str(file)], settings, tmp_path / "run")
