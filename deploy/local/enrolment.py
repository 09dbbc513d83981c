"""How the networks of a local run come into the consortium: as ``docs/enrolment.md`` says."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from deploy.local.commands import Commands
from deploy.local.hosts import Hosts
from deploy.local.hub import Hub
from deploy.local.layout import Layout, write_secret
from deploy.local.networks import NetworkNode
from deploy.local.supervisor import LauncherError, Supervisor
from deploy.local.system import BIN, HubAddresses

INVITE_LASTS_S = 3_600
TIMEOUT_S = 120.0
_SIDE_BY_SIDE = 2


def enrol_networks(
    supervisor: Supervisor,
    commands: Commands,
    layout: Layout,
    addresses: HubAddresses,
    hosts: Hosts,
    session: Hub,
    nodes: Sequence[NetworkNode],
) -> None:
    """Invite every network, have its node bind its keys, approve it, and wait until the chain admits it.

    Raises:
        LauncherError: a network or the hub refuses, or a statement is not of the node that it should be of.
    """
    for group, node in enumerate(nodes, start=1):
        invite = session.post(
            "/v1/enrolments/invites", {"network": node.name, "group": group, "lasts_s": INVITE_LASTS_S}
        )
        write_secret(layout.invite(node.name), invite["secret"])
    hand_in = partial(_hand_in, commands, layout, addresses, hosts)
    with ThreadPoolExecutor(_SIDE_BY_SIDE) as executor:
        numbers = list(executor.map(hand_in, nodes))
    for node, number in zip(nodes, numbers, strict=True):
        _approve(session, node, number)
    expected = {node.address for node in nodes}
    supervisor.wait_for(
        lambda: {node["node"] for node in session.get("/v1/nodes?limit=200")["items"]} == expected,
        "the nodes to be admitted on chain",
        TIMEOUT_S,
    )


def _hand_in(
    commands: Commands, layout: Layout, addresses: HubAddresses, hosts: Hosts, node: NetworkNode
) -> int:
    """The network's statement; the number of its enrolment."""
    envelope = commands.run_json(
        f"node-enrol-{node.name}",
        [
            *(BIN / "collegium", "node", "enrol", "--json"),
            *("--config", layout.network(node.name) / "node.json", "--name", node.name),
            *("--invite-file", layout.invite(node.name), "--flower-key", node.flower_key),
            *(() if node.certificate is None else ("--certificate", node.certificate)),
            *("--orchestrator-url", addresses.orchestrator_url),
        ],
        timeout_s=TIMEOUT_S,
        host=hosts.network(node.name),
    )
    return int(envelope["data"]["enrolment"])


def _approve(session: Hub, node: NetworkNode, number: int) -> None:
    """The council's word, after it has compared the account with what the network says of itself."""
    account = session.get(f"/v1/enrolments/{number}")["statement"]["node"]
    if account != node.address:
        raise LauncherError(
            f"enrolment {number} is of {account}, and the node of {node.name} is {node.address}"
        )
    session.post(f"/v1/enrolments/{number}/approval")
