"""How likely a candidate is a paraphrase, beside slow twins; and what counts as standing out among neighbours."""

from __future__ import annotations

import numpy as np
import pytest
from corpora import write_jsonl
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from contamination import corpus
from scanner import embedding, formats, ingest, matching
from scanner.contamination import neighbours, paraphrases, semantic
from scanner.decontaminating import items_of
from scanner.settings import Settings
from scanner.store import RunFolder

DIMENSION = 16


def likeliest_share(odds: np.ndarray, items: int) -> float:
    """The share of the two-group model by direct search, the usual items among the benchmark's."""
    usual, yes = paraphrases.USUAL_ITEMS, paraphrases.USUAL_SHARE * paraphrases.USUAL_ITEMS

    def loss(share: float) -> float:
        without = (items - len(odds) + usual - yes) * np.log1p(-share)
        return -float(np.log(share * odds + 1 - share).sum() + without + yes * np.log(share))

    return float(minimize_scalar(loss, bounds=(1e-9, 1 - 1e-9), method="bounded", options={"xatol": 1e-10}).x)


@given(st.lists(st.floats(-8, 11), min_size=1, max_size=40), st.integers(0, 60))
def test_the_share_is_the_likeliest_one(ratio, others):
    items = len(ratio) + others
    at = np.arange(len(ratio))
    believed, found = paraphrases.probability(np.array(ratio), at, np.zeros_like(at), np.zeros(items, np.int64))
    share = likeliest_share(np.exp(ratio), items)
    usual = paraphrases.USUAL_ITEMS
    assert (found[0] + paraphrases.USUAL_SHARE * usual) / (items + usual) == pytest.approx(share, rel=0.02, abs=2e-4)
    here = share * np.exp(ratio)
    assert believed == pytest.approx(here / (here + 1 - share), rel=0.03, abs=1e-3)


@given(st.floats(-6, 6), st.integers(1, 50))
def test_more_of_one_benchmark_make_each_likelier_and_of_another_do_not(ratio, more):
    group = np.repeat([0, 1], 60)

    def believed(items: list[int], ratios: list[float]) -> float:
        ranks = np.zeros(len(items), np.int64)
        return float(paraphrases.probability(np.array(ratios), np.array(items), ranks, group)[0][0])

    alone = believed([0], [ratio])
    assert believed([0, *range(1, more + 1)], [ratio] + [8.0] * more) >= alone
    assert believed([0, *range(60, 60 + more)], [ratio] + [8.0] * more) == pytest.approx(alone, rel=1e-4)


def test_copies_of_a_row_count_once():
    group = np.zeros(40, np.int64)
    once, _ = paraphrases.probability(np.array([5.0]), np.array([3]), np.zeros(1, np.int64), group)
    often, found = paraphrases.probability(np.full(9, 5.0), np.full(9, 3), np.zeros(9, np.int64), group)
    assert often == pytest.approx(np.full(9, once[0]))
    assert found[0] <= 1


@given(st.lists(st.floats(-4, 8), min_size=2, max_size=20), st.lists(st.floats(-4, 8), min_size=1, max_size=20))
def test_each_rank_has_a_share_of_its_own(first, second):
    group = np.zeros(40, np.int64)
    ratios, ranks = np.array(first + second), np.repeat([0, 1], [len(first), len(second)])
    items = np.concatenate((np.arange(len(first)), np.arange(len(second))))
    both, expected = paraphrases.probability(ratios, items, ranks, group)
    for rank in (0, 1):
        mine = ranks == rank
        alone = paraphrases.probability(ratios[mine], items[mine], np.zeros(mine.sum(), np.int64), group)
        assert both[mine] == pytest.approx(alone[0], abs=1e-6)
        assert rank or expected == pytest.approx(alone[1], abs=1e-6)


