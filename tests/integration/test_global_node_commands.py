"""``collegium node …`` and the node's own view of the chain, against a real chain."""

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from eth_account import Account
from typer.testing import CliRunner

from contracts.messages import Proposal
from contracts.phase import Phase
from deploy.local.chain_setup import set_up_demo_accounts
from orchestrator.domain.chain import AdmitNode, RequestRound, StakeTerms
from tests.chain.anvil import RICH_KEYS, Anvil, running_anvil
from tests.chain.world import TOKEN, World
from tests.integration.flower_rig import until
from tests.integration.hub_double import TOKEN_TEXT, HubDouble
from tier_global.chain_view import JsonRpcChainView, NodeOnChain
from tier_global.cli import app
from tier_global.errors import ChainUnavailable, NodeRefusal
from tier_global.signer_socket import SocketSigner

run = CliRunner()


@pytest.fixture(scope="module")
def anvil(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anvil]:
    with running_anvil(tmp_path_factory.mktemp("anvil") / "anvil.log") as running:
        yield running


@pytest.fixture
def world(anvil: Anvil, tmp_path: Path) -> World:
    return World.build(anvil, tmp_path)


@pytest.fixture
def deployment_file(world: World, tmp_path: Path) -> Path:
    path = tmp_path / "deployment.json"
    path.write_bytes(world.deployment.to_json())
    return path


def init(folder: Path, world: World, deployment_file: Path, *more: str) -> "dict[str, str]":
    network = folder.parent / "network.json"
    site = {"name": "hospital-1", "data_folder": "records"}
    network.write_text(json.dumps({"name": "aurora", "sites": [site], "model_cache": "models"}))
    result = run.invoke(
        app,
        [
            *("init", "--json", "--folder", str(folder), "--rpc-url", world.anvil.rpc_url),
            *("--deployment", str(deployment_file), "--network", str(network), *more),
        ],
    )
    assert result.exit_code == 0, result.output
    data: dict[str, str] = json.loads(result.stdout)["data"]
    return data


# The chain view


def test_a_round_is_read_in_every_phase(world: World) -> None:
    chain = JsonRpcChainView(world.anvil.rpc_url, world.deployment)
    task = world.create_task()

    assert chain.round(task, 1).phase == Phase.NONE
    world.send(RequestRound(task))
    assert chain.round(task, 1).phase == Phase.REQUESTED
    world.anvil.mine(2)
    world.close_phase(task)
    view = chain.round(task, 1)
    assert view.phase == Phase.TRAINING
    assert len(view.proposers) == 3
    assert set(view.voters) == set(world.nodes)
    assert view.deadline_unix_s > 0
    assert view.context == "0x" + world.view(task, 1).context.hex()


def test_a_played_round_is_read_with_its_verdicts(world: World) -> None:
    task = world.create_task()
    number = world.play_round(task)
    view = JsonRpcChainView(world.anvil.rpc_url, world.deployment).round(task, number)

    assert view.phase == Phase.FINAL
    assert [int(proposal.node, 16) for proposal in view.proposals] == sorted(
        int(node, 16) for node in view.proposers
    )
    assert all(proposal.accepted for proposal in view.proposals)
    assert view.committed.keys() == set(world.nodes)


def test_tasks_and_nodes_are_read(world: World) -> None:
    chain = JsonRpcChainView(world.anvil.rpc_url, world.deployment)
    task = world.create_task()

    assert chain.task(task).approved == frozenset(world.nodes)
    for node in world.nodes.values():
        facts = chain.node(node.address)
        assert (facts.signer, facts.group, facts.admitted) == (node.address, node.group, True)
        assert chain.tasks_nonce(node.address) == 1


def test_the_policy_of_the_newest_approval_is_read(world: World) -> None:
    chain = JsonRpcChainView(world.anvil.rpc_url, world.deployment)
    task, other = world.create_task(), world.create_task()
    node = next(iter(world.nodes.values()))
    before = chain.approved_policy_digest(task, node.address)
    digest = "0x" + "ab" * 32
    world.approve(task, chain.task(task).spec_digest, node, policy_digest=digest)

    assert before != digest == chain.approved_policy_digest(task, node.address)
    assert chain.approved_policy_digest(other, node.address) == before
    with pytest.raises(NodeRefusal, match="no approval"):
        chain.approved_policy_digest(task, world.deployment.token)


def test_a_chain_that_is_not_there_is_said_so(world: World) -> None:
    chain = JsonRpcChainView("http://127.0.0.1:9", world.deployment)
    with pytest.raises(ChainUnavailable):
        chain.round(1, 1)


