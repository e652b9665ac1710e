"""Near duplicates against brute force: precision 1, recall at least as promised, and nothing depends on order."""

from __future__ import annotations

import itertools
import math
import random
import time

import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strategies import texts, words

from scanner import planning
from scanner.pairing import CONTAINED
from scanner.settings import Settings
from scanner.signals import exact, group_by, minhash
from scanner.signals._measures import CONTAINED_SHINGLES
from scanner.signals.minhash import FLOOR_RECALL, Bands, choose_bands
from scanner.text import normalise

RELATIONS = {"same_both", "same_prompt", "same_response", "near", "contained"}


def shingles(text: str, width: int) -> set[tuple[str, ...]]:
    tokens = normalise(text).split()
    size = min(width, len(tokens))
    return {tuple(tokens[i : i + size]) for i in range(len(tokens) - size + 1)} if tokens else set()


def parts_of(row, width):
    prompt = set().union(*(shingles(s.text, width) for s in row if s.role in ("user", "tool")))
    answer = set().union(*(shingles(s.text, width) for s in row if s.role in ("assistant", "text")))
    return prompt, answer


def jaccard(a: set, b: set) -> float:
    return len(a & b) / len(a | b) if a | b else float("nan")


def brute(rows, width=3) -> dict[tuple[int, int], tuple[float, float, float, float, float]]:
    """Jaccard, containments, prompt and answer Jaccard of all pairs that share a shingle."""
    parts = [parts_of(r, width) for r in rows]
    found = {}
    for i, j in itertools.combinations(range(len(rows)), 2):
        a, b = parts[i][0] | parts[i][1], parts[j][0] | parts[j][1]
        shared = len(a & b)
        if shared:
            found[i, j] = (
                jaccard(a, b), shared / len(a), shared / len(b),
                jaccard(parts[i][0], parts[j][0]), jaccard(parts[i][1], parts[j][1]),
            )  # fmt: skip
    return found


def sentence(rng: random.Random, count: int) -> list[str]:
    return [f"w{rng.randrange(4000)}" for _ in range(count)]


def edited(rng: random.Random, words: list[str], share: float) -> list[str]:
    """`words` with a share of them replaced, one here and one there."""
    return [f"e{rng.randrange(4000)}" if rng.random() < share else word for word in words]


def corpus_of_near_copies(bases: int, seed: int = 7) -> list[tuple[str, str]]:
    """Pairs of prompt and answer: each base with copies of graded similarity, and unlike rows between them."""
    rng = random.Random(seed)
    rows = []
    for _ in range(bases):
        prompt, answer = sentence(rng, rng.randint(8, 25)), sentence(rng, rng.randint(20, 60))
        rows.append((prompt, answer))
        rows += [(edited(rng, prompt, s), edited(rng, answer, s)) for s in (0.01, 0.02, 0.04, 0.06, 0.1, 0.2)]
        rows.append((sentence(rng, 10), sentence(rng, 30)))
    rng.shuffle(rows)
    # equal rows are the exact signal's and stand for one another here
    return list(dict.fromkeys((" ".join(p), " ".join(a)) for p, a in rows))


def find(corpus, width=3, permutations=128, threads=2, **values):
    options = {"jaccard": 0.8, "floor": 0.5, "recall": 0.95, **values}
    prints = corpus.prints(width, permutations, threads)
    normal = group_by(prints.normal)
    texts = exact.same_text(normal, corpus.reader(), threads)
    bands = minhash.choose_bands(permutations, options["jaccard"], options["recall"], options["floor"])
    proposed = minhash.propose(corpus.rows, prints, normal, bands, threads)
    return minhash.find(
        corpus.rows, prints, corpus.reader(), proposed, texts=texts, width=width, threads=threads, **options
    )


def as_dict(near):
    """Everything found, by pair of row ids."""
    p = near.pairs
    columns = (p.similarity, p.containment_ab, p.containment_ba, near.prompt_jaccard, near.answer_jaccard)
    values = zip(*(c.tolist() for c in columns), strict=True)
    keys = zip(p.row_a.tolist(), p.row_b.tolist(), strict=True)
    known = zip(p.relation.tolist(), near.same_context.tolist(), values, strict=True)
    return {key: (relation, context, *v) for key, (relation, context, v) in zip(keys, known, strict=True)}


