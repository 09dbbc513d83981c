"""The geometric median, by a fixed number of smoothed Weiszfeld steps."""

import math
from collections.abc import Sequence

from contracts.aggregation.reductions import distances_from, squared_distances
from contracts.aggregation.spec import MILLION
from contracts.aggregation.weighted_mean import combined
from contracts.manifest import FloatArray, Tensors


def geometric_median(
    adapters_N: Sequence[Tensors], weights_N: Sequence[int], iterations: int, smoothing_millionths: int
) -> dict[str, FloatArray]:
    """Nearly the point with the least Σ weight · ‖x − point‖₂ over N adapters.

    Weiszfeld 1937, "Sur le point pour lequel la somme des distances de n points donnés est minimum", smoothed
    as in Pillutla et al. 2022, "Robust Aggregation for Federated Learning" (arXiv:1912.13445): each step
    is the mean by weight / max(smoothing, distance from the last point). The first point takes for the
    distance each adapter's median distance from the others, not the mean of all: an attacker moves a mean as
    far as it likes, and a fixed number of steps could not walk all the way back.

    The point of a step is kept as its N coefficients; each step reads the adapters once. Distances are by
    the fixed tree in float64, with square roots and divisions, which IEEE 754 rounds exactly. All weights 0
    count as all equal. Works with any number of contributions from one on.

    Raises:
        NotFinite: a contribution or the result holds NaN or an infinity.
    """
    smoothing = smoothing_millionths / MILLION
    weights = weights_N if any(weights_N) else [1] * len(adapters_N)
    distances = _median_distances(adapters_N)
    for _ in range(iterations):
        coefficients = _coefficients(weights, distances, smoothing)
        distances = distances_from(adapters_N, coefficients, _total(coefficients), adapters_N)
    coefficients = _coefficients(weights, distances, smoothing)
    return combined(adapters_N, coefficients, _total(coefficients))


def _median_distances(adapters_N: Sequence[Tensors]) -> list[float]:
    """Each adapter's lower median distance from the others; 0 where there is no other."""
    squared_NN = squared_distances(adapters_N)
    places = range(len(adapters_N))
    medians: list[float] = []
    for place in places:
        others = sorted(float(squared_NN[place, other]) for other in places if other != place)
        medians.append(math.sqrt(others[(len(others) - 1) // 2]) if others else 0.0)
    return medians


def _coefficients(weights: Sequence[int], distances: Sequence[float], smoothing: float) -> list[float]:
    return [weight / max(smoothing, distance) for weight, distance in zip(weights, distances, strict=True)]


def _total(values: Sequence[float]) -> float:
    # Not sum(): from Python 3.12 on it compensates, and would give other bits than a plain loop.
    total = 0.0
    for value in values:
        total += value
    return total
