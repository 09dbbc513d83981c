"""Deploying: the wiring, a token that is already there, and a chain that makes blocks by itself."""

from pathlib import Path

import pytest
from eth_account import Account

from contracts.deployment import Deployment
from contracts.phase import Phase
from orchestrator.adapters.chain.deploy import deploy
from orchestrator.domain.chain import Advance, ChainError, RequestRound
from tests.chain.anvil import RICH_KEYS, Anvil, running_anvil
from tests.chain.world import World, wait_until

COUNCIL = str(Account.from_key(RICH_KEYS[0]).address)


def test_the_deployment_is_wired_and_can_be_written_down(played: World) -> None:
    deployment = played.deployment
    assert played.rounds.functions.tasks().call() == deployment.tasks
    assert played.rounds.functions.registry().call() == deployment.registry
    assert played.tasks.functions.token().call() == deployment.token
    assert played.tasks.functions.owner().call() == COUNCIL
    assert played.web3.eth.get_code(deployment.rounds, deployment.block) == b""
    assert Deployment.parse(deployment.to_json()) == deployment


def test_a_token_that_is_there_is_used(anvil: Anvil, played: World) -> None:
    again = deploy(anvil.rpc_url, RICH_KEYS[0], COUNCIL, token=played.deployment.token)
    assert again.token == played.deployment.token
    assert again.rounds != played.deployment.rounds


def test_a_dead_endpoint_and_a_poor_deployer_are_chain_errors(anvil: Anvil) -> None:
    with pytest.raises(ChainError):
        deploy("http://127.0.0.1:1", RICH_KEYS[0], COUNCIL)
    with pytest.raises(ChainError):
        deploy(anvil.rpc_url, "0x" + "13" * 32, COUNCIL)


def test_it_all_works_on_a_chain_that_makes_blocks_by_itself(tmp_path: Path) -> None:
    """``is_due`` and the gas estimate look at the next block: what they promise must then hold."""
    with running_anvil(tmp_path / "anvil.log", "--block-time", "0.2") as chain:
        world = World.build(chain, tmp_path, groups=(1,))
        task = world.create_task(proposers=1, voters=1, min_proposals=1, min_reveals=1, min_scorers=1)
        world.send(RequestRound(task))
        wait_until(lambda: world.reader.is_due(task), "the seed to be readable")
        world.send(Advance(task))
        assert world.phase(task, 1) is Phase.TRAINING
