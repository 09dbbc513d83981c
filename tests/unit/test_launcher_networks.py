"""What the launcher gives to the networks."""

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from contracts.digests import ZERO_DIGEST
from deploy.local.hospitals import policy_file, write_policies
from deploy.local.hosts import THIS_MACHINE, Host, Hosts
from deploy.local.layout import Layout
from deploy.local.networks import NetworkNode, approve_task, prepare_network
from deploy.local.profile import Inner
from deploy.local.system import HubAddresses
from tier_local.network import Network
from tier_local.policy import Wish, read_policy, refusals
from tier_local.rules import Rule


class CommandsDouble:
    """Remembers the commands."""

    def __init__(self) -> None:
        self.ran: list[list[str]] = []

    def run_json(self, name: str, command: list[Any], *, timeout_s: float, host: Host) -> dict[str, Any]:
        """Pretend that a node was made."""
        self.ran.append(host.command(command))
        return {"data": {"address": "0x"}}

    def run(self, name: str, command: list[Any], *, timeout_s: float, host: Host) -> str:
        """Pretend."""
        self.ran.append(host.command(command))
        return ""


def test_networks_sign_in_with_their_own_keys(tmp_path: Path) -> None:
    commands, layout = CommandsDouble(), Layout(tmp_path)
    nodes = [
        NetworkNode(name, address="0x", flower_key=tmp_path, certificate=None, poisoned=False)
        for name in ("one", "two")
    ]
    hosts = Hosts(networks={"two": Host("192.0.2.2", ("on", "two"))})
    approve_task(commands, layout, HubAddresses.free(), hosts, nodes, 1)  # type: ignore[arg-type]
    configs = [ran[ran.index("--config") + 1] for ran in commands.ran]
    assert configs == [str(layout.network(name) / "node.json") for name in ("one", "two")]
    assert [ran[:2] == ["on", "two"] for ran in commands.ran] == [False, True]
    assert not any("--token-file" in ran for ran in commands.ran), "no token of the consortium's"


def make_network(layout: Layout, inner: Inner) -> Network:
    """The network ``one`` as the launcher makes it, under a umask that lets the group write."""
    old_mask = os.umask(0o002)
    try:
        write_policies(layout, "one")
        prepare_network(
            CommandsDouble(),  # type: ignore[arg-type]
            layout,
            HubAddresses.free(),
            THIS_MACHINE,
            "one",
            model_cache=layout.folder / "models",
            inner=inner,
            poisoned=False,
        )
    finally:
        os.umask(old_mask)
    return Network.read(layout.network("one") / "network.json")


def test_hospitals_get_policies_that_permit_their_own_records(tmp_path: Path) -> None:
    network = make_network(Layout(tmp_path), Inner.SIMULATOR)
    assert network.environment == "simulator"
    assert len(network.sites) > 1
    for site in network.sites:
        assert site.policy_file is not None
        policy = read_policy(site.policy_file)
        assert policy.site == site.name
        for use in ("train", "evaluate"):
            wish = Wish(use, ZERO_DIGEST, ZERO_DIGEST, 20, site.data_folder)  # type: ignore[arg-type]
            assert list(refusals(policy, wish, 0)) == []
            elsewhere = replace(wish, data_folder=tmp_path)
            assert [refusal.rule for refusal in refusals(policy, elsewhere, 0)] == [Rule.DATA_SETS]


def test_a_deployed_network_knows_its_hospitals_by_name_and_policy_alone(tmp_path: Path) -> None:
    layout = Layout(tmp_path)
    network = make_network(layout, Inner.DEPLOYED)
    assert network.environment == "production"
    assert network.admin_kit == layout.federation("one") / "admin"
    for site in network.sites:
        assert (site.data_folder, site.policy_file, site.state_folder) == (None, None, None)
        assert site.policy_digest == read_policy(policy_file(layout, "one", site.name)).digest
