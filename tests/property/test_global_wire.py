"""The wire and the scores, for any input."""

import math

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from contracts.digests import sha256_digest
from contracts.messages import SCORE_LIMIT_MICRONATS
from tier_global.errors import MalformedExchange
from tier_global.exchange import CommitRequest
from tier_global.scoring import improvement_micronats
from tier_global.wire import decode_adapter, decode_request, encode, encode_adapter

losses_nats = st.floats(min_value=-1e9, max_value=1e9) | st.just(math.nan) | st.just(math.inf)


@given(st.binary(max_size=400))
def test_every_file_arrives_to_the_byte(data: bytes) -> None:
    assert decode_adapter(encode_adapter(data)) == data


@given(st.lists(st.binary(max_size=100), min_size=1, max_size=5, unique=True), st.binary(max_size=100))
def test_every_request_arrives(files: list[bytes], spec: bytes) -> None:
    request = CommitRequest(
        task=1, round=1, spec=spec, adapters={sha256_digest(data): data for data in files}
    )
    assert decode_request(encode(request)) == request


@given(st.binary(max_size=300), st.sampled_from(["uint8", "float32", "object"]))
def test_any_array_is_read_or_refused(data: bytes, dtype: str) -> None:
    record = ArrayRecord({"safetensors": Array(dtype=dtype, shape=(1,), stype="numpy.ndarray", data=data)})
    try:
        decode_adapter(record)
    except MalformedExchange:
        return


@given(st.text(max_size=300), st.dictionaries(st.text(max_size=8), st.binary(max_size=20), max_size=3))
def test_any_header_is_read_or_refused(header: str, parts: dict[str, bytes]) -> None:
    try:
        decode_request(RecordDict({"message": ConfigRecord({**parts, "header": header})}))
    except MalformedExchange:
        return


@given(losses_nats, losses_nats)
def test_an_improvement_is_a_score_and_is_antisymmetric(before_nats: float, after_nats: float) -> None:
    improvement = improvement_micronats(before_nats, after_nats)

    assert abs(improvement) <= SCORE_LIMIT_MICRONATS
    assert improvement_micronats(after_nats, before_nats) == -improvement
    if math.isfinite(before_nats) and math.isfinite(after_nats) and abs(before_nats - after_nats) < 8:
        assert abs(improvement - (before_nats - after_nats) * 1e6) <= 0.5001