@pytest.mark.parametrize(("width", "target", "level"), [(3, 0.95, 0.8), (1, 0.9, 0.9), (5, 0.99, 0.7)])
def test_precision_is_one_and_recall_as_promised(segments_of, width, target, level):
    corpus = segments_of(corpus_of_near_copies(50), per_batch=64)
    truth = brute(corpus.segments, width)
    near = find(corpus, width, jaccard=level, recall=target)
    found = as_dict(near)
    assert len(found) == len(near.pairs)
    for pair, (relation, same_context, *values) in found.items():
        assert pair in truth
        assert values == pytest.approx(truth[pair], abs=1e-6, nan_ok=True)
        assert relation in RELATIONS
        assert same_context
        assert values[0] >= 0.5 - 1e-6 or max(values[1:3]) >= CONTAINED
    wanted = {pair for pair, values in truth.items() if values[0] >= level}
    loose = {pair for pair, values in truth.items() if values[0] >= 0.5}
    assert len(wanted) >= 80
    assert len(wanted & set(found)) / len(wanted) >= target
    assert len(loose & set(found)) / len(loose) >= FLOOR_RECALL
    assert near.pairs.notes["verified"] == len(found)
    assert near.pairs.notes["pairs_not_compared_at_least"] == 0


hard_rows = st.lists(
    st.one_of(
        st.tuples(st.one_of(words, texts), words), st.tuples(words, words, st.sampled_from(["be brief", "x"])), words
    ),
    min_size=2,
    max_size=8,
)


@given(hard_rows, st.integers(1, 3))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_found_is_what_brute_force_says(segments_of, rows, width):
    """Empty sides, equal rows, context of their own, any script: no value is made up, no pair comes twice."""
    corpus = segments_of(rows, per_batch=3)
    truth = brute(corpus.segments, width)
    near = find(corpus, width, permutations=32, jaccard=0.6, floor=0.3)
    found = as_dict(near)
    assert len(found) == len(near.pairs)
    assert list(found) == sorted(found)
    prints = corpus.prints()
    for (a, b), (relation, same_context, *values) in found.items():
        assert a < b
        assert corpus.segments[a] != corpus.segments[b]
        assert same_context == (prints.context[a] == prints.context[b])
        if (a, b) not in truth:  # neither has a token, and they differ in spacing only
            assert not prints.shingles[[a, b]].any()
            assert relation == "same_both"
            continue
        expected = [1.0 if math.isnan(v) and relation == "same_both" else v for v in truth[a, b]]
        given_values = [1.0 if math.isnan(v) and relation == "same_both" else v for v in values]
        assert given_values == pytest.approx(expected, abs=1e-6, nan_ok=True)


def moved(found, place):
    """What was found, with the places in another order of the rows; a pair whose ends swap swaps its containments."""
    out = {}
    for (a, b), (relation, context, similarity, ab, ba, *parts) in found.items():
        a, b = place[a], place[b]
        ab, ba = (ab, ba) if a < b else (ba, ab)
        out[min(a, b), max(a, b)] = (relation, context, similarity, ab, ba, *parts)
    return out


def test_order_of_rows_does_not_matter(segments_of):
    rows = corpus_of_near_copies(12)
    rows += [(p.upper(), a) for p, a in rows[:3]]
    order = random.Random(3).sample(range(len(rows)), len(rows))
    straight, shuffled = find(segments_of(rows)), find(segments_of([rows[i] for i in order]))
    assert len(straight.pairs) > 20
    assert moved(as_dict(shuffled), order) == as_dict(straight)
    assert shuffled.pairs.notes == straight.pairs.notes


