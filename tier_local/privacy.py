"""Clipping, noise, and what they cost: differential privacy of one hospital's updates.

An update is what training changed: the trained adapter less its parent, all tensors as one vector. It is
scaled down to at most ``clip_norm`` C and every number gets Gaussian noise of standard deviation z·C, z the
noise multiplier. Whatever the hospital's records are, its clipped updates are at most 2·C apart; so one
departure is μ-GDP with μ = 2/z (Gaussian differential privacy: Dong, Roth and Su 2019, arXiv:1905.02383)
for the *whole* of a hospital's records, hence for any patient's, whoever reads the update, the network's own
server included. Departures compose by adding up μ², also when each depends on the ones before (Smith and
Thakurta 2022, arXiv:2210.17520), and μ-GDP is (ε, δ)-DP with δ = Φ(μ/2 − ε/μ) − e^ε·Φ(−μ/2 − ε/μ) (Balle and
Wang 2018, arXiv:1805.06530), exactly.

The noise is a pseudo-random function of the update under a key that never leaves the hospital: the same
update of the same parent gets the same noise, so that a job that is run again after a crash gives the same
bytes and reveals nothing more.

Not covered: that numbers of finite precision are not quite Gaussian (Mironov 2012), and who can read the key.
"""

import hashlib
import hmac
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from contracts.manifest import FloatArray, Tensors
from tier_local.errors import Refused
from tier_local.files import write_whole
from tier_local.policy import PrivacyFloor
from tier_local.rules import Rule

KEY_BYTES = 32
_SENSITIVITY_IN_CLIP_NORMS = 2.0
_MOST_EPSILON = 1e6
_BISECTIONS = 200
_ROUNDING = 1 + 1e-9
"""More than all that the arithmetic here is wrong by, so that an ε errs to the safe side."""
_LARGE = 25.0
"""From here on erfcx is computed from its asymptotic series, whose error is below 1e-15 by then."""
_PURPOSE = b"collegium.noise/1"
_UNIFORM_BITS = 53


def mu_squared(floor: PrivacyFloor) -> float:
    """What one departure under ``floor`` costs; costs add up."""
    return (_SENSITIVITY_IN_CLIP_NORMS / floor.noise_multiplier) ** 2


def delta_of(epsilon: float, mu: float) -> float:
    """The least δ with which μ-GDP is (ε, δ)-DP."""
    if mu <= 0:
        return 0.0
    near, far = epsilon / mu - mu / 2, epsilon / mu + mu / 2
    # e^ε·Φ(−far) = e^(−near²/2)·erfcx(far/√2)/2, which neither overflows nor underflows too early.
    scale = 0.5 * math.exp(-near * near / 2)
    other = scale * _erfcx(far / math.sqrt(2))
    if near > 0:
        return max(0.0, scale * _erfcx(near / math.sqrt(2)) - other)
    return max(0.0, 0.5 * math.erfc(near / math.sqrt(2)) - other)


def epsilon_of(total_mu_squared: float, delta: float) -> float:
    """An ε, never below the least one, with which departures of this total cost are (ε, δ)-DP together."""
    mu = math.sqrt(total_mu_squared)
    if delta_of(0.0, mu) <= delta:
        return 0.0
    low, high = 0.0, 1.0
    while delta_of(high, mu) > delta:
        if high > _MOST_EPSILON:
            return math.inf
        low, high = high, 2 * high
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if delta_of(middle, mu) > delta else (low, middle)
    return high * _ROUNDING


def clipped_and_noised(
    parent: Tensors, trained: Tensors, floor: PrivacyFloor, key: bytes, context: bytes
) -> dict[str, FloatArray]:
    """What may leave in place of ``trained``; ``context`` names task, parent and hospital."""
    update = {
        name: trained[name].astype(np.float64) - parent[name].astype(np.float64) for name in sorted(trained)
    }
    update = _clipped(update, floor.clip_norm)
    seed = _seed(key, context, floor, update)
    deviation = floor.noise_multiplier * floor.clip_norm
    return {
        name: _as_type_of(
            trained[name],
            parent[name].astype(np.float64) + values + deviation * _normals(seed, name, values.shape),
        )
        for name, values in update.items()
    }


