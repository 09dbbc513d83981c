"""Registers SuperNodes' keys at the SuperLink, with the ``flwr`` command."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from orchestrator.adapters.flower.command import run_flwr
from orchestrator.domain.ports import FlowerError

_IN_USE = "Public key already in use"


@dataclass(frozen=True)
class FlowerCommandNodes:
    """The keys that a SuperLink with authentication lets in, by the ``flwr`` command beside this interpreter.

    ``home`` is FLWR_HOME, whose config.toml names the SuperLink connection.
    """

    home: Path
    connection: str
    timeout_s: float = 120.0

    def register(self, node: str, public_key: str) -> bool:
        """Let a key in as ``node``; whether it was not in already. Raises FlowerError."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "flower.pub"
            file.write_text(public_key + "\n")
            try:
                run_flwr(
                    self.home,
                    self.timeout_s,
                    *("supernode", "register", str(file), self.connection, "--name", node),
                )
            except FlowerError as error:
                if _IN_USE in str(error):
                    return False
                raise
        return True
