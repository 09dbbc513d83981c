"""The weighted mean: each contribution times its weight, summed in float64, divided once, cast once."""

from collections.abc import Sequence

import numpy as np

from contracts.aggregation.blocks import Scratch, Wide, by_blocks
from contracts.manifest import FloatArray, Tensors


def weighted_mean(adapters_N: Sequence[Tensors], weights_N: Sequence[int]) -> dict[str, FloatArray]:
    """Elementwise Σ weight · x / Σ weight of N adapters, in the order given.

    This is the server step of FedAvg (McMahan et al. 2017, arXiv:1602.05629). Weights are whole numbers
    below 2²⁹, not all 0: with a float32's 24 bits, a product fits the 53 bits of a float64 exactly, so only
    the additions, the division and the cast round. All weights 0 count as all equal.

    Raises:
        NotFinite: the result holds NaN or an infinity.
    """
    weights = weights_N if any(weights_N) else [1] * len(adapters_N)
    return combined(adapters_N, [float(weight) for weight in weights], float(sum(weights)))


def combined(
    adapters_N: Sequence[Tensors], coefficients_N: Sequence[float], divisor: float
) -> dict[str, FloatArray]:
    """Elementwise Σ coefficient · x / divisor of N adapters, in the order given, from +0.

    Raises:
        NotFinite: the result holds NaN or an infinity.
    """
    scratch = Scratch()

    def kernel(rows_N: Sequence[FloatArray]) -> Wide:
        total = scratch.zeros(rows_N[0].size)
        for row, coefficient in zip(rows_N, coefficients_N, strict=True):
            wide = scratch.widened(row)
            np.multiply(wide, coefficient, out=wide)
            np.add(total, wide, out=total)
        return np.divide(total, divisor, out=total)

    return by_blocks(adapters_N, kernel)
