"""The mean: summed one after the other in float64, divided once, cast once."""

from collections.abc import Sequence

import numpy as np

from contracts.aggregation.blocks import Scratch, Wide, by_blocks
from contracts.manifest import FloatArray, Tensors


def mean(adapters_N: Sequence[Tensors]) -> dict[str, FloatArray]:
    """Elementwise mean of N adapters with the same names, shapes and dtypes, in the order given.

    This is the server step of FedAvg (McMahan et al. 2017, arXiv:1602.05629) with equal weights. The sum
    starts at +0, so that a mean of zeros is +0 whatever their signs; every step is an IEEE 754 operation
    on single elements, so no machine, thread count or SIMD width can change a bit.

    Raises:
        NotFinite: the result holds NaN or an infinity.
    """
    scratch = Scratch()
    divisor = np.float64(len(adapters_N))

    def kernel(rows_N: Sequence[FloatArray]) -> Wide:
        total = scratch.zeros(rows_N[0].size)
        for row in rows_N:
            np.add(total, scratch.widened(row), out=total)
        return np.divide(total, divisor, out=total)

    return by_blocks(adapters_N, kernel)
