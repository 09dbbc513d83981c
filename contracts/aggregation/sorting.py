"""Sorts N rows against one another, element by element, with a network of minima and maxima.

A network compares the same pairs whatever the numbers, so it is a short list of whole-row operations:
Batcher's odd-even merge sort (Batcher 1968, "Sorting networks and their applications"), in the variant for
any N that is Knuth's Algorithm M (The Art of Computer Programming, volume 3, 5.2.2).
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from contracts.errors import NotFinite
from contracts.manifest import FloatArray

SORTING_BLOCK = 1 << 13
"""Sixteen float32 rows of this length fit a core's cache."""

Row = NDArray[np.float32]


@cache
def comparators(count: int) -> tuple[tuple[int, int], ...]:
    """The pairs (i, j), i < j, after which ``count`` values are in order; in the order to compare."""
    pairs: list[tuple[int, int]] = []
    top = 1 << max(0, (count - 1).bit_length() - 1)
    p = top
    while count > 1 and p > 0:
        q, r, d = top, 0, p
        while True:
            pairs += [(i, i + d) for i in range(count - d) if i & p == r]
            if q == p:
                break
            q, r, d = q >> 1, p, q - p
        p >>= 1
    return tuple(pairs)


class Sorter:
    """Sorts blocks of N rows; holds N + 1 rows of float32, which float16 fits into exactly."""

    def __init__(self, count: int) -> None:
        self._pairs = comparators(count)
        self._count = count
        self._rows_NB = [np.empty(SORTING_BLOCK, dtype=np.float32) for _ in range(count + 1)]

    def sort(self, rows_N: Sequence[FloatArray]) -> list[Row]:
        """The rows of one block so that each element ascends from row to row.

        Where −0 and +0 meet, either may come first: what is made of the rows must not tell them apart.

        Raises:
            NotFinite: a row holds NaN or an infinity.
        """
        length = rows_N[0].size
        *sorted_N, spare = [row[:length] for row in self._rows_NB]
        for target, row in zip(sorted_N, rows_N, strict=True):
            np.copyto(target, row)
        for i, j in self._pairs:
            np.minimum(sorted_N[i], sorted_N[j], out=spare)
            np.maximum(sorted_N[i], sorted_N[j], out=sorted_N[j])
            sorted_N[i], spare = spare, sorted_N[i]
        # A NaN wins every comparison, and every input meets the first row somewhere: it ends up there.
        if not (np.isfinite(sorted_N[0]).all() and np.isfinite(sorted_N[-1]).all()):
            raise NotFinite("a contribution holds NaN or an infinity")
        return sorted_N
