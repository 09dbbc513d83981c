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

    loss_nats_S: NDArray[np.float64]
    records_S: NDArray[np.int64]
    correct_S: NDArray[np.int64]

    @classmethod
    def none(cls, strata: int) -> "StratumSums":
        """No records at all."""
        return cls(
            loss_nats_S=np.zeros(strata, dtype=np.float64),
            records_S=np.zeros(strata, dtype=np.int64),
            correct_S=np.zeros(strata, dtype=np.int64),
        )

    @classmethod
    def total(cls, parts: Sequence["StratumSums"]) -> "StratumSums":
        """The parts added up in their order."""
        total = cls.none(len(parts[0].records_S))
        for part in parts:
            total = cls(
                loss_nats_S=total.loss_nats_S + part.loss_nats_S,
                records_S=total.records_S + part.records_S,
                correct_S=total.correct_S + part.correct_S,
            )
        return total

    @property
    def records(self) -> int:
        """Records in all strata."""
        return int(self.records_S.sum())

    @property
    def correct(self) -> int:
        """Right answers in all strata."""
        return int(self.correct_S.sum())

    def strata_with(self, least_records: int) -> int:
        """How many strata hold at least ``least_records`` records."""
        return int((self.records_S >= least_records).sum())

    def loss_nats(self, least_records: int) -> float:
        """The stratified loss; NaN when no stratum holds ``least_records`` records or a loss is NaN."""
        counted_S = self.records_S >= max(least_records, 1)
        if not counted_S.any():
            return float("nan")
        means = self.loss_nats_S[counted_S] / self.records_S[counted_S]
        return float(means.mean())


def wilson_interval(correct: int, records: int) -> tuple[float, float]:
    """95 % interval of a proportion (Wilson 1927), exact enough for few records and for 0 or 1."""
    share, z_squared = correct / records, _NORMAL_QUANTILE_95**2
    middle = share + z_squared / (2 * records)
    half_width = _NORMAL_QUANTILE_95 * np.sqrt(share * (1 - share) / records + z_squared / (4 * records**2))
    scale = 1 + z_squared / records
    return max(0.0, float((middle - half_width) / scale)), min(1.0, float((middle + half_width) / scale))
