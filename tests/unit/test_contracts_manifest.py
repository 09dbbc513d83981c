"""Adapters on the way in: one canonical file, and one clear refusal for everything else."""

import json
from collections.abc import Callable

import numpy as np
import pytest
import safetensors.numpy
from pydantic import ValidationError

from contracts.digests import sha256_digest
from contracts.errors import (
    DigestMismatch,
    InvalidAdapter,
    NotCanonical,
    NotFinite,
    NotSafetensors,
    TensorMissing,
    TensorUnexpected,
    WrongDtype,
    WrongShape,
)
from contracts.manifest import FloatArray, Manifest, TensorSpec, adapter_digest

MANIFEST = Manifest(
    tensors=(
        TensorSpec(name="a.weight", dtype="F16", shape=(2, 2)),
        TensorSpec(name="b.weight", dtype="F32", shape=(3,)),
    )
)


def good_tensors() -> dict[str, FloatArray]:
    return {
        "a.weight": np.array([[1, 2], [3, 4]], dtype=np.float16),
        "b.weight": np.array([0.5, -0.5, 1e-3], dtype=np.float32),
    }


def with_header(header: bytes, body: bytes) -> bytes:
    return len(header).to_bytes(8, "little") + header + body


def test_the_canonical_file_is_ordered_by_name_alone_and_aligned() -> None:
    data = MANIFEST.encode(good_tensors())
    length = int.from_bytes(data[:8], "little")
    header = data[8 : 8 + length]
    assert length % 8 == 0
    # The library would put the float32 tensor first; names alone decide here.
    assert header.rstrip(b" ") == (
        b'{"a.weight":{"dtype":"F16","shape":[2,2],"data_offsets":[0,8]},'
        b'"b.weight":{"dtype":"F32","shape":[3],"data_offsets":[8,20]}}'
    )
    assert len(data) == MANIFEST.file_bytes == 8 + length + 20


def test_a_file_of_tensors_made_one_by_one_is_the_same() -> None:
    tensors = good_tensors()
    asked = []

    def make(name: str) -> FloatArray:
        asked.append(name)
        return tensors[name]

    assert b"".join(MANIFEST.pieces_as_made(make)) == MANIFEST.encode(tensors)
    assert asked == ["a.weight", "b.weight"]


@pytest.mark.parametrize(
    ("made", "error"),
    [
        (np.array([1, np.inf, 0], dtype=np.float32), NotFinite),
        (np.zeros(4, dtype=np.float32), WrongShape),
        (np.zeros(3, dtype=np.float16), WrongDtype),
    ],
)
def test_a_tensor_that_is_made_wrong_does_not_get_into_the_file(
    made: FloatArray, error: type[InvalidAdapter]
) -> None:
    tensors = good_tensors() | {"b.weight": made}
    pieces = MANIFEST.pieces_as_made(tensors.__getitem__)
    written = [next(pieces), next(pieces)]
    with pytest.raises(error):
        next(pieces)
    assert b"".join(written) == MANIFEST.encode(good_tensors())[:-12]


def test_the_library_reads_the_canonical_file() -> None:
    data = MANIFEST.encode(good_tensors())
    read = safetensors.numpy.load(data)
    assert read.keys() == good_tensors().keys()
    for name, array in good_tensors().items():
        np.testing.assert_array_equal(read[name], array)
    assert MANIFEST.encode(MANIFEST.decode(data, digest=adapter_digest(data))) == data


def test_order_and_memory_layout_do_not_change_the_bytes() -> None:
    tensors = good_tensors()
    reordered = dict(reversed(tensors.items()))
    reordered["a.weight"] = np.asfortranarray(tensors["a.weight"])
    assert MANIFEST.encode(reordered) == MANIFEST.encode(tensors)


def test_a_manifest_of_tensors_is_what_they_fulfil() -> None:
    assert Manifest.of(good_tensors()) == MANIFEST
    with pytest.raises(WrongDtype, match="float64"):
        Manifest.of({"a": np.zeros(2)})  # type: ignore[dict-item]


def _missing(tensors: dict[str, FloatArray]) -> None:
    del tensors["b.weight"]


def _extra(tensors: dict[str, FloatArray]) -> None:
    tensors["c.weight"] = np.zeros(1, dtype=np.float32)


def _shape(tensors: dict[str, FloatArray]) -> None:
    tensors["b.weight"] = np.zeros((3, 1), dtype=np.float32)


def _dtype(tensors: dict[str, FloatArray]) -> None:
    tensors["b.weight"] = np.zeros(3, dtype=np.float16)


