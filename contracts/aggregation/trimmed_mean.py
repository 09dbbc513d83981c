"""The coordinate-wise trimmed mean."""

from collections.abc import Sequence

import numpy as np

from contracts.aggregation.blocks import Scratch, Wide, by_blocks
from contracts.aggregation.sorting import SORTING_BLOCK, Sorter
from contracts.manifest import FloatArray, Tensors


def trimmed_mean(adapters_N: Sequence[Tensors], trim: int) -> dict[str, FloatArray]:
    """The mean of each coordinate without its ``trim`` least and ``trim`` greatest values.

    Yin et al. 2018, "Byzantine-Robust Distributed Learning" (arXiv:1803.01498), with a count in the place
    of a share. With too few contributions it trims as many as leave at least one: (N − 1) // 2 on each side,
    which is then the median for odd N and the mean of the middle two for even N. What is left is summed in
    ascending order in float64, divided once and cast once.

    Raises:
        NotFinite: a contribution or the result holds NaN or an infinity.
    """
    count = len(adapters_N)
    trimmed = min(trim, (count - 1) // 2)
    sorter, scratch = Sorter(count), Scratch(SORTING_BLOCK)
    divisor = np.float64(count - 2 * trimmed)

    def kernel(rows_N: Sequence[FloatArray]) -> Wide:
        total = scratch.zeros(rows_N[0].size)
        for row in sorter.sort(rows_N)[trimmed : count - trimmed]:
            np.add(total, scratch.widened(row), out=total)
        return np.divide(total, divisor, out=total)

    return by_blocks(adapters_N, kernel, SORTING_BLOCK)
