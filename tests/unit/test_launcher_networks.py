"""What the launcher gives to the networks."""

from pathlib import Path
from typing import Any

from deploy.local.layout import Layout
from deploy.local.networks import NetworkNode, approve_task
from deploy.local.system import Ports


class CommandsDouble:
    """Remembers the commands."""

    def __init__(self) -> None:
        self.ran: list[list[str]] = []

    def run(self, name: str, command: list[Any], *, timeout_s: float) -> str:
        """Pretend."""
        self.ran.append([str(part) for part in command])
        return ""


def test_networks_sign_in_with_their_own_keys(tmp_path: Path) -> None:
    commands, layout = CommandsDouble(), Layout(tmp_path)
    nodes = [NetworkNode(name=name, address="0x", poisoned=False) for name in ("one", "two")]
    approve_task(commands, layout, Ports.free(), nodes, 1)  # type: ignore[arg-type]
    configs = [ran[ran.index("--config") + 1] for ran in commands.ran]
    assert configs == [str(layout.network(name) / "node.json") for name in ("one", "two")]
    assert not any("--token-file" in ran for ran in commands.ran), "no token of the consortium's"