def _nan(tensors: dict[str, FloatArray]) -> None:
    tensors["b.weight"][1] = np.nan


def _infinity(tensors: dict[str, FloatArray]) -> None:
    tensors["a.weight"][0, 0] = -np.inf


BREAKS = [
    (_missing, TensorMissing, "b.weight is missing"),
    (_extra, TensorUnexpected, "'c.weight' is not in the manifest"),
    (_shape, WrongShape, r"shape \(3, 1\), the manifest says \(3,\)"),
    (_dtype, WrongDtype, "float16, the manifest says F32"),
    (_nan, NotFinite, "b.weight holds NaN"),
    (_infinity, NotFinite, "a.weight holds NaN or an infinity"),
]


@pytest.mark.parametrize(("damage", "error", "words"), BREAKS)
def test_tensors_that_break_the_manifest_are_refused_on_both_ways(
    damage: Callable[[dict[str, FloatArray]], None], error: type[InvalidAdapter], words: str
) -> None:
    tensors = good_tensors()
    damage(tensors)
    with pytest.raises(error, match=words):
        MANIFEST.encode(tensors)
    with pytest.raises(error, match=words):
        MANIFEST.decode(safetensors.numpy.save(tensors))


def test_a_wrong_digest_is_refused_before_anything_is_read() -> None:
    with pytest.raises(DigestMismatch):
        MANIFEST.decode(b"whatever", digest=sha256_digest(b"something else"))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00" * 7,
        b"\xff" * 8,
        b"\x80\x04\x95.",
        b"PK\x03\x04" + b"\x00" * 60,
        with_header(b"{}      ", b""),
        with_header(b"[1,2]   ", b""),
        with_header(b'{"a.weight":{"dtype":"F16","shape":[2,2],"data_offsets":[0,9]}}', b"\0" * 8),
        with_header(b'{"a.weight":{"dtype":"Q4","shape":[2,2],"data_offsets":[0,8]}}', b"\0" * 8),
    ],
)
def test_what_is_no_safetensors_file_of_the_manifest_is_refused(data: bytes) -> None:
    with pytest.raises((NotSafetensors, TensorMissing)):
        MANIFEST.decode(data)


@pytest.mark.parametrize(
    "header",
    [
        {"a.weight": {"dtype": "\x1b[2Jok: 7 facts agree", "shape": [1], "data_offsets": [0, 4]}},
        {"\x1b[2J\nok": {"dtype": "F32", "shape": [1], "data_offsets": [1, 5]}},
        {"a.weight": {"dtype": "x" * 100_000, "shape": [1], "data_offsets": [0, 4]}},
    ],
    ids=["dtype", "name", "long"],
)
def test_the_refusal_of_a_hostile_file_is_short_and_obeyed_by_no_terminal(header: dict[str, object]) -> None:
    with pytest.raises(NotSafetensors) as refusal:
        MANIFEST.decode(with_header(json.dumps(header).encode(), bytes(4)))
    assert str(refusal.value).isprintable()
    assert len(str(refusal.value)) < 400


def test_a_truncated_or_extended_file_is_refused() -> None:
    data = MANIFEST.encode(good_tensors())
    for wrong in (data[:-1], data + b"\0"):
        with pytest.raises(NotSafetensors):
            MANIFEST.decode(wrong)


def test_the_right_tensors_in_another_form_are_refused() -> None:
    tensors = good_tensors()
    data = MANIFEST.encode(tensors)
    length = int.from_bytes(data[:8], "little")
    header, body = data[8 : 8 + length], data[8 + length :]
    spaced = json.dumps(json.loads(header)).encode()
    for wrong in (
        safetensors.numpy.save(tensors),
        safetensors.numpy.save(tensors, metadata={"format": "pt"}),
        with_header(header + b" " * 8, body),
        with_header(spaced + b" " * (-len(spaced) % 8), body),
    ):
        with pytest.raises(NotCanonical):
            MANIFEST.decode(wrong)


@pytest.mark.parametrize(
    "tensors",
    [
        [],
        [("b", (1,)), ("a", (1,))],
        [("a", (1,)), ("a", (2,))],
        [("a b", (1,))],
        [("", (1,))],
        [("a", ())],
        [("a", (0,))],
        [("a", (1, 1, 1, 1, 1))],
    ],
)
def test_a_manifest_has_each_name_once_in_order_and_sane_shapes(
    tensors: list[tuple[str, tuple[int, ...]]],
) -> None:
    with pytest.raises(ValidationError):
        Manifest.model_validate(
            {"tensors": [{"name": name, "dtype": "F32", "shape": shape} for name, shape in tensors]}
        )
