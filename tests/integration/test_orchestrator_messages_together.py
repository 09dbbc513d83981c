"""Messages that come in at the same time share a transaction: each has its own intent, row and answer."""

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from contracts.messages import Commit
from orchestrator.domain.chain import RelayCommit
from orchestrator.domain.errors import BadSignature, Conflict, NotDrawn
from orchestrator.domain.outbox import Intent, IntentStatus
from orchestrator.services.audit import Attempt, Deed, attempting
from orchestrator.services.messages import MessageService
from tests.integration.databases import Databases
from tests.integration.orchestrator_double_rig import DOMAIN, Rig
from tests.integration.orchestrator_rig import BY_ADDRESS, NETWORKS
from tests.integration.waiting import until


@pytest.fixture
def rig(tmp_path: Path, databases: Databases) -> Iterator[Rig]:
    rig = Rig(tmp_path, databases.new(tmp_path))
    yield rig
    rig.close()


class Crowd:
    """Sends messages while the database is locked, so that all but the first come in together."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.service: MessageService = rig.app.state.services.messages
        self.sizes: list[int] = []
        work = self.service._sent._work

        def counted(asked: Sequence[Any]) -> Any:
            self.sizes.append(len(asked))
            return work(asked)

        self.service._sent._work = counted

    def send(self, calls: Sequence[RelayCommit]) -> list[Future[Intent]]:
        """What becomes of each, all sent by people of their own."""
        waiting = self.service._sent._waiting
        with ThreadPoolExecutor(len(calls)) as threads, self.rig.records.write() as unit:
            unit.projection.last_block()
            futures = [threads.submit(self._send, 0, calls[0])]
            until(lambda: self.sizes == [1])
            for place, call in enumerate(calls[1:], start=1):
                futures.append(threads.submit(self._send, place, call))
                until(lambda expected=place: len(waiting) == expected)  # type: ignore[misc]
        return futures

    def _send(self, place: int, call: RelayCommit) -> Intent:
        attempt = Attempt(lambda: Deed("commit", f"request-{place}"), f"person {place}", "conductor")
        with attempting(attempt):
            return self.service.relay(1, 1, call)


@pytest.fixture
def crowd(rig: Rig) -> Crowd:
    rig.start_task()
    rig.propose_all()
    rig.round_in("committing")
    return Crowd(rig)


def commits(rig: Rig) -> list[RelayCommit]:
    """What the drawn voters of the open round sign."""
    state = rig.get("/v1/tasks/1/rounds/1")
    bodies = [BY_ADDRESS[node].commit(DOMAIN, state) for node in state["voters"]]
    return [RelayCommit(Commit.parse(body["message"]), body["signature"]) for body in bodies]


def rows(rig: Rig) -> list[tuple[str, str]]:
    """Who committed, by the audit log: principals and correlation ids."""
    found = rig.app.state.services.audit.page(None, 1000).items
    return [(row.principal, row.correlation_id) for row in found if row.operation == "commit"]


def test_each_has_its_own_intent_and_row(rig: Rig, crowd: Crowd) -> None:
    calls = commits(rig)
    intents = [future.result() for future in crowd.send(calls)]
    assert crowd.sizes == [1, len(calls) - 1]
    assert [intent.call for intent in intents] == calls
    assert len({intent.id for intent in intents}) == len(calls)
    assert {intent.status for intent in intents} == {IntentStatus.QUEUED}
    with rig.records.read() as unit:
        assert unit.outbox.queued() == intents
        assert unit.outbox.has_queued()
    assert rows(rig) == [(f"person {place}", f"request-{place}") for place in range(len(calls))]
    assert rig.round_in("revealing")["votes"][0]["committed"]


def test_what_is_wrong_with_one_is_told_to_its_sender_only(rig: Rig, crowd: Crowd) -> None:
    first, second, third, fourth = commits(rig)
    forged = RelayCommit(second.message, third.signature)
    outsider = next(network for network in NETWORKS if network.address == third.message.node)
    stranger = third.message.model_copy(update={"node": "0x" + "0" * 39 + "1"})
    undrawn = RelayCommit(stranger, outsider.signed(stranger, DOMAIN)["signature"])
    futures = crowd.send([first, forged, undrawn, fourth])
    with pytest.raises(BadSignature):
        futures[1].result()
    with pytest.raises(NotDrawn):
        futures[2].result()
    assert [futures[place].result().call for place in (0, 3)] == [first, fourth]
    assert [principal for principal, _ in rows(rig)] == ["person 0", "person 3"]


def test_the_same_message_twice_is_one_intent_and_another_in_its_place_a_conflict(
    rig: Rig, crowd: Crowd
) -> None:
    first, second, *_ = commits(rig)
    other = BY_ADDRESS[second.message.node]
    changed = second.message.model_copy(update={"commitment": "0x" + "ab" * 32})
    in_its_place = RelayCommit(changed, other.signed(changed, DOMAIN)["signature"])
    futures = crowd.send([first, second, second, in_its_place, first])
    intents = [futures[place].result() for place in (0, 1, 2, 4)]
    assert intents[1] == intents[2]
    assert intents[0] == intents[3]
    with pytest.raises(Conflict):
        futures[3].result()
    assert [principal for principal, _ in rows(rig)] == ["person 0", "person 1"]
