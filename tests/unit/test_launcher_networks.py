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


def test_each_network_uses_its_own_token(tmp_path: Path) -> None:
    commands, layout = CommandsDouble(), Layout(tmp_path)
    nodes = [NetworkNode(name=name, address="0x", poisoned=False) for name in ("one", "two")]
    approve_task(commands, layout, Ports.free(), nodes, 1)  # type: ignore[arg-type]
    tokens = [ran[ran.index("--token-file") + 1] for ran in commands.ran]
    assert tokens == [str(layout.operator_token(name)) for name in ("one", "two")]