def test_a_contract_that_is_not_there_is_said_so(world: World) -> None:
    elsewhere = world.deployment.model_copy(update={"lens": world.deployment.token})
    with pytest.raises(ChainUnavailable):
        JsonRpcChainView(world.anvil.rpc_url, elsewhere).round(1, 1)


# node init


def test_init_makes_a_private_key_and_a_configuration(
    world: World, deployment_file: Path, tmp_path: Path
) -> None:
    data = init(tmp_path / "node", world, deployment_file)

    key_file = tmp_path / "node" / "node.key"
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert Account.from_key(key_file.read_text().strip()).address == data["address"] == data["signer"]
    config = json.loads((tmp_path / "node" / "node.json").read_text())
    assert config["address"] == data["address"]
    assert config["inner_command"][-2:] == ["-m", "tier_local"]
    assert config["allowed_bundles"] == [run.invoke(app, ["bundle"]).stdout.strip()]
    assert key_file.read_text().strip() not in json.dumps(data) + json.dumps(config)


def test_init_overwrites_nothing(world: World, deployment_file: Path, tmp_path: Path) -> None:
    init(tmp_path / "node", world, deployment_file)
    key = (tmp_path / "node" / "node.key").read_text()

    arguments = ["--rpc-url", "http://x", "--deployment", str(deployment_file), "--network", "network.json"]
    result = run.invoke(app, ["init", "--json", "--folder", str(tmp_path / "node"), *arguments])

    assert result.exit_code == 3
    assert json.loads(result.stdout)["ok"] is False
    assert (tmp_path / "node" / "node.key").read_text() == key


def test_init_takes_a_signers_socket(deployment_file: Path, tmp_path: Path) -> None:
    arguments = ["--rpc-url", "http://x", "--deployment", str(deployment_file), "--network", "network.json"]
    socket_file = tmp_path / "signer" / "socket"
    arguments += ["--folder", str(tmp_path / "node"), "--signer-socket", str(socket_file)]
    assert run.invoke(app, ["init", *arguments]).exit_code == 0
    config = json.loads((tmp_path / "node" / "node.json").read_text())
    assert config["signer_socket"] == str(socket_file)


def test_init_names_a_bad_address(deployment_file: Path, tmp_path: Path) -> None:
    arguments = ["--rpc-url", "http://x", "--deployment", str(deployment_file), "--network", "network.json"]
    result = run.invoke(app, ["init", "--folder", str(tmp_path / "node"), "--address", "0x12", *arguments])

    assert result.exit_code == 2
    assert "address" in result.stderr
    assert not (tmp_path / "node" / "node.key").exists()


# node approve


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(TOKEN_TEXT + "\n")
    return path


def approve(config: Path, task: int, url: str, token_file: Path) -> "tuple[int, str]":
    result = run.invoke(
        app,
        [
            *("approve", "--config", str(config), "--task", str(task)),
            *("--orchestrator-url", url, "--token-file", str(token_file)),
        ],
    )
    return result.exit_code, result.stderr


def test_an_approval_gets_to_the_chain(
    world: World, deployment_file: Path, tmp_path: Path, token_file: Path
) -> None:
    node = init(tmp_path / "node", world, deployment_file)["address"]
    task = world.create_task()
    config = tmp_path / "node" / "node.json"
    with HubDouble(world).serving() as url:
        code, said = approve(config, task, url, token_file)
        assert (code, "knows 0x0000" in said) == (3, True), said

        world.send(AdmitNode(node, node, 9))
        assert approve(config, task, url, token_file) == (0, "")
    assert node in world.lens.functions.taskOf(task).call().approved


def test_a_spec_that_is_not_the_one_on_chain_is_not_approved(
    world: World, deployment_file: Path, tmp_path: Path, token_file: Path
) -> None:
    node = init(tmp_path / "node", world, deployment_file)["address"]
    world.send(AdmitNode(node, node, 9))
    task = world.create_task()
    spec_digest = "0x" + world.lens.functions.taskOf(task).call().config.specDigest.hex()
    world.artifact_path(spec_digest).write_bytes(b'{"schema": "another"}')

    with HubDouble(world).serving() as url:
        code, said = approve(tmp_path / "node" / "node.json", task, url, token_file)

    assert code == 3
    assert "other bytes" in said
    assert node not in world.lens.functions.taskOf(task).call().approved


