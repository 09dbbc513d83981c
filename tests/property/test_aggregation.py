"""Every rule against a reference that is plain to see, for any numbers and any order of arrival."""

import math
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from pydantic import TypeAdapter

from contracts.aggregation import Contribution, aggregate
from contracts.aggregation.outer_optimiser import new_momentum, step
from contracts.aggregation.reductions import distances_from, halved, squared_distances
from contracts.aggregation.sorting import comparators
from contracts.aggregation.spec import AggregationRule, Momentum, Nesterov
from contracts.manifest import FloatArray, Tensors

RULES = TypeAdapter[AggregationRule](AggregationRule)
ALL_RULES: list[dict[str, Any]] = [
    {"rule": "mean"},
    {"rule": "weighted_mean"},
    {"rule": "coordinate_median"},
    {"rule": "trimmed_mean", "trim": 1},
    {"rule": "trimmed_mean", "trim": 3},
    {"rule": "norm_clipped_mean", "max_norm_millionths": 2_500_000},
    {"rule": "krum", "byzantine": 1},
    {"rule": "multi_krum", "byzantine": 1, "keep": 2},
    {"rule": "geometric_median", "iterations": 4, "smoothing_millionths": 10},
]
SHAPES = {"a": (2, 3), "b": (5,)}


def run(rule: dict[str, Any], contributions: list[Contribution], parent: Tensors) -> dict[str, FloatArray]:
    return aggregate(RULES.validate_python(rule), contributions, parent=parent)


def arrays(dtype: str, numbers: st.SearchStrategy[float]) -> st.SearchStrategy[Tensors]:
    return st.fixed_dictionaries(
        {name: hnp.arrays(dtype, shape, elements=numbers) for name, shape in SHAPES.items()}
    )


@st.composite
def cases(
    draw: st.DrawFn, numbers: st.SearchStrategy[float] | None = None
) -> tuple[list[Contribution], Tensors]:
    """Contributions in the order of their nodes, with weights, and the parent."""
    dtype = draw(st.sampled_from(["float32", "float16"]))
    width = 32 if dtype == "float32" else 16
    any_number = st.floats(allow_nan=False, allow_infinity=False, width=width)
    tensors = arrays(dtype, any_number if numbers is None else numbers)
    contributions = [
        Contribution(f"0x{n + 1:040x}", f"digest {n}", draw(tensors), draw(st.integers(0, 8_000_000)))
        for n in range(draw(st.integers(1, 7)))
    ]
    return contributions, draw(tensors)


SMALL = st.integers(-64, 64).map(float)
"""Sums, squares and products of these are exact, so that ties are ties."""


def columns(contributions: list[Contribution], name: str) -> list[list[float]]:
    """For each element of a tensor, the contributions' values in order."""
    rows = [c.tensors[name].ravel().tolist() for c in contributions]
    return [list(values) for values in zip(*rows, strict=True)]


def vector(tensors: Tensors) -> NDArray[np.float64]:
    return np.concatenate([tensors[name].astype(np.float64).ravel() for name in sorted(tensors)])


def cast(values: list[float], like: FloatArray) -> bytes:
    """The values in a tensor's dtype, zeros without a sign."""
    with np.errstate(over="ignore"):
        result = np.array(values, dtype=np.float64).astype(like.dtype) + like.dtype.type(0)
    assume(bool(np.isfinite(result).all()))
    return result.tobytes()


@given(case=cases(), random=st.randoms(use_true_random=False))
def test_no_rule_depends_on_the_order_of_arrival(
    case: tuple[list[Contribution], Tensors], random: Any
) -> None:
    contributions, parent = case
    shuffled = list(contributions)
    random.shuffle(shuffled)
    for rule in ALL_RULES:
        expected, result = run(rule, contributions, parent), run(rule, shuffled, parent)
        for name, shape in SHAPES.items():
            assert result[name].tobytes() == expected[name].tobytes(), rule
            assert (result[name].shape, result[name].dtype) == (shape, parent[name].dtype)
            assert not np.signbit(result[name][result[name] == 0]).any(), rule


@given(case=cases(), copies=st.integers(1, 6))
def test_of_equal_contributions_every_rule_makes_that_one(
    case: tuple[list[Contribution], Tensors], copies: int
) -> None:
    """As copies of one digest, and as that many digests of the same numbers."""
    original = case[0][0].tensors
    for digests in (["same"] * copies, [f"digest {n}" for n in range(copies)]):
        same = [Contribution(f"0x{n + 1:040x}", digest, original) for n, digest in enumerate(digests)]
        for rule in ALL_RULES:
            result = run(rule, same, original)
            for name in SHAPES:
                np.testing.assert_array_equal(result[name], original[name], err_msg=str(rule))


