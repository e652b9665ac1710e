"""Work on all threads gives what work on one gives, and leaves nothing running behind."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner import running


@given(st.lists(st.integers(), max_size=40), st.integers(1, 4))
def test_results_stand_in_the_order_of_the_parts(parts, threads):
    assert running.run(lambda part: -part, parts, threads) == [-part for part in parts]


@given(st.integers(0, 50), st.integers(1, 9))
def test_shares_are_the_whole_range_once(count, parts):
    assert [i for some in running.shares(count, parts) for i in range(count)[some]] == list(range(count))


def test_small_work_is_not_cut():
    assert running.parts_for(10, 8) == 1
    assert running.parts_for(3 * running.WORTH_A_THREAD, 8) == 3
    assert running.parts_for(1 << 40, 8) == 8


def test_one_part_stays_on_this_thread():
    assert running.run(lambda part: threading.get_ident(), ["one"], 4) == [threading.get_ident()]


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_work_on_a_thread_may_itself_use_the_threads(threads):
    with running.submitting(threads) as submit:
        aside = submit(lambda: running.run(lambda part: part * 2, range(20), threads))
        assert running.run(lambda part: part + 1, range(20), threads) == list(range(1, 21))
        assert aside.result() == list(range(0, 40, 2))


def hand_on_and_fail(work):
    with running.submitting(2) as submit:
        for part in range(3):
            submit(work, part)
        raise ValueError("four")


def test_what_fails_is_said_and_waited_for():
    ended = []

    def work(part):
        if part == 3:
            raise ValueError("three")
        time.sleep(0.01)
        ended.append(part)

    with pytest.raises(ValueError, match="three"):
        running.run(work, range(4), 2)
    seen = len(ended)
    with pytest.raises(ValueError, match="four"):
        hand_on_and_fail(work)
    after = len(ended)
    time.sleep(0.05)
    assert seen <= after == len(ended)
