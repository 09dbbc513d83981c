"""Sums over whole adapters, by one fixed tree: the same bits on any machine.

Legend: N contributions, P pairs of them, B elements of a block. A block's sum halves: while more than one
element is left, the second half is added onto the first (the middle one of an odd number waits). The blocks'
sums are added one after the other, from +0. Every step is an IEEE 754 operation on single elements; np.sum,
np.dot and BLAS choose their order by machine, so they are not used. Float64 has room for it all: the square
of the widest float32 difference is below 1e78, so that finite adapters always give finite sums.
"""

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from contracts.aggregation.blocks import REDUCTION_BLOCK, Wide, blocks
from contracts.errors import NotFinite
from contracts.manifest import Tensors

_TAIL = 1 << 10
"""Rows are halved alone down to this length, then together: fewer calls for the same tree."""


def halved(values: Wide, width: int = 1) -> Wide:
    """The fixed tree along the last axis, down to at most ``width`` elements; overwrites the values."""
    length = values.shape[-1]
    while length > width:
        half = (length + 1) // 2
        first = values[..., : length - half]
        np.add(first, values[..., half:length], out=first)
        length = half
    return values[..., :length]


def squared_distances(adapters_N: Sequence[Tensors]) -> NDArray[np.float64]:
    """The squared L2 distance of each pair of N adapters; (N, N), symmetric, zeros on the diagonal.

    Raises:
        NotFinite: one of two or more adapters holds NaN or an infinity.
    """
    count = len(adapters_N)
    pairs = list(combinations(range(count), 2))
    wide_NB = np.empty((count, REDUCTION_BLOCK))
    difference_B = np.empty(REDUCTION_BLOCK)
    tails_PB = np.empty((len(pairs), _TAIL))
    totals_P = np.zeros(len(pairs))
    with np.errstate(invalid="ignore"):
        for rows in blocks(adapters_N, REDUCTION_BLOCK):
            length = rows[0].size
            for row, wide in zip(rows, wide_NB, strict=True):
                np.copyto(wide[:length], row)
            difference = difference_B[:length]
            tail = _tail_of(length)
            for pair, (i, j) in enumerate(pairs):
                np.subtract(wide_NB[i, :length], wide_NB[j, :length], out=difference)
                np.multiply(difference, difference, out=difference)
                tails_PB[pair, :tail] = halved(difference, _TAIL)
            np.add(totals_P, halved(tails_PB[:, :tail])[:, 0], out=totals_P)
    _require_finite(totals_P)
    distances_NN = np.zeros((count, count))
    for (i, j), total in zip(pairs, totals_P, strict=True):
        distances_NN[i, j] = distances_NN[j, i] = total
    return distances_NN


def distances_from(
    centres_M: Sequence[Tensors],
    coefficients_M: Sequence[float],
    divisor: float,
    adapters_N: Sequence[Tensors],
) -> list[float]:
    """The L2 distance of each of N adapters from the point Σ coefficient · centre / divisor.

    The point is made block by block and never held; with one centre, coefficient 1 and divisor 1 it is
    that centre.

    Raises:
        NotFinite: an adapter or a centre holds NaN or an infinity.
    """
    point_B, wide_B = np.empty(REDUCTION_BLOCK), np.empty(REDUCTION_BLOCK)
    totals_N = np.zeros(len(adapters_N))
    with np.errstate(invalid="ignore"):
        for rows in blocks([*centres_M, *adapters_N], REDUCTION_BLOCK):
            length = rows[0].size
            point, wide = point_B[:length], wide_B[:length]
            point.fill(0.0)
            for row, coefficient in zip(rows, coefficients_M, strict=False):
                np.copyto(wide, row)
                np.multiply(wide, coefficient, out=wide)
                np.add(point, wide, out=point)
            np.divide(point, divisor, out=point)
            for index, row in enumerate(rows[len(centres_M) :]):
                np.copyto(wide, row)
                np.subtract(wide, point, out=wide)
                np.multiply(wide, wide, out=wide)
                totals_N[index] += halved(wide)[0]
    _require_finite(totals_N)
    return [math.sqrt(total) for total in totals_N]


def _tail_of(length: int) -> int:
    """How many elements of a row of ``length`` are left when it is halved down to ``_TAIL``."""
    while length > _TAIL:
        length = (length + 1) // 2
    return length


def _require_finite(totals: Wide) -> None:
    if not np.isfinite(totals).all():
        raise NotFinite("a contribution holds NaN or an infinity")