@given(cases())
def test_the_means_are_the_ones_that_plain_python_computes(case: tuple[list[Contribution], Tensors]) -> None:
    contributions, parent = case
    weights = [float(c.weight) for c in contributions]
    if not any(weights):
        weights = [1.0] * len(weights)
    for name, like in parent.items():
        plain, weighted = [], []
        for values in columns(contributions, name):
            total = weighted_total = 0.0
            for value, weight in zip(values, weights, strict=True):
                total += value
                weighted_total += weight * value
                # The product of a weight and a float32 is exact.
                assert Fraction(weight * value) == Fraction(weight) * Fraction(value)
            plain.append(total / len(values))
            weighted.append(weighted_total / sum(weights))
        assert run({"rule": "mean"}, contributions, parent)[name].tobytes() == cast(plain, like)
        assert run({"rule": "weighted_mean"}, contributions, parent)[name].tobytes() == cast(weighted, like)


@given(cases(), st.integers(1, 7))
def test_median_and_trimmed_mean_are_the_ones_that_sorting_gives(
    case: tuple[list[Contribution], Tensors], trim: int
) -> None:
    contributions, parent = case
    count = len(contributions)
    trimmed = min(trim, (count - 1) // 2)
    for name, like in parent.items():
        medians, means = [], []
        for values in columns(contributions, name):
            ordered = sorted(values)
            medians.append((0.0 + ordered[(count - 1) // 2] + ordered[count // 2]) / 2)
            total = 0.0
            for value in ordered[trimmed : count - trimmed]:
                total += value
            means.append(total / (count - 2 * trimmed))
        median = run({"rule": "coordinate_median"}, contributions, parent)[name]
        assert median.tobytes() == cast(medians, like)
        np.testing.assert_array_equal(
            median,
            np.median([c.tensors[name].astype(np.float64) for c in contributions], axis=0).astype(like.dtype),
        )
        result = run({"rule": "trimmed_mean", "trim": trim}, contributions, parent)[name]
        assert result.tobytes() == cast(means, like)


@given(cases(SMALL), st.integers(0, 3), st.integers(1, 7))
def test_krum_and_multi_krum_rank_as_exact_arithmetic_does(
    case: tuple[list[Contribution], Tensors], byzantine: int, keep: int
) -> None:
    contributions, parent = case
    vectors = [[Fraction(float(x)) for x in vector(c.tensors)] for c in contributions]
    count = len(vectors)
    scores = []
    for i, x in enumerate(vectors):
        distances = sorted(
            sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) for j, y in enumerate(vectors) if j != i
        )
        scores.append(sum(distances[: max(1, count - byzantine - 2)]))
    ranked = sorted(range(count), key=lambda i: (scores[i], i))
    best = run({"rule": "krum", "byzantine": byzantine}, contributions, parent)
    kept = sorted(ranked[: max(1, min(keep, count - byzantine))])
    several = run(
        {"rule": "multi_krum", "byzantine": byzantine, "keep": keep, "weights": "improvement"},
        contributions,
        parent,
    )
    expected = run({"rule": "weighted_mean"}, [contributions[i] for i in kept], parent)
    for name in SHAPES:
        np.testing.assert_array_equal(best[name], contributions[ranked[0]].tensors[name])
        assert several[name].tobytes() == expected[name].tobytes()


@given(cases(st.floats(-100, 100, width=16)), st.integers(1, 2_000_000_000))
def test_the_norm_clipped_mean_is_the_one_of_the_formula(
    case: tuple[list[Contribution], Tensors], max_norm_millionths: int
) -> None:
    contributions, parent = case
    rule = {"rule": "norm_clipped_mean", "max_norm_millionths": max_norm_millionths}
    max_norm, centre = max_norm_millionths / 1e6, vector(parent)
    weights = np.array([c.weight for c in contributions], dtype=np.float64)
    weights = weights if weights.any() else np.ones(len(weights))
    updates = [vector(c.tensors) - centre for c in contributions]
    scales = [1 if not u.any() else min(1.0, max_norm / float(np.linalg.norm(u))) for u in updates]
    moved = sum(w * s * u for w, s, u in zip(weights, scales, updates, strict=True)) / weights.sum()
    result = run(rule, contributions, parent)
    relative = 1e-6 if parent["a"].dtype == np.float32 else 1e-3
    np.testing.assert_allclose(vector(result), centre + moved, rtol=relative, atol=100 * relative)
    # The update of all together is no longer than the bound, whatever each of them was.
    assert float(np.linalg.norm(moved)) <= max_norm * (1 + 1e-9)


@given(cases(st.floats(-100, 100, width=16)), st.integers(1, 6))
def test_the_geometric_median_is_the_one_of_the_formula(
    case: tuple[list[Contribution], Tensors], iterations: int
) -> None:
    contributions, parent = case
    smoothing_millionths = 1000
    rule = {
        "rule": "geometric_median",
        "iterations": iterations,
        "smoothing_millionths": smoothing_millionths,
    }
    points = np.stack([vector(c.tensors) for c in contributions])
    weights = np.array([c.weight for c in contributions], dtype=np.float64)
    weights = weights if weights.any() else np.ones(len(weights))
    distances = np.array(
        [
            sorted([float(np.linalg.norm(x - y)) for j, y in enumerate(points) if j != i] or [0.0])[
                max(0, len(points) - 2) // 2
            ]
            for i, x in enumerate(points)
        ]
    )
    for _ in range(iterations + 1):
        coefficients = weights / np.maximum(smoothing_millionths / 1e6, distances)
        point = (coefficients[:, None] * points).sum(axis=0) / coefficients.sum()
        distances = np.linalg.norm(points - point, axis=1)
    result = vector(run(rule, contributions, parent))
    relative = 1e-6 if parent["a"].dtype == np.float32 else 1e-3
    np.testing.assert_allclose(result, point, rtol=relative, atol=100 * relative)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=70))
def test_the_tree_is_the_one_that_is_described(values: list[float]) -> None:
    layer = list(values)
    while len(layer) > 1:
        half = (len(layer) + 1) // 2
        first, second = layer[:half], layer[half:]
        waiting = first[len(second) :]
        layer = [a + b for a, b in zip(first, second, strict=False)] + waiting
    assert halved(np.array(values))[0] == layer[0]
    assert halved(halved(np.array(values), 8).copy())[0] == layer[0]
    assert math.isclose(layer[0], math.fsum(values), rel_tol=1e-9, abs_tol=1e-6)


@given(cases(SMALL))
def test_distances_are_exact_where_the_numbers_allow(case: tuple[list[Contribution], Tensors]) -> None:
    contributions, parent = case
    adapters = [c.tensors for c in contributions]
    expected = [[float(((vector(a) - vector(b)) ** 2).sum()) for b in adapters] for a in adapters]
    np.testing.assert_array_equal(squared_distances(adapters), expected)
    roots = [math.sqrt(float(((vector(a) - vector(parent)) ** 2).sum())) for a in adapters]
    assert distances_from([parent], [1.0], 1.0, adapters) == roots


@pytest.mark.parametrize("count", range(1, 17))
def test_the_network_sorts_everything(count: int) -> None:
    """By the 0-1 principle (Knuth, 5.3.4): what sorts all zeros and ones sorts all numbers."""
    words = np.arange(1 << count)
    rows = [(words >> bit) & 1 for bit in range(count)]
    for i, j in comparators(count):
        rows[i], rows[j] = np.minimum(rows[i], rows[j]), np.maximum(rows[i], rows[j])
    assert all((low <= high).all() for low, high in pairwise(rows))
    assert len(comparators(16)) == 63


OPTIMISERS = st.builds(
    lambda kind, momentum, rate: kind(
        name=kind.__name__.lower(), momentum_millionths=momentum, learning_rate_millionths=rate
    ),
    st.sampled_from([Momentum, Nesterov]),
    st.integers(0, 999_999),
    st.integers(1, 10_000_000),
)


@given(cases(st.floats(-100, 100, width=16)), OPTIMISERS)
def test_an_outer_step_is_the_one_that_plain_python_computes(
    case: tuple[list[Contribution], Tensors], optimiser: Momentum | Nesterov
) -> None:
    contributions, parent = case
    aggregated = contributions[0].tensors
    before: Tensors = {
        name: (contributions[-1].tensors[name] * np.float32(0.5)).astype(np.float32) for name in SHAPES
    }
    ahead = isinstance(optimiser, Nesterov)
    beta, rate = optimiser.momentum_millionths / 1e6, optimiser.learning_rate_millionths / 1e6
    momentum = new_momentum(optimiser, parent, aggregated, before)
    result = step(optimiser, parent, aggregated, momentum)
    for name in SHAPES:
        assert momentum[name].dtype == np.float32
        expected_momentum, expected = [], []
        for p, a, v in zip(parent[name].flat, aggregated[name].flat, before[name].flat, strict=True):
            gradient = float(p) - float(a)
            velocity = float(np.float32(gradient + beta * float(v)))
            expected_momentum.append(velocity)
            expected.append(float(p) - rate * (beta * velocity + gradient if ahead else velocity))
        assert momentum[name].tobytes() == cast(expected_momentum, momentum[name])
        assert result[name].tobytes() == cast(expected, parent[name])