def test_of_equal_rows_one_stands_for_all(segments_of):
    """Whichever it is, the same texts are paired, each pair of texts once."""
    rows = corpus_of_near_copies(6)
    rows += rows[:5] * 2
    order = random.Random(4).sample(range(len(rows)), len(rows))
    paired = []
    for some in (rows, [rows[i] for i in order]):
        found = as_dict(find(segments_of(some)))
        texts = [frozenset((some[a], some[b])) for a, b in found]
        assert len(set(texts)) == len(texts)
        paired.append(set(texts))
    assert paired[0] == paired[1]


def test_threads_and_batches_do_not_matter(segments_of):
    rows = corpus_of_near_copies(12)
    one = find(segments_of(rows, per_batch=1000), threads=1)
    many = find(segments_of(rows, per_batch=5), threads=3)
    assert as_dict(one) == as_dict(many)
    assert one.pairs.notes == many.pairs.notes


def test_row_ids_may_have_gaps(segments_of):
    rows = corpus_of_near_copies(5)
    ids = [3 * i + 1 for i in range(len(rows))]
    plain, gaps = as_dict(find(segments_of(rows))), as_dict(find(segments_of(rows, row_ids=ids)))
    assert {(ids[a], ids[b]): v for (a, b), v in plain.items()} == gaps