def test_a_task_that_was_never_created_is_not_approved(
    world: World, deployment_file: Path, tmp_path: Path, token_file: Path
) -> None:
    node = init(tmp_path / "node", world, deployment_file)["address"]
    world.send(AdmitNode(node, node, 9))
    with HubDouble(world).serving() as url:
        code, said = approve(tmp_path / "node" / "node.json", 99, url, token_file)
    assert (code, "there is no task 99 on chain" in said) == (3, True), said


# node revoke, return, rotate, exit, withdraw, claim


class Operator:
    """A network's operator at the command line, with a node that is admitted and staked."""

    def __init__(self, world: World, folder: Path, deployment_file: Path, token_file: Path) -> None:
        self.world = world
        self.folder = folder
        self.config = folder / "node.json"
        self.token_file = token_file
        self.url = ""
        self.node = init(folder, world, deployment_file)["address"]
        world.send(AdmitNode(self.node, self.node, 9))
        set_up_demo_accounts(
            world.anvil.rpc_url,
            world.deployment,
            council_key=RICH_KEYS[0],
            nodes=[self.node],
            stake=100,
            pool=100_000 * TOKEN,
        )

    def say(self, command: str, *more: str) -> "tuple[int, str]":
        """The exit code, and what was said."""
        result = run.invoke(
            app,
            [
                *(command, "--config", str(self.config), "--orchestrator-url", self.url),
                *("--token-file", str(self.token_file), *more),
            ],
        )
        return result.exit_code, result.output

    def facts(self) -> NodeOnChain:
        return JsonRpcChainView(self.world.anvil.rpc_url, self.world.deployment).node(self.node)


@pytest.fixture
def operator(world: World, deployment_file: Path, tmp_path: Path, token_file: Path) -> Iterator[Operator]:
    operator = Operator(world, tmp_path / "node", deployment_file, token_file)
    with HubDouble(world).serving() as url:
        operator.url = url
        yield operator


def test_an_approval_is_taken_back(operator: Operator) -> None:
    world, task = operator.world, operator.world.create_task()
    assert operator.say("revoke", "--task", str(task))[0] == 3, "nothing to take back yet"
    assert operator.say("approve", "--task", str(task))[0] == 0
    assert operator.say("revoke", "--task", str(task))[0] == 0
    assert operator.node not in world.lens.functions.taskOf(task).call().approved


def test_a_node_says_that_it_is_back(operator: Operator) -> None:
    assert operator.say("return")[0] == 0
    assert operator.world.registry.functions.nonces(operator.node).call() == 1


def test_a_key_is_rotated_and_the_owner_keeps_its_own(operator: Operator) -> None:
    new_key_file = operator.folder / "new.key"
    code, said = operator.say("rotate", "--new-key-file", str(new_key_file))
    assert code == 0, said
    assert stat.S_IMODE(new_key_file.stat().st_mode) == 0o600
    new_signer = Account.from_key(new_key_file.read_text().strip()).address
    assert operator.facts().signer == new_signer
    assert new_key_file.read_text().strip() not in said

    # The old key is no signing key any more; the new one is, and the account's own still moves money.
    code, said = operator.say("return")
    assert (code, "as this node's signing key" in said) == (3, True), said
    old_key_file = operator.folder / "node.key"
    settings = json.loads(operator.config.read_text()) | {"key_file": str(new_key_file)}
    operator.config.write_text(json.dumps(settings))
    assert operator.say("return")[0] == 0
    code, said = operator.say("exit", "--amount", "1")
    assert (code, "--owner-key-file" in said) == (3, True), said
    assert operator.say("exit", "--amount", "1", "--owner-key-file", str(old_key_file))[0] == 0
    code, said = operator.say(
        "rotate", "--new-key-file", str(new_key_file), "--owner-key-file", str(old_key_file)
    )
    assert (code, "already" in said) == (3, True), said


def test_a_stake_leaves_and_is_paid_when_it_is_mature(operator: Operator) -> None:
    assert operator.say("exit", "--amount", "101")[0] == 3
    code, said = operator.say("exit", "--amount", "60", "--json")
    assert (code, json.loads(said)["data"]["amount"]) == (0, 60)
    facts = operator.facts()
    assert (facts.stake, facts.unbonding) == (40, 60)
    code, said = operator.say("withdraw")
    assert (code, "NothingMature" in said) == (3, True), said
    operator.world.anvil.pass_time(StakeTerms().unbonding_s)
    assert operator.say("withdraw")[0] == 0
    assert operator.facts().unbonding == 0


