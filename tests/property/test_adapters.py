"""What adapters, their files and their mean must hold for any numbers."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from contracts.aggregation import Contribution, aggregate
from contracts.errors import InvalidAdapter
from contracts.manifest import FloatArray, Manifest, adapter_digest

SHAPES = hnp.array_shapes(min_dims=1, max_dims=3, max_side=5)
NAMES = st.text("abcxyzABC019_.-", min_size=1, max_size=12)


@st.composite
def arrays(draw: st.DrawFn, shape: tuple[int, ...], dtype: str) -> FloatArray:
    width = 32 if dtype == "float32" else 16
    numbers = st.floats(allow_nan=False, allow_infinity=False, width=width)
    return draw(hnp.arrays(dtype, shape, elements=numbers))


@st.composite
def tensor_sets(draw: st.DrawFn) -> dict[str, FloatArray]:
    names = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
    return {name: draw(arrays(draw(SHAPES), draw(st.sampled_from(["float32", "float16"])))) for name in names}


@given(tensor_sets())
def test_an_adapter_survives_its_file_bit_for_bit(tensors: dict[str, FloatArray]) -> None:
    manifest = Manifest.of(tensors)
    data = manifest.encode(tensors)
    assert len(data) == manifest.file_bytes
    read = manifest.decode(data, digest=adapter_digest(data))
    assert list(read) == sorted(tensors)
    for name, array in tensors.items():
        assert read[name].dtype == array.dtype
        assert read[name].tobytes() == array.tobytes()


@given(tensor_sets(), st.data())
def test_no_two_files_are_the_same_adapter(tensors: dict[str, FloatArray], data: st.DataObject) -> None:
    """Another byte anywhere is either refused or another adapter: there is one file for each."""
    manifest = Manifest.of(tensors)
    honest = manifest.encode(tensors)
    forged = bytearray(honest)
    place = data.draw(st.integers(0, len(forged) - 1))
    forged[place] ^= data.draw(st.integers(1, 255))
    try:
        read = manifest.decode(bytes(forged))
    except InvalidAdapter:
        return
    assert manifest.encode(read) == bytes(forged) != honest


@given(tensor_sets(), st.binary(max_size=200))
def test_bytes_of_a_stranger_are_refused_and_nothing_else_happens(
    tensors: dict[str, FloatArray], data: bytes
) -> None:
    manifest = Manifest.of(tensors)
    try:
        read = manifest.decode(data)
    except InvalidAdapter:
        return
    assert manifest.encode(read) == data


@st.composite
def contributions(draw: st.DrawFn) -> list[Contribution]:
    shape, dtype = draw(SHAPES), draw(st.sampled_from(["float32", "float16"]))
    count = draw(st.integers(1, 6))
    return [
        Contribution(f"0x{n + 1:040x}", f"digest {n}", {"w": draw(arrays(shape, dtype))})
        for n in range(count)
    ]


@given(contributions(), st.randoms(use_true_random=False))
def test_the_mean_does_not_depend_on_arrival(given_: list[Contribution], random: object) -> None:
    shuffled = list(given_)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert aggregate("mean", shuffled)["w"].tobytes() == aggregate("mean", given_)["w"].tobytes()


@given(contributions())
def test_the_mean_is_the_one_that_plain_python_computes(given_: list[Contribution]) -> None:
    result = aggregate("mean", given_)["w"]
    layers = [c.tensors["w"] for c in given_]
    for index in np.ndindex(result.shape):
        total = 0.0
        for layer in layers:
            total += float(layer[index])
        expected = result.dtype.type(total / len(layers)) + result.dtype.type(0)
        assert result[index].tobytes() == expected.tobytes()


@given(contributions(), st.integers(1, 5))
def test_the_mean_of_copies_is_the_original(given_: list[Contribution], copies: int) -> None:
    original = given_[0].tensors["w"]
    same = [Contribution(f"0x{n + 1:040x}", f"digest {n}", {"w": original}) for n in range(copies)]
    np.testing.assert_array_equal(aggregate("mean", same)["w"], original)
