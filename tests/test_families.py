"""Rare templates: payloads in a wrapper stay apart, near copies do not, wherever the rows stand."""

from __future__ import annotations

import json
import random
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scanner import find_duplicates
from scanner.deduplicating import ALONE
from scanner.families import LEAST_ROWS

LONG = " ".join(f"rule{i}" for i in range(110))


def words(rng: random.Random, count: int) -> str:
    return " ".join(f"w{rng.randrange(4000)}" for _ in range(count))


def wrapped(count: int, seed: int = 1, shape: str = LONG + " : {}", answer: str = "billing"):
    """Rows of one wrapper, each with a payload of its own."""
    rng = random.Random(seed)
    payloads = [words(rng, rng.randint(3, 7)) for _ in range(count)]
    return [(shape.format(payload), answer.format(payload)) for payload in payloads]


def others(count: int, seed: int = 2):
    rng = random.Random(seed)
    return [(words(rng, 12), words(rng, 25)) for _ in range(count)]


@pytest.fixture
def dropped(tmp_path):
    """dropped(rows, rows, ...): positions of the rows that go, of files with these rows."""

    def find(*files, **options) -> set[int]:
        names = []
        for number, rows in enumerate(files):
            names.append(tmp_path / f"{number}.jsonl")
            lines = [json.dumps({"prompt": prompt, "response": response}) for prompt, response in rows]
            names[-1].write_text("\n".join(lines) + "\n", "utf-8")
        frame = find_duplicates(names, ALONE.changed(**options)).frame()
        return set(frame.filter(~frame["kept"])["row_id"].to_list())

    return find


@pytest.mark.parametrize("count", [LEAST_ROWS, 12, 19, 60])
@pytest.mark.parametrize(
    ("shape", "answer"),
    [
        (LONG + " : {}", "billing"),
        ("{} . " + LONG, "yes"),
        (LONG + " {} " + LONG[:400], "no"),
        ("Say {}", LONG + " {}"),
    ],
    ids=["behind", "before", "between", "answers"],
)
def test_payloads_in_a_rare_wrapper_are_no_copies(dropped, count, shape, answer):
    rows = wrapped(count, shape=shape, answer=answer)
    assert not dropped(rows + others(3000))
    again = (rows[0][0].upper(), rows[0][1])
    assert len(dropped(rows + others(3000) + [again])) == 1


def test_a_wrapper_in_one_row_of_a_hundred_and_fifty(dropped):
    rows = wrapped(80) + others(12_000)
    rows += [(rows[3][0] + " !", rows[3][1])]
    assert dropped(rows) in ({3}, {len(rows) - 1})


def test_a_wrapper_in_a_few_rows_of_each_file(dropped):
    rows = wrapped(30)
    assert not dropped(*(rows[i::5] + others(50, seed=i) for i in range(5)))


def edited(count: int, text: str) -> list[tuple[str, str]]:
    """Near copies: in each another word is replaced."""
    rng = random.Random(5)
    given = text.split()
    rows = []
    for place in rng.sample(range(4, len(given) - 4), count):
        changed = [*given[:place], f"other{place}", *given[place + 1 :]]
        rows.append(("Tell me all of it.", " ".join(changed)))
    return rows


@pytest.mark.parametrize("count", [LEAST_ROWS, 9, 15])
def test_near_copies_edited_here_and_there_are_copies_as_before(dropped, count):
    rows = edited(count, words(random.Random(7), 120))
    assert len(dropped(rows + others(500))) == count - 1


def test_one_task_in_the_words_of_several_is_a_near_copy(dropped):
    """What the wrapper leaves stands in other rows as well."""
    verbs, ends = ("Write", "Design", "Build"), ("by recursion", "with recursion", "in a recursion")
    code = " ".join(f"line{i} ;" for i in range(40))
    rows = [(f"{verb} a function for the factorial of a number {end}", code) for verb in verbs for end in ends]
    assert len(dropped(rows + others(500))) >= len(rows) - 3


def test_what_is_alike_and_no_copy_is_counted(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps({"prompt": p, "response": r}) + "\n" for p, r in wrapped(6)), "utf-8")
    assert find_duplicates([file], ALONE.changed(drop_semantic=True)).in_words() == (
        "6 rows from 1 input\nNo duplicates: no two rows are the same, or near copies (Jaccard 0.8 or more)\n"
        "15 pairs of that likeness are none: answers, context or what a template is given differ"
    )


def test_with_semantic_duplicates_dropped_too(dropped):
    assert not dropped(wrapped(9) + others(100), drop_semantic=True)


@settings(max_examples=8)
@given(seed=st.integers(0, 99), threads=st.integers(1, 3))
def test_neither_order_nor_threads_matter(tmp_path_factory, seed, threads):
    rows = wrapped(14) + edited(8, words(random.Random(7), 120)) + others(60)
    order = list(range(len(rows)))
    random.Random(seed).shuffle(order)
    groups = []
    for some, count in ((range(len(rows)), 2), (order, threads)):
        file = tmp_path_factory.mktemp("rows") / "rows.jsonl"
        lines = [json.dumps({"prompt": rows[i][0], "response": rows[i][1]}) for i in some]
        file.write_text("\n".join(lines) + "\n", "utf-8")
        frame = find_duplicates([file], ALONE.changed(threads=count)).frame()
        by_group: dict[int, set[int]] = {}
        for i, group in zip(some, frame["group"].to_list(), strict=True):
            by_group.setdefault(group, set()).add(i)
        groups.append({pair for members in by_group.values() for pair in combinations(sorted(members), 2)})
    assert groups[0] == groups[1]
