"""The outer optimiser: a step over rounds, from the parent towards the aggregate."""

from collections.abc import Sequence

import numpy as np

from contracts.aggregation.blocks import Scratch, Wide, by_blocks
from contracts.aggregation.spec import MILLION, Momentum, Nesterov
from contracts.manifest import FloatArray, Tensors


def new_momentum(
    optimiser: Momentum | Nesterov, parent: Tensors, aggregate: Tensors, momentum: Tensors
) -> dict[str, FloatArray]:
    """β · momentum + (parent − aggregate), in float64, cast once to float32 whatever the adapter's dtype.

    The difference stands for a gradient, as in FedAvgM (Hsu et al. 2019, arXiv:1909.06335) and in DiLoCo
    (Douillard et al. 2023, arXiv:2311.08105).

    Raises:
        NotFinite: the momentum does not fit float32.
    """
    beta = optimiser.momentum_millionths / MILLION
    scratch = Scratch()

    def kernel(rows: Sequence[FloatArray]) -> Wide:
        momentum_row, parent_row, aggregate_row = rows
        total = scratch.zeros(momentum_row.size)
        np.add(total, parent_row, out=total)
        np.subtract(total, aggregate_row, out=total)
        return np.add(total, np.multiply(scratch.widened(momentum_row), beta), out=total)

    return by_blocks([momentum, parent, aggregate], kernel)


def step(
    optimiser: Momentum | Nesterov, parent: Tensors, aggregate: Tensors, momentum: Tensors
) -> dict[str, FloatArray]:
    """The next parent: parent − η · momentum, or with Nesterov parent − η · (gradient + β · momentum).

    ``momentum`` is the new one, as it is stored: whoever holds the parent's file and the aggregate computes
    the same step. Nesterov's form is the one of Sutskever et al. 2013 ("On the importance of initialization
    and momentum in deep learning") that DiLoCo uses. In float64, cast once to the adapter's dtype.

    Raises:
        NotFinite: the step leaves the adapter's dtype.
    """
    beta = optimiser.momentum_millionths / MILLION
    learning_rate = optimiser.learning_rate_millionths / MILLION
    scratch = Scratch()

    def kernel(rows: Sequence[FloatArray]) -> Wide:
        parent_row, aggregate_row, momentum_row = rows
        direction = scratch.widened(momentum_row)
        total = scratch.zeros(parent_row.size)
        if isinstance(optimiser, Nesterov):
            np.multiply(direction, beta, out=direction)
            np.add(total, parent_row, out=total)
            np.subtract(total, aggregate_row, out=total)
            np.add(direction, total, out=direction)
            total.fill(0.0)
        np.multiply(direction, learning_rate, out=direction)
        np.add(total, parent_row, out=total)
        return np.subtract(total, direction, out=total)

    return by_blocks([parent, aggregate, momentum], kernel)
