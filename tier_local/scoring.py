"""Losses by stratum: what a hospital counts, and what its network makes of all hospitals' counts.

A record's stratum is its label. A hospital sends per stratum the sum of its losses and the number of
its records; the network's loss is the mean, over the strata that hold enough records in the whole
network, of the strata's mean losses: every label weighs the same, however rare it is in one house.

Shapes: S strata (the task's labels, in the spec's order).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_NORMAL_QUANTILE_95 = 1.959963984540054


@dataclass(frozen=True)
class StratumSums:
    """One adapter's losses on some records: per stratum the sum (nats), the records, the right answers."""

    loss_sums: NDArray[np.float64]
    record_counts: NDArray[np.int64]
    correct_counts: NDArray[np.int64]

    @classmethod
    def none(cls, strata: int) -> "StratumSums":
        """No records at all."""
        return cls(
            loss_sums=np.zeros(strata, dtype=np.float64),
            record_counts=np.zeros(strata, dtype=np.int64),
            correct_counts=np.zeros(strata, dtype=np.int64),
        )

    @classmethod
    def total(cls, parts: Sequence["StratumSums"]) -> "StratumSums":
        """The parts added up in their order."""
        total = cls.none(len(parts[0].record_counts))
        for part in parts:
            total = cls(
                loss_sums=total.loss_sums + part.loss_sums,
                record_counts=total.record_counts + part.record_counts,
                correct_counts=total.correct_counts + part.correct_counts,
            )
        return total

    @property
    def records(self) -> int:
        """Records in all strata."""
        return int(self.record_counts.sum())

    @property
    def correct(self) -> int:
        """Right answers in all strata."""
        return int(self.correct_counts.sum())

    def strata_with(self, least_records: int) -> int:
        """How many strata hold at least ``least_records`` records."""
        return int((self.record_counts >= least_records).sum())

    def loss_nats(self, least_records: int) -> float:
        """The stratified loss; NaN when no stratum holds ``least_records`` records or a loss is NaN."""
        counted_S = self.record_counts >= max(least_records, 1)
        if not counted_S.any():
            return float("nan")
        means = self.loss_sums[counted_S] / self.record_counts[counted_S]
        return float(means.mean())


def wilson_interval(correct: int, records: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927), exact enough for few records and for 0 or 1."""
    share, z_squared = correct / records, _NORMAL_QUANTILE_95**2
    middle = share + z_squared / (2 * records)
    half_width = _NORMAL_QUANTILE_95 * np.sqrt(share * (1 - share) / records + z_squared / (4 * records**2))
    scale = 1 + z_squared / records
    return max(0.0, float((middle - half_width) / scale)), min(1.0, float((middle + half_width) / scale))
