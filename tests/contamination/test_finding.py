"""Rows beside evaluation items: what counts, what does not, and that neither order nor threads nor batches matter."""

from __future__ import annotations

import random
from pathlib import Path

import polars as pl
import pytest
from corpora import write_jsonl
from hypothesis import given, settings
from hypothesis import strategies as st

from contamination import corpus
from scanner import contamination, formats, ingest, matching
from scanner.contamination import lexical
from scanner.contamination.items import build_index
from scanner.settings import Settings
from scanner.store import RunFolder

ITEMS = corpus.items()


def found(folder: Path, rows: list[dict], items: list[dict], threads: int = 2) -> pl.DataFrame:
    """matches.parquet without the search by meaning."""
    folder.mkdir(exist_ok=True, parents=True)
    data, evaluation = write_jsonl(folder / "data.jsonl", rows), write_jsonl(folder / "bench.jsonl", items)
    run = RunFolder.open_for_writing(folder / "r.scan")
    settings = Settings(evaluation=(evaluation,))
    read, _ = ingest.read_all(formats.discover([str(data)]), run, settings, threads)
    known, _ = matching.read_items(run, matching.survey(settings).sources, settings, threads)
    pairs, _ = contamination.find_words(run.segments(), read, known, threads)
    return contamination.table(matching._with_answers(run, known, pairs), known)


def row(question: str, answer: str = "no idea") -> dict[str, str]:
    return {"instruction": question, "input": "", "output": answer}


def only(frame: pl.DataFrame) -> dict:
    assert len(frame) == 1, frame
    return frame.row(0, named=True)


def test_what_counts(tmp_path):
    one = ITEMS[0]
    words = one["question"].split()
    cases = {
        "whole": row(one["question"].upper().replace(" ", "\n"), "no idea"),
        "within": row(f"Below is a task.\n### Task: {one['question']}\n### End"),
        "both": row(one["question"], f"Let me see. {one['answer']}"),
        "answer": row("something else", one["answer"]),
        "part": row(" ".join(words[:20]) + " and then quite other words follow"),
        "split": {"instruction": " ".join(words[:15]), "input": " ".join(words[15:]), "output": "no idea"},
    }
    expected = {
        "whole": ("question", "exact"), "within": ("question", "exact"), "both": ("both", "exact"),
        "answer": ("answer", "exact"), "part": ("question", "ngram"), "split": ("question", "exact"),
    }  # fmt: skip
    for name, record in cases.items():
        match = only(found(tmp_path / name, [*corpus.clean_rows(), record], ITEMS))
        assert (match["part"], match["how"]) == expected[name], name
        assert (match["row_id"], match["item"], match["source"]) == (40, "1", "bench.jsonl")
        assert (match["similarity"] == 1) == (match["how"] == "exact")


def test_near_copies_are_verified(tmp_path):
    words = ITEMS[0]["question"].split()
    replaced = [("other" if i in (9, 20) else word) for i, word in enumerate(words)]
    match = only(found(tmp_path, [row(" ".join(replaced))], ITEMS))
    assert match["how"] == "near"
    assert match["similarity"] == pytest.approx(16 / 26)  # 5 runs of 5 words are lost at either place


def test_what_does_not_count(tmp_path):
    one = ITEMS[0]
    words = one["question"].split()
    rows = [
        row(" ".join(words[:12]) + " goes on in another way"),  # no 13 words in a row
        row(" ".join(words[:14]) + " goes on"),  # two n-grams are not three
        row("Say this", " ".join(words[:16])),  # a question said in part by an answer
        row("Say this", " ".join(one["answer"].split()[:18])),  # less than half of an answer
        row(one["answer"], "an answer asked is no answer"),
    ]
    assert not len(found(tmp_path, [*corpus.clean_rows(), *rows], ITEMS))


def test_common_phrases_of_the_data_do_not_count(tmp_path):
    rng = random.Random(5)
    phrase = " ".join(ITEMS[0]["question"].split()[:16])
    rows = [row(f"{phrase} {corpus.sentence(rng, 12)}") for _ in range(12)]
    assert not len(found(tmp_path / "many", rows, ITEMS))
    assert len(found(tmp_path / "few", rows[:3], ITEMS)) == 3
    copies = [row(ITEMS[0]["question"], corpus.sentence(rng, 9)) for _ in range(12)]
    assert len(found(tmp_path / "copies", copies, ITEMS)) == 12  # a whole item is one however often it stands there


def test_templates_of_the_benchmark_do_not_count(tmp_path):
    rng = random.Random(6)
    template = corpus.sentence(rng, 20)
    items = [{"question": f"{template} {corpus.sentence(rng, 14)}", "answer": "x"} for _ in range(9)]
    rows = [row(f"{template} {corpus.sentence(rng, 14)}"), row(items[3]["question"])]
    assert only(found(tmp_path, rows, items))["item"] == "4"


