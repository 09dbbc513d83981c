"""Walks over adapters block by block, so that memory does not grow with their number or size.

Legend: N contributions, B elements of a block. A block is a run of at most ``block`` elements of one tensor
in row-major order; tensors follow one another by name. Elementwise work gives the same bytes whatever the
block's size; reductions use ``REDUCTION_BLOCK``, which is therefore part of their definition.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from contracts.errors import BrokenArithmetic, NotFinite
from contracts.manifest import FloatArray, Tensors

Wide = NDArray[np.float64]
Kernel = Callable[[Sequence[FloatArray]], Wide]
"""N rows of one block, in the tensors' dtype → the block of the result in float64, of the same length."""

BLOCK = 1 << 15
"""Two float64 rows and one float32 row of this length fit a core's cache together."""
REDUCTION_BLOCK = 1 << 15


def blocks(adapters_N: Sequence[Tensors], block: int) -> Iterator[list[FloatArray]]:
    """The rows of every block of every tensor, tensors by name.

    A tensor that is not contiguous is copied while it is walked over; all others are only looked at.
    """
    for name in sorted(adapters_N[0]):
        flat_N = [adapter[name].reshape(-1) for adapter in adapters_N]
        for start in range(0, flat_N[0].size, block):
            yield [flat[start : start + block] for flat in flat_N]


def by_blocks(adapters_N: Sequence[Tensors], kernel: Kernel, block: int = BLOCK) -> dict[str, FloatArray]:
    """The tensors that ``kernel`` makes block by block: names, shapes and dtypes of the first adapter.

    Each block is cast once. A cast that overflows is refused; one that underflows to −0 becomes +0, so
    that no result depends on the sign of a zero, which np.minimum and np.maximum leave open.

    Raises:
        NotFinite: the result holds NaN or an infinity after the cast.
    """
    result: dict[str, FloatArray] = {}
    rows_of_block = blocks(adapters_N, block)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for name in sorted(adapters_N[0]):
            like = adapters_N[0][name]
            tensor = np.empty(like.shape, dtype=like.dtype)
            flat = tensor.reshape(-1)
            for start in range(0, flat.size, block):
                piece = flat[start : start + block]
                np.copyto(piece, kernel(next(rows_of_block)), casting="same_kind")
                np.add(piece, piece.dtype.type(0), out=piece)
                if not np.isfinite(piece).all():
                    raise NotFinite(f"the aggregate's tensor {name} is not finite")
            result[name] = tensor
    return result


def require_ieee_arithmetic() -> None:
    """Refuse to compute where subnormal numbers count as zero.

    A library that was built for speed can switch the whole thread to that when it is loaded.

    Raises:
        BrokenArithmetic: they do.
    """
    least = np.array([np.finfo(np.float64).tiny])
    subnormal = np.array([np.finfo(np.float32).smallest_subnormal])
    if not (np.multiply(least, 0.5)[0] and subnormal.astype(np.float64)[0]):
        raise BrokenArithmetic("this process flushes subnormal numbers to zero")


class Scratch:
    """The rows that a kernel uses again and again; one walk at a time."""

    def __init__(self, block: int = BLOCK) -> None:
        self._total_B = np.empty(block)
        self._wide_B = np.empty(block)
        self._near_B = {dtype: np.empty(block, dtype=dtype) for dtype in (np.float32, np.float16)}

    def zeros(self, length: int) -> Wide:
        """The running total, at +0."""
        total = self._total_B[:length]
        total.fill(0.0)
        return total

    def widened(self, row: FloatArray) -> Wide:
        """``row`` in float64, which holds every float32 and float16 exactly."""
        wide, near = self._wide_B, self._near_B[row.dtype.type]
        if row.size < wide.size:
            wide, near = wide[: row.size], near[: row.size]
        # Processors fetch ahead for a plain copy better than for a conversion: both together are faster.
        np.copyto(near, row)
        np.copyto(wide, near)
        return wide
