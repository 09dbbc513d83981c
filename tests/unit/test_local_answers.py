"""Answers on the network's server: fetched into a file, checked, read back as they came, folded."""

import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from contracts.aggregation.mean import mean
from contracts.digests import ZERO_DIGEST
from tests.unit.local_policies import MANIFEST, make_spec, make_tensors
from tests.unit.local_wire import WireDouble
from tier_local.answers import SiteAnswer, StoredAdapter, fetch, write_mean
from tier_local.errors import BadInput, ExitCode
from tier_local.exchange import (
    JobFile,
    JobKind,
    OfferedFile,
    Reply,
    Sums,
    failure_in,
    failure_meta,
    reply_meta,
)
from tier_local.scoring import StratumSums

SPEC = make_spec()
SUMS = Sums.of(StratumSums.none(len(SPEC.data.labels)))


def make_job(kind: JobKind) -> JobFile:
    return JobFile(
        kind=kind,
        spec_file="spec.json",
        parent_digest=ZERO_DIGEST,
        sites=("one",),
        least_sites=1,
        answer_by_unix_s=None,
        adapters={"parent": ("a",), "without-0": ("b",)},
    )


def fetched(reply: Reply, wire: WireDouble, folder: Path, kind: JobKind = "train") -> SiteAnswer:
    return fetch(reply_meta(reply), make_job(kind), SPEC, folder, wire)


def offered(wire: WireDouble, data: bytes) -> OfferedFile:
    return wire.offer(io.BytesIO(data))


def stored(tensors: dict[str, Any], folder: Path) -> StoredAdapter:
    file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 # the adapter's
    file.write(MANIFEST.encode(tensors))
    file.flush()
    return StoredAdapter(file, MANIFEST)


def failure_of(answer: SiteAnswer) -> str:
    failure = failure_in(answer.meta)
    assert failure is not None
    assert failure[0] is ExitCode.FAILED
    assert answer.adapter is None
    return failure[1]


def test_a_fetched_adapter_has_the_bytes_that_the_site_sent(tmp_path: Path) -> None:
    wire, tensors = WireDouble(), make_tensors(1)
    answer = fetched(Reply(adapter=offered(wire, MANIFEST.encode(tensors)), records=7), wire, tmp_path)
    assert answer.adapter is not None
    assert MANIFEST.encode(answer.adapter) == MANIFEST.encode(tensors)
    assert (answer.reply.records, len(answer.adapter)) == (7, len(tensors))
    # Of a server that is killed nothing stays.
    assert list(tmp_path.iterdir()) == []


def test_the_mean_of_stored_adapters_is_that_of_those_in_memory(tmp_path: Path) -> None:
    adapters = [make_tensors(seed) for seed in range(3)]
    into = io.BytesIO()
    write_mean([stored(tensors, tmp_path) for tensors in adapters], MANIFEST, into)
    assert into.getvalue() == MANIFEST.encode(mean(adapters))


def broken(data: bytes, which: str) -> bytes:
    values = len(MANIFEST.head())
    return {
        "shorter": data[:-1],
        "longer": data + b"\0",
        "empty": b"",
        "another head": data.replace(b"layer.a", b"layer.c"),
        "not finite": data[:values] + np.array([np.nan], "<f4").tobytes() + data[values + 4 :],
    }[which]


@pytest.mark.parametrize(
    ("which", "said"),
    [
        ("shorter", "did not come"),
        ("longer", "did not come"),
        ("empty", "did not come"),
        ("another head", "missing"),
        ("not finite", "NaN"),
    ],
)
def test_an_adapter_that_breaks_the_manifest_is_a_failed_answer(
    which: str, said: str, tmp_path: Path
) -> None:
    wire = WireDouble()
    reply = Reply(adapter=offered(wire, broken(MANIFEST.encode(make_tensors(1)), which)))
    assert said in failure_of(fetched(reply, wire, tmp_path))


def test_a_site_that_stops_sending_has_failed(tmp_path: Path) -> None:
    gone = Reply(adapter=OfferedFile(holder="one", reference="gone"))
    assert "did not come" in failure_of(fetched(gone, WireDouble(), tmp_path))


@pytest.mark.parametrize(
    ("kind", "reply"),
    [
        ("train", Reply(sums={"parent": SUMS})),
        ("evaluate", Reply()),
        ("evaluate", Reply(sums={"parent": SUMS})),
        ("evaluate", Reply(sums={"parent": SUMS, "without-0": SUMS, "without-1": SUMS})),
        ("evaluate", Reply(sums={"parent": SUMS, "without-0": Sums.of(StratumSums.none(1))})),
    ],
)
def test_an_answer_to_another_question_is_a_failed_one(kind: JobKind, reply: Reply, tmp_path: Path) -> None:
    assert failure_of(fetched(reply, WireDouble(), tmp_path, kind))


def test_sums_of_all_adapters_are_an_answer(tmp_path: Path) -> None:
    reply = Reply(sums={"parent": SUMS, "without-0": SUMS})
    answer = fetched(reply, WireDouble(), tmp_path, "evaluate")
    assert failure_in(answer.meta) is None
    assert answer.sums.keys() == reply.sums.keys()


def test_a_failure_is_an_answer_as_it_is(tmp_path: Path) -> None:
    meta = failure_meta(BadInput("line 3"))
    answer = fetch(meta, make_job("train"), SPEC, tmp_path, WireDouble())
    assert failure_in(answer.meta) == (ExitCode.BAD_INPUT, "line 3")


@pytest.mark.parametrize(
    "wrong",
    [
        {"failure": 1},
        {"failure": {}},
        {"failure": {"exit_code": 99, "message": "x"}},
        {"failure": {"exit_code": 1, "message": "x", "rule": "none that is known"}},
    ],
)
def test_a_failure_that_makes_no_sense_is_a_failed_answer(wrong: dict[str, Any], tmp_path: Path) -> None:
    answer = fetch(wrong, make_job("train"), SPEC, tmp_path, WireDouble())
    assert "none of this version" in failure_of(answer)


def test_a_message_without_a_reply_is_a_failed_answer(tmp_path: Path) -> None:
    assert "not a reply" in failure_of(fetch({}, make_job("train"), SPEC, tmp_path, WireDouble()))
