"""The mean of updates whose L2 norm is bounded."""

from collections.abc import Sequence

import numpy as np

from contracts.aggregation.blocks import Scratch, Wide, by_blocks
from contracts.aggregation.reductions import distances_from
from contracts.aggregation.spec import MILLION
from contracts.manifest import FloatArray, Tensors


def norm_clipped_mean(
    adapters_N: Sequence[Tensors], weights_N: Sequence[int], parent: Tensors, max_norm_millionths: int
) -> dict[str, FloatArray]:
    """parent + Σ weight · scale · (x − parent) / Σ weight, with scale = min(1, max_norm / ‖x − parent‖₂).

    Sun et al. 2019, "Can You Really Backdoor Federated Learning?" (arXiv:1911.07963). The norm is over all
    tensors of an adapter together. Two passes: norms by the fixed tree, then the sum, each in float64 and
    block by block. All weights 0 count as all equal. Works with any number of contributions from one on.

    Raises:
        NotFinite: a contribution or the result holds NaN or an infinity.
    """
    weights = weights_N if any(weights_N) else [1] * len(adapters_N)
    max_norm = max_norm_millionths / MILLION
    norms_N = distances_from([parent], [1.0], 1.0, adapters_N)
    coefficients_N = [
        float(weight) if norm <= max_norm else weight * max_norm / norm
        for weight, norm in zip(weights, norms_N, strict=True)
    ]
    scratch, divisor = Scratch(), float(sum(weights))

    def kernel(rows: Sequence[FloatArray]) -> Wide:
        parent_row, *rows_N = rows
        total = scratch.zeros(parent_row.size)
        for row, coefficient in zip(rows_N, coefficients_N, strict=True):
            update = scratch.widened(row)
            np.subtract(update, parent_row, out=update)
            np.multiply(update, coefficient, out=update)
            np.add(total, update, out=total)
        np.divide(total, divisor, out=total)
        return np.add(total, parent_row, out=total)

    return by_blocks([parent, *adapters_N], kernel)
