"""Hosts with addresses of their own on one machine, and the network between them, which can be cut.

A host is a network namespace of Linux. All of them hang on one router, a namespace too, so that nothing of it
touches the machine's own network, and nothing outside is within reach. A host that is cut off is one whose
packets the router drops, in both directions and without a word: no connection is reset, no address is
unreachable, nobody answers. That is the harshest cut: what notices it does so by its own deadlines.

The namespaces have no names. This process holds them open; the kernel removes each one when this process and
the last process in it have ended, however they end.

Needs Linux, root and ``ip`` (iproute2); ``why_impossible`` says what is missing.
"""

import ctypes
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_CLONE_NEWNET = 0x40000000
_THIS_THREADS_NAMESPACE = "/proc/thread-self/ns/net"
_FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
_CONNECTIONS = Path("/proc/thread-self/net/tcp")
_ESTABLISHED = "01"
_IP_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Host:
    """One host: its address, and its namespace, which the network of hosts holds open."""

    name: str
    address: str
    namespace: int

    @property
    def namespace_file(self) -> str:
        """By what other processes enter the host while this one lives: ``nsenter --net=FILE``."""
        return _path(self.namespace)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Within this, what the calling thread does is done on this host: the sockets that it opens, the
        processes and the threads that it starts. Other threads are where they were."""
        with _entered(self.namespace):
            yield


class NetworkHosts:
    """Some hosts that reach one another, until one is cut off."""

    def __init__(self, router: int, hosts: Sequence[Host]) -> None:
        """Use ``made``."""
        self._router = router
        self._hosts = {host.name: host for host in hosts}
        self._cut: set[str] = set()

    @classmethod
    @contextmanager
    def made(cls, *names: str) -> Iterator["NetworkHosts"]:
        """Hosts of these names; they are gone at the end, but for those where a process still runs."""
        namespaces: list[int] = []
        try:
            for _ in range(1 + len(names)):
                namespaces.append(_new_namespace())
            router, *others = namespaces
            hosts = [
                Host(name, _address(number, 2), namespace)
                for number, (name, namespace) in enumerate(zip(names, others, strict=True))
            ]
            _connect(router, hosts)
            yield cls(router, hosts)
        finally:
            for namespace in namespaces:
                os.close(namespace)

    def __getitem__(self, name: str) -> Host:
        return self._hosts[name]

    def cut(self, name: str) -> None:
        """Let nothing through to or from a host, whatever connections it has."""
        if name not in self._cut:
            self._change_rules("add", name)
            self._cut.add(name)

    def heal(self, name: str) -> None:
        """Let everything through again."""
        if name in self._cut:
            self._change_rules("del", name)
            self._cut.remove(name)

    def has_caught_up(self, name: str) -> bool:
        """Whether nothing waits any more to arrive at a host or from it.

        TCP sends again what nobody acknowledged, after pauses that double: after a cut it may take as long
        again as the cut did, and two minutes at most.
        """
        address = self._hosts[name].address
        return not any(
            connection.unacknowledged_bytes
            for host in self._hosts.values()
            for connection in _connections(host)
            if address in (connection.here, connection.there)
        )

    def _change_rules(self, change: str, name: str) -> None:
        address = self._hosts[name].address
        _ip(self._router, [f"rule {change} {way} {address} priority 1 blackhole" for way in ("from", "to")])


@dataclass(frozen=True)
class _Connection:
    """An established TCP connection, as one of its ends sees it."""

    here: str
    there: str
    unacknowledged_bytes: int


def _connections(host: Host) -> list[_Connection]:
    with host.entered():
        _, *lines = _CONNECTIONS.read_text().splitlines()
    found = []
    for line in lines:
        _, here, there, state, queues, *_ = line.split()
        if state == _ESTABLISHED:
            waiting = int(queues.partition(":")[0], 16)
            found.append(_Connection(_address_in(here), _address_in(there), waiting))
    return found


def _address_in(field: str) -> str:
    """The kernel writes addresses as it has them in memory."""
    return socket.inet_ntoa(int(field.partition(":")[0], 16).to_bytes(4, sys.byteorder))


def why_impossible() -> str | None:
    """Why there can be no hosts here; None where there can."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    if os.geteuid() != 0:
        return "network namespaces are made by root"
    if shutil.which("ip") is None:
        return "there is no 'ip' (Debian's package iproute2)"
    try:
        os.close(_new_namespace())
    except OSError as error:
        return f"root may not make network namespaces here: {error.strerror}"
    return None


def _connect(router: int, hosts: Sequence[Host]) -> None:
    """Give every host a cable to the router, an address, and the router as its way to the others."""
    ends = [f"to-{number}" for number in range(len(hosts))]
    at_router = ["link set lo up"]
    for number, (host, end) in enumerate(zip(hosts, ends, strict=True)):
        at_router += [
            f"link add {end} type veth peer name cable netns {_path(host.namespace)}",
            f"address add {_address(number, 1)}/24 dev {end}",
            f"link set {end} up",
        ]
    _ip(router, at_router)
    for number, host in enumerate(hosts):
        _ip(
            host.namespace,
            [
                "link set lo up",
                f"address add {host.address}/24 dev cable",
                "link set cable up",
                f"route add default via {_address(number, 1)}",
            ],
        )
    with _entered(router):
        # The setting is the one of the namespace whose thread writes it.
        _FORWARDING.write_text("1")


def _ip(namespace: int, lines: Sequence[str]) -> None:
    with _entered(namespace):
        done = subprocess.run(
            ["ip", "-batch", "-"],
            input="".join(f"{line}\n" for line in lines),
            capture_output=True,
            text=True,
            timeout=_IP_TIMEOUT_S,
            check=False,
        )
    if done.returncode != 0:
        raise RuntimeError(f"ip: {done.stderr}of\n{lines}")


def _address(number: int, host: int) -> str:
    return f"10.77.{number}.{host}"


def _path(namespace: int) -> str:
    return f"/proc/{os.getpid()}/fd/{namespace}"


def _new_namespace() -> int:
    """A new namespace, held open. Made by a thread of its own: this one stays where it is."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(_leave_for_a_new_one).result()


def _leave_for_a_new_one() -> int:
    if _C_LIBRARY.unshare(_CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare: no new network namespace")
    return os.open(_THIS_THREADS_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)


@contextmanager
def _entered(namespace: int) -> Iterator[None]:
    outside = os.open(_THIS_THREADS_NAMESPACE, os.O_RDONLY | os.O_CLOEXEC)
    try:
        _enter(namespace)
        try:
            yield
        finally:
            _enter(outside)
    finally:
        os.close(outside)


def _enter(namespace: int) -> None:
    if _C_LIBRARY.setns(namespace, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns: the network namespace cannot be entered")


_C_LIBRARY = ctypes.CDLL(None, use_errno=True)
