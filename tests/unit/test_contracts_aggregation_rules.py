"""The rules at their edges: too few contributions, extreme numbers, zeros, and hostile input."""

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from contracts.aggregation import Contribution, aggregate
from contracts.aggregation.outer_optimiser import step
from contracts.aggregation.spec import MAX_CONTRIBUTIONS, AggregationRule, Momentum
from contracts.errors import (
    BrokenArithmetic,
    NotFinite,
    TensorMissing,
    TensorUnexpected,
    WrongDtype,
    WrongShape,
)
from contracts.manifest import FloatArray, Tensors
from contracts.messages import MAX_PROPOSERS

RULES = TypeAdapter[AggregationRule](AggregationRule)
ALL_RULES: dict[str, dict[str, Any]] = {
    "mean": {},
    "weighted_mean": {},
    "coordinate_median": {},
    "trimmed_mean": {"trim": 2},
    "norm_clipped_mean": {"max_norm_millionths": 1_000_000},
    "krum": {"byzantine": 1},
    "multi_krum": {"byzantine": 1, "keep": 2},
    "geometric_median": {"iterations": 8, "smoothing_millionths": 1},
}


def run(name: str, values: list[Any], dtype: str = "float32", **changes: Any) -> FloatArray:
    """The rule over one tensor; ``values`` has one array of numbers for each contribution."""
    weights = changes.pop("by_weight", [1] * len(values))
    parent = {"w": np.array(changes.pop("parent", np.zeros(np.shape(values[0]))), dtype=dtype)}
    contributions = [
        Contribution(f"0x{n + 1:040x}", f"digest {n}", {"w": np.array(value, dtype=dtype)}, weight)
        for n, (value, weight) in enumerate(zip(values, weights, strict=True))
    ]
    rule = RULES.validate_python({"rule": name} | ALL_RULES[name] | changes)
    return aggregate(rule, contributions, parent=parent)["w"]


@pytest.mark.parametrize("count", range(1, 17))
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("name", ALL_RULES)
def test_every_rule_takes_from_one_to_sixteen(name: str, dtype: str, count: int) -> None:
    values = [[n * 0.25 - 1, 1.0, -n] for n in range(count)]
    result = run(name, values, dtype)
    assert result.dtype == np.dtype(dtype)
    low, high = np.min([*values, [0.0] * 3], axis=0), np.max([*values, [0.0] * 3], axis=0)
    assert (low <= result).all()
    assert (result <= high).all()


def test_with_too_few_the_trimmed_mean_trims_as_many_as_leave_one() -> None:
    assert run("trimmed_mean", [[5.0]], trim=7)[0] == 5
    assert run("trimmed_mean", [[5.0], [7.0]], trim=7)[0] == 6
    assert run("trimmed_mean", [[5.0], [100.0], [7.0]], trim=7)[0] == 7
    assert run("trimmed_mean", [[5.0], [100.0], [7.0], [-100.0]], trim=7)[0] == 6


def test_with_too_few_krum_takes_the_nearest_neighbour_and_ties_go_to_the_first_node() -> None:
    assert run("krum", [[5.0]], byzantine=6)[0] == 5
    assert run("krum", [[5.0], [7.0]], byzantine=6)[0] == 5
    assert run("krum", [[-50.0], [7.0], [8.0]], byzantine=6)[0] == 7


def test_with_too_few_multi_krum_keeps_what_leaves_the_byzantine_out() -> None:
    values = [[1.0], [2.0], [900.0]]
    assert run("multi_krum", values, byzantine=1, keep=8)[0] == 1.5
    assert run("multi_krum", values, byzantine=2, keep=8)[0] == 1
    assert run("multi_krum", values[:1], byzantine=6, keep=1)[0] == 1


@pytest.mark.parametrize(
    "name", ["coordinate_median", "trimmed_mean", "krum", "multi_krum", "geometric_median"]
)
@pytest.mark.parametrize("scale", [1e3, 1e15, 3e38])
def test_robust_rules_stay_with_the_honest_however_far_the_attackers_go(name: str, scale: float) -> None:
    random = np.random.default_rng(7)
    honest = [random.normal(1.0, 0.1, 50) for _ in range(8)]
    attackers = [np.full(50, scale), np.full(50, scale)]
    changes = {"byzantine": 2} if "krum" in name else {}
    result = run(name, [attackers[0], *honest, attackers[1]], **changes)
    assert float(np.abs(result - np.mean(honest, axis=0)).max()) < 0.3


def test_the_geometric_median_is_where_three_sides_pull_equally() -> None:
    corner = run("geometric_median", [[0.0, 0.0], [1.0, 0.0], [0.5, 0.75**0.5]], iterations=64)
    np.testing.assert_allclose(corner, [0.5, 0.75**0.5 / 3], atol=1e-6)
    on_a_line = run("geometric_median", [[0.0], [1.0], [10.0]], iterations=64)
    assert abs(float(on_a_line[0]) - 1.0) < 1e-3


