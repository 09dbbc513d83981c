"""Two RPC endpoints: one that fails is replaced by the other, one that lags or lies is named."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters.chain import open_endpoints, open_reader, open_witnesses
from orchestrator.adapters.database import DatabaseRecords
from orchestrator.domain.chain import ChainError
from orchestrator.domain.witnesses import Sighting, Verdict, judge
from orchestrator.services.witnesses import CHECKED_EVERY_S, Witnesses, sentences
from tests.chain.tampering import AnswerWithError, tampering_proxy
from tests.chain.world import World
from tests.integration.databases import Databases, open_quick_records

NOWHERE = "http://127.0.0.1:1"
CONFIRMATIONS = 2

Alter = Callable[[dict[str, Any], Any], Any]


@dataclass
class Clock:
    """Time that a test moves."""

    unix_s: int = 1_000

    def now_unix_s(self) -> int:
        """That time."""
        return self.unix_s


@dataclass
class Watch:
    """The service over two endpoints, and what came of it."""

    service: Witnesses
    records: DatabaseRecords
    clock: Clock
    avoided: list[str] = field(default_factory=list)

    def look(self) -> tuple[Verdict, ...]:
        """What is found when it is time to look again."""
        self.clock.unix_s += CHECKED_EVERY_S
        self.service.run_once()
        with self.records.read() as unit:
            return unit.witnesses.all()


@pytest.fixture
def records(tmp_path: Path, databases: Databases) -> Iterator[DatabaseRecords]:
    records = open_quick_records(databases.new(tmp_path))
    yield records
    records.close()


@pytest.fixture(autouse=True)
def _all_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The world is shared: other tests may have made many empty blocks after its events."""
    monkeypatch.setattr("orchestrator.services.witnesses._MOST_BLOCKS", 100_000)


def watch_over(records: DatabaseRecords, world: World, *urls: str) -> Watch:
    clock, avoided = Clock(), list[str]()

    def avoid(names: Any) -> None:
        avoided[:] = names

    witnesses = open_witnesses(open_endpoints(urls), world.deployment, timeout_s=5)
    chain_id = world.deployment.chain_id
    service = Witnesses(records, clock, witnesses, chain_id, CONFIRMATIONS, avoid)
    return Watch(service, records, clock, avoided)


def other_chain(request: dict[str, Any], result: Any) -> Any:
    return "0x1" if request["method"] == "eth_chainId" else result


def lagging(request: dict[str, Any], result: Any) -> Any:
    return hex(int(result, 16) - 8) if request["method"] == "eth_blockNumber" else result


def other_hash(request: dict[str, Any], result: Any) -> Any:
    if request["method"] == "eth_getBlockByNumber" and int(result["number"], 16) % 3 == 0:
        result["hash"] = "0x" + "77" * 32
    return result


def other_amount(request: dict[str, Any], result: Any) -> Any:
    # No header and no bloom filter covers the data of a log.
    if request["method"] == "eth_getLogs" and result:
        result[0]["data"] = "0x" + "11" * 32
    return result


def silent(request: dict[str, Any], result: Any) -> Any:
    raise AnswerWithError("out of order")


def honest(request: dict[str, Any], result: Any) -> Any:
    return result


@pytest.mark.parametrize(
    ("alter", "words", "is_disputed"),
    [
        (honest, None, False),
        (other_chain, "is chain 1", False),
        (lagging, "8 blocks behind", False),
        (silent, "does not answer", False),
        (other_hash, "contradicts another", True),
        (other_amount, "contradicts another", True),
    ],
)
def test_a_node_that_lags_or_lies_is_named(
    played: World,
    records: DatabaseRecords,
    caplog: pytest.LogCaptureFixture,
    alter: Alter,
    words: str | None,
    is_disputed: bool,
) -> None:
    url = played.anvil.rpc_url
    with tampering_proxy(url, alter) as tampered:
        watch = watch_over(records, played, url, tampered)
        first, second = watch.look()
    assert (first.name, second.name) == ("first RPC endpoint", "second RPC endpoint")
    if words is None:
        assert (first.fault, second.fault) == (None, None)
        return
    assert second.fault is not None
    assert words in second.fault
    assert words in caplog.text
    assert (first.fault is not None) is is_disputed, "who is right in a dispute nobody here can say"
    assert watch.avoided == ([] if is_disputed else ["second RPC endpoint"])
    not_ready, warnings = sentences((first, second))
    assert (len(not_ready), len(warnings)) == ((2, 0) if is_disputed else (0, 1))


def test_a_dispute_is_looked_at_until_it_is_over(played: World, records: DatabaseRecords) -> None:
    url, alters = played.anvil.rpc_url, [other_hash]
    with tampering_proxy(url, lambda request, result: alters[0](request, result)) as tampered:
        watch = watch_over(records, played, url, tampered)
        assert watch.look()[1].is_disputed
        assert watch.look()[1].is_disputed
        alters[0] = honest
        assert [verdict.fault for verdict in watch.look()] == [None, None]


def test_it_looks_now_and_then_only(played: World, records: DatabaseRecords) -> None:
    asked: list[str] = []

    def count(request: dict[str, Any], result: Any) -> Any:
        asked.append(request["method"])
        return result

    with tampering_proxy(played.anvil.rpc_url, count) as url:
        watch = watch_over(records, played, url, played.anvil.rpc_url)
        watch.look()
        seen = len(asked)
        watch.service.run_once()
        watch.clock.unix_s += CHECKED_EVERY_S - 1
        watch.service.run_once()
        assert len(asked) == seen
        watch.clock.unix_s -= 10_000
        watch.service.run_once()
        assert len(asked) > seen, "a clock that was set back does not stop it"


@pytest.mark.parametrize("alter", [silent, other_chain])
def test_a_node_that_fails_is_replaced_by_the_other(played: World, alter: Alter) -> None:
    url = played.anvil.rpc_url
    with tampering_proxy(url, alter) as tampered:
        for urls in ((NOWHERE, url), (url, NOWHERE)):
            reader = open_reader(open_endpoints(urls), played.deployment)
            assert reader.head() == played.reader.head()
        if alter is other_chain:
            assert open_reader(open_endpoints((tampered, url)), played.deployment).head().number > 0
        with pytest.raises(ChainError):
            open_reader(open_endpoints((tampered, NOWHERE)), played.deployment).head()


def test_an_endpoint_that_is_to_be_avoided_is_asked_last(played: World) -> None:
    asked: list[str] = []

    def count(request: dict[str, Any], result: Any) -> Any:
        asked.append(request["method"])
        return result

    with tampering_proxy(played.anvil.rpc_url, count) as url:
        endpoints = open_endpoints((url, played.anvil.rpc_url))
        endpoints.avoid(["first RPC endpoint"])
        reader = open_reader(endpoints, played.deployment)
        reader.head()
        assert asked == []
        endpoints.avoid([])
        reader.head()
        assert asked


def test_one_endpoint_alone_is_judged_by_itself() -> None:
    (verdict,) = judge([Sighting("only", 5, 100)], 5, 1)
    assert verdict.fault is None
    (verdict,) = judge([Sighting("only", 5, error="gone")], 5, 1)
    assert verdict.fault is not None
    assert sentences([verdict]) == ((verdict.fault,), ())
