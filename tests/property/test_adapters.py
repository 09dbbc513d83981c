"""What adapters and their files must hold for any numbers."""

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

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
