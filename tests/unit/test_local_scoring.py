"""Stratified losses, and the interval of an accuracy."""

import math

import numpy as np
import pytest

from tier_local.scoring import StratumSums, wilson_interval


def sums(losses: list[float], records: list[int]) -> StratumSums:
    return StratumSums(
        loss_sums=np.array(losses, dtype=np.float64),
        record_counts=np.array(records, dtype=np.int64),
        correct_counts=np.zeros(len(records), dtype=np.int64),
    )


def test_every_stratum_weighs_the_same_however_many_records_it_holds() -> None:
    # 100 records of loss 1 and 2 of loss 3: the mean over records would be near 1.
    assert sums([100.0, 6.0], [100, 2]).loss_nats(1) == 2.0


def test_strata_with_too_few_records_in_the_whole_network_are_left_out() -> None:
    one, other = sums([2.0, 9.0, 5.0], [1, 1, 0]), sums([4.0, 0.0, 0.0], [1, 0, 0])
    total = StratumSums.total([one, other])
    assert total.loss_nats(2) == 3.0
    assert total.strata_with(2) == 1
    assert total.records == 3


def test_no_stratum_or_a_nan_gives_nan() -> None:
    assert math.isnan(sums([0.0], [0]).loss_nats(1))
    assert math.isnan(sums([math.nan, 1.0], [1, 1]).loss_nats(1))


@pytest.mark.parametrize(
    ("correct", "records", "low", "high"),
    # Values of the closed formula, worked out by hand for p = 0, 1/2 and 1.
    [(0, 10, 0.0, 0.27753), (5, 10, 0.23659, 0.76341), (10, 10, 0.72247, 1.0)],
)
def test_the_wilson_interval(correct: int, records: int, low: float, high: float) -> None:
    assert wilson_interval(correct, records) == pytest.approx((low, high), abs=1e-5)
