"""The projection, made of events alone, says of every node, slash, task and round what the contracts say."""

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest

from contracts.messages import INVALID_SCORE, Exit, Migration, Return, Revocation, Rotation
from contracts.phase import Phase
from contracts.settlement import Fault, Standing
from orchestrator.adapters.chain.deploy import deploy
from orchestrator.domain import chain
from orchestrator.domain.projection import Ledger, step
from orchestrator.domain.state import RegistryState, SlashStatus
from tests.chain.anvil import RICH_KEYS
from tests.chain.world import NO_EXPIRY_UNIX_S, TOKEN, Script, ScriptedNode, World

TERMS = chain.StakeTerms(unbonding_s=20_000, appeal_s=2_000, most_absences=2)
STATUS = {0: SlashStatus.PENDING, 1: SlashStatus.WAIVED, 2: SlashStatus.EXECUTED}


def projected(world: World) -> Ledger:
    """Everything that was ever said, read from the beginning."""
    reader = world.reader
    ledger = Ledger(RegistryState(reader.stake_terms()))
    times: dict[int, int] = {}
    for indexed in reader.events(world.deployment.block, reader.head().number):
        number = indexed.block_number
        times[number] = times.get(number) or reader.block(number).timestamp_unix_s
        ledger, _ = step(ledger, indexed, times[number])
    return ledger


def require_equal(world: World) -> Ledger:
    """Compare the projection with every view of the contracts."""
    ledger = projected(world)
    _require_registry(world, ledger)
    _require_tasks(world, ledger)
    for (task, number), state in ledger.rounds.items():
        view = world.view(task, number)
        assert state.phase == view.phase
        assert (state.context, state.reward) == ("0x" + view.context.hex(), view.reward)
        assert state.deadline_unix_s == view.deadline
        assert (state.proposers, state.voters) == (tuple(view.proposers), tuple(view.voters))
        assert [each.standing for each in state.proposals] == [each.standing for each in view.proposals]
        assert [each.proven_invalid for each in state.proposals] == [
            each.provenInvalid for each in view.proposals
        ]
        assert [each.median_improvement_micronats or 0 for each in state.proposals] == [
            each.medianMicronats for each in view.proposals
        ]
        groups = {each.node: each.group for each in (*view.proposals, *view.votes)}
        assert {node: state.group_of(node) for node in groups} == groups
    return ledger


def _require_registry(world: World, ledger: Ledger) -> None:
    registry = world.registry.functions
    assert (ledger.registry.successor or "0x" + "00" * 20) == registry.successor().call()
    assert set(ledger.nodes) == set(registry.nodes().call())
    for node in ledger.nodes.values():
        view = registry.nodeOf(node.node).call()
        assert (node.signer, node.group, node.admitted) == (view.signer, view.group, view.admitted)
        assert (node.stake, node.eligible_stake(TERMS)) == (view.stake, view.eligibleStake)
        assert (node.open_rounds, node.pending_slashes) == (view.openRounds, view.pendingSlashes)
        assert (node.absences, node.unbonding_total) == (view.absences, view.unbonding)
        assert [(each.matures_unix_s, each.amount) for each in node.unbonding] == [
            (each.maturesAt, each.amount) for each in registry.unbondingOf(node.node).call()
        ]
        assert node.claimable == world.tasks.functions.claimableOf(node.node).call()
        assert node.tasks_nonce == world.tasks.functions.nonces(node.node).call()
        assert node.registry_nonce == registry.nonces(node.node).call()
    assert len(ledger.slashes) == registry.slashCount().call()
    for slash in ledger.slashes.values():
        view = registry.slashOf(slash.slash).call()
        assert (slash.node, slash.task, slash.round) == (view.node, view.task, view.round)
        assert (slash.fault, slash.status) == (view.fault, STATUS[view.status])
        assert (slash.amount, slash.executable_unix_s) == (view.amount, view.executableAt)