def test_updates_are_clipped_from_the_parent_on() -> None:
    result = run(
        "norm_clipped_mean", [[1.0, 1.0], [4.0, 5.0]], parent=[1.0, 1.0], max_norm_millionths=2_500_000
    )
    np.testing.assert_array_equal(result, np.array([1.75, 2.0], dtype=np.float32))


@pytest.mark.parametrize("name", ["weighted_mean", "norm_clipped_mean", "multi_krum", "geometric_median"])
def test_weights_weigh_and_all_zero_means_equal(name: str) -> None:
    changes = {"max_norm_millionths": 10**9} if name == "norm_clipped_mean" else {}
    values = [[0.0], [1.0]]
    if name == "multi_krum":
        changes = {"byzantine": 0}
    assert run(name, values, by_weight=[0, 5], **changes)[0] == 1
    assert run(name, values, by_weight=[0, 0], **changes)[0] == 0.5
    assert run(name, values, by_weight=[2**29 - 1, 0], **changes)[0] == 0


def test_of_copies_the_least_weight_counts() -> None:
    tensors: list[Tensors] = [{"w": np.array([x], dtype=np.float32)} for x in (0.0, 8.0)]
    contributions = [
        Contribution("0x03", "same", tensors[1], 3),
        Contribution("0x01", "same", tensors[1], 7),
        Contribution("0x02", "other", tensors[0], 1),
    ]
    rule = RULES.validate_python({"rule": "weighted_mean"})
    assert aggregate(rule, contributions, parent=tensors[0])["w"][0] == 6


@pytest.mark.parametrize("weight", [-1, 2**29])
def test_a_weight_out_of_range_is_refused(weight: int) -> None:
    with pytest.raises(ValueError, match="weight"):
        run("weighted_mean", [[1.0]], by_weight=[weight])


ZEROS = [[-0.0, -0.0, 0.0, 0.0], [-0.0, 0.0, -0.0, 0.0], [-0.0, -0.0, -0.0, 0.0]]


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("name", ALL_RULES)
def test_no_result_shows_which_zero_a_minimum_took(name: str, count: int) -> None:
    results = {
        run(name, [np.roll(row, turn) for row in ZEROS[:count]], parent=[-0.0] * 4).tobytes()
        for turn in range(4)
    }
    assert results == {np.zeros(4, dtype=np.float32).tobytes()}


@pytest.mark.parametrize("name", ["coordinate_median", "trimmed_mean"])
def test_the_other_choice_of_zeros_gives_the_same_bytes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """np.minimum(−0, +0) may be either: take the other one and see that nothing changes."""
    random = np.random.default_rng(3)
    values = list(random.choice([-1.0, -0.0, 0.0, 1.0], size=(6, 500)))
    usual = run(name, values).tobytes()
    minimum, maximum = np.minimum, np.maximum

    def other_minimum(a: FloatArray, b: FloatArray, out: FloatArray) -> None:
        np.copyto(out, np.where((a == 0) & (b == 0), np.copysign(0, a * -1.0 - b), minimum(a, b)))

    def other_maximum(a: FloatArray, b: FloatArray, out: FloatArray) -> None:
        np.copyto(out, np.where((a == 0) & (b == 0), np.copysign(0, a + b), maximum(a, b)))

    monkeypatch.setattr(np, "minimum", other_minimum)
    monkeypatch.setattr(np, "maximum", other_maximum)
    assert run(name, values).tobytes() == usual


@pytest.mark.parametrize("name", ALL_RULES)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_the_largest_and_the_smallest_numbers_come_through(name: str, dtype: str) -> None:
    limits = np.finfo(dtype)
    largest, least = float(limits.max), float(limits.smallest_subnormal)
    changes = {"max_norm_millionths": 10**12} if name == "norm_clipped_mean" else {}
    edge = [largest, -largest, least, -least]
    result = run(name, [edge] * 16, dtype, parent=edge, **changes)
    np.testing.assert_array_equal(result, np.array(edge, dtype=dtype))


def test_half_of_the_least_number_becomes_a_zero_without_a_sign() -> None:
    for name in ("mean", "coordinate_median", "trimmed_mean", "geometric_median"):
        result = run(name, [[-1e-45], [0.0]])
        assert result.tobytes() == np.zeros(1, dtype=np.float32).tobytes()


