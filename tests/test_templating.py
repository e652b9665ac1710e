"""Templates against payload: the kernels equal their twin, wrappers do not make copies, near copies stay copies."""

from __future__ import annotations

import random

import numpy as np
import polars as pl
import pytest
from corpora import pair, row
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from template_twin import EDITED, FIXED, Twin

from scanner import templating, wording
from scanner.features import templates as features
from scanner.kernels import templates as kernels
from scanner.text import code_point_classes, folded_code_points

WRAPPER = (
    "Below is a message that a customer has sent to us . Decide which department shall answer it and reply with its "
    "name only ; if two of them fit , take the first in the list . The departments are billing , delivery and repair ."
)
OTHER = "Read the following note of a traveller carefully and then say in one word how he felt while he wrote it :"
FORM = "Report of the week . Branch : {} . All prescribed checks were made and no damage was found at {} this time ."


def words_of(rng: random.Random, count: int) -> str:
    return " ".join(f"w{rng.randrange(3000)}" for _ in range(count))


def wrapped(count: int, seed: int = 3, length: int = 4):
    rng = random.Random(seed)
    return [(f"{WRAPPER}\n\n{words_of(rng, length)}", rng.choice(["billing", "delivery"])) for _ in range(count)]


def plain(count: int, seed: int = 5):
    rng = random.Random(seed)
    return [(words_of(rng, 20), words_of(rng, 30)) for _ in range(count)]


def find(corpus, threads=1):
    prints = corpus.prints(threads=threads)
    return templating.find(corpus.reader(), corpus.rows, prints, 3, threads), prints


def alike(corpus, pairs, threads=1):
    """Payload similarity of the pairs of positions."""
    marked, prints = find(corpus, threads)
    a, b = (np.array(side, np.int64) for side in zip(*pairs, strict=True))
    nothing = np.zeros(len(a), np.bool_)
    return wording.compare(corpus.reader(), corpus.rows, prints, marked, a, b, nothing, 3, threads).payload.tolist()


def kinds(templates, corpus, position):
    """Kinds of each token, per segment of one row."""
    found = []
    for some in templating.gathered(corpus.reader(), corpus.rows, np.array([position])):
        data, begin, end, _, role = some.text
        for b, e, r in zip(begin.tolist(), end.tolist(), role.tolist(), strict=True):
            starts, ends, kind = np.empty(e - b, np.int64), np.empty(e - b, np.int64), np.empty(e - b, np.uint8)
            n = kernels.kinds_of(
                data, b, e, r, code_point_classes(), folded_code_points(),
                templates.keys, templates.values, templates.held, templates.seen, starts, ends, kind,
            )  # fmt: skip
            found.append([{kernels.FIXED: FIXED, kernels.EDITED: EDITED}.get(k, "payload") for k in kind[:n].tolist()])
    return found


@st.composite
def sets_of_rows(draw):
    """Rows from a few wrappers with slots, some with an edit, among rows of free text."""
    rng = random.Random(draw(st.integers(0, 10_000)))
    shapes = draw(st.lists(st.sampled_from([WRAPPER + " {}", OTHER + " {} . Answer :", FORM]), min_size=1, max_size=3))
    fillers = draw(st.sampled_from([["San Francisco", "New York", "Nice"], None]))
    made = []
    for _ in range(draw(st.integers(30, 90))):
        shape = rng.choice(shapes)
        slots = [rng.choice(fillers) if fillers else words_of(rng, rng.randint(1, 6)) for _ in range(shape.count("{}"))]
        prompt = shape.format(*slots).split()
        if rng.random() < 0.2:
            prompt[rng.randrange(len(prompt))] = f"edit{rng.randrange(99)}"
        made.append((" ".join(prompt), rng.choice(["yes", "no", words_of(rng, 5)])))
    return made


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sets_of_rows())
def test_the_kernels_judge_every_token_as_their_slow_twin(segments_of, rows):
    corpus = segments_of(rows)
    marked, _ = find(corpus)
    twin = Twin([[("user", p), ("assistant", a)] for p, a in rows])
    expected = [[twin.kinds("user", p), twin.kinds("assistant", a)] for p, a in rows]
    if marked is None:
        assert sum(FIXED in k for row in expected for k in row) < len(rows)
        return
    assert [kinds(marked.templates, corpus, i) for i in range(len(rows))] == expected
    assert marked.fixed.sum() == sum(k.count(FIXED) for row in expected for k in row)


def test_a_long_wrapper_in_common_is_no_likeness(segments_of):
    rows = wrapped(60)
    rows += [(rows[0][0].upper(), rows[0][1]), (rows[1][0] + "!", rows[1][1])]
    corpus = segments_of(rows)
    marked, _ = find(corpus)
    same_answer = next(i for i in range(1, 60) if rows[i][1] == rows[0][1])
    values = alike(corpus, [(0, same_answer), (0, 60), (1, 61)])
    assert values[0] < 0.5
    assert values[1:] == [1, 1]
    assert marked.fixed[:60, 1].min() >= 40
    assert marked.sketched.tolist() == list(range(62))