@pytest.mark.parametrize("weights", [paraphrases.FAST, paraphrases.CONFIRMED])
@given(st.floats(0, 0.6), st.floats(0, 0.3), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_every_kind_of_evidence_speaks_for_a_paraphrase(weights, margin, more, overlap, numbers, further):
    less = weights.evidence(*(np.array([x]) for x in (margin, overlap * further, numbers * further)))
    assert weights.evidence(*(np.array([x]) for x in (margin + more, overlap, numbers)))[0] >= less[0] - 1e-12


def vectors(rng: np.random.Generator, count: int) -> embedding.Embeddings:
    """Rows with directions in a cone, so that there are neighbours."""
    found = rng.normal(size=(count, DIMENSION)) + 1.5
    found *= 2048 / np.linalg.norm(found, axis=1, keepdims=True)
    return embedding.Embeddings(found.astype(np.int16), np.ones(count, np.bool_), np.zeros(count, np.uint8))


def views_of(vectors: np.ndarray) -> neighbours.Views:
    unit = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    return neighbours.Views(unit, *(np.arange(len(unit)) for _ in range(3)))


def slow_usual(values: list[float]) -> float:
    """Mean of the largest cosines, what is missing as the least."""
    largest = sorted((max(v, neighbours.COSINE) for v in values), reverse=True)[: neighbours.NEIGHBOURS]
    return (sum(largest) + neighbours.COSINE * (neighbours.NEIGHBOURS - len(largest))) / neighbours.NEIGHBOURS


def slow_candidates(asked: np.ndarray, items: np.ndarray) -> dict[tuple[int, int], tuple[float, int]]:
    """(row, item) -> margin and rank, by comparing everything with everything; equal rows count once."""
    rows = asked / np.linalg.norm(asked, axis=1, keepdims=True)
    cosine = rows @ items.T
    alike, same = rows @ rows.T, items @ items.T
    known = {
        row: [i for i in np.argsort(-cosine[row], kind="stable")[: neighbours.NEAREST] if cosine[row, i] >= 0.5]
        for row in sorted(np.unique(asked, axis=0, return_index=True)[1].tolist())
    }
    out = {}
    for item in range(len(items)):
        here = sorted((row for row in known if item in known[row]), key=lambda row: -cosine[row, item])[:18]
        rank = 0
        for at, best in enumerate(here[: neighbours.ROWS_PER_ITEM]):
            others = [cosine[best, i] for i in known[best] if same[i, item] <= neighbours.SAME_ITEM]
            if max(others, default=0) > cosine[best, item] + 1e-6:
                continue
            if any(alike[row, best] >= neighbours.SAME_ROW for row in here[:at]):
                continue
            rest = [cosine[row, item] for row in here[at + 1 :] if alike[row, best] < neighbours.SAME_ROW]
            mean = (slow_usual(rest) + slow_usual(others)) / 2
            for equal in np.flatnonzero((asked == asked[best]).all(axis=1)).tolist():
                out[equal, item] = (float(np.log(cosine[best, item] / mean)), rank)
            rank += 1
    return out


@pytest.mark.parametrize("seed", range(4))
def test_candidates_equal_a_slow_twin_in_any_order(seed):
    rng = np.random.default_rng(seed)
    asked, items = vectors(rng, 60), vectors(rng, 25).vectors.astype(np.float64)
    items[7] = items[3] + rng.normal(size=DIMENSION)  # a copy of an item
    asked.vectors[11] = asked.vectors[10]  # two rows that ask the same
    asked.vectors[12] = (items[20] + rng.normal(size=DIMENSION) * 40).astype(np.int16)  # nearly an item
    asked.vectors[13] = asked.vectors[12]  # and a copy of that, all but
    asked.vectors[13, 0] += 9
    views = views_of(items)
    expected = slow_candidates(asked.vectors.astype(np.float64), views.vectors.astype(np.float64))
    assert {(12, 20), (13, 20)} & {*expected} in ({(12, 20)}, {(13, 20)})
    for order in (np.arange(60), rng.permutation(60)):
        mixed = embedding.Embeddings(asked.vectors[order], asked.measured[order], asked.reason[order])
        found = neighbours.find(mixed, np.arange(60), views, 2)
        pairs = [*zip(order[found.place].tolist(), found.item.tolist(), strict=True)]
        margins, ranks = ({pair: told[i] for pair, told in expected.items()} for i in (0, 1))
        assert dict(zip(pairs, found.margin.tolist(), strict=True)) == pytest.approx(margins, abs=1e-5)
        assert dict(zip(pairs, found.rank.tolist(), strict=True)) == ranks
    assert max(ranks.values()) > 1


def test_nothing_to_compare_gives_nothing():
    rng = np.random.default_rng(0)
    asked, views = vectors(rng, 3), views_of(vectors(rng, 2).vectors.astype(np.float64))
    assert not len(neighbours.find(asked, np.zeros(0, np.int64), views, 1).item)
    empty = neighbours.Views(np.zeros((0, DIMENSION), np.float32), *(np.zeros(0, np.int64) for _ in range(3)))
    assert not len(neighbours.find(asked, np.arange(3), empty, 1).item)


ASKED = [
    ("Which treaty ended the long war between the two northern kingdoms of Averland and Brisk in the spring?",
     "By what treaty did the northern kingdoms Averland and Brisk end their long war in the spring?"),
    ("How does the blue lantern beetle of the southern marshes find its way back to the nest at night?",
     "In what way does the lantern beetle, blue, of the southern marshes get back to its nest at night?"),
    ("Why did the bakers of old Kestrel Street refuse to pay the flour tax of the harbour council?",
     "For what reason was the harbour council's flour tax refused by the bakers of old Kestrel Street?"),
]  # fmt: skip
PASSAGE = (
    "This question refers to the following information.\n"
    "The harbour lay still under the winter sun, and the clerks of the council counted barrels, sacks and coins "
    "while outside the gulls fought over the bread that nobody had bought.\n"
)


def matched(folder, rows: list[str], questions: list[str], threads: int = 2) -> set[tuple[int, int]]:
    """(row, item) of every match by meaning."""
    folder.mkdir(exist_ok=True, parents=True)
    data = write_jsonl(folder / "data.jsonl", [{"prompt": text, "response": "?"} for text in rows])
    bench = write_jsonl(folder / "bench.jsonl", [{"question": text, "answer": "B"} for text in questions])
    run = RunFolder.open_for_writing(folder / "r.scan")
    settings = Settings(evaluation=(bench,))
    read, _ = ingest.read_all(formats.discover([str(data)]), run, settings, threads)
    known, _ = matching.read_items(run, matching.survey(settings).sources, settings, threads)
    own = items_of(run).segments()
    alike = semantic.find(run.segments(), read.row_id, own, known, embedding.load(None), threads)
    return set(zip(alike.row_id.tolist(), alike.item.tolist(), strict=True))


def test_paraphrases_are_found_behind_a_passage_too_and_with_their_copies(tmp_path):
    questions = [question for question, _ in ASKED]
    rows = [paraphrase for _, paraphrase in ASKED] + [corpus.clean_rows(1)[0]["instruction"]]
    expected = {(0, 0), (1, 1), (2, 2)}
    assert matched(tmp_path / "plain", rows, questions) == expected
    assert matched(tmp_path / "one thread", rows, questions, 1) == expected
    assert matched(tmp_path / "passage", rows, [questions[0], questions[1], PASSAGE + questions[2]]) == expected
    copies = matched(tmp_path / "copies", rows[:1] * 20 + rows[1:], questions)
    assert copies == {*((row, 0) for row in range(20)), (20, 1), (21, 2)}


def test_several_paraphrases_of_one_question_are_found_each_by_itself(tmp_path):
    again = [
        "Name the treaty by which the two northern kingdoms, Averland and Brisk, ended their long spring war.",
        "At night, how does the lantern beetle of the southern marshes, the blue one, find back to its nest?",
        "The bakers of old Kestrel Street refused to pay the harbour council's flour tax. Why?",
    ]
    questions = [question for question, _ in ASKED]
    rows = [*(paraphrase for _, paraphrase in ASKED), *again, corpus.clean_rows(1)[0]["instruction"]]
    expected = {(0, 0), (1, 1), (2, 2), (3, 0), (4, 1), (5, 2)}
    assert matched(tmp_path / "one order", rows, questions) == expected
    assert matched(tmp_path / "other order", rows[::-1], questions) == {(6 - row, item) for row, item in expected}