def test_a_sum_that_fits_float64_but_not_the_cast_is_refused() -> None:
    # No rule leaves the range of what it is given; an outer optimiser can.
    largest: Tensors = {"w": np.array([65504.0], dtype=np.float16)}
    momentum: Tensors = {"w": np.array([-65504.0], dtype=np.float32)}
    optimiser = Momentum(name="momentum", momentum_millionths=0, learning_rate_millionths=1_000_000)
    with pytest.raises(NotFinite, match="tensor w"):
        step(optimiser, largest, largest, momentum)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", range(5))
@pytest.mark.parametrize("name", ALL_RULES)
def test_what_is_not_finite_is_refused_wherever_it_is(name: str, place: int, bad: float) -> None:
    values = [[1.0, 2.0], [3.0, 1.0], [2.0, 0.0], [5.0, 1.5], [0.0, 0.5]]
    values[place][1] = bad
    with pytest.raises(NotFinite):
        run(name, values)


@pytest.mark.parametrize(
    ("tensors", "error"),
    [
        ({}, TensorMissing),
        ({"w": np.zeros(2, np.float32), "x": np.zeros(1, np.float32)}, TensorUnexpected),
        ({"w": np.zeros((2, 1), np.float32)}, WrongShape),
        ({"w": np.zeros(2, np.float16)}, WrongDtype),
        ({"w": np.zeros(2, np.float64)}, WrongDtype),
    ],
)
def test_contributions_of_another_form_are_refused(tensors: Any, error: type[Exception]) -> None:
    parent: Tensors = {"w": np.zeros(2, dtype=np.float32)}
    good = Contribution("0x01", "a", parent)
    with pytest.raises(error):
        aggregate(
            RULES.validate_python({"rule": "mean"}), [good, Contribution("0x02", "b", tensors)], parent=parent
        )


@pytest.mark.parametrize("name", ALL_RULES)
@pytest.mark.parametrize("shape", [(), (0,), (3, 0), (1,)])
def test_odd_shapes_that_no_manifest_has_do_no_harm(name: str, shape: tuple[int, ...]) -> None:
    result = run(name, [np.full(shape, 2.0)] * 3, parent=np.full(shape, 2.0))
    assert result.shape == shape
    assert (result == 2).all()


@pytest.mark.parametrize("name", ALL_RULES)
def test_memory_layout_does_not_matter(name: str) -> None:
    random = np.random.default_rng(5)
    values = list(random.normal(size=(5, 210, 220)))
    expected = run(name, values).tobytes()
    contributions = [
        Contribution(f"0x{n + 1:040x}", f"digest {n}", {"w": np.asfortranarray(value, dtype=np.float32)})
        for n, value in enumerate(values)
    ]
    parent: Tensors = {"w": np.zeros((210, 220), dtype=np.float32)}
    rule = RULES.validate_python({"rule": name} | ALL_RULES[name])
    assert aggregate(rule, contributions, parent=parent)["w"].tobytes() == expected


def test_the_bound_on_contributions_is_the_protocols() -> None:
    assert MAX_CONTRIBUTIONS == MAX_PROPOSERS


def test_flushed_subnormals_are_noticed() -> None:
    """A library built for speed can switch the processor to flush subnormal numbers to zero."""
    torch.set_flush_denormal(True)
    try:
        with pytest.raises(BrokenArithmetic):
            run("mean", [[1.0]])
    finally:
        torch.set_flush_denormal(False)
    assert run("mean", [[1e-45]])[0] > 0


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"rule": "trimmed_mean", "trim": 8}, "less than or equal to 7"),
        ({"rule": "trimmed_mean"}, "required"),
        ({"rule": "krum", "byzantine": 7}, "less than or equal to 6"),
        ({"rule": "multi_krum", "byzantine": 5, "keep": 12}, "at most 16"),
        ({"rule": "geometric_median", "iterations": 0, "smoothing_millionths": 1}, "greater than"),
        ({"rule": "geometric_median", "iterations": 1, "smoothing_millionths": 0}, "greater than"),
        ({"rule": "norm_clipped_mean", "max_norm_millionths": 0.5}, "integer"),
        ({"rule": "mean", "weights": "improvement"}, "not permitted"),
        ({"rule": "weighted_mean", "weights": "by size"}, "equal"),
        ({"rule": "bulyan"}, "mean"),
        ("mean", "object"),
    ],
)
def test_parameters_that_no_round_can_meet_are_refused(rule: Any, words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        RULES.validate_python(rule)


@pytest.mark.parametrize(
    ("rule", "least"),
    [
        ({"rule": "mean"}, 1),
        ({"rule": "trimmed_mean", "trim": 2}, 5),
        ({"rule": "krum", "byzantine": 1}, 5),
        ({"rule": "multi_krum", "byzantine": 1, "keep": 6}, 7),
    ],
)
def test_a_rule_says_how_many_it_needs(rule: dict[str, Any], least: int) -> None:
    assert RULES.validate_python(rule).least_contributions == least
