"""The coordinate-wise median."""

from collections.abc import Sequence

from contracts.aggregation.trimmed_mean import trimmed_mean
from contracts.manifest import FloatArray, Tensors


def coordinate_median(adapters_N: Sequence[Tensors]) -> dict[str, FloatArray]:
    """The median of each coordinate; with an even number of contributions the mean of the middle two.

    Yin et al. 2018, "Byzantine-Robust Distributed Learning" (arXiv:1803.01498). It is the trimmed mean that
    trims all it can, and works with any number of contributions from one on. The middle two are added and
    halved in float64, so that they cannot overflow.

    Raises:
        NotFinite: a contribution or the result holds NaN or an infinity.
    """
    return trimmed_mean(adapters_N, len(adapters_N))
