"""New rows beside an earlier run's index, against the obvious comparison of every row with every row."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from corpora import Corpus, pair, places_of, row, write_segments
from hypothesis import given, settings
from hypothesis import strategies as st

from scanner import earlier, signatures
from scanner.earlier import MATCHES_SCHEMA, matched_rows, summarise
from scanner.signals.minhash import Bands
from scanner.store import RunFolder
from scanner.text import normalise

BANDS = Bands(25, 5)
LONG = "The harbour of that town was built in the year of the great flood, by hand, from local stone and oak."
LONGER = f"{LONG} It took eleven years, and the money came from a tax on salt that nobody wanted to pay."


FOLDER = tempfile.TemporaryDirectory()
"""Removed when the tests end; every corpus has a folder of its own in it."""
NUMBER = itertools.count()


def corpus_of(rows, ids=None):
    """A corpus in a folder that the test need not name."""
    run = RunFolder.open_for_writing(Path(FOLDER.name) / str(next(NUMBER)) / "old.scan")
    ids = list(range(len(rows))) if ids is None else ids
    rows = [r if isinstance(r, list) else pair(*r) for r in rows]
    write_segments(run.segments_path, rows, ids, 3)
    return Corpus(run, places_of(rows, ids), rows)


def index_of(corpus):
    prints = corpus.prints()
    opening = signatures.openings(corpus.reader(), corpus.rows, prints)
    parameters = {"seed": 1, "shingle_tokens": 3, "bands": BANDS.bands, "rows_per_band": BANDS.rows}
    signatures.write(corpus.run, corpus.rows, prints, opening, parameters)
    return signatures.read(corpus.run.path)


def matched(new, old, floor=0.5, threads=1, bands=BANDS):
    index = index_of(old)
    prints = new.prints()
    hashes = signatures.row_hashes(prints, signatures.openings(new.reader(), new.rows, prints), index.key)
    return earlier.match(
        new.rows.row_id, hashes, prints.signature, prints.shingles > 0, index, "old.scan", (bands.bands, bands.rows),
        floor, threads,
    )  # fmt: skip


def lines(frame):
    columns = ["row_id", "item", "part", "how", "items", "same_context", "first_turn"]
    return frame.select(columns).with_columns(pl.col("item").cast(pl.Int64)).rows()


def test_every_way_in_which_a_row_can_be_known():
    old = corpus_of(
        [("Who built it?", LONG), ("Who built it?", LONGER), ("What now?", LONG),
         row(("user", "Good morning"), ("assistant", "Hi"), ("user", "Bye"), ("assistant", "Bye"))], ids=[3, 5, 6, 9],
    )  # fmt: skip
    new = corpus_of(
        [("who  built it?", LONG.upper()), pair("Who built it?", LONG, system="Be brief"), ("Who built it?", "Me"),
         ("And this one?", LONG), ("Good morning", "Hello to you"), ("Nothing alike", "at all")],
    )  # fmt: skip
    frame = matched(new, old, floor=0.99).frame
    assert frame.schema == pl.Schema(MATCHES_SCHEMA)
    assert lines(frame) == [
        (0, 3, "both", "exact", 1, True, False),
        (1, 3, "both", "exact", 1, False, False),
        (2, lines(frame)[2][1], "question", "exact", 2, None, False),
        (3, lines(frame)[3][1], "answer", "exact", 2, None, False),
        (4, 9, "question", "exact", 1, None, True),
    ]
    assert set(frame["source"]) == {"old.scan"}
    assert set(frame["kind"]) == {"earlier"}
    assert matched_rows(frame).rows() == [(0, "old.scan", "3")]


def test_a_near_copy_is_estimated_and_says_how_well():
    words = [f"word{i}" for i in range(200)]
    old = corpus_of([("Tell it", " ".join(words)), ("Tell it", " ".join(words[::-1]))])
    changed = [*words[:150], "other", *words[151:]]
    found = matched(corpus_of([("Tell  it now", " ".join(changed)), ("Else", "entirely different words here")]), old)
    assert lines(found.frame) == [(0, 0, "both", "near", 1, None, False)]
    assert found.frame["similarity"][0] == pytest.approx(196 / 203, abs=4 * 0.02)  # exact Jaccard of the two rows
    assert found.notes["standard_error_at_0.8"] == pytest.approx((0.16 / 128) ** 0.5, abs=1e-4)


def test_of_equal_earlier_rows_one_is_named_and_all_are_counted():
    old = corpus_of([("Who built it?", LONG)] * 3 + [("Who built it?", f"{LONG} ")] * 2)
    found = matched(corpus_of([("Who built it?", LONG)]), old).frame
    assert found["items"].to_list() == [5]
    near = matched(corpus_of([("Who built it?", f"{LONG} Indeed.")]), old).frame
    assert near.filter(pl.col("how") == "near")["items"].to_list() == [1]  # equal rows stand for one another


def test_a_bucket_that_is_too_full_is_told(monkeypatch):
    monkeypatch.setattr(earlier, "NEIGHBOURS", 2)
    old = corpus_of([("Who built it?", f"{LONGER} {i}") for i in range(12)])
    found = matched(corpus_of([("Who built it, say?", f"{LONGER} x")]), old)
    assert found.notes["candidates_not_compared_at_least"] > 0
    assert len(found.frame.filter(pl.col("how") == "near")) == 1


def test_another_signature_is_never_a_copy():
    """Two rows whose hashes agree by accident are told apart by their signatures."""
    old, new = corpus_of([("Who built it?", LONG)]), corpus_of([("Who built it?", LONG)])
    index = index_of(old)
    prints = new.prints()
    hashes = signatures.row_hashes(prints, prints.prompt, index.key)
    signature = prints.signature.copy()
    signature[0, 7] ^= np.uint32(1)
    found = earlier.match(new.rows.row_id, hashes, signature, prints.shingles > 0, index, "o", (25, 5), 0.5, 1)
    assert matched_rows(found.frame).is_empty()


text = st.lists(st.sampled_from(["Ann", "ann", "went", "home", "7", "?"]), max_size=4).map(" ".join)
rows = st.lists(st.tuples(text, text), min_size=1, max_size=7)


def truth(new, old):
    """(row, part) pairs by comparing normalised text, for exact matches of whole rows and of prompts."""
    found = set()
    for i, (prompt, answer) in enumerate(new):
        asked = normalise(prompt)
        same = [normalise(a) == normalise(answer) for p, a in old if normalise(p) == asked]
        if any(same) and (asked or normalise(answer)):
            found.add((i, "both"))
        elif same and asked:
            found.add((i, "question"))
    return found


@settings(max_examples=25)
@given(rows, rows)
def test_it_equals_comparing_the_text_of_every_row_with_every_row(new, old):
    frame = matched(corpus_of(new), corpus_of(old)).frame.filter((pl.col("how") == "exact") & ~pl.col("first_turn"))
    assert set(frame.filter(pl.col("part") != "answer").select("row_id", "part").rows()) == truth(new, old)


@settings(max_examples=10)
@given(rows)
def test_every_row_of_the_same_file_is_found(given_rows):
    corpus = corpus_of(given_rows)
    known = set(matched_rows(matched(corpus, corpus).frame)["row_id"])
    assert known == {i for i, r in enumerate(given_rows) if any(normalise(t) for t in r)}


def test_disjoint_data_share_nothing():
    old = corpus_of([(f"left {i} alpha", f"beta{i} gamma{i} delta{i}") for i in range(40)])
    new = corpus_of([(f"right {i} omega", f"psi{i} chi{i} phi{i}") for i in range(40)])
    assert matched(new, old).frame.is_empty()


@settings(max_examples=10)
@given(rows, rows, st.randoms())
def test_neither_order_nor_threads_matter(new, old, random):
    straight = matched(corpus_of(new), corpus_of(old))
    order = random.sample(range(len(new)), len(new))
    back = random.sample(range(len(old)), len(old))
    mixed = matched(corpus_of([new[i] for i in order]), corpus_of([old[i] for i in back]), threads=3)

    def content(frame, new_rows, old_rows):
        told = [
            (new_rows[line["row_id"]], *(normalise(t) for t in old_rows[int(line["item"])]), line["part"], line["how"],
             line["similarity"], line["items"], line["first_turn"])
            for line in frame.iter_rows(named=True)
        ]  # fmt: skip
        return sorted(told, key=repr)

    assert content(straight.frame, new, old) == content(mixed.frame, [new[i] for i in order], [old[i] for i in back])


def test_the_summary_counts_every_row_once():
    old = corpus_of([("Who built it?", LONG)])
    new = corpus_of([("Who built it?", LONG), ("Who built it?", "No one"), ("Else", LONG), ("Alone", "here")])
    found = matched(new, old)
    told = summarise(found.frame, {"old.scan": found.notes}, 4, 0.8)["old.scan"]
    assert (told["rows"], told["matched"], told["share"]) == (1, 3, 0.75)
    kinds = ("copies", "other_context", "prompts", "near", "first_turns", "answers")
    assert sum(told[kind] for kind in kinds) == 3
    assert (told["copies"], told["prompts"]) == (1, 1)