def test_a_claim_of_nothing_is_refused(operator: Operator) -> None:
    code, said = operator.say("claim")
    assert (code, "NothingToClaim" in said) == (3, True), said


def test_a_wrong_token_is_refused(
    world: World, deployment_file: Path, tmp_path: Path, token_file: Path
) -> None:
    node = init(tmp_path / "node", world, deployment_file)["address"]
    world.send(AdmitNode(node, node, 9))
    task = world.create_task()
    token_file.write_text("another")

    with HubDouble(world).serving() as url:
        code, said = approve(tmp_path / "node" / "node.json", task, url, token_file)

    assert code == 3
    assert "another" not in said


# node status and start


def test_status_shows_what_the_chain_knows(world: World, deployment_file: Path, tmp_path: Path) -> None:
    node = init(tmp_path / "node", world, deployment_file)["address"]
    config = str(tmp_path / "node" / "node.json")

    before = json.loads(run.invoke(app, ["status", "--json", "--config", config]).stdout)["data"]
    world.send(AdmitNode(node, node, 9))
    after = json.loads(run.invoke(app, ["status", "--json", "--config", config]).stdout)["data"]

    assert before["on_chain"] == "not admitted, or dismissed"
    assert after["on_chain"].startswith("admitted to group 9; stake 0, 0 on its way out; cannot be drawn")
    assert after["answers"] == []


def test_start_refuses_a_key_that_others_can_read(
    world: World, deployment_file: Path, tmp_path: Path
) -> None:
    init(tmp_path / "node", world, deployment_file)
    (tmp_path / "node" / "node.key").chmod(0o644)

    result = run.invoke(
        app, ["start", "--config", str(tmp_path / "node" / "node.json"), "--superlink", "127.0.0.1:1"]
    )

    assert result.exit_code == 2
    assert "chmod 600" in result.stderr


def test_start_refuses_a_port_that_is_taken(world: World, deployment_file: Path, tmp_path: Path) -> None:
    init(tmp_path / "node", world, deployment_file)
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        config = str(tmp_path / "node" / "node.json")
        result = run.invoke(app, ["start", "--config", config, "--superlink", "127.0.0.1:1", "--port", port])

    assert result.exit_code == 2
    assert f"port {port}" in result.stderr


# node signer


def test_a_signer_that_was_killed_signs_the_same_again_and_nothing_else(
    world: World, deployment_file: Path, tmp_path: Path
) -> None:
    task = world.create_task(training_s=3600)
    number = world.open_round(task)
    facts = JsonRpcChainView(world.anvil.rpc_url, world.deployment).round(task, number)
    node = facts.proposers[0]
    init(tmp_path / "node", world, deployment_file)
    config = tmp_path / "node" / "node.json"
    (tmp_path / "node" / "node.key").write_text(world.nodes[node].key)
    path = tmp_path / "signer" / "socket"
    config.write_text(
        json.dumps(json.loads(config.read_text()) | {"address": node, "signer_socket": "../signer/socket"})
    )
    fields = {
        "node": node,
        "task": task,
        "round": number,
        "context": facts.context,
        "parent_digest": facts.parent_digest,
        "adapter_digest": "0x" + "ab" * 32,
        "report_digest": "0x" + "ab" * 32,
    }
    proposal, another = Proposal.parse(fields), Proposal.parse(fields | {"adapter_digest": "0x" + "cd" * 32})
    client = SocketSigner(node, path)

    with running_signer(config, path) as signer:
        signature = client.sign(proposal)
        proposal.require_signer(world.deployment.rounds_domain, signature, node)
        os.kill(signer.pid, signal.SIGKILL)
        signer.wait()
    with pytest.raises(NodeRefusal, match="no usable answer"):
        client.sign(proposal)
    with running_signer(config, path):
        assert client.sign(proposal) == signature
        with pytest.raises(NodeRefusal, match="another proposal was signed"):
            client.sign(another)
        with pytest.raises(NodeRefusal, match="round 7 of task"):
            client.identify(task, 7, "0x" + "42" * 32)


@contextmanager
def running_signer(config: Path, path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`collegium node signer`, once it answers."""
    command = [sys.executable, "-c", "from tier_global.cli import app; app()", "signer"]
    process = subprocess.Popen([*command, "--config", str(config)], stdin=subprocess.DEVNULL)
    try:
        until(lambda: process.poll() is not None or answers(path), 30.0, "the signer")
        assert process.poll() is None
        yield process
    finally:
        process.kill()
        process.wait()


def answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0
