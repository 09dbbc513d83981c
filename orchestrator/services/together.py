"""What several threads ask for at the same moment, done in one go: one transaction instead of one for each.

Nobody waits for company. Who comes while nobody is at work does the work alone and at once; who comes
meanwhile waits, and when it is done one of those that wait does the work for all of them.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from orchestrator.domain.ports import RecordsUnavailable

LONGEST_WAIT_S = 60.0
"""Work that several share ends by itself: units of work have deadlines of their own, shorter than this."""

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class _Place(Generic[Asked, Answer]):
    """A thread that waits, for its answer or for its turn to work."""

    def __init__(self, asked: Asked) -> None:
        self.asked = asked
        self.wakes = threading.Event()
        self.answers: list[Answer | Exception] = []
        """One, when the work is done."""


class Together(Generic[Asked, Answer]):
    """``work`` takes what was asked and gives as many answers, in order; an error among them is raised to
    whoever asked for that one. It may be called again with a part of what it failed for, so an error that
    it raises must leave nothing done."""

    def __init__(
        self, work: Callable[[Sequence[Asked]], Sequence[Answer | Exception]], most_at_a_time: int
    ) -> None:
        self._work = work
        self._most = most_at_a_time
        self._lock = threading.Lock()
        self._waiting: deque[_Place[Asked, Answer]] = deque()
        self._is_at_work = False

    def ask(self, asked: Asked) -> Answer:
        """The answer. Raises what the work raises or answers, and RecordsUnavailable after a minute."""
        place: _Place[Asked, Answer] = _Place(asked)
        with self._lock:
            self._waiting.append(place)
            works, self._is_at_work = not self._is_at_work, True
        if not works and not place.wakes.wait(LONGEST_WAIT_S):
            self._leave(place)
        if not place.answers:
            self._work_for_all()
        (answer,) = place.answers
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _leave(self, place: _Place[Asked, Answer]) -> None:
        """Give up waiting, unless it has just ended. Raises RecordsUnavailable."""
        with self._lock:
            if place.wakes.is_set():
                return
            if place in self._waiting:
                self._waiting.remove(place)
        raise RecordsUnavailable("others write to the database without end")

    def _work_for_all(self) -> None:
        """Do what is waiting, this thread's own first, and hand the work on."""
        with self._lock:
            group = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
        try:
            for place, answer in zip(group, self._answers([each.asked for each in group]), strict=True):
                place.answers.append(answer)
        finally:
            for place in group:
                if not place.answers:
                    # Only what ends the process gets here.
                    place.answers.append(RecordsUnavailable("the work was broken off"))
            with self._lock:
                for place in group:
                    place.wakes.set()
                self._is_at_work = bool(self._waiting)
                if self._waiting:
                    self._waiting[0].wakes.set()

    def _answers(self, asked: Sequence[Asked]) -> Sequence[Answer | Exception]:
        try:
            return self._work(asked)
        except RecordsUnavailable as error:
            return [error] * len(asked)
        except Exception as error:
            if len(asked) == 1:
                return [error]
            # One by one: nobody pays for what another asked.
            return [answer for each in asked for answer in self._answers([each])]