def noise_key(folder: Path) -> bytes:
    """The hospital's key for noise, made at its first use.

    Raises:
        Refused: it cannot be read or made.
    """
    file = folder / "noise.key"
    try:
        if not file.exists():
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            old_mask = os.umask(0o077)
            try:
                write_whole(file, os.urandom(KEY_BYTES))
            finally:
                os.umask(old_mask)
        key = file.read_bytes()
    except OSError as error:
        raise Refused(Rule.PRIVACY_BUDGET, f"{file}: {error.strerror}") from error
    if len(key) != KEY_BYTES:
        raise Refused(Rule.PRIVACY_BUDGET, f"{file} does not hold {KEY_BYTES} bytes")
    return key


def _as_type_of(like: FloatArray, values: NDArray[np.float64]) -> FloatArray:
    # Noise may lead beyond what a float16 can hold, and infinities are no adapter.
    most = float(np.finfo(like.dtype).max)
    bounded = np.clip(values, -most, most)
    return bounded.astype(np.float16) if like.dtype == np.float16 else bounded.astype(np.float32)


def _clipped(update: Mapping[str, NDArray[np.float64]], clip_norm: float) -> dict[str, NDArray[np.float64]]:
    if not all(np.isfinite(values).all() for values in update.values()):
        # No bound holds for it, so that nothing of it may count.
        return {name: np.zeros_like(values) for name, values in update.items()}
    largest = max((float(np.abs(values).max(initial=0.0)) for values in update.values()), default=0.0)
    if largest == 0.0:
        return dict(update)
    # Scaled first: squares of large numbers would overflow.
    norm = largest * math.sqrt(math.fsum(float(np.square(v / largest).sum()) for v in update.values()))
    if norm <= clip_norm:
        return dict(update)
    return {name: values * (clip_norm / norm) for name, values in update.items()}


def _seed(
    key: bytes, context: bytes, floor: PrivacyFloor, update: Mapping[str, NDArray[np.float64]]
) -> bytes:
    keyed = hmac.new(key, digestmod=hashlib.sha256)
    for part in _parts(context, floor, update):
        keyed.update(len(part).to_bytes(8, "big"))
        keyed.update(part)
    return keyed.digest()


def _parts(context: bytes, floor: PrivacyFloor, update: Mapping[str, NDArray[np.float64]]) -> Iterator[bytes]:
    yield _PURPOSE
    yield context
    yield floor.model_dump_json().encode()
    for name in sorted(update):
        yield name.encode()
        yield str(update[name].shape).encode()
        yield np.ascontiguousarray(update[name], dtype="<f8").tobytes()


def _normals(seed: bytes, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Standard normal numbers by Box and Muller (1958) from a stream of SHAKE-256."""
    count = math.prod(shape)
    pairs = (count + 1) // 2
    stream = hashlib.shake_256(seed + name.encode()).digest(16 * pairs)
    integers = np.frombuffer(stream, dtype="<u8") >> np.uint64(64 - _UNIFORM_BITS)
    # In (0, 1]: the logarithm of 0 is no number.
    uniforms = (integers.astype(np.float64) + 1.0) / float(1 << _UNIFORM_BITS)
    radii = np.sqrt(-2.0 * np.log(uniforms[:pairs]))
    angles = 2.0 * np.pi * uniforms[pairs:]
    normals = np.concatenate([radii * np.cos(angles), radii * np.sin(angles)])
    return normals[:count].reshape(shape)


def _erfcx(t: float) -> float:
    """e^(t²)·erfc(t) for t ≥ 0."""
    if t < _LARGE:
        return math.exp(t * t) * math.erfc(t)
    inverse = 1 / (2 * t * t)
    series = 1 - inverse * (1 - 3 * inverse * (1 - 5 * inverse * (1 - 7 * inverse)))
    return series / (t * math.sqrt(math.pi))
