"""The launcher's supervisor with real processes."""

import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.commands import Commands
from deploy.local.hosts import THIS_MACHINE, Host
from deploy.local.supervisor import DaemonDied, LauncherError, Supervisor

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)",
]
FAILING = [sys.executable, "-c", "print('the disk is full'); raise SystemExit(3)"]


@pytest.fixture
def supervisor(tmp_path: Path) -> Iterator[Supervisor]:
    supervisor = Supervisor(tmp_path, {"PATH": "/usr/bin"})
    yield supervisor
    supervisor.stop()


def log_says_up(folder: Path, name: str) -> bool:
    log = folder / f"{name}.log"
    return log.exists() and "up" in log.read_text()


def test_a_daemon_runs_until_it_is_stopped(tmp_path: Path, supervisor: Supervisor) -> None:
    supervisor.start("sleeper", SLEEPER, ready=lambda: log_says_up(tmp_path, "sleeper"), timeout_s=10)
    pid = supervisor.processes()["sleeper"]
    assert Path(f"/proc/{pid}").exists()
    supervisor.check()
    supervisor.stop()
    assert not Path(f"/proc/{pid}").exists()


def test_a_daemon_that_ignores_sigterm_is_killed(
    tmp_path: Path, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deploy.local.supervisor.STOP_GRACE_S", 0.2)
    supervisor.start("stubborn", STUBBORN, ready=lambda: log_says_up(tmp_path, "stubborn"), timeout_s=10)
    pid = supervisor.processes()["stubborn"]
    supervisor.stop()
    assert not Path(f"/proc/{pid}").exists()


def test_a_dead_daemon_is_named_with_the_end_of_its_log(supervisor: Supervisor) -> None:
    with pytest.raises(DaemonDied, match=r"database ended with exit code 3; (.|\n)*the disk is full"):
        supervisor.start("database", FAILING, ready=lambda: False, timeout_s=10)


def test_waiting_has_a_deadline(tmp_path: Path, supervisor: Supervisor) -> None:
    with pytest.raises(LauncherError, match="in vain for sleeper to be ready"):
        supervisor.start("sleeper", SLEEPER, ready=lambda: False, timeout_s=0.3)


def test_a_failed_command_shows_the_end_of_its_log(tmp_path: Path) -> None:
    commands = Commands(tmp_path, {})
    with pytest.raises(LauncherError, match=r"exit code 3; (.|\n)*the disk is full"):
        commands.run("migrate", FAILING, timeout_s=10)


def test_a_command_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    commands = Commands(tmp_path, {})
    with pytest.raises(LauncherError, match="took more than"):
        commands.run("sleeper", SLEEPER, timeout_s=0.5)


def test_a_command_gets_its_environment_and_gives_its_output(tmp_path: Path) -> None:
    commands = Commands(tmp_path, {"COLOUR": "red", "SIZE": "1"})
    code = "import json, os; print(json.dumps([os.environ['COLOUR'], os.environ['SIZE']]))"
    answer = commands.run_json(
        "printer", [sys.executable, "-c", code], timeout_s=10, environment={"COLOUR": "blue"}
    )
    assert answer == ["blue", "1"]


def test_daemons_and_commands_run_where_their_host_says(tmp_path: Path, supervisor: Supervisor) -> None:
    elsewhere = Host("192.0.2.1", ("env", "PLACE=elsewhere"))
    tell = [sys.executable, "-c", "import os, time; print(os.environ['PLACE'], flush=True); time.sleep(600)"]
    log = tmp_path / "teller.log"
    supervisor.start(
        "teller",
        tell,
        ready=lambda: log.exists() and log.read_text() == "elsewhere\n",
        timeout_s=10,
        host=elsewhere,
    )
    said = Commands(tmp_path, {"PATH": "/usr/bin"}).run(
        "printer", ["sh", "-c", "echo $PLACE"], timeout_s=10, host=elsewhere
    )
    assert said == "elsewhere\n"


@pytest.mark.parametrize("host", [THIS_MACHINE, Host(command_prefix=("env", "PLACE=elsewhere"))])
def test_a_host_says_whether_one_of_its_ports_is_listened_at(host: Host) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert host.accepts_connections(port)
    assert not host.accepts_connections(port)
    assert not host.accepts_connections(port, "127.0.0.2")
