"""The hosts themselves: apart from the machine, reachable by address, and silent when they are cut off."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.integration.flower_rig import until
from tests.integration.network_hosts import Host, NetworkHosts

pytestmark = pytest.mark.usefixtures("namespaces")

PORT = 7000
PATIENCE_S = 20.0
SILENCE_S = 0.3
"""What arrives between two hosts of one machine arrives sooner."""

# Makes hosts, starts a process on one of them, says both ids, and waits to be killed.
MAKER = """
import subprocess, sys, time
from tests.integration.network_hosts import NetworkHosts
with NetworkHosts.made("left", "right") as hosts:
    with hosts["left"].entered():
        child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print(child.pid, flush=True)
    time.sleep(600)
"""


@contextmanager
def listening(host: Host) -> Iterator[socket.socket]:
    with host.entered():
        listener = socket.create_server((host.address, PORT))
    listener.settimeout(PATIENCE_S)
    with listener:
        yield listener


def call(source: Host, target: Host, timeout_s: float = PATIENCE_S) -> socket.socket:
    with source.entered():
        return socket.create_connection((target.address, PORT), timeout_s)


def namespace_of(process: int | str) -> str:
    return os.readlink(f"/proc/{process}/ns/net")


def test_each_host_has_its_own_address() -> None:
    with NetworkHosts.made("left", "right") as hosts, listening(hosts["left"]) as listener:
        with call(hosts["right"], hosts["left"]):
            connection, (address, _) = listener.accept()
            connection.close()
        assert address == hosts["right"].address != hosts["left"].address


def test_nothing_of_the_machine_is_within_reach() -> None:
    with NetworkHosts.made("left", "right") as hosts, listening(hosts["left"]) as listener:
        # A machine's own network may have an answer for any address; this host hears nothing of it.
        with suppress(OSError), socket.create_connection(listener.getsockname(), SILENCE_S):
            pass
        listener.settimeout(SILENCE_S)
        with pytest.raises(TimeoutError):
            listener.accept()
        with (
            socket.create_server(("127.0.0.1", 0)) as here,
            hosts["left"].entered(),
            pytest.raises(ConnectionRefusedError),
        ):
            socket.create_connection(here.getsockname(), PATIENCE_S)


def test_a_host_that_is_cut_off_is_silent_and_comes_back() -> None:
    """No connection is reset, and what was said meanwhile arrives afterwards; the others notice nothing."""
    with NetworkHosts.made("left", "right", "other") as hosts, listening(hosts["left"]) as listener:
        with call(hosts["right"], hosts["left"]) as caller:
            answerer, _ = listener.accept()
            with answerer:
                hosts.cut("right")
                caller.sendall(b"ask")
                answerer.sendall(b"answer")
                for end in (caller, answerer):
                    end.settimeout(SILENCE_S)
                    with pytest.raises(TimeoutError):
                        end.recv(1)
                    end.settimeout(PATIENCE_S)
                for source, target in (("right", "left"), ("other", "right")):
                    with pytest.raises(TimeoutError):
                        call(hosts[source], hosts[target], SILENCE_S)
                call(hosts["other"], hosts["left"]).close()
                assert not hosts.has_caught_up("right")
                assert not hosts.has_caught_up("left")
                assert hosts.has_caught_up("other")
                hosts.heal("right")
                assert (answerer.recv(10), caller.recv(10)) == (b"ask", b"answer")
                until(lambda: hosts.has_caught_up("right"), PATIENCE_S, "all to be acknowledged")
        call(hosts["right"], hosts["left"]).close()


def test_a_cut_and_a_healing_may_be_repeated() -> None:
    with NetworkHosts.made("left", "right") as hosts, listening(hosts["left"]):
        hosts.cut("left")
        hosts.cut("left")
        hosts.heal("left")
        hosts.heal("left")
        call(hosts["right"], hosts["left"]).close()


def test_what_is_started_on_a_host_is_there() -> None:
    machine = namespace_of("thread-self")
    with NetworkHosts.made("left", "right") as hosts:
        with hosts["left"].entered():
            host = namespace_of("thread-self")
            child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
        with child:
            assert namespace_of(child.pid) == host != machine
            child.communicate(b"\n")
    assert namespace_of("thread-self") == machine


def test_killed_hosts_leave_only_what_runs_on_them() -> None:
    with subprocess.Popen([sys.executable, "-c", MAKER], stdout=subprocess.PIPE) as maker:
        assert maker.stdout is not None
        child = int(maker.stdout.readline())
        namespace = namespace_of(child)
        maker.kill()
    try:
        assert namespace != namespace_of("self")
        assert processes_in(namespace) == [child]
    finally:
        os.kill(child, signal.SIGKILL)
    until(lambda: processes_in(namespace) == [], PATIENCE_S, "the host's last process to be gone")


def processes_in(namespace: str) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if namespace_of(folder.name) == namespace:
                    found.append(int(folder.name))
            except OSError:
                continue
    return found
