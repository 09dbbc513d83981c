"""What an adapter is: the names, shapes and dtypes of its tensors, and its one canonical file.

The canonical file is a safetensors file with the tensors ordered by name, no metadata and a compact
JSON header padded with spaces to 8 bytes, so that equal adapters have equal bytes and one SHA-256
digest. The safetensors library orders tensors by dtype first, hence the header is written here (format:
https://github.com/huggingface/safetensors#format). A file whose head is, byte for byte, the one that the
manifest asks for needs no parser; any other is read with the library, to say what is wrong with it.

Nothing here touches a disk: callers pass bytes.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Literal, NoReturn, Self, cast

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator
from safetensors import SafetensorError

from contracts.digests import sha256_digest
from contracts.errors import (
    DigestMismatch,
    NotCanonical,
    NotFinite,
    NotSafetensors,
    TensorMissing,
    TensorUnexpected,
    WrongDtype,
    WrongShape,
)
from contracts.hostile_text import shown

Buffer = bytes | memoryview
FloatArray = NDArray[np.float32] | NDArray[np.float16]
Tensors = Mapping[str, FloatArray]
"""Tensor name → float32 or float16 array."""

MOMENTUM_PREFIX = "outer_momentum."
"""Begins the names of an outer optimiser's tensors, which a parent carries and an adapter never does."""

DtypeName = Literal["F32", "F16"]

_NUMPY_DTYPE: dict[DtypeName, np.dtype[np.float32] | np.dtype[np.float16]] = {
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
}
_HEADER_ALIGNMENT_BYTES = 8
_LENGTH_BYTES = 8

TensorName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.\-]{1,256}$")]
Dimension = Annotated[int, Field(ge=1, le=1 << 24)]


class TensorSpec(BaseModel):
    """Name, dtype and shape of one tensor."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: TensorName
    dtype: DtypeName
    shape: Annotated[tuple[Dimension, ...], Field(min_length=1, max_length=4)]

    @property
    def size_bytes(self) -> int:
        """Bytes that the tensor's values take in the file."""
        return math.prod(self.shape) * self.numpy_dtype.itemsize

    @property
    def numpy_dtype(self) -> np.dtype[np.float32] | np.dtype[np.float16]:
        """Little-endian, as in the file."""
        return _NUMPY_DTYPE[self.dtype]


