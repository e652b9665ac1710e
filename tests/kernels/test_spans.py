"""Repeated windows and spans against a twin that compares every window with every other, and the laws they keep."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner.kernels import passages as sharing
from scanner.kernels import spans as kernels
from scanner.kernels.spans import (
    ANSWER,
    BOILERPLATE,
    ECHO,
    FILLER,
    LEAKAGE,
    MONOTONE,
    ONCE,
    SYSTEM,
    TWICE,
    WITHIN,
    Segments,
    Spans,
    Windows,
)

WORDS = np.random.default_rng(11).integers(1, 2**63, 40).astype(np.uint64)
MANY = 3
"""Rows from which on a window is boilerplate in these tests."""

segment = st.tuples(st.lists(st.integers(0, 3), max_size=12), st.sampled_from([0, ANSWER, SYSTEM]))
row = st.tuples(st.lists(segment, max_size=3), st.booleans())
rows_of_segments = st.lists(row, min_size=1, max_size=7)
widths = st.integers(2, 5)

Row = tuple[list[tuple[list[int], int]], bool]


def pack(rows: list[Row], width: int, words: np.ndarray = WORDS) -> tuple[Segments, list[list[int]]]:
    """Segments of `width` tokens or more, as the stage gives them, and their tokens as small integers."""
    kept = [(r, tokens, bits, counted) for r, (parts, counted) in enumerate(rows) for tokens, bits in parts]
    kept = [one for one in kept if len(one[1]) >= width]
    flat = [t for _, tokens, _, _ in kept for t in tokens]
    bounds = np.cumsum([0, *(len(tokens) for _, tokens, _, _ in kept)]).astype(np.int64)
    made = Segments(
        words[flat] if flat else np.zeros(0, np.uint64), bounds, np.array([r for r, *_ in kept], np.int64),
        np.array([c for *_, c in kept], np.bool_), np.array([b for *_, b, _ in kept], np.uint8),
    )  # fmt: skip
    return made, [tokens for _, tokens, _, _ in kept]


def run(
    rows: list[Row], width: int, threads: int = 1, rank: list[int] | None = None
) -> tuple[Segments, Windows, np.ndarray, Spans]:
    text, _ = pack(rows, width)
    order = np.arange(len(rows)) if rank is None else np.array(rank)
    windows = kernels.find_windows(text, width, order.astype(np.int64), threads)
    kind = kernels.classes(windows, MANY)
    return text, windows, kind, kernels.find_spans(text, windows, kind)


def twin(rows: list[Row], width: int) -> tuple[list[list[int]], list[tuple[int, int, int, int, int]]]:
    """Class of every window of every long segment, and the spans (segment, first, last, class, rows)."""
    text, segments = pack(rows, width)
    places: defaultdict[tuple[int, ...], list[int]] = defaultdict(list)
    for s, tokens in enumerate(segments):
        if text.counted[s]:
            for t in range(len(tokens) - width + 1):
                places[tuple(tokens[t : t + width])].append(s)

    def holders(window: tuple[int, ...]) -> int:
        return len({int(text.row[s]) for s in places[window]})

    def class_of(window: tuple[int, ...]) -> int:
        where = places[window]
        if len(where) < 2:
            return ONCE
        if len(set(window)) < width // kernels.DISTINCT_SHARE:
            return FILLER
        if holders(window) >= MANY or any(text.bits[s] & SYSTEM for s in where):
            return BOILERPLATE
        if holders(window) > 1:
            return LEAKAGE
        return WITHIN if len(set(where)) < len(where) else ECHO

    plain, spans = [], []
    for s, tokens in enumerate(segments):
        windows = [tuple(tokens[t : t + width]) for t in range(len(tokens) - width + 1)]
        found = [class_of(w) for w in windows]
        plain.append(found)
        marked = {t + k for t, c in enumerate(found) if c == BOILERPLATE for k in range(width)}
        free = [c if c == BOILERPLATE or marked.isdisjoint(range(t, t + width)) else ONCE for t, c in enumerate(found)]
        t = 0
        while t < len(free):
            end = t
            while end < len(free) and free[end] == free[t]:
                end += 1
            if free[t] != ONCE:
                spans.append((s, t, end - 1 + width - 1, free[t], max(holders(w) for w in windows[t:end])))
            t = end
    return plain, spans


def as_tuples(spans: Spans) -> list[tuple[int, ...]]:
    columns = (spans.segment, spans.first, spans.last, spans.kind, spans.rows)
    return [tuple(map(int, one)) for one in zip(*columns, strict=True)]


@given(rows_of_segments, widths)
def test_spans_equal_the_twin(rows, width):
    text, windows, kind, spans = run(rows, width)
    plain, expected = twin(rows, width)
    for s, classes in enumerate(plain):
        ids = windows.id[text.bounds[s] : text.bounds[s] + len(classes)]
        assert [int(kind[i]) if i >= 0 else ONCE for i in ids] == classes
    assert as_tuples(spans) == expected


@given(rows_of_segments, widths)
def test_covered_tokens_equal_the_spans(rows, width):
    text, _, _, spans = run(rows, width)
    for s in range(len(text.row)):
        mine = [one for one in as_tuples(spans) if one[0] == s]
        assert spans.covered[s] == len({t for _, a, b, _, _ in mine for t in range(a, b + 1)})
        assert spans.leaked[s] == len({t for _, a, b, c, _ in mine if c == LEAKAGE for t in range(a, b + 1)})


@given(rows_of_segments, widths, st.integers(2, 4), st.integers(1, 5))
def test_threads_and_slices_change_nothing(rows, width, threads, size):
    _, windows, kind, spans = run(rows, width)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kernels, "_SLICE", size)
        _, other, other_kind, other_spans = run(rows, width, threads)
    np.testing.assert_array_equal(windows.id, other.id)
    np.testing.assert_array_equal(kind, other_kind)
    np.testing.assert_array_equal(windows.lead, other.lead)
    assert as_tuples(spans) == as_tuples(other_spans)


@given(rows_of_segments, widths, st.randoms(use_true_random=False))
def test_order_of_rows_changes_nothing(rows, width, random):
    order = list(range(len(rows)))
    random.shuffle(order)
    before, _, _, spans = run(rows, width)
    after, windows, _, shuffled = run([rows[i] for i in order], width, rank=order)

    def by_row(text: Segments, found: Spans, names: list[int]) -> list[tuple[Any, ...]]:
        first = np.searchsorted(text.row, text.row[found.segment])
        return sorted(
            (names[text.row[s]], s - at, *rest) for (s, *rest), at in zip(as_tuples(found), first.tolist(), strict=True)
        )

    assert by_row(before, spans, list(range(len(rows)))) == by_row(after, shuffled, order)
    leads = {order[i] for i in windows.lead[windows.occurrences > 1]}
    assert leads == set(run(rows, width)[1].lead[run(rows, width)[1].occurrences > 1].tolist())


@given(rows_of_segments, widths)
def test_passages_are_what_shared_windows_connect(rows, width):
    text, windows, _, spans = run(rows, width)
    root = sharing.passages(text, windows, spans)
    held = []
    for s, a, b, _, _ in as_tuples(spans):
        at = int(text.bounds[s])
        held.append(set(windows.id[at + a : at + b + 2 - width].tolist()))
    label = list(range(len(held)))
    for _ in held:
        for i, one in enumerate(held):
            label[i] = min(label[j] for j, other in enumerate(held) if one & other)
        label = [label[x] for x in label]
    assert root.tolist() == label


@given(rows_of_segments, widths)
def test_pairs_and_what_they_share_equal_the_twin(rows, width):
    text, windows, kind, spans = run(rows, width)
    a, b = sharing.pairs_of_rows(text, windows, spans)
    shared = sharing.shared_tokens(text, windows, kind, len(rows), a, b)
    _, segments = pack(rows, width)
    classes, expected_spans = twin(rows, width)

    def leaks(s: int) -> list[tuple[int, tuple[int, ...]]]:
        return [(t, tuple(segments[s][t : t + width])) for t, c in enumerate(classes[s]) if c == LEAKAGE]

    mine = [[s for s in range(len(segments)) if text.row[s] == r] for r in range(len(rows))]
    expected = set()
    for s, first, last, c, _ in expected_spans:
        if c == LEAKAGE and text.counted[s]:
            for t in range(first, last - width + 2):
                window = tuple(segments[s][t : t + width])
                lead = min(int(text.row[o]) for o in range(len(segments)) if text.counted[o]
                           and window in {w for _, w in leaks(o)})  # fmt: skip
                if lead != text.row[s]:
                    expected.add((lead, int(text.row[s])))
    assert sorted(zip(a.tolist(), b.tolist(), strict=True)) == sorted(expected)
    for one, other, counts in zip(a.tolist(), b.tolist(), shared.tolist(), strict=True):
        for (x, y), (tokens, learned) in (((one, other), counts[:2]), ((other, one), counts[2:])):
            known = {w for s in mine[y] for _, w in leaks(s)}
            inside = {(s, t + k) for s in mine[x] for t, w in leaks(s) if w in known for k in range(width)}
            assert tokens == len(inside)
            assert learned == sum(1 for s, _ in inside if text.bits[s] & ANSWER)


def test_a_shared_hash_of_different_texts_is_not_a_repetition():
    """Thue-Morse words collide under every rolling hash modulo 2^64; the tokens themselves decide."""
    a, b = WORDS[:2]
    morse = np.array([bin(i).count("1") & 1 for i in range(1 << 11)], np.int64)
    words = np.where(morse == 0, a, b), np.where(morse == 0, b, a)
    text = Segments(
        np.concatenate(words),
        np.array([0, 1 << 11, 1 << 12]),
        np.arange(2),
        np.ones(2, np.bool_),
        np.zeros(2, np.uint8),
    )
    windows = kernels.find_windows(text, 1 << 11, np.arange(2), 1)
    assert len(windows.rows) == 1  # the hashes agree
    assert windows.occurrences.tolist() == [1]  # the texts do not
    assert len(kernels.find_spans(text, windows, kernels.classes(windows, MANY)).segment) == 0


def test_windows_of_few_different_tokens_are_filler():
    ruled: Row = ([([0] * 12 + [1, 2, 3] + list(range(4, 20)), ANSWER)], True)
    text, windows, _, spans = run([ruled, ruled], 10)
    assert {one[3] for one in as_tuples(spans)} == {FILLER, LEAKAGE}
    assert (windows.bits[windows.id[text.bounds[0]]] & MONOTONE) > 0


def test_twice_in_one_segment_and_in_two():
    verse = list(range(8))
    inside: Row = ([([*verse, 30, *verse], ANSWER)], True)
    across: Row = ([([*verse[::-1], 31], 0), ([32, *verse[::-1]], ANSWER)], True)
    _, windows, _, spans = run([inside, across], 4)
    assert as_tuples(spans) == [
        (0, 0, 7, WITHIN, 1), (0, 9, 16, WITHIN, 1), (1, 0, 7, ECHO, 1), (2, 1, 8, ECHO, 1),
    ]  # fmt: skip
    assert (windows.bits & TWICE).any()


def test_rows_that_do_not_count_are_looked_up_only():
    verse = list(range(8))
    one: Row = ([(verse, ANSWER)], True)
    copy: Row = ([(verse, ANSWER)], False)
    assert as_tuples(run([one, copy, copy], 4)[3]) == []
    assert as_tuples(run([one, copy, one], 4)[3]) == [(s, 0, 7, LEAKAGE, 2) for s in range(3)]


def test_nothing_at_all():
    text, windows, kind, spans = run([([], True)], 3)
    assert len(windows.rows) == len(kind) == len(spans.segment) == len(text.row) == 0
    assert len(sharing.pairs_of_rows(text, windows, spans)[0]) == 0
