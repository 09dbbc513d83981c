"""Reorganisations of depth 1 to 10 at each phase, with the phase's messages in the blocks that are lost."""

import pytest
from eth_account import Account

from tests.faults.conftest import ON_SQLITE
from tests.faults.hub import (
    DEEPEST_REORGANISATION,
    FOREVER_UNIX_S,
    PATIENCE_S,
    PHASES,
    REBROADCAST_S,
    TASK,
    Hub,
    eventually,
)
from tests.faults.scene import Scene, order_task
from tests.integration.orchestrator_rig import NETWORKS, task_spec

SECOND_TASK = TASK + 1


@ON_SQLITE
@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("depth", range(1, 11))
def test_a_reorganisation(opened: Scene, depth: int, phase: str) -> None:
    # From the beginning each time: a reorganisation past the moment to which a scene goes back ends it.
    with opened.case(f"reorganisation, {phase}", patience_s=PATIENCE_S) as hub:
        opened.chain.seal(DEEPEST_REORGANISATION)
        hub.start_worker()
        eventually(hub.is_up_to_date)
        hub.play(lambda: hub.phase() == phase)
        eventually(lambda: hub.act() or opened.chain.waiting())
        opened.chain.seal()
        opened.chain.reorganise(depth)
        hub.pass_time(REBROADCAST_S)
        hub.play_to_the_end()
        opened.require_whole(hub)


def approvals(hub: Hub) -> list[str] | None:
    """Who approved the second task, as the hub knows it; None while the chain has no such task."""
    found = {task["task"]: task["approved"] for task in hub.get("/v1/tasks")["items"]}
    return found.get(SECOND_TASK)


@ON_SQLITE
def test_an_approval_comes_back_into_a_block_before_its_task(opened: Scene) -> None:
    """The council's account creates the task, another relays the approval: nothing holds their order."""
    chain, spec = opened.chain, task_spec("another-task")
    with opened.case("reorganisation, an approval before its task") as hub:
        chain.seal(DEEPEST_REORGANISATION)
        hub.silent_in = PHASES[0]
        hub.start_worker()
        eventually(hub.is_up_to_date)
        before = chain.head()
        hub.put(spec.canonical_bytes())
        order_task(hub, spec, 0, {})
        hub.play(lambda: approvals(hub) == [])
        deployment = hub.settings.deployment()
        approval = NETWORKS[0].approval(deployment, SECOND_TASK, spec.digest, FOREVER_UNIX_S)
        hub.post(f"/v1/tasks/{SECOND_TASK}/approvals", approval)
        hub.play(lambda: approvals(hub) == [NETWORKS[0].address])
        chain.reorganise(chain.head() - before)
        hub.pass_time(REBROADCAST_S)
        eventually(lambda: chain.waiting() == 2)
        chain.forget_waiting(str(Account.from_key(hub.settings.council_key().read_text()).address))
        chain.seal()
        hub.pass_time(REBROADCAST_S)
        hub.play(lambda: approvals(hub) == [NETWORKS[0].address])
        chain.seal(DEEPEST_REORGANISATION)
        hub.play(lambda: not chain.waiting() and hub.is_up_to_date() and hub.has_nothing_left())
        hub.stop_worker()
        reverted = [
            receipt for _, receipt in chain.transactions(opened.first_block) if receipt["status"] == "0x0"
        ]
        assert len(reverted) == 1
        opened.require_rebuilt_projection(hub)
