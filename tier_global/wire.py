"""Requests and replies on the Flower wire: ``RecordDict`` in, typed messages out, and back.

A message is one ConfigRecord ``message`` (a JSON ``header``, and documents as bytes) and one ArrayRecord for
each adapter, named ``adapter.<digest>``. It holds one array: the bytes of the adapter's canonical file.
Flower moves each array with HTTP requests of its own, so that an adapter of 140 tensors would cost hundreds;
and so a voter sees exactly the bytes whose digest was signed, even those of a file that breaks the manifest.

What arrives is hostile until it is decoded: nothing is allocated by its word, and nothing is unpickled.
"""

import io
from typing import TypeVar

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from numpy.lib import format as npy
from pydantic import TypeAdapter, ValidationError
from pydantic_core import from_json

from tier_global.errors import MalformedExchange
from tier_global.exchange import MAX_ADAPTERS, Reply, Request

MAX_HEADER_BYTES = 256 << 10
MAX_ADAPTER_BYTES = 1 << 30

_MESSAGE = "message"
_HEADER = "header"
_ADAPTER_PREFIX = "adapter."
_FILE = "safetensors"
_DOCUMENTS = ("spec", "report")

Message = TypeVar("Message", Request, Reply)
_REQUEST: TypeAdapter[Request] = TypeAdapter(Request)
_REPLY: TypeAdapter[Reply] = TypeAdapter(Reply)


def encode(message: Request | Reply) -> RecordDict:
    """The records that carry ``message``."""
    config = ConfigRecord({_HEADER: message.model_dump_json(exclude={"adapters", *_DOCUMENTS})})
    for name in _DOCUMENTS:
        if hasattr(message, name):
            config[name] = getattr(message, name)
    records = RecordDict({_MESSAGE: config})
    for digest, data in getattr(message, "adapters", {}).items():
        records[f"{_ADAPTER_PREFIX}{digest}"] = encode_adapter(data)
    return records


def decode_request(records: RecordDict) -> Request:
    """The request in ``records``.

    Raises:
        MalformedExchange: a part is missing, unknown, too large or not what it should be.
    """
    return _decode(records, _REQUEST)


def decode_reply(records: RecordDict) -> Reply:
    """The reply in ``records``; raises as ``decode_request``."""
    return _decode(records, _REPLY)


def encode_adapter(data: bytes) -> ArrayRecord:
    """An adapter's file as one array of bytes."""
    return ArrayRecord({_FILE: Array(np.frombuffer(data, dtype=np.uint8))})


def decode_adapter(record: ArrayRecord) -> bytes:
    """The file that ``encode_adapter`` got.

    Raises:
        MalformedExchange: not such a record.
    """
    if record.keys() != {_FILE}:
        raise MalformedExchange("an adapter is one array that holds its file")
    return _read_bytes(record[_FILE].data)


def _decode(records: RecordDict, adapter: TypeAdapter[Message]) -> Message:
    config = records.get(_MESSAGE)
    if not isinstance(config, ConfigRecord):
        raise MalformedExchange("there is no ConfigRecord with the message")
    fields = _header_fields(config)
    for name in config.keys() - {_HEADER}:
        if name not in _DOCUMENTS or name in fields:
            raise MalformedExchange(f"the message has an unknown part {name[:80]!r}")
        fields[name] = config[name]
    if adapters := _adapters(records):
        fields["adapters"] = adapters
    try:
        return adapter.validate_python(fields)
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise MalformedExchange(f"{where or 'the message'}: {first['msg']}") from error


def _header_fields(config: ConfigRecord) -> dict[str, object]:
    header = config.get(_HEADER)
    if not isinstance(header, str) or len(header) > MAX_HEADER_BYTES:
        raise MalformedExchange(f"the header is missing or has more than {MAX_HEADER_BYTES} bytes")
    try:
        fields = from_json(header)
    except ValueError as error:
        raise MalformedExchange("the header is not JSON") from error
    if not isinstance(fields, dict) or "adapters" in fields:
        raise MalformedExchange("the header is not an object of the message's own fields")
    return fields


def _adapters(records: RecordDict) -> dict[str, bytes]:
    names = records.keys() - {_MESSAGE}
    if len(names) > MAX_ADAPTERS:
        raise MalformedExchange(f"a message carries at most {MAX_ADAPTERS} adapters")
    adapters: dict[str, bytes] = {}
    for name in names:
        record = records[name]
        if not name.startswith(_ADAPTER_PREFIX) or not isinstance(record, ArrayRecord):
            raise MalformedExchange(f"the message has an unknown record {name[:80]!r}")
        adapters[name.removeprefix(_ADAPTER_PREFIX)] = decode_adapter(record)
    return adapters


def _read_bytes(data: bytes) -> bytes:
    """The bytes in an array in npy format.

    There is one header that ``np.save`` writes for that many bytes, and no other is taken: numpy reads a
    header as a Python expression, and raises whatever the tokenizer does.
    """
    if len(data) > MAX_ADAPTER_BYTES:
        raise MalformedExchange(f"an adapter has at most {MAX_ADAPTER_BYTES} bytes")
    content = data[len(_npy_header(0)) :]
    if data != _npy_header(len(content)) + content:
        raise MalformedExchange("the array is not one dimension of bytes in version 1.0 of the npy format")
    return content


def _npy_header(count: int) -> bytes:
    """What ``np.save`` writes before ``count`` bytes; as long for any count, because numpy leaves room."""
    stream = io.BytesIO()
    npy.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": (count,)})
    return stream.getvalue()