def test_short_answers_count_beside_their_question_only(tmp_path):
    items = [{"question": ITEMS[i]["question"], "answer": str(40 + i)} for i in range(3)]
    rows = [
        row(items[0]["question"], "We add. The answer is 40."),
        row(items[1]["question"], "42"),
        row("Say 42", "42"),
    ]
    parts = found(tmp_path, rows, items).select("row_id", "item", "part").rows()
    assert parts == [(0, "1", "both"), (1, "2", "question")]


def test_answers_count_beside_their_question_without_what_a_benchmark_notes_in_them(tmp_path):
    """GSM8K: a sum in angle brackets after each sign of equality, the result in a last line."""
    items = [
        {"question": ITEMS[i]["question"], "answer": f"It is 4{i}+2 = <<4{i}+2=4{2 + i}>>4{2 + i}.\n#### 4{2 + i}"}
        for i in range(3)
    ]
    items.append({"question": ITEMS[3]["question"], "answer": "<<1+1=2>>"})  # nothing is left of it
    rows = [
        row(items[0]["question"], "It is 40+2 = 42."),
        row(items[1]["question"], items[1]["answer"]),
        row(items[2]["question"], "It is 40+2 = 42."),
        row(items[3]["question"]),
        row("something else", "It is 40+2 = 42."),
    ]
    parts = found(tmp_path, rows, items).select("row_id", "item", "part").rows()
    assert parts == [(0, "1", "both"), (1, "2", "both"), (2, "3", "question"), (3, "4", "question")]


def test_the_result_alone_counts_beside_its_question(tmp_path):
    """GSM8K without its solutions, as data for reinforcement learning have it, and solutions in other words."""
    ends = [
        "\n#### 42",
        "\n#### 1,430",
        "\n#### 17",
        " so it is $\\boxed{7}$, not \\boxed{\\frac{1}{2}}.",
        " or \\boxed{9}",
        "\nA: 1,430",  # as in the solutions beside GSM8K
    ]
    items = [{"question": ITEMS[i]["question"], "answer": f"We count them.{end}"} for i, end in enumerate(ends)]
    answers = ["42", "They are many: 1,430.", "16", "7", "Nine, 9", "1,430"]
    rows = [row(item["question"], answer) for item, answer in zip(items, answers, strict=True)]
    rows.append(row("Say 42", "42"))
    parts = found(tmp_path, rows, items).select("row_id", "item", "part").rows()
    assert [part for *_, part in parts] == ["both", "both", "question", "both", "both", "both"]


def mixed(rng: random.Random) -> list[dict]:
    """Clean rows, copies, parts and answers, shuffled."""
    rows = corpus.clean_rows(30)
    for item in ITEMS:
        words = item["question"].split()
        rows += [row(item["question"], item["answer"]), row(" ".join(words[:22])), row("x", item["answer"])]
    rng.shuffle(rows)
    return rows


@settings(max_examples=5)
@given(seed=st.integers(0, 1000), threads=st.sampled_from([1, 3]), per_batch=st.sampled_from([7, 50]))
def test_order_threads_and_batches_do_not_matter(seed, threads, per_batch, tmp_path_factory):
    rng = random.Random(seed)
    rows = mixed(random.Random(0))
    order = list(range(len(rows)))
    rng.shuffle(order)
    folder = tmp_path_factory.mktemp("order")
    before = found(folder / "a", rows, ITEMS, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ingest, "ROWS_PER_BATCH", per_batch)
        after = found(folder / "b", [rows[i] for i in order], ITEMS, threads)
    back = after.with_columns(row_id=pl.Series([order[i] for i in after["row_id"]], dtype=pl.Int64))
    assert len(before) > 30
    assert back.sort("row_id", "item_index").equals(before.sort("row_id", "item_index"), null_equal=True)


def test_little_room_proposes_the_same_pairs(tmp_path):
    found(tmp_path, mixed(random.Random(0)), ITEMS)
    run = RunFolder(tmp_path / "r.scan")
    settings = Settings(evaluation=(tmp_path / "bench.jsonl",))
    items, _ = matching.read_items(run, matching.survey(settings).sources, settings, 1)
    index = build_index(items, contamination.SHORTEST_ANSWER)
    wide = lexical.propose(run.segments(), index, 1)
    tight = lexical.propose(run.segments(), index, 1, room=1)
    assert [part.tolist() for part in wide] == [part.tolist() for part in tight]
    assert len(wide[0]) > 30