def test_one_changed_word_of_a_short_payload_is_another_payload(segments_of):
    rows = wrapped(40)
    changed = rows[0][0].rsplit(" ", 1)[0] + " otherwise"
    (value,) = alike(segments_of([*rows, (changed, rows[0][1])]), [(0, 40)])
    assert value < 0.8


def test_what_stands_in_two_slots_is_not_the_same_the_other_way_round(segments_of):
    rng = random.Random(1)
    rows = [(FORM.format(f"a{rng.randrange(999)}", f"b{rng.randrange(999)}"), words_of(rng, 3)) for _ in range(60)]
    rows += [(FORM.format("Oslo", "Bergen"), "x y z"), (FORM.format("Bergen", "Oslo"), "x y z")]
    (value,) = alike(segments_of(rows), [(60, 61)])
    assert value < 0.5


def test_near_copies_edited_here_and_there_have_no_payload_that_could_hide_them(segments_of):
    rng = random.Random(2)
    base = words_of(rng, 60).split()
    copies = []
    for i in range(50):
        text = list(base)
        text[rng.randrange(60)] = f"edit{i}"
        copies.append((" ".join(text[:20]), " ".join(text[20:])))
    corpus = segments_of([*copies, *plain(400)])
    marked, _ = find(corpus)
    values = np.array(alike(corpus, [(0, i) for i in range(1, 50)]))
    assert marked is not None
    assert (np.isnan(values) | (values >= 0.8)).mean() > 0.9  # all but those edited in their first words


def test_free_text_has_no_template(segments_of):
    corpus = segments_of(plain(300))
    marked, prints = find(corpus)
    assert marked is None
    nobody = np.array([0], np.int64)
    found = wording.compare(corpus.reader(), corpus.rows, prints, marked, nobody, nobody + 1, nobody > 0, 3, 1)
    assert np.isnan([found.payload, found.words]).all()
    table, covering = features.patterns(corpus.reader(), corpus.rows, marked, ["a"])
    assert table.schema == pl.Schema(features.PATTERNS_SCHEMA)
    assert len(covering) == 0
    assert features.told(corpus.rows, marked, table, ["a"])["sources"] == []


def test_an_empty_data_set_has_no_template(segments_of):
    corpus = segments_of([])
    assert find(corpus)[0] is None


@pytest.mark.parametrize("per_batch", [7, 100])
def test_neither_order_nor_threads_nor_batches_matter(segments_of, per_batch):
    rows = wrapped(80) + plain(40)
    other = list(range(120))
    random.Random(9).shuffle(other)
    one, _ = find(segments_of(rows), 1)
    two, _ = find(segments_of([rows[i] for i in other], per_batch=per_batch), 3)
    assert (two.fixed == one.fixed[other]).all()
    assert {other[p] for p in two.sketched} == set(one.sketched.tolist())
    back = {other[p]: two.sketch[i].tolist() for i, p in enumerate(two.sketched)}
    assert all(back[p] == one.sketch[i].tolist() for i, p in enumerate(one.sketched))


def test_each_source_has_its_own_templates_and_shares(segments_of):
    rows = wrapped(60) + plain(60)
    corpus = segments_of(rows, sources=[0] * 60 + [1] * 60)
    marked, _ = find(corpus)
    table, covering = features.patterns(corpus.reader(), corpus.rows, marked, ["wrapped", "plain"])
    assert table["source"].to_list() == ["wrapped"]
    found = table.row(0, named=True)
    assert (found["role"], found["rows"], found["share"], found["slots"]) == ("user", 60, 1.0, 1)
    assert found["template"] == 1
    assert covering["position"].to_list() == list(range(60))
    text = rows[found["example_row"]][0]
    (piece,) = found["pieces"]
    assert text[piece["start"] : piece["end"]] == WRAPPER
    (said,) = features.told(corpus.rows, marked, table, ["wrapped", "plain"])["sources"]
    assert said["share_of_rows"] == 1
    assert 0.8 < said["share_of_tokens"] < 1


def test_system_prompts_and_tools_are_templates_too(segments_of):
    rng = random.Random(4)
    rows = [row(("system", WRAPPER), ("user", words_of(rng, 9)), ("assistant", words_of(rng, 9))) for _ in range(40)]
    rows += [pair(words_of(rng, 9), words_of(rng, 9)) for _ in range(10)]
    corpus = segments_of(rows)
    marked, _ = find(corpus)
    table, _ = features.patterns(corpus.reader(), corpus.rows, marked, ["a"])
    assert table["role"].to_list() == ["system"]
    assert table["slots"].to_list() == [0]
    assert marked.fixed[:40, 0].min() > 40
    assert marked.fixed[:, 1:].sum() == 0
    assert np.isnan(alike(corpus, [(0, 1)])).all()


def test_what_is_fixed_in_one_source_is_not_taken_for_an_edit_in_another(segments_of):
    rng = random.Random(6)
    rows = [(f"{WRAPPER} Answer in {tongue} . {words_of(rng, 5)}", "yes") for tongue in ("French", "German") * 60]
    corpus = segments_of(rows, sources=[0, 1] * 60)
    marked, _ = find(corpus)
    place = (WRAPPER + " Answer in").count(" ") + 1
    assert kinds(marked.templates, corpus, 0)[0][place] == kinds(marked.templates, corpus, 1)[0][place] == FIXED


