"""The hosts of a local run's processes: all are this machine, unless a caller says otherwise.

A test in network namespaces gives each party a host of its own: the address that the others reach it at, and
the prefix (``ip netns exec NAME``) that puts a command there.
"""

import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

LOOPBACK_ADDRESS = "127.0.0.1"
_CONNECT_S = 1.0
_CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3]))"


@dataclass(frozen=True)
class Host:
    """Where processes run, and how others reach them."""

    address: str = LOOPBACK_ADDRESS
    command_prefix: tuple[str, ...] = ()

    def command(self, command: Sequence[str | Path]) -> list[str]:
        """The command line that runs ``command`` on this host."""
        return [*self.command_prefix, *(str(part) for part in command)]

    def accepts_connections(self, port: int, address: str | None = None) -> bool:
        """Whether something on this host listens at the port, as seen from the host itself.

        Args:
            port: of the host.
            address: one of the host's own; that which others reach it at, unless it is given.
        """
        address = address or self.address
        if self.command_prefix:
            probe = [sys.executable, "-I", "-S", "-c", _CONNECT, address, str(port), str(_CONNECT_S)]
            return subprocess.run(self.command(probe), capture_output=True, check=False).returncode == 0
        try:
            socket.create_connection((address, port), _CONNECT_S).close()
        except OSError:
            return False
        return True


THIS_MACHINE = Host()


@dataclass(frozen=True)
class Hosts:
    """Who runs where: the hub with the chain, each network with its node and server, each hospital."""

    hub: Host = THIS_MACHINE
    networks: Mapping[str, Host] = field(default_factory=dict)
    hospitals: Mapping[tuple[str, str], Host] = field(default_factory=dict)
    """By network and name."""

    def network(self, name: str) -> Host:
        """The host of a network's node and of its federation's server."""
        return self.networks.get(name, THIS_MACHINE)

    def hospital(self, network: str, name: str) -> Host:
        """The host of a hospital."""
        return self.hospitals.get((network, name), THIS_MACHINE)
