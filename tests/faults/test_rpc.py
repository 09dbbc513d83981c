"""A chain's node that does not answer, answers nonsense, does what it is asked and does not say so, or lags.

Every request that the hub makes of the chain fails when it is first made, in all of a round. A second node
takes the place of one that lags, is gone, or belongs to another chain.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orchestrator.domain.witnesses import MOST_LAG_BLOCKS
from orchestrator.services.witnesses import CHECKED_EVERY_S
from tests.chain.anvil import Anvil, running_anvil
from tests.faults.chain import from_state
from tests.faults.conftest import ON_SQLITE
from tests.faults.hub import CLOSED, DEEPEST_REORGANISATION, REBROADCAST_S, Hub, eventually
from tests.faults.rpc_proxy import Fault, faulty_rpc
from tests.faults.scene import Scene

ROUND_DEADLINE_S = 600.0
FAILING = {"eth_sendRawTransaction", "eth_getTransactionReceipt", "batch:eth_getBlockByNumber"}
TIMEOUT_S = 0.3
"""For answers that never come: the hub's own patience is longer than a test's."""

NOWHERE = "http://127.0.0.1:9"


@ON_SQLITE
@pytest.mark.timeout(900)
@pytest.mark.parametrize("fault", list(Fault), ids=lambda fault: fault.name.lower())
def test_every_request_fails_once(opened: Scene, fault: Fault) -> None:
    with (
        faulty_rpc(opened.chain.anvil.rpc_url, fault, opened.chain.head) as rpc,
        opened.case(f"RPC, every request once: {fault}", rpc_url=rpc.url) as hub,
    ):
        hub.rpc_timeout_s = TIMEOUT_S if fault is Fault.SILENCE else None
        hub.start_worker()
        hub.play(lambda: hub.phase() in CLOSED, ROUND_DEADLINE_S)
        hub.play_to_the_end()
        assert hub.deaths == 0
        expected = {"batch:eth_getLogs"} if fault is Fault.NO_LOGS else FAILING
        assert rpc.failed.keys() >= expected
        opened.require_whole(hub)


# --- two nodes


@contextmanager
def another_node(folder: Path, state: Path | None) -> Iterator[Anvil]:
    """A node that has the chain as it was saved, or another chain altogether."""
    arguments = ("--chain-id", "1234") if state is None else from_state(state)
    with running_anvil(folder / "another-anvil.log", *arguments) as anvil:
        yield anvil


def warnings(hub: Hub) -> str:
    """What the hub tells its operator about the chain's nodes."""
    return json.dumps(hub.api.get("/readyz").json()["warnings"])


def finish(scene: Scene, hub: Hub) -> None:
    """Play on, after the time in which the hub sends nothing again."""
    hub.pass_time(REBROADCAST_S)
    hub.play_to_the_end()
    assert hub.deaths == 0
    scene.require_whole(hub)


@ON_SQLITE
def test_the_first_node_lags(scene: Scene, tmp_path: Path) -> None:
    chain = scene.chain
    with (
        another_node(tmp_path, scene.saved(tmp_path)) as laggard,
        scene.case(
            f"RPC: the first node lags, {scene.phase}",
            rpc_url=laggard.rpc_url,
            second_rpc_url=chain.anvil.rpc_url,
        ) as hub,
    ):
        hub.start_worker()
        hub.play(lambda: int(laggard.ask("txpool_status")["pending"], 16) > 0)
        chain.seal(MOST_LAG_BLOCKS + 1)
        hub.pass_time(CHECKED_EVERY_S)
        eventually(lambda: "first RPC endpoint is" in warnings(hub))
        finish(scene, hub)


@ON_SQLITE
@pytest.mark.parametrize("first", ["gone", "of another chain"])
def test_the_first_node_is_of_no_use(scene: Scene, tmp_path: Path, first: str) -> None:
    with (
        another_node(tmp_path, None) as stranger,
        scene.case(
            f"RPC: the first node is {first}, {scene.phase}",
            rpc_url=NOWHERE if first == "gone" else stranger.rpc_url,
            second_rpc_url=scene.chain.anvil.rpc_url,
        ) as hub,
    ):
        hub.start_worker()
        eventually(lambda: "first RPC endpoint" in warnings(hub))
        finish(scene, hub)


@ON_SQLITE
def test_the_second_node_tells_another_story(scene: Scene, tmp_path: Path) -> None:
    with (
        another_node(tmp_path, scene.saved(tmp_path)) as liar,
        scene.case(f"RPC: the second node lies, {scene.phase}", second_rpc_url=liar.rpc_url) as hub,
    ):
        hub.start_worker()
        # Both are deep enough for the block after the present one to be final, and not the same.
        liar.ask("evm_increaseTime", 1)
        liar.mine(DEEPEST_REORGANISATION)
        scene.chain.seal(DEEPEST_REORGANISATION)
        hub.pass_time(CHECKED_EVERY_S)
        eventually(lambda: "contradicts" in hub.api.get("/readyz").text)
        assert hub.api.get("/readyz").status_code == 503
        finish(scene, hub)
