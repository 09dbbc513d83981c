"""Threads that ask at the same time are answered by one piece of work, and each gets its own answer."""

import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from orchestrator.domain.ports import RecordsUnavailable
from orchestrator.services.together import Together
from tests.integration.waiting import DEADLINE_S, until


class Work:
    """Squares numbers; the first piece of work waits until it is let go. Negative numbers are refused."""

    def __init__(self) -> None:
        self.begun, self.may_go_on = threading.Event(), threading.Event()
        self.groups: list[list[int]] = []

    def __call__(self, asked: Sequence[int]) -> list[int | Exception]:
        """The squares; RuntimeError where 13 is among them, RecordsUnavailable with 99."""
        self.groups.append(list(asked))
        self.begun.set()
        assert self.may_go_on.wait(DEADLINE_S)
        if 13 in asked:
            raise RuntimeError("thirteen")
        if 99 in asked:
            raise RecordsUnavailable("ninety-nine")
        return [ValueError(str(each)) if each < 0 else each * each for each in asked]


def while_one_works(work: Work, most: int, asked: Sequence[int]) -> list[Future[int]]:
    """What becomes of 1 and of what is asked while the work for that is going on."""
    together = Together(work, most)
    with ThreadPoolExecutor(len(asked) + 1) as threads:
        futures = [threads.submit(together.ask, 1)]
        assert work.begun.wait(DEADLINE_S)
        for number in asked:
            waiting = len(together._waiting)
            futures.append(threads.submit(together.ask, number))
            until(lambda before=waiting: len(together._waiting) > before)  # type: ignore[misc]
        work.may_go_on.set()
    return futures


def test_who_comes_alone_is_answered_at_once() -> None:
    work = Work()
    work.may_go_on.set()
    together = Together(work, 10)
    assert [together.ask(number) for number in (2, 3)] == [4, 9]
    assert work.groups == [[2], [3]]


def test_who_comes_meanwhile_shares_the_next_piece_of_work() -> None:
    work = Work()
    futures = while_one_works(work, 10, [2, 3, 4])
    assert [future.result() for future in futures] == [1, 4, 9, 16]
    assert work.groups == [[1], [2, 3, 4]]


def test_no_group_is_larger_than_it_may_be() -> None:
    work = Work()
    futures = while_one_works(work, 2, [2, 3, 4])
    assert [future.result() for future in futures] == [1, 4, 9, 16]
    assert work.groups == [[1], [2, 3], [4]]


def test_a_refusal_is_of_whoever_asked_for_it() -> None:
    futures = while_one_works(Work(), 10, [2, -3, 4])
    with pytest.raises(ValueError, match="-3"):
        futures[2].result()
    assert [futures[place].result() for place in (0, 1, 3)] == [1, 4, 16]


def test_nobody_pays_for_what_another_asked() -> None:
    work = Work()
    futures = while_one_works(work, 10, [2, 13, 4])
    with pytest.raises(RuntimeError, match="thirteen"):
        futures[2].result()
    assert [futures[place].result() for place in (0, 1, 3)] == [1, 4, 16]
    assert work.groups == [[1], [2, 13, 4], [2], [13], [4]]


def test_a_database_that_is_gone_is_not_asked_once_for_each() -> None:
    work = Work()
    futures = while_one_works(work, 10, [2, 99, 4])
    for future in futures[1:]:
        with pytest.raises(RecordsUnavailable):
            future.result()
    assert work.groups == [[1], [2, 99, 4]]


def test_nobody_waits_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.services.together.LONGEST_WAIT_S", 0.01)
    work = Work()
    together = Together(work, 10)
    with ThreadPoolExecutor(1) as threads:
        first = threads.submit(together.ask, 1)
        assert work.begun.wait(DEADLINE_S)
        with pytest.raises(RecordsUnavailable):
            together.ask(2)
        work.may_go_on.set()
        assert first.result(DEADLINE_S) == 1
    # Who gave up is forgotten, and the next is served.
    assert together.ask(3) == 9
    assert work.groups == [[1], [3]]