def _require_tasks(world: World, ledger: Ledger) -> None:
    for task in ledger.tasks.values():
        view = world.lens.functions.taskOf(task.task).call()
        assert (task.rounds_requested, task.rounds_closed) == (view.roundsRequested, view.roundsClosed)
        assert task.parent_digest == "0x" + view.parentDigest.hex()
        assert task.approved == tuple(view.approved)
        money = view.money
        assert (task.pool, task.open_reward) == (money.pool, money.openReward)
        assert (task.contributed, task.refunded) == (money.contributed, money.refunded)
        assert (task.is_paused, task.is_cancelled, task.is_over) == (
            money.isPaused,
            money.isCancelled,
            money.isOver,
        )
        assert len(fields(task.config)) == len(view.config)


class Speaker:
    """Relays what nodes sign for the registry and the tasks."""

    def __init__(self, world: World) -> None:
        self.world = world

    def header(self, node: ScriptedNode) -> dict[str, Any]:
        nonce = self.world.registry.functions.nonces(node.address).call()
        return {"node": node.address, "nonce": nonce, "expiry_unix_s": NO_EXPIRY_UNIX_S}

    def exit(self, node: ScriptedNode, amount: int) -> None:
        message = Exit(**self.header(node), amount=amount)
        self.send(chain.RelayExit(message, self.sign(message, node)))

    def come_back(self, node: ScriptedNode) -> None:
        message = Return(**self.header(node))
        self.send(chain.RelayReturn(message, self.sign(message, node)))

    def rotate(self, node: ScriptedNode, signer: str) -> None:
        message = Rotation(**self.header(node), signer=signer)
        self.send(chain.RelayRotation(message, self.sign(message, node)))

    def migrate(self, node: ScriptedNode, successor: str) -> None:
        message = Migration(**self.header(node), successor=successor)
        self.send(chain.RelayMigration(message, self.sign(message, node)))

    def revoke(self, node: ScriptedNode, task: int) -> None:
        nonce = self.world.tasks.functions.nonces(node.address).call()
        message = Revocation(node=node.address, task=task, nonce=nonce, expiry_unix_s=NO_EXPIRY_UNIX_S)
        signature = message.sign(self.world.deployment.tasks_domain, node.key)
        self.send(chain.RelayRevocation(message, signature))

    def sign(self, message: Exit | Return | Rotation | Migration, node: ScriptedNode) -> str:
        return message.sign(self.world.deployment.registry_domain, node.key)

    def send(self, call: chain.Call) -> None:
        self.world.send(call)


@pytest.fixture
def world(make_world: Callable[..., World]) -> World:
    return make_world(terms=TERMS, groups=(1, 2, 3, 4))


def test_faults_slashes_and_absences(world: World) -> None:
    task = world.create_task(rounds=6)
    voter, *_ = world.nodes
    speaker = Speaker(world)
    # One voter is silent twice, then one hides its vote while its stake leaves: the slash follows it.
    world.play_round(task, Script(silent_voters=frozenset([voter])))
    world.play_round(task, Script(silent_voters=frozenset([voter])))
    ledger = require_equal(world)
    assert (ledger.nodes[voter].absences, ledger.nodes[voter].eligible_stake(TERMS)) == (2, 0)
    speaker.come_back(world.nodes[voter])

    number = world.open_round(task)
    drawn = world.view(task, number)
    hider = drawn.voters[0]
    for amount in (300 * TOKEN, 600 * TOKEN, 95 * TOKEN):
        leaves = min(amount, world.registry.functions.nodeOf(hider).call().stake)
        speaker.exit(world.nodes[hider], leaves)
    script = Script(hiding_voters=frozenset([hider]))
    world.propose_all(task, number, script)
    world.close_phase(task)
    world.commit_all(task, number, script)
    world.close_phase(task)
    world.reveal_all(task, number, script)
    world.close_phase(task)
    world.attest_all(task, number, script)
    world.close_phase(task)
    ledger = require_equal(world)
    last = max(ledger.slashes)
    assert ledger.slashes[last].fault is Fault.UNREVEALED
    assert ledger.nodes[hider].unbonding_total < 995 * TOKEN

    world.send(chain.WaiveSlash(last))
    world.anvil.pass_time(TERMS.appeal_s)
    for slash in range(last):
        world.send(chain.ExecuteSlash(slash))
    ledger = require_equal(world)
    assert {each.status for each in ledger.slashes.values()} == {SlashStatus.WAIVED, SlashStatus.EXECUTED}


