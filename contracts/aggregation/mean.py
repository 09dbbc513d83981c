"""The mean: summed one after the other in float64, divided once, cast once."""

from collections.abc import Sequence
from typing import cast

import numpy as np

from contracts.manifest import FloatArray


def mean(layers_N: Sequence[FloatArray]) -> FloatArray:
    """Elementwise mean of N arrays of one shape and dtype, in the order given.

    The sum starts at +0, so that a mean of zeros is +0 whatever their signs; every step is an IEEE 754
    operation on single elements, so no machine, thread count or SIMD width can change a bit.
    """
    total = np.zeros(layers_N[0].shape, dtype=np.float64)
    for layer in layers_N:
        np.add(total, layer, out=total, casting="same_kind")
    np.divide(total, np.float64(len(layers_N)), out=total)
    with np.errstate(over="ignore"):
        result = total.astype(layers_N[0].dtype)
    # A negative value that underflows in the cast would leave −0; adding +0 makes it +0.
    return cast(FloatArray, np.add(result, result.dtype.type(0)))
