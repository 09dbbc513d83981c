"""The chain reader: every event typed and in order, a lagging endpoint never silently empty."""

from collections.abc import Callable
from dataclasses import astuple
from typing import Any

import pytest

from contracts import events
from contracts.phase import Phase
from orchestrator.adapters.chain import open_reader
from orchestrator.domain import chain
from tests.chain.tampering import AnswerWithError, tampering_proxy
from tests.chain.world import World


def all_events(world: World) -> list[chain.IndexedEvent]:
    return list(world.reader.events(world.deployment.block, world.reader.head().number))


def of_type(found: list[chain.IndexedEvent], kind: type[Any]) -> list[Any]:
    return [e.event for e in found if isinstance(e.event, kind)]


def test_all_events_of_a_task_are_typed_and_in_order(played: World) -> None:
    found = all_events(played)
    positions = [(e.block_number, e.log_index) for e in found]
    assert positions == sorted(positions)
    assert len(set(zip(positions, [e.transaction_hash for e in found], strict=True))) == len(found)
    counts = {kind: len(of_type(found, kind)) for kind in (events.NodeAdmitted, events.StakeDeposited)}
    assert counts == {events.NodeAdmitted: 4, events.StakeDeposited: 4}

    view = played.view(1, 1)
    (requested, *_), (drawn, *_) = of_type(found, events.RoundRequested), of_type(found, events.Drawn)
    assert (requested.eligible, requested.stakes) == (tuple(view.eligible), tuple(view.stakes))
    assert (drawn.proposers, drawn.voters) == (tuple(view.proposers), tuple(view.voters))
    assert drawn.seed == "0x" + view.seed.hex()
    assert played.reader.block(requested.seed_block).hash == drawn.seed

    revealed = of_type(found, events.Revealed)[0]
    vote = next(v for v in view.votes if v.node == revealed.node)
    assert revealed.scores_micronats == tuple(vote.scores)
    tallied = of_type(found, events.Tallied)[0]
    assert tallied.nodes == tuple(p.node for p in view.proposals)
    assert tallied.medians_micronats == tuple(p.medianMicronats for p in view.proposals)
    assert [e.phase for e in of_type(found, events.RoundClosed)] == [
        Phase.FINAL,
        Phase.REJECTED,
        Phase.ABORTED,
    ]
    rewarded = of_type(found, events.Rewarded)[0]
    assert sum(rewarded.amounts) + rewarded.returned == view.reward


def test_the_task_config_comes_back_as_it_was_sent(played: World) -> None:
    (created,) = of_type(all_events(played), events.TaskCreated)
    config = played.tasks.functions.configOf(1).call()
    spec_digest, genesis_digest, *rest = config
    assert astuple(created.config) == ("0x" + spec_digest.hex(), "0x" + genesis_digest.hex(), *rest)


def test_blocks_link_by_hash(played: World) -> None:
    head = played.reader.head()
    before = played.reader.block(head.number - 1)
    assert head.parent_hash == before.hash
    assert head.timestamp_unix_s >= before.timestamp_unix_s


def test_a_block_that_is_not_there_is_an_error_and_not_empty(played: World) -> None:
    beyond = played.reader.head().number + 1
    with pytest.raises(chain.ChainError, match=f"does not know block {beyond}"):
        played.reader.events(1, beyond)
    with pytest.raises(chain.ChainError, match=f"does not know block {beyond}"):
        played.reader.block(beyond)


def test_a_lagging_node_behind_a_balancer_is_an_error_and_not_empty(played: World) -> None:
    """Headers come from one node; the one that is asked for the logs does not know the block yet."""

    def alter(request: dict[str, Any], result: Any) -> Any:
        if request["method"] != "eth_getLogs":
            return result
        # Asked for a range, a lagging node would answer with an empty list and no error.
        if "blockHash" in request["params"][0]:
            raise AnswerWithError("unknown block")
        return []

    with tampering_proxy(played.anvil.rpc_url, alter) as url:
        reader = open_reader(url, played.deployment)
        with pytest.raises(chain.ChainError, match="unknown block"):
            reader.events(played.deployment.block, played.reader.head().number)


def test_a_chain_that_changes_while_it_is_read_is_an_error(played: World) -> None:
    number = hex(played.deployment.block + 2)

    def alter(request: dict[str, Any], result: Any) -> Any:
        if request["method"] == "eth_getBlockByNumber" and request["params"][0] == number:
            result["hash"] = "0x" + "77" * 32
        return result

    with tampering_proxy(played.anvil.rpc_url, alter) as url:
        reader = open_reader(url, played.deployment)
        with pytest.raises(chain.ChainError, match="changed"):
            reader.events(played.deployment.block, played.reader.head().number)


def test_is_due_and_stake_terms_follow_the_chain(make_world: Callable[..., World]) -> None:
    terms = chain.StakeTerms(unbonding_s=9_000, appeal_s=7, most_absences=5)
    world = make_world(terms=terms)
    assert world.reader.stake_terms() == terms
    task = world.create_task()
    assert not world.reader.is_due(task)
    number = world.open_round(task)
    assert not world.reader.is_due(task)
    world.anvil.pass_time(1_001)
    assert world.reader.is_due(task)
    world.close_phase(task)
    assert world.phase(task, number) is Phase.ABORTED


def drop_a_log(logs: list[Any]) -> None:
    del logs[-1]


def drop_a_log_in_front(logs: list[Any]) -> None:
    del logs[0]


def name_another_node(logs: list[Any]) -> None:
    logs[0]["topics"][-1] = "0x" + "00" * 12 + "ab" * 20


def invent_a_log(logs: list[Any]) -> None:
    logs.append({**logs[-1], "logIndex": hex(len(logs)), "topics": ["0x" + "12" * 32]})


def hide_all(logs: list[Any]) -> None:
    logs.clear()


@pytest.mark.parametrize("lie", [drop_a_log, drop_a_log_in_front, name_another_node, invent_a_log, hide_all])
def test_logs_that_contradict_the_header_are_noticed(played: World, lie: Callable[[list[Any]], None]) -> None:
    def alter(request: dict[str, Any], result: Any) -> Any:
        if request["method"] == "eth_getLogs" and result:
            lie(result)
        return result

    with tampering_proxy(played.anvil.rpc_url, alter) as url:
        reader = open_reader(url, played.deployment)
        with pytest.raises(chain.ChainError, match="bloom filter"):
            reader.events(played.deployment.block, played.reader.head().number)


def test_blocks_of_a_range_link_and_a_missing_one_is_an_error(played: World) -> None:
    head = played.reader.head()
    blocks = played.reader.blocks(1, head.number)
    assert [block.number for block in blocks] == list(range(1, head.number + 1))
    assert blocks[-1] == head
    assert [above.parent_hash for above in blocks[1:]] == [below.hash for below in blocks[:-1]]
    with pytest.raises(chain.ChainError, match="does not know"):
        played.reader.blocks(1, head.number + 1)
