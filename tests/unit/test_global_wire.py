"""The Flower wire: what is sent arrives, and what is hostile does not."""

import io
import json

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from contracts.digests import sha256_digest
from contracts.manifest import adapter_digest
from contracts.messages import Commit
from tests.unit.global_sim import GENESIS, SPEC_BYTES, make_adapter
from tier_global import wire
from tier_global.errors import MalformedExchange
from tier_global.exchange import (
    AttestRequest,
    CommitReply,
    CommitRequest,
    IdentifyRequest,
    RefusalReply,
    Request,
    RevealRequest,
    TrainRequest,
)
from tier_global.wire import decode_adapter, decode_reply, decode_request, encode, encode_adapter

CHALLENGE = "0x" + "42" * 32
BROKEN = b"no adapter, but somebody promised these bytes"


def train_request() -> TrainRequest:
    return TrainRequest(task=1, round=2, spec=SPEC_BYTES, adapters={adapter_digest(GENESIS): GENESIS})


@pytest.mark.parametrize(
    "request_",
    [
        IdentifyRequest(task=1, round=1, challenge=CHALLENGE),
        train_request(),
        CommitRequest(
            task=3,
            round=1,
            spec=SPEC_BYTES,
            adapters={
                adapter_digest(GENESIS): GENESIS,
                adapter_digest(make_adapter(5)): make_adapter(5),
                sha256_digest(BROKEN): BROKEN,
            },
        ),
        RevealRequest(task=1, round=1),
        AttestRequest(task=1, round=1),
    ],
    ids=lambda request_: request_.stage,
)
def test_a_request_arrives_as_it_was_sent(request_: Request) -> None:
    assert decode_request(encode(request_)) == request_


def test_a_refusal_arrives() -> None:
    refusal = RefusalReply(task=1, round=1, code="too_late", reason="the deadline has passed")
    assert decode_reply(encode(refusal)) == refusal


def test_an_adapter_travels_as_one_array() -> None:
    records = encode(train_request())

    record = records[f"adapter.{adapter_digest(GENESIS)}"]
    assert isinstance(record, ArrayRecord)
    assert [array.numpy().tobytes() for array in record.values()] == [GENESIS]


def test_a_request_is_no_reply() -> None:
    with pytest.raises(MalformedExchange):
        decode_reply(encode(train_request()))


def array(data: bytes) -> Array:
    return Array(dtype="uint8", shape=(3,), stype="numpy.ndarray", data=data)


def npy(values: object, **options: object) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values, **options)  # type: ignore[arg-type]
    return stream.getvalue()


def npy_that_promises(shape: object) -> bytes:
    """A small file whose header names a huge array."""
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "|u1", "fortran_order": False, "shape": shape})
    return stream.getvalue() + b"\0" * 8


@pytest.mark.parametrize(
    "hostile",
    [
        array(b""),
        array(b"not an array"),
        array(npy_that_promises((1 << 40,))),
        array(npy_that_promises((1 << 20, 1 << 20))),
        array(npy_that_promises((-1,))),
        array(npy_that_promises((2, 4))),
        array(npy_that_promises(())),
        array(npy(np.zeros(8, np.uint8))[:-1]),
        array(npy(np.zeros(8, np.uint8)) + b"\0"),
        array(npy(np.array([{"a": 1}], dtype=object), allow_pickle=True)),
        array(npy(np.zeros(8, np.float32))),
        array(npy(np.zeros(8, bool))),
        array(npy(np.zeros(2, [("a", "u1")]))),
        array(b"\x93NUMPY\x02\x00" + npy(np.zeros(8, np.uint8))[8:]),
    ],
)
def test_a_hostile_array_is_refused(hostile: Array) -> None:
    with pytest.raises(MalformedExchange):
        decode_adapter(ArrayRecord({"safetensors": hostile}))


HOSTILE_HEADERS = (
    b"",
    b"(",
    b"'''",
    b"(" * 4000,
    b"-" * 4000 + b"1",
    b"{[]:1}\n",
    b"{1: 2, 'descr': '|u1', 'fortran_order': False}\n",
    b"  1\n 2\n",
    b"{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }\n",
    b"{'descr': '|u1', 'fortran_order': True, 'shape': (3,), }".ljust(117) + b"\n",
)
"""numpy's parser raises TokenError, TypeError, IndentationError or MemoryError for some of them."""


def npy_with_header(header: bytes) -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + b"abc"


@pytest.mark.parametrize("header", HOSTILE_HEADERS)
def test_no_header_but_that_of_an_array_of_bytes_is_read(header: bytes) -> None:
    with pytest.raises(MalformedExchange, match="npy format"):
        decode_adapter(ArrayRecord({"safetensors": array(npy_with_header(header))}))


