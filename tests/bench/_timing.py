"""Times several things in turn, so that a disturbance hits all of them alike."""

import gc
import time
from collections.abc import Callable, Mapping


def least_seconds(works: Mapping[str, Callable[[], object]], repetitions: int) -> dict[str, float]:
    """The least wall time of each work over interleaved repetitions, after one that is not counted."""
    least = dict.fromkeys(works, float("inf"))
    for repetition in range(repetitions + 1):
        for name, work in works.items():
            gc.collect()
            started = time.perf_counter()
            work()
            seconds = time.perf_counter() - started
            if repetition:
                least[name] = min(least[name], seconds)
    return least