class Manifest(BaseModel):
    """The tensors an adapter of one task has, ordered by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tensors: Annotated[tuple[TensorSpec, ...], Field(min_length=1, max_length=8192)]

    @model_validator(mode="after")
    def _ordered_and_unique(self) -> Self:
        names = [tensor.name for tensor in self.tensors]
        if names != sorted(set(names)):
            raise ValueError("the tensors of a manifest are ordered by name, each name once")
        return self

    @classmethod
    def of(cls, tensors: Tensors) -> Self:
        """The manifest that ``tensors`` fulfil.

        Raises:
            WrongDtype: a tensor is neither float32 nor float16.
        """
        return cls(
            tensors=tuple(
                TensorSpec(name=name, dtype=_dtype_name(name, tensors[name]), shape=tensors[name].shape)
                for name in sorted(tensors)
            )
        )

    def with_momentum(self) -> "Manifest":
        """The tensors of a parent with an outer optimiser: these, and a float32 one beside each.

        Raises:
            ValueError: a name gets too long, or there are too many tensors.
        """
        momentum = (
            TensorSpec(name=MOMENTUM_PREFIX + tensor.name, dtype="F32", shape=tensor.shape)
            for tensor in self.tensors
        )
        return Manifest(tensors=tuple(sorted((*self.tensors, *momentum), key=lambda tensor: tensor.name)))

    @property
    def file_bytes(self) -> int:
        """Exact size of an adapter's canonical file."""
        return len(self.head()) + self._values_bytes

    @property
    def _values_bytes(self) -> int:
        return sum(tensor.size_bytes for tensor in self.tensors)

    def check(self, tensors: Tensors) -> None:
        """Refuse tensors that are not exactly what the manifest says, or not finite.

        Raises:
            TensorMissing, TensorUnexpected, WrongShape, WrongDtype, NotFinite.
        """
        expected = {tensor.name: tensor for tensor in self.tensors}
        for name in sorted(expected.keys() - tensors.keys()):
            raise TensorMissing(f"tensor {name} is missing")
        for name in sorted(tensors.keys() - expected.keys()):
            raise TensorUnexpected(f"tensor {name[:80]!r} is not in the manifest")
        for name, spec in expected.items():
            array = tensors[name]
            if array.dtype != spec.numpy_dtype:
                raise WrongDtype(f"tensor {name} is {array.dtype}, the manifest says {spec.dtype}")
            if array.shape != spec.shape:
                raise WrongShape(f"tensor {name} has shape {array.shape}, the manifest says {spec.shape}")
            if not np.isfinite(array).all():
                raise NotFinite(f"tensor {name} holds NaN or an infinity")

    def encode(self, tensors: Tensors) -> bytes:
        """The canonical file of an adapter that fulfils the manifest.

        Raises:
            InvalidAdapter: as ``check``.
        """
        return b"".join(self.pieces(tensors))

    def pieces(self, tensors: Tensors) -> Iterator[Buffer]:
        """The canonical file in pieces, one after the other, for who writes it to a disk.

        Raises:
            InvalidAdapter: as ``check``, before the first piece.
        """
        self.check(tensors)
        yield self.head()
        for spec in self.tensors:
            yield _values(tensors[spec.name])

    def pieces_as_made(self, make: Callable[[str], FloatArray]) -> Iterator[Buffer]:
        """The canonical file in pieces, of tensors that ``make`` makes by name, one after the other.

        Raises:
            InvalidAdapter: as ``check``, in front of the tensor's own piece.
        """
        yield self.head()
        for spec in self.tensors:
            tensor = make(spec.name)
            Manifest(tensors=(spec,)).check({spec.name: tensor})
            yield _values(tensor)

    def decode(self, data: Buffer, *, digest: str | None = None) -> dict[str, FloatArray]:
        """The tensors in a canonical file by name, checked against the manifest and, if given, the digest.

        They are read-only views of ``data``, which may be a memory map: nothing is copied.

        Raises:
            DigestMismatch: the bytes have another SHA-256.
            NotSafetensors: the bytes are no safetensors file.
            NotCanonical: the header is not the canonical one.
            InvalidAdapter: as ``check``.
        """
        if digest is not None and sha256_digest(data) != digest:
            raise DigestMismatch(f"the adapter's bytes do not have the digest {digest}")
        head = self.head()
        if len(data) != len(head) + self._values_bytes or data[: len(head)] != head:
            self._refuse(data)
        tensors = {}
        start = len(head)
        for spec in self.tensors:
            tensors[spec.name] = _view(data, start, spec)
            start += spec.size_bytes
        self.check(tensors)
        return tensors

    def _refuse(self, data: Buffer) -> NoReturn:
        """Say what is wrong with a file that does not have the canonical head and length."""
        try:
            tensors = safetensors.numpy.load(bytes(data))
        except (SafetensorError, KeyError, ValueError, TypeError, OverflowError) as error:
            # The library quotes the header, whose text the file's maker chose.
            reason = shown(str(error))
            raise NotSafetensors(f"the adapter is not a safetensors file: {reason}") from error
        self.check(tensors)
        raise NotCanonical("the adapter's tensors are right but its file is not in canonical form")

    def head(self) -> bytes:
        """The canonical file up to the first tensor's values."""
        header = self._header()
        return len(header).to_bytes(_LENGTH_BYTES, "little") + header

    def _header(self) -> bytes:
        entries: dict[str, object] = {}
        offset = 0
        for spec in self.tensors:
            end = offset + spec.size_bytes
            entries[spec.name] = {
                "dtype": spec.dtype,
                "shape": list(spec.shape),
                "data_offsets": [offset, end],
            }
            offset = end
        header = json.dumps(entries, separators=(",", ":"), ensure_ascii=True).encode()
        return header + b" " * (-len(header) % _HEADER_ALIGNMENT_BYTES)


def adapter_digest(data: bytes) -> str:
    """Digest of an adapter: SHA-256 of its canonical file."""
    return sha256_digest(data)


def _view(data: Buffer, start: int, spec: TensorSpec) -> FloatArray:
    """A tensor as a read-only view; copied only where it lies at an address its dtype cannot have."""
    dtype = spec.numpy_dtype
    flat = np.frombuffer(data, dtype=dtype, count=math.prod(spec.shape), offset=start)
    values: NDArray[np.generic] = flat if flat.flags.aligned else flat.copy()
    values.flags.writeable = False
    return cast(FloatArray, values.reshape(spec.shape))


def _values(array: FloatArray) -> Buffer:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def _dtype_name(name: str, array: FloatArray) -> DtypeName:
    for dtype_name, dtype in _NUMPY_DTYPE.items():
        if array.dtype == dtype:
            return dtype_name
    raise WrongDtype(f"tensor {name} is {array.dtype}; adapters are float32 or float16")
