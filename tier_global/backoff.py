"""Pauses that grow with every failure, so that what fails under load is not asked to death."""

from collections import Counter
from collections.abc import Hashable
from typing import Generic, TypeVar

from tier_global.clock import Clock

FIRST_PAUSE_S = 5.0
LONGEST_PAUSE_S = 60.0

Key = TypeVar("Key", bound=Hashable)


class Backoff(Generic[Key]):
    """Counts failures by key; after each the pause doubles."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures: Counter[Key] = Counter()
        self._pause_ends_unix_s: dict[Key, float] = {}

    def count(self, key: Key) -> None:
        """Take note of a failure, which begins a pause."""
        pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** self._failures[key])
        self._failures[key] += 1
        self._pause_ends_unix_s[key] = self._clock.now_unix_s() + pause_s

    def is_over(self, key: Key) -> bool:
        """Whether the last failure, if there was one, is long enough ago."""
        return self._clock.now_unix_s() >= self._pause_ends_unix_s.get(key, 0.0)
