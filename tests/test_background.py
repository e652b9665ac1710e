"""The background language: counted, smoothed and packed by the script, looked up by the kernel, shipped unharmed."""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from functools import cache
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks" / "background"))

import model

from scanner.background import TABLE, BackgroundTable, background, described, load, log_probability
from scanner.kernels.background import SLOTS, UNKNOWN_KEY
from scanner.kernels.tokens import tokenise
from scanner.text import code_point_classes, folded_code_points, token_spans

WORDS = 14
STRANGER = np.uint64(0x123456789)


def word(i: int) -> np.uint64:
    return model.mix(np.array([i + 9], np.uint64))[0]


def corpus_of(documents: list[list[int]]) -> model.Corpus:
    tokens = np.array([word(i) for row in documents for i in row], np.uint64)
    return model.Corpus(tokens, np.concatenate(([0], np.cumsum([len(row) for row in documents]))))


@cache
def language() -> list[list[int]]:
    """A language of 14 words, each of which likes three others, and some words that stand in one document only."""
    rng = np.random.default_rng(5)
    liked = rng.integers(0, WORDS, (WORDS, 3))
    rows = []
    for i in range(150):
        row = [int(rng.integers(WORDS))]
        while len(row) < 25:
            likes = rng.random() < 0.8
            row.append(int(liked[row[-1] % WORDS, rng.integers(3)] if likes else rng.integers(WORDS)))
        row[int(rng.integers(25))] = 1_000 + i
        rows.append(row)
    return rows


@cache
def made() -> tuple[model.Counts, model.Smoothed, BackgroundTable]:
    counts = model.count(corpus_of(language()))
    smoothed = model.smooth(counts)
    return counts, smoothed, model.fit(counts, smoothed, 200_000)