@pytest.mark.parametrize("size_bytes", [0, 1, 9, 10, 99_999, 100_000])
def test_arrays_of_any_length_are_read(size_bytes: int) -> None:
    assert decode_adapter(ArrayRecord({"safetensors": array(npy(np.zeros(size_bytes, np.uint8)))})) == bytes(
        size_bytes
    )


def test_an_adapter_is_exactly_one_array() -> None:
    good = Array(np.zeros(3, np.uint8))
    for record in (
        ArrayRecord(),
        ArrayRecord({"layer.a": good}),
        ArrayRecord({"safetensors": good, "more": good}),
    ):
        with pytest.raises(MalformedExchange):
            decode_adapter(record)


def test_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    record = encode_adapter(GENESIS)
    monkeypatch.setattr(wire, "MAX_ADAPTER_BYTES", 40)
    with pytest.raises(MalformedExchange, match="at most 40 bytes"):
        decode_adapter(record)


def header_of(records: RecordDict) -> dict[str, object]:
    config = records["message"]
    assert isinstance(config, ConfigRecord)
    fields: dict[str, object] = json.loads(str(config["header"]))
    return fields


def message(header: object, **parts: object) -> RecordDict:
    text = header if isinstance(header, str) else json.dumps(header)
    return RecordDict({"message": ConfigRecord({"header": text, **parts})})  # type: ignore[dict-item]


GOOD_HEADER = header_of(encode(IdentifyRequest(task=1, round=1, challenge=CHALLENGE)))


@pytest.mark.parametrize(
    "records",
    [
        RecordDict(),
        RecordDict({"message": MetricRecord({"header": 1})}),
        RecordDict({"message": ConfigRecord()}),
        RecordDict({"message": ConfigRecord({"header": b"{}"})}),
        message("{"),
        message("[" * 100_000),
        message("[]"),
        message("null"),
        message({}),
        message(GOOD_HEADER | {"stage": "sing"}),
        message(GOOD_HEADER | {"task": 0}),
        message(GOOD_HEADER | {"task": 1 << 64}),
        message(GOOD_HEADER | {"round": -1}),
        message(GOOD_HEADER | {"challenge": "0x12"}),
        message(GOOD_HEADER | {"extra": 1}),
        message({name: value for name, value in GOOD_HEADER.items() if name != "challenge"}),
        message(GOOD_HEADER, spec=b"{}"),
        message(GOOD_HEADER, unknown=b"{}"),
        message({"stage": "train", "task": 1, "round": 1}, spec=b"x"),
        message({"stage": "train", "task": 1, "round": 1, "adapters": {}}, spec=b"x"),
        message({"stage": "train", "task": 1, "round": 1, "spec": "x"}, spec=b"x"),
    ],
)
def test_a_hostile_message_is_refused(records: RecordDict) -> None:
    with pytest.raises(MalformedExchange):
        decode_request(records)


def test_a_header_is_not_longer_than_the_limit() -> None:
    header = json.dumps(GOOD_HEADER)
    decode_request(message(header.ljust(wire.MAX_HEADER_BYTES)))
    with pytest.raises(MalformedExchange, match=f"more than {wire.MAX_HEADER_BYTES} bytes"):
        decode_request(message(header.ljust(wire.MAX_HEADER_BYTES + 1)))


@pytest.mark.parametrize("seconds", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_seconds_are_finite(seconds: str) -> None:
    address, digest, signature = "0x" + "11" * 20, "0x" + "22" * 32, "0x" + "33" * 65
    commit = Commit(node=address, task=1, round=1, context="0x" + "44" * 16, commitment=digest)
    reply = CommitReply(task=1, round=1, commit=commit, signature=signature, seconds={"evaluate": 1.5})
    header = reply.model_dump_json()
    assert decode_reply(message(header)) == reply
    with pytest.raises(MalformedExchange, match="seconds"):
        decode_reply(message(header.replace("1.5", seconds)))


def test_unknown_records_are_refused() -> None:
    for name, record in (("other", ConfigRecord()), ("adapter.x", ConfigRecord()), ("arrays", ArrayRecord())):
        records = encode(train_request())
        records[name] = record
        with pytest.raises(MalformedExchange):
            decode_request(records)


def test_an_adapter_without_a_digest_for_a_name_is_refused() -> None:
    records = encode(train_request())
    records["adapter.not-a-digest"] = encode_adapter(GENESIS)
    with pytest.raises(MalformedExchange):
        decode_request(records)


def test_more_adapters_than_a_round_has_are_refused() -> None:
    records = encode(train_request())
    for seed in range(20):
        records[f"adapter.{adapter_digest(make_adapter(seed))}"] = encode_adapter(make_adapter(seed))
    with pytest.raises(MalformedExchange, match="carries at most 17 adapters"):
        decode_request(records)


def test_the_message_of_a_refusal_does_not_repeat_what_came() -> None:
    with pytest.raises(MalformedExchange) as refusal:
        decode_request(message(GOOD_HEADER | {"challenge": "secret" * 50}))
    assert "secret" not in str(refusal.value)
