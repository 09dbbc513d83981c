"""The mean and the rules around every rule: order, copies, signs of zero, overflow."""

import numpy as np
import pytest

from contracts.aggregation import Contribution, aggregate
from contracts.aggregation.spec import Mean
from contracts.errors import NotFinite
from contracts.manifest import FloatArray

NODES = ["0x" + "00" * 19 + f"{n:02X}" for n in (0x0A, 0x9B, 0xAC)]


def contribution(node: str, digest: str, values: list[float], dtype: str = "float32") -> Contribution:
    array: FloatArray = np.array(values, dtype=dtype)
    return Contribution(node=node, digest=digest, tensors={"w": array})


def mean_of(contributions: list[Contribution]) -> dict[str, FloatArray]:
    """The plain mean, which asks nothing of the parent but its shapes."""
    parent = contributions[0].tensors if contributions else {}
    return aggregate(Mean(rule="mean"), contributions, parent=parent)


def test_the_mean_of_one_is_itself_and_of_two_lies_between() -> None:
    a = contribution(NODES[0], "a", [1.0, -2.0])
    b = contribution(NODES[1], "b", [3.0, -4.0])
    np.testing.assert_array_equal(mean_of([a])["w"], a.tensors["w"])
    result = mean_of([a, b])["w"]
    assert result.dtype == np.float32
    np.testing.assert_array_equal(result, np.array([2.0, -3.0], dtype=np.float32))


def test_sums_are_made_in_float64_and_in_the_order_of_the_nodes() -> None:
    # In float64, (big + 1) − big is 0 or 1 according to the order; in float32 always 0.
    big = 2.0**24
    values = [big, 1.0, -big]
    contributions = [contribution(n, n, [v]) for n, v in zip(NODES, values, strict=True)]
    expected = np.float32((big + 1.0 - big) / 3)
    assert mean_of(contributions)["w"][0] == expected
    assert expected != 0
    huge = [2.0**60, 1.0, -(2.0**60)]
    ordered = [contribution(n, n, [v]) for n, v in zip(NODES, huge, strict=True)]
    assert mean_of(ordered)["w"][0] == 0.0
    other_order = [contribution(n, n, [v]) for n, v in zip(NODES, [huge[0], huge[2], huge[1]], strict=True)]
    assert mean_of(other_order)["w"][0] == np.float32(1 / 3)


def test_node_order_is_numeric_whatever_the_case_of_the_address() -> None:
    # As text "0x9B…" would come after "0x0a…" and "0xAC" before "0xac": only the number counts.
    huge = [2.0**60, 1.0, -(2.0**60)]
    spelled = [NODES[0].lower(), NODES[1].upper().replace("0X", "0x"), NODES[2].lower()]
    contributions = [contribution(n, n, [v]) for n, v in zip(spelled, huge, strict=True)]
    for shuffled in (contributions, contributions[::-1], contributions[1:] + contributions[:1]):
        assert mean_of(shuffled)["w"][0] == 0.0


def test_equal_digests_count_once() -> None:
    original = contribution(NODES[0], "same", [6.0])
    copy = contribution(NODES[1], "same", [6.0])
    other = contribution(NODES[2], "other", [0.0])
    assert mean_of([original, copy, other])["w"][0] == 3.0


def test_a_zero_has_no_sign() -> None:
    zeros = [contribution(n, n, [-0.0, -1e-45, -1e-8]) for n in NODES]
    result = mean_of(zeros)["w"]
    assert result[0] == 0
    assert not np.signbit(result[0])
    # Half of the least negative float32 underflows in the cast.
    tiny = [contribution(NODES[0], "t", [-1e-45]), contribution(NODES[1], "z", [0.0])]
    underflowed = mean_of(tiny)["w"]
    assert underflowed[0] == 0
    assert not np.signbit(underflowed[0])


def test_halves_stay_halves_and_large_ones_do_not_overflow_on_the_way() -> None:
    largest = float(np.finfo(np.float16).max)
    contributions = [contribution(n, n, [largest], "float16") for n in NODES]
    result = mean_of(contributions)["w"]
    assert result.dtype == np.float16
    assert float(result[0]) == largest


def test_what_is_not_finite_is_refused() -> None:
    for bad in (np.nan, np.inf):
        with pytest.raises(NotFinite, match="tensor w"):
            mean_of([contribution(NODES[0], "a", [bad]), contribution(NODES[1], "b", [1.0])])


def test_nothing_and_a_node_twice_are_refused() -> None:
    with pytest.raises(ValueError, match="nothing"):
        mean_of([])
    twice = [contribution(NODES[1], "a", [1.0]), contribution(NODES[1].lower(), "b", [1.0])]
    with pytest.raises(ValueError, match="at most once"):
        mean_of(twice)


def test_inputs_are_left_alone() -> None:
    a = contribution(NODES[0], "a", [1.0])
    b = contribution(NODES[1], "b", [2.0])
    mean_of([a, b])
    assert (a.tensors["w"][0], b.tensors["w"][0]) == (1.0, 2.0)
    one = mean_of([a])["w"]
    one[0] = 9.0
    assert a.tensors["w"][0] == 1.0