def tokens_of(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    raw = [text.encode() for text in texts]
    offsets = np.concatenate(([0], np.cumsum([len(r) for r in raw]))).astype(np.int64)
    data = np.frombuffer(b"".join(raw), np.uint8)
    hashes, starts = np.empty(len(data), np.uint64), np.empty(len(data), np.int64)
    counts = np.empty(len(raw), np.int64)
    found = tokenise(data, offsets, code_point_classes(), folded_code_points(), 0, hashes, starts, counts)
    return hashes[:found], np.concatenate(([0], np.cumsum(counts)))


# --- counting and smoothing, against the formulas written out ---


def in_words(documents: list[list[int]]) -> list[list[int]]:
    """The documents with every word of fewer than three documents as -1."""
    held = Counter(w for row in documents for w in set(row))
    return [[w if held[w] >= model.LEAST_DOCUMENTS else -1 for w in row] for row in documents]


def taken(numbers: list[int]) -> list[float]:
    """Chen and Goodman's discounts of a count of 0, 1, 2, 3 or more."""
    n1, n2, n3, n4 = (max(1, numbers.count(k)) for k in (1, 2, 3, 4))
    y = n1 / (n1 + 2 * n2)
    return [0, *(max(0.1, d) for d in (1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3))]


def test_probabilities_are_those_of_the_formula():
    documents = language()
    counts, smoothed, _ = made()
    rows = in_words(documents)
    triples = Counter(t for row in rows for t in zip(row, row[1:], row[2:], strict=False))
    pairs = {p for row in rows for p in pairwise(row)}
    opening = {tuple(row[:2]) for row in rows}
    vocabulary = {w for row in rows for w in row} | {-1}
    first = {row[0] for row in rows}
    left = {p: sum(t[1:] == p for t in triples) + (p in opening) for p in pairs}
    kinds = {w: sum(p[1] == w for p in pairs) + (w in first) for w in vocabulary}
    # the unknown word: each rare word counts by itself; None is the opening of a document
    rare = [
        ([None, None, *row][i : i + 2], raw)
        for row, full in zip(rows, documents, strict=True)
        for i, raw in enumerate(full)
        if row[i] == -1
    ]
    kinds[-1] = len({(before[1], raw) for before, raw in rare})
    for a in {before[1] for before, _ in rare} - {None}:
        left[a, -1] = len({(before[0], raw) for before, raw in rare if before[1] == a})

    d = taken(list(kinds.values()))
    total = sum(kinds.values())
    gamma = sum(d[min(3, c)] for c in kinds.values()) / total
    p1 = {w: (c - d[min(3, c)]) / total + gamma / len(vocabulary) for w, c in kinds.items()}
    d2, d3 = taken(list(left.values())), taken(list(triples.values()))

    def p2(a: int, b: int) -> float:
        of = {p: c for p, c in left.items() if p[0] == a}
        c = of.get((a, b), 0)
        return (c - d2[min(3, c)] + sum(d2[min(3, x)] for x in of.values()) * p1[b]) / sum(of.values())

    def p3(a: int, b: int, e: int) -> float:
        of = {t: c for t, c in triples.items() if t[:2] == (a, b)}
        c = of.get((a, b, e), 0)
        return (c - d3[min(3, c)] + sum(d3[min(3, x)] for x in of.values()) * p2(b, e)) / sum(of.values())

    name = {int(word(w)): w for w in vocabulary if w >= 0} | {int(UNKNOWN_KEY): -1}
    ids = [name[int(h)] for h in counts.words]
    assert counts.kinds == len({w for row in documents for w in row}) - len(vocabulary) + 1
    np.testing.assert_allclose(smoothed.word, [p1[i] for i in ids])
    for k in range(0, len(counts.pairs.word), 7):
        a, b = ids[counts.pairs.context[k]], ids[counts.pairs.word[k]]
        assert smoothed.pair[k] == pytest.approx(p2(a, b))
    for k in range(0, len(counts.triples.word), 40):
        pair, e = counts.triples.context[k], ids[counts.triples.word[k]]
        a, b = ids[counts.pairs.context[pair]], ids[counts.pairs.word[pair]]
        assert counts.triples.count[k] == triples[a, b, e]
        assert counts.triples.documents[k] == sum((a, b, e) in zip(r, r[1:], r[2:], strict=False) for r in rows)
        assert smoothed.triple[k] == pytest.approx(p3(a, b, e))


def test_the_table_gives_these_probabilities_up_to_its_levels():
    """Everything fits into this table, so a kept triple's value is the model's, within half a level."""
    counts, smoothed, table = made()
    wide = np.flatnonzero(counts.triples.documents >= 5)
    pair = counts.triples.context[wide]
    ids = np.stack([counts.pairs.context[pair], counts.pairs.word[pair], counts.triples.word[wide]], axis=1)
    known = (ids > 0).all(axis=1)
    rows = counts.words[ids[known]]
    found = log_probability(rows.ravel(), np.arange(len(rows) + 1) * 3, 1, table).reshape(-1, 3)[:, 2]
    assert np.abs(found - np.log(smoothed.triple[wide][known])).mean() < 0.06


def test_nothing_of_fewer_than_three_documents_is_kept():
    documents, table = language(), made()[2]
    rare = np.array([word(1_000 + i) for i in range(len(documents))], np.uint64)
    found = background(rare, np.arange(len(rare) + 1), 1, table)
    assert found.unknown_share.tolist() == [1.0] * len(rare)


def test_probabilities_after_a_context_sum_to_one():
    counts, _, table = made()
    vocabulary = np.append(counts.words[1:], STRANGER)
    for a in (*counts.words[1:6], STRANGER):
        for b in (*counts.words[1:6], STRANGER):
            rows = np.array([[a, b, c] for c in vocabulary], np.uint64)
            log_p = log_probability(rows.ravel(), np.arange(len(rows) + 1) * 3, 1, table).reshape(-1, 3)
            p = np.exp(log_p[:, 2].astype(np.float64))
            p[-1] *= counts.kinds  # the unknown word's share of each kind
            assert p.sum() == pytest.approx(1, abs=0.03)


# --- the kernel ---


def twin(tokens: np.ndarray, offsets: np.ndarray, table: BackgroundTable) -> tuple[list[np.float32], list[int]]:
    """Slot by slot, in plain integers."""

    def find(slots: np.ndarray, bits: int, key: int) -> int:
        bucket = ((key >> 32) * (len(slots) // SLOTS)) >> 32
        mark = max(key & ((1 << (16 - bits)) - 1), 1)
        found = [s for s in range(bucket * SLOTS, bucket * SLOTS + SLOTS) if int(slots[s]) >> bits == mark]
        return found[0] if found else -1

    def longer(context: int, key: int) -> int:
        return int(model.longer_keys(np.array([context], np.uint64), np.array([key], np.uint64))[0])

    low = (1 << table.bits) - 1
    out, strange = [], []
    for a, b in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        row = [int(t) for t in tokens[a:b]]
        slots = [find(table.words, 0, t) for t in row]
        keys = [t if s >= 0 else int(UNKNOWN_KEY) for t, s in zip(row, slots, strict=True)]
        strange.append(sum(s < 0 for s in slots))
        for i, s in enumerate(slots):
            value = table.word_levels[table.word_level[s]] if s >= 0 else table.unknown[0]
            before = slots[i - 1] if i else -1
            if i and (before < 0 or table.word_back[before]):
                weight = table.unknown[1] if before < 0 else table.back_levels[table.word_back[before]]
                value = weight + value
                pair = find(table.pairs, table.bits, longer(keys[i - 1], keys[i]))
                if pair >= 0:
                    value = table.pair_levels[table.pairs[pair] & low]
                further = i > 1 and (slots[i - 2] < 0 or table.word_back[slots[i - 2]])
                context = longer(keys[i - 2], keys[i - 1]) if further else 0
                at = find(table.pairs, table.bits, context) if further else -1
                if at >= 0 and table.pair_back[at]:
                    triple = find(table.triples, table.bits, longer(context, keys[i]))
                    if triple >= 0:
                        value = table.triple_levels[table.triples[triple] & low]
                    else:
                        value = value + table.back_levels[table.pair_back[at]]
            if s < 0:
                value = value - table.unknown[2]
            out.append(min(np.float32(value), np.float32(0)))
    return out, strange


rows_of_words = st.lists(st.lists(st.integers(-3, WORDS - 1), max_size=9), max_size=6)


def arrays(rows: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    flat = np.array([word(i) for row in rows for i in row], np.uint64)
    return flat, np.concatenate(([0], np.cumsum([len(row) for row in rows]))).astype(np.int64)


@settings(max_examples=60, deadline=None)
@given(rows=rows_of_words)
def test_the_kernel_equals_its_twin(rows):
    tokens, offsets = arrays(rows)
    found = background(tokens, offsets, 1, made()[2])
    values, strange = twin(tokens, offsets, made()[2])
    assert found.log_probability.tolist() == [float(v) for v in values]
    lengths = np.diff(offsets)
    expected = [np.float32(s / n) if n else np.nan for s, n in zip(strange, lengths.tolist(), strict=True)]
    np.testing.assert_array_equal(found.unknown_share, np.array(expected, np.float32))


@settings(max_examples=25, deadline=None)
@given(rows=rows_of_words, threads=st.integers(1, 4), seed=st.integers(0, 99))
def test_neither_threads_nor_the_order_of_rows_matter(rows, threads, seed):
    order = np.random.default_rng(seed).permutation(len(rows)).tolist()
    one = log_probability(*arrays(rows), 1, made()[2])
    other = log_probability(*arrays([rows[i] for i in order]), threads, made()[2])
    ends = np.cumsum([0, *map(len, rows)])
    np.testing.assert_array_equal(np.concatenate([one[:0], *(one[ends[i] : ends[i + 1]] for i in order)]), other)


def test_many_blocks_of_rows_give_what_one_gives():
    tokens = model.mix(np.arange(200_000, dtype=np.uint64) % np.uint64(20))
    offsets = np.append(np.arange(0, 200_000, 37), 200_000)
    whole = background(tokens, offsets, 3, made()[2])
    part = background(tokens[: offsets[50]], offsets[:51], 1, made()[2])
    np.testing.assert_array_equal(whole.log_probability[: offsets[50]], part.log_probability)
    np.testing.assert_array_equal(whole.unknown_share[:50], part.unknown_share)


def test_nothing_at_all():
    found = background(np.zeros(0, np.uint64), np.zeros(1, np.int64), 2)
    assert (len(found.log_probability), len(found.unknown_share)) == (0, 0)
    empty = background(np.zeros(0, np.uint64), np.zeros(3, np.int64), 1)
    assert np.isnan(empty.unknown_share).all()


# --- what is shipped ---


def test_the_shipped_table_is_the_one_described():
    said = described()
    assert hashlib.sha256((TABLE / "table.npz").read_bytes()).hexdigest() == said["sha256"]["table.npz"]
    table = load()
    assert table.nbytes == said["bytes"] <= 8.5e6
    for name in ("words", "pairs", "triples"):
        assert int((getattr(table, name) > 0).sum()) == said[name]
    assert said["least_documents"] == model.LEAST_DOCUMENTS
    notice = (TABLE / "NOTICE.txt").read_text("utf-8")
    for source in said["sources"]:
        assert source["name"] in notice
        assert source["licence"] in notice
        assert not {"GPL", "NC", "SA"} & set(source["licence"].replace("-", " ").split())


def test_the_script_reads_no_file_that_the_predictor_is_validated_on():
    import sources

    assert not {name.removeprefix("sft/") for name in sources.DATA} & set(sources.VALIDATION)
    names = json.dumps([s["name"] for s in described()["sources"]])
    assert not [name for name in sources.VALIDATION if name in names]


LIKELY = {
    "English": (
        "It is one of the most important things in the world.",
        "World the in things important most the of one is It.",
    ),
    "Chinese": ("我们可以使用以下方法来解决这个问题。", "问个这决解来法方下以用使以可们我。"),
    "code": (
        "for i in range(len(x)):\n    if x[i] is None:\n        return False",
        "return None False is:]i[x if:))x(len(range in i for",
    ),
}


@pytest.mark.parametrize("language", LIKELY)
def test_the_shipped_table_prefers_text_to_its_words_in_another_order(language):
    tokens, offsets = tokens_of(list(LIKELY[language]))
    found = background(tokens, offsets, 1)
    text, shuffled = np.add.reduceat(found.log_probability, offsets[:-1]) / np.diff(offsets)
    assert text > shuffled + 1
    assert found.unknown_share[0] < 0.1


def test_a_language_outside_the_table_is_noticed():
    inside = "The report explains how the new system should be used and what has changed since last year."
    outside = "Raportissa kerrotaan, miten uutta järjestelmää pitäisi käyttää ja mikä on muuttunut viime vuodesta."
    share = background(*tokens_of([inside, outside]), 1).unknown_share
    assert share[0] < 0.1
    assert share[1] > 0.5
    assert len(token_spans(inside)) == np.diff(tokens_of([inside])[1])[0]
