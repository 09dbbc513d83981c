"""Times several things in turn, so that a disturbance hits all of them alike."""

import gc
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Least:
    """The least wall time of some repetitions, and the least processor time of the whole process."""

    wall_s: float
    processor_s: float

    def __str__(self) -> str:
        return f"{self.wall_s:.3f} s (processor {self.processor_s:.3f} s)"


def least_times(works: Mapping[str, Callable[[], object]], repetitions: int) -> dict[str, Least]:
    """The least times of each work over interleaved repetitions, after one that is not counted.

    Wall time is what targets are about; on a machine with other work on it, processor time tells whether
    a missed target was a disturbance.
    """
    wall_s: dict[str, list[float]] = {name: [] for name in works}
    processor_s: dict[str, list[float]] = {name: [] for name in works}
    for repetition in range(repetitions + 1):
        for name, work in works.items():
            gc.collect()
            wall, processor = time.perf_counter(), time.process_time()
            work()
            if repetition:
                wall_s[name].append(time.perf_counter() - wall)
                processor_s[name].append(time.process_time() - processor)
    return {name: Least(min(wall_s[name]), min(processor_s[name])) for name in works}