@pytest.mark.parametrize("permutations", [16, 64, 128])
@pytest.mark.parametrize(
    ("level", "recall", "floor"), [(0.8, 0.95, 0.5), (0.9, 0.99, 0.8), (0.5, 0.8, 0.5), (0.7, 0.9, 0.3)]
)
def test_bands_are_the_most_selective_that_catch_enough(permutations, level, recall, floor):
    def enough(bands):
        return bands.probability(level) >= recall and bands.probability(floor) >= FLOOR_RECALL

    chosen = choose_bands(permutations, level, recall, floor)
    assert chosen.bands * chosen.rows <= permutations
    assert not any(enough(Bands(permutations // r, r)) for r in range(chosen.rows + 1, permutations + 1))
    assert enough(chosen) or chosen == Bands(permutations, 1)
    curve = [p for _, p in chosen.curve()]
    assert curve == sorted(curve)
    assert curve[-1] == 1


def test_relations(segments_of):
    rng = random.Random(1)
    prompt, answer = " ".join(sentence(rng, 20)), " ".join(sentence(rng, 40))
    again, other, more = (" ".join(edited(rng, prompt.split(), s)) for s in (0.05, 1, 0.1))
    long = answer + " " + " ".join(sentence(rng, 60))
    rows = {
        "whole": (prompt, answer),
        "alike": (prompt, answer + " words"),  # the answers are near copies themselves
        "asked": (prompt, long),  # another answer to the same prompt
        "told": (other, answer),  # the same answer to another prompt
        "holds": (again, long),
        "small": (" ".join(sentence(rng, 5)), "no"),
    }
    rows["spread"] = (rows["small"][0] + " " + more, "no " + answer)
    names = list(rows)
    found = {(names[a], names[b]): v[0] for (a, b), v in as_dict(find(segments_of(list(rows.values())))).items()}
    assert found.items() >= {
        ("whole", "alike"): "near", ("whole", "asked"): "same_prompt", ("whole", "told"): "same_response",
    }.items()  # fmt: skip
    assert "small" not in {name for pair in found for name in pair}
    assert found.get(("whole", "holds"), "contained") in ("contained", "near")


def test_plain_texts_do_not_share_a_prompt_that_neither_has(segments_of):
    text = " ".join(sentence(random.Random(2), 60))
    found = as_dict(find(segments_of([text, text + " end"])))
    assert found[0, 1][0] == "near"
    assert np.isnan(found[0, 1][5])


def test_equal_up_to_case_is_a_pair_and_equal_is_none(segments_of):
    """Byte for byte equal rows are the exact signal's; the others are twins of their representative."""
    rows = [("Say it", "Yes it is"), ("say  it", "YES it is"), ("Say it", "Yes it is"), ("", ""), (" ", "")]
    corpus = segments_of(rows)
    found = as_dict(find(corpus))
    texts = {0: 0, 1: 1, 2: 0, 3: 3, 4: 4}
    assert len(found) == 2
    assert {frozenset((texts[a], texts[b])) for a, b in found} == {frozenset((0, 1)), frozenset((3, 4))}
    assert all(v[0] == "same_both" and v[2:5] == (1, 1, 1) for v in found.values())


def droppable(near, settings=None):
    frame = pl.DataFrame(
        {
            "row_a": near.pairs.row_a, "row_b": near.pairs.row_b, "signal": [near.pairs.signal] * len(near.pairs),
            "similarity": near.pairs.similarity, "answer_similarity": near.answer_jaccard.astype(np.float32),
            "same_context": near.same_context, "payload_similarity": np.full(len(near.pairs), np.nan, np.float32),
            "words_similarity": np.full(len(near.pairs), np.nan, np.float32),
        }
    )  # fmt: skip
    chosen = frame.filter(planning.may_drop(settings or Settings()))
    return set(chosen.select("row_a", "row_b").iter_rows())


def test_a_shared_system_prompt_is_no_likeness_and_another_one_no_copy(segments_of):
    rng = random.Random(4)
    system, other = " ".join(sentence(rng, 300)), " ".join(sentence(rng, 300))
    prompt, answer = " ".join(sentence(rng, 20)), " ".join(sentence(rng, 30))
    unlike = (" ".join(sentence(rng, 20)), " ".join(sentence(rng, 30)))
    rows = [(prompt, answer, system), (*unlike, system), (prompt, answer + " end", system), (prompt, answer, other)]
    near = find(segments_of(rows))
    found = as_dict(near)
    assert set(found) == {(0, 2), (0, 3), (2, 3)}
    assert found[0, 3][:3] == ("same_both", False, 1)
    assert droppable(near) == {(0, 2)}


def test_another_answer_to_a_long_prompt_is_not_droppable(segments_of):
    rng = random.Random(5)
    prompt = " ".join(sentence(rng, 200))
    rows = [(prompt, "yes it is true"), (prompt, "no it is false"), (prompt, "Yes, it is true")]
    near = find(segments_of(rows))
    assert as_dict(near)[0, 1][2] > 0.9
    assert droppable(near) == set()


def test_a_pair_right_at_the_threshold_is_droppable(segments_of):
    """4 of 5 shingles shared is .8 exactly, although no float is."""
    rows = [" ".join("abcd"), " ".join("abcde")]
    near = find(segments_of(rows), width=1)
    assert as_dict(near)[0, 1][2] == np.float32(0.8)
    assert droppable(near) == {(0, 1)}


def test_a_short_row_is_not_contained_in_anything(segments_of):
    words = sentence(random.Random(6), 80)
    for count, pairs in ((CONTAINED_SHINGLES + 2, {(0, 1)}), (CONTAINED_SHINGLES + 1, set())):
        found = as_dict(find(segments_of([" ".join(words), " ".join(words[:count])]), permutations=512))
        assert set(found) <= pairs  # a candidate by chance: the sketch promises pairs above the floor only
        assert all(v[0] == "contained" for v in found.values())


def test_rows_of_one_template_end_soon_and_say_what_was_cut(segments_of):
    rng = random.Random(8)
    template = sentence(rng, 60)
    rows = [" ".join([*template, f"n{i}"]) for i in range(1000)]
    started = time.process_time()
    near = find(segments_of(rows))
    assert time.process_time() - started < 5
    notes = near.pairs.notes
    assert notes["buckets_cut"] > 0
    assert notes["pairs_not_compared_at_least"] > 0
    assert len(near.pairs) < 1000 * 400
    # the first of the bucket is compared with all: one star holds the whole group
    stars = np.bincount(np.concatenate((near.a, near.b)), minlength=1000)
    assert stars.max() == 999


@pytest.mark.parametrize("rows", [["one"], ["", " "], ["only one row " * 30], ["a b c d", "e f g h"]])
def test_few_rows(segments_of, rows):
    near = find(segments_of(rows))
    assert len(near.pairs) == (1 if rows == ["", " "] else 0)
    assert near.pairs.notes["rows_without_shingles"] == sum(not r.strip() for r in rows)