def words_alike(corpus, pairs, threads=1):
    """(payload, words) of each pair of positions, all of them wanted."""
    marked, prints = find(corpus, threads)
    a, b = (np.array(side, np.int64) for side in zip(*pairs, strict=True))
    found = wording.compare(corpus.reader(), corpus.rows, prints, marked, a, b, np.ones(len(a), np.bool_), 3, threads)
    return list(zip(found.payload.tolist(), found.words.tolist(), strict=True))


def test_punctuation_keeps_no_words_apart(segments_of):
    rows = [("Who sells it here", "There are 28 shops in Basel that sell it."),
            ("Who sells it, here?", "There are 28 shops in Basel that sell it!"),
            ("Who sells it here", "There are 29 shops in Basel that sell it."),
            ("Who sells it here", "There are 2.8 shops in Basel that sell it.")]  # fmt: skip
    copy, other, point = words_alike(segments_of(rows), [(0, 1), (0, 2), (0, 3)])
    assert copy[1] == 1
    assert other[1] == pytest.approx(4 / 10)  # the answer's: 7 shingles of 9 words, of which the number touches 3
    assert point[1] < 0.8
    assert np.isnan([copy[0], other[0], point[0]]).all()


def test_another_short_question_with_the_same_answer_is_no_copy(segments_of):
    """As whole rows they are alike, for the answer is long: boilerplate."""
    answer = "My name is Tessa and I am a language model that was made by the friends of the library in Ghent."
    rows = [("What is your name?", answer), ("Tell me your name.", answer), ("what is your name", answer)]
    other, same = words_alike(segments_of(rows), [(0, 1), (0, 2)])
    assert other[1] == 0
    assert same[1] == 1


@pytest.mark.parametrize(
    ("answer", "copies"),
    [
        ("Hold the cover for nine long seconds and the mirror starts again.", True),
        ("Hold the cover for nine seconds and the mirror starts again soon.", True),
        ("Hold the cover for nine seconds and the mirror again.", True),
        ("Hold the cover for nine seconds and the mirror never starts again.", False),
        ("Hold the cover for nine 5 seconds and the mirror starts again.", False),
        ("Hold the cover for nine seconds and the lamp starts again.", False),
        ("Hold the red cover for nine seconds and the mirror starts very again.", False),
        ("Hold the cover for nine long seconds and the mirror starts anew.", False),
    ],
)
def test_one_word_more_in_a_short_answer_is_no_other_answer(segments_of, answer, copies):
    """The whole rows are alike enough; a number, a negation, another word and two words more are not let pass."""
    prompt = " ".join(f"p{i}" for i in range(60))
    rows = [(prompt, "Hold the cover for nine seconds and the mirror starts again."), (prompt, answer)]
    for pairs in ([(0, 1)], [(1, 0)]):
        ((_, value),) = words_alike(segments_of(rows), pairs)
        assert (value >= 0.8) == copies


@pytest.mark.parametrize(("words", "copies"), [(6, False), (7, True)])
def test_an_answer_of_less_than_seven_words_may_have_none_more(segments_of, words, copies):
    prompt = " ".join(f"p{i}" for i in range(60))
    answer = ["cover", "bell", "lamp", "door", "sand", "rope", "well"][:words]
    rows = [(prompt, " ".join(answer)), (prompt, " ".join([*answer[:3], "tree", *answer[3:]]))]
    ((_, value),) = words_alike(segments_of(rows), [(0, 1)])
    assert (value >= 0.8) == copies


def test_the_same_text_is_the_same_in_a_source_with_other_templates(segments_of):
    """The note is a template of the first source alone; read with one source's templates, two copies are one text."""
    rng = random.Random(8)
    rows = [(f"{OTHER} {words_of(rng, 6)}", words_of(rng, 12)) for _ in range(60)] + plain(60)
    rows.append(rows[3])
    corpus = segments_of(rows, sources=[0] * 60 + [1] * 61)
    assert words_alike(corpus, [(3, 120), (120, 3)]) == [(1, 1), (1, 1)]
    (unlike,) = words_alike(segments_of([*rows, rows[4]], sources=[0] * 60 + [1] * 62), [(3, 121)])
    assert unlike[0] < 0.2  # the wrapper in common does not count, though the second source does not know it


@pytest.mark.parametrize("ending", ["Sentiment :", "Answer", "# # Label now"])
def test_a_few_words_after_the_last_slot_are_template_too(segments_of, ending):
    rng = random.Random(12)
    corpus = segments_of([(f"{WRAPPER} {words_of(rng, rng.randint(2, 9))} {ending}", "yes") for _ in range(60)])
    marked, _ = find(corpus)
    tail = len(ending.split())
    for position in range(60):
        (prompt, _) = kinds(marked.templates, corpus, position)
        assert prompt[-tail:] == [FIXED] * tail
        assert prompt[-tail - 1] == "payload"