def test_an_invalid_adapter_and_the_pay_of_those_who_attest(world: World) -> None:
    task = world.create_task(rounds=1)
    number = world.open_round(task)
    bad = world.view(task, number).proposers[0]
    scores = {(voter, bad): INVALID_SCORE for voter in world.nodes if voter != bad}
    script = Script(scores=scores, silent_attesters=frozenset(list(world.nodes)[:1]))
    world.propose_all(task, number, script)
    world.close_phase(task)
    world.commit_all(task, number, script)
    world.close_phase(task)
    world.reveal_all(task, number, script)
    world.close_phase(task)
    world.attest_all(task, number, script)
    world.close_phase(task)
    ledger = require_equal(world)
    state = ledger.rounds[task, number]
    assert state.phase is Phase.FINAL
    (proposal,) = [each for each in state.proposals if each.node == bad]
    assert (proposal.standing, proposal.proven_invalid) == (Standing.UNSCORED, True)
    assert ledger.tasks[task].is_over
    for reward in state.rewards:
        world.send(chain.Claim(reward.node))
    assert all(node.claimable == 0 for node in require_equal(world).nodes.values())


def test_pause_cancel_refund_and_revocation(world: World) -> None:
    task = world.create_task(rounds=3)
    number = world.open_round(task)
    world.send(chain.PauseTask(task))
    ledger = require_equal(world)
    assert ledger.rounds[task, number].phase is Phase.ABORTED
    assert ledger.tasks[task].is_paused
    assert {node.absences for node in ledger.nodes.values()} == {0}
    world.send(chain.UnpauseTask(task))
    world.open_round(task)
    world.send(chain.CancelTask(task))
    assert not require_equal(world).tasks[task].is_over
    world.anvil.pass_time(1_001)
    world.close_phase(task)
    ledger = require_equal(world)
    assert ledger.tasks[task].is_over
    assert len(ledger.slashes) == 3, "three proposers stayed silent"
    world.send(chain.Refund(task, world.lanes.council.sender))
    Speaker(world).revoke(next(iter(world.nodes.values())), task)
    ledger = require_equal(world)
    assert ledger.tasks[task].refunded > 0
    assert len(ledger.tasks[task].approved) == 3


def test_exits_keys_and_the_move_to_a_successor(world: World) -> None:
    first, second, third, _ = world.nodes.values()
    speaker = Speaker(world)
    speaker.exit(first, 10 * TOKEN)
    world.anvil.pass_time(100)
    speaker.exit(first, 20 * TOKEN)
    speaker.exit(second, 1_000 * TOKEN)
    speaker.rotate(third, second.address)
    require_equal(world)
    world.anvil.pass_time(TERMS.unbonding_s - 50)
    world.send(chain.Withdraw(first.address))
    ledger = require_equal(world)
    assert [each.amount for each in ledger.nodes[first.address].unbonding] == [20 * TOKEN]
    for amount in (3, 4, 5, 6, 7):
        speaker.exit(first, amount * TOKEN)
    ledger = require_equal(world)
    amounts = [each.amount for each in ledger.nodes[first.address].unbonding]
    assert amounts == [20 * TOKEN, 3 * TOKEN, 4 * TOKEN, 18 * TOKEN], "the last two join the fourth"

    council = world.lanes.council.sender
    later = deploy(world.anvil.rpc_url, RICH_KEYS[0], council, token=world.deployment.token)
    successor = world.web3.eth.contract(address=later.registry, abi=world.registry.abi)
    for call in (
        world.registry.functions.nameSuccessor(later.registry),
        successor.functions.admit(second.address, second.address, 2),
        world.registry.functions.dismiss(third.address),
        world.registry.functions.admit(third.address, third.address, 7),
    ):
        world.web3.eth.wait_for_transaction_receipt(call.transact({"from": council}))
    world.anvil.pass_time(100)
    speaker.migrate(second, later.registry)
    ledger = require_equal(world)
    assert ledger.registry.successor == later.registry
    assert ledger.nodes[second.address].withdrawn == 1_000 * TOKEN
    assert ledger.nodes[third.address].group == 7
