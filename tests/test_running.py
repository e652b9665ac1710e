"""Work on all threads gives what work on one gives, and leaves nothing running behind."""

from __future__ import annotations

import gc
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanner import running


@given(st.lists(st.integers(), max_size=40), st.integers(0, 4))
def test_results_stand_in_the_order_of_the_parts(parts, threads):
    assert running.run(lambda part: -part, parts, threads) == [-part for part in parts]
    assert list(running.in_order(lambda part: -part, iter(parts), threads)) == [-part for part in parts]


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("helped", [False, True])
def test_so_many_threads_are_at_work_and_no_more(threads, helped):
    at_work, most, lock = set(), 0, threading.Lock()
    together = threading.Barrier(threads, timeout=10)

    def work(part):
        nonlocal most
        with lock:
            at_work.add(part)
            most = max(most, len(at_work))
        together.wait()  # goes on only where so many are at work
        at_work.remove(part)

    done = running.in_order(work, range(12), threads) if helped else running.run(work, range(12), threads)
    assert list(done) == [None] * 12
    assert most <= threads + (helped and threads > 1)  # the caller has a part of his own while the threads are busy


@pytest.mark.parametrize("threads", [1, 3])
def test_few_parts_are_read_before_they_are_asked_for(threads):
    read = []
    results = running.in_order(str, (read.append(part) or part for part in range(100)), threads)
    assert [next(results) for _ in range(10)] == [str(i) for i in range(10)]
    assert len(read) <= 10 + running.AHEAD * threads
    results.close()


def test_threads_not_named_are_the_cores_of_this_process(monkeypatch):
    assert running.thread_count(3) == 3
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 5}, raising=False)
    assert running.thread_count(0) == running.thread_count(None) == 2
    monkeypatch.delattr("os.sched_getaffinity")
    monkeypatch.setattr("os.cpu_count", lambda: 7)
    assert running.thread_count(0) == 7


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


@pytest.mark.parametrize("how", [running.run, lambda *given: list(running.in_order(*given))])
def test_threads_that_all_wait_for_parts_of_their_own_do_them_themselves(how):
    begun = threading.Barrier(2, timeout=10)

    def outer(number):
        begun.wait()  # from here on no thread is free
        return how(lambda part: part + number, range(6), 2)

    with running.submitting(2) as submit:
        jobs = [submit(outer, number) for number in (0, 10)]
        assert [job.result(timeout=10) for job in jobs] == [[0, 1, 2, 3, 4, 5], [10, 11, 12, 13, 14, 15]]


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
    with pytest.raises(ValueError, match="three"):
        list(running.in_order(work, range(9), 2))
    assert max(ended) < 3 + running.AHEAD * 2 + 1  # what was not begun never was
    seen = len(ended)
    with pytest.raises(ValueError, match="four"):
        hand_on_and_fail(work)
    after = len(ended)
    time.sleep(0.05)
    assert seen <= after == len(ended)


def test_garbage_is_looked_for_again_when_all_have_left():
    assert gc.isenabled()
    first, second = running.uncollected(), running.uncollected()
    first.__enter__()
    second.__enter__()
    assert not gc.isenabled()
    first.__exit__(None, None, None)
    second.__exit__(None, None, None)
    assert gc.isenabled()
    with pytest.raises(ValueError, match="mine"), running.uncollected():
        raise ValueError("mine")
    assert gc.isenabled()
