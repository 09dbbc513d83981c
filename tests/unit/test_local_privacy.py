"""Clipping and noise, and their price against published values and against arithmetic of high precision."""

import math
import statistics
from pathlib import Path

import mpmath
import numpy as np
import pytest

from tests.unit.local_policies import FLOOR, make_tensors
from tier_local.errors import Refused
from tier_local.policy import PrivacyFloor
from tier_local.privacy import (
    KEY_BYTES,
    clipped_and_noised,
    delta_of,
    epsilon_of,
    mu_squared,
    noise_key,
)

KEY = bytes(range(KEY_BYTES))
PARENT = make_tensors(1)


def floor(**changes: object) -> PrivacyFloor:
    return PrivacyFloor.model_validate(FLOOR | changes)


def norm_of_difference(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    return math.sqrt(
        math.fsum(float(np.square(one[n].astype(float) - other[n].astype(float)).sum()) for n in one)
    )


# The price


@pytest.mark.parametrize(
    # As published with Gaussian differential privacy: the (ε, δ) pairs of a mechanism with parameter μ.
    ("mu", "epsilon", "delta"),
    [
        (3.0, 3.0, 0.566737999092),
        (0.5, 0.5, 0.0524403232877),
        (1.0, 1.0, 0.126936737507),
        (5.0, 7.0, 0.811589893405),
    ],
)
def test_published_values(mu: float, epsilon: float, delta: float) -> None:
    assert delta_of(epsilon, mu) == pytest.approx(delta, rel=1e-11)
    assert epsilon_of(mu * mu, delta) == pytest.approx(epsilon, rel=1e-8)


@pytest.mark.parametrize("mu", [1e-3, 0.05, 0.1, 1.0, 3.0, 20.0, 100.0])
@pytest.mark.parametrize("epsilon", [1e-3, 0.5, 1.0, 3.0, 30.0, 500.0, 5000.0])
def test_delta_equals_the_formula_in_sixty_digits(mu: float, epsilon: float) -> None:
    with mpmath.workdps(60):
        m, e = mpmath.mpf(mu), mpmath.mpf(epsilon)

        def below(x: mpmath.mpf) -> mpmath.mpf:
            return mpmath.erfc(-x / mpmath.sqrt(2)) / 2

        exact = below(m / 2 - e / m) - mpmath.e**e * below(-m / 2 - e / m)
    assert delta_of(epsilon, mu) == pytest.approx(float(exact), rel=1e-8, abs=1e-300)


@pytest.mark.parametrize("delta", [1e-3, 1e-6, 1e-12, 1e-15])
@pytest.mark.parametrize("total", [1e-6, 0.04, 1.0, 16.0, 2500.0])
def test_epsilon_is_enough_and_hardly_more(total: float, delta: float) -> None:
    epsilon, mu = epsilon_of(total, delta), math.sqrt(total)
    assert delta_of(epsilon, mu) <= delta
    assert epsilon == 0.0 or delta_of(epsilon * (1 - 1e-6), mu) > delta


def test_what_was_not_spent_costs_nothing_and_what_is_endless_has_no_bound() -> None:
    assert epsilon_of(0.0, 1e-6) == 0.0
    assert epsilon_of(1e13, 1e-6) == math.inf


def test_the_price_is_that_of_an_update_that_may_be_any_other() -> None:
    # Two clipped updates are at most two clip norms apart: μ = 2C/(z·C).
    assert mu_squared(floor(noise_multiplier=4.0)) == 0.25


# Clipping and noise


@pytest.mark.parametrize("scale", [1e-3, 0.5, 10.0, 1000.0])
def test_without_noise_worth_speaking_of_the_update_is_clipped(scale: float) -> None:
    trained = {name: (PARENT[name] + change) for name, change in make_tensors(2, scale).items()}
    left = clipped_and_noised(PARENT, trained, floor(clip_norm=1.0, noise_multiplier=0.01), KEY, b"")
    norm = norm_of_difference(PARENT, trained)
    kept = norm_of_difference(PARENT, left)
    # Noise of a hundredth in 22 numbers; float16 rounds to three digits.
    assert kept == pytest.approx(min(norm, 1.0), abs=0.15)


def test_the_noise_has_the_deviation_that_the_floor_names() -> None:
    parent = {"w": np.zeros((500, 400), dtype=np.float32)}
    left = clipped_and_noised(parent, parent, floor(clip_norm=0.5, noise_multiplier=3.0), KEY, b"")["w"]
    values = left.ravel().astype(float)
    assert statistics.fmean(values) == pytest.approx(0.0, abs=0.02)
    assert statistics.pstdev(values) == pytest.approx(1.5, rel=0.01)
    # As many beyond two and three deviations as of a normal distribution.
    assert np.mean(np.abs(values) > 3.0) == pytest.approx(0.0455, rel=0.05)
    assert np.mean(np.abs(values) > 4.5) == pytest.approx(0.0027, rel=0.2)


def test_noise_repeats_for_the_same_update_and_for_nothing_else() -> None:
    trained = make_tensors(3)
    first = clipped_and_noised(PARENT, trained, floor(), KEY, b"task")
    assert equal(first, clipped_and_noised(PARENT, trained, floor(), KEY, b"task"))
    nudged = {name: values.copy() for name, values in trained.items()}
    nudged["layer.a"][0, 0] = np.nextafter(nudged["layer.a"][0, 0], np.float32(9))
    others = [
        clipped_and_noised(PARENT, trained, floor(), bytes(KEY_BYTES), b"task"),
        clipped_and_noised(PARENT, trained, floor(), KEY, b"other task"),
        clipped_and_noised(PARENT, trained, floor(delta=1e-5), KEY, b"task"),
        clipped_and_noised(PARENT, nudged, floor(), KEY, b"task"),
    ]
    for other in others:
        assert norm_of_difference(first, other) > 1.0, "an own draw of noise"


@pytest.mark.parametrize("poison", [np.nan, np.inf, -np.inf])
def test_an_update_without_a_norm_leaves_as_nothing_but_noise(poison: float) -> None:
    trained = make_tensors(4)
    trained["layer.b"][2] = poison
    left = clipped_and_noised(PARENT, trained, floor(), KEY, b"")
    assert all(np.isfinite(values).all() for values in left.values())
    assert norm_of_difference(PARENT, left) < 60.0


def test_numbers_whose_squares_overflow_are_clipped_like_others() -> None:
    trained = {**make_tensors(5), "layer.a": np.full((3, 5), 3e38, dtype=np.float32)}
    left = clipped_and_noised(PARENT, trained, floor(noise_multiplier=0.01), KEY, b"")
    assert norm_of_difference(PARENT, left) == pytest.approx(1.0, abs=0.15)


def test_types_and_shapes_stay_and_a_float16_stays_finite() -> None:
    left = clipped_and_noised(PARENT, PARENT, floor(clip_norm=1e6, noise_multiplier=1.0), KEY, b"")
    assert {name: (v.dtype, v.shape) for name, v in left.items()} == {
        name: (v.dtype, v.shape) for name, v in PARENT.items()
    }
    assert np.isfinite(left["layer.b"]).all()


# The key


def test_the_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    key = noise_key(tmp_path / "state")
    assert (len(key), noise_key(tmp_path / "state")) == (KEY_BYTES, key)
    assert (tmp_path / "state" / "noise.key").stat().st_mode & 0o777 == 0o600
    assert noise_key(tmp_path / "other") != key


def test_half_a_key_is_none(tmp_path: Path) -> None:
    (tmp_path / "noise.key").write_bytes(b"short")
    with pytest.raises(Refused, match="privacy_budget"):
        noise_key(tmp_path)


def equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return all(np.array_equal(one[name], other[name]) for name in one)
