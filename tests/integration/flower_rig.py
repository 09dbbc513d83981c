"""Real Flower daemons on free ports, each a process group of its own that is ended with all its children."""

import json
import os
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import psutil

from tier_global.bundle import APP_FOLDER

BINARIES = Path(sys.executable).parent
START_TIMEOUT_S = 60.0
SUPERLINK = "superlink"


def until(condition: Callable[[], object], timeout_s: float, what: str) -> None:
    """Wait for a condition; fail when it does not come true."""
    give_up = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < give_up, f"waited {timeout_s:.0f} s for {what}"
        time.sleep(0.1)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@dataclass
class FlowerRig:
    """One SuperLink, and SuperNodes by name."""

    folder: Path
    conductor_environment: dict[str, str] = field(default_factory=dict)
    superlink_options: tuple[str, ...] = ()
    tls: tuple[Path, Path] | None = None
    """The files of the SuperLink's certificate and of its key: then nodes have to be registered."""
    port: int = field(default_factory=free_port)
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def running(
        cls, folder: Path, conductor_environment: dict[str, str], tls: tuple[Path, Path] | None = None
    ) -> Iterator["FlowerRig"]:
        """A rig with a SuperLink; everything is gone at the end."""
        rig = cls(folder, conductor_environment, tls=tls)
        rig.write_connection()
        try:
            rig.start_superlink()
            yield rig
        finally:
            for name in list(rig.daemons):
                rig.kill(name)

    @property
    def client_home(self) -> Path:
        """FLWR_HOME of ``flwr``; the connection is called "rig"."""
        return self.folder / "client-home"

    def write_connection(self) -> None:
        """Tell ``flwr`` where the SuperLink is."""
        self.client_home.mkdir(exist_ok=True)
        trust = "insecure = true" if self.tls is None else f'root-certificates = "{self.tls[0]}"'
        (self.client_home / "config.toml").write_text(
            f'[superlink.rig]\naddress = "127.0.0.1:{self.port}"\n{trust}\n'
        )

    def start_superlink(self) -> None:
        """Start the SuperLink, again if it was killed, and wait until it answers."""
        self._start(
            SUPERLINK,
            [
                *("flower-superlink", "--disable-runtime-dependency-installation", *self._link_options()),
                *("--host", "127.0.0.1", "--port", str(self.port), *self.superlink_options),
            ],
            self.conductor_environment,
        )
        until(self._superlink_answers, START_TIMEOUT_S, "the SuperLink")

    def start_node(self, name: str, config: Path) -> None:
        """Start a node by its own command."""
        command = "from tier_global.cli import app; app()"
        self._start(
            name,
            [
                *(sys.executable, "-c", command, "start", "--config", str(config)),
                *("--superlink", f"127.0.0.1:{self.port}", "--port", str(free_port())),
            ],
            {},
        )

    def has_ended(self, name: str) -> bool:
        """Whether a daemon is gone that nobody killed here."""
        return self.daemons[name].poll() is not None

    def kill(self, name: str) -> None:
        """kill -9 a daemon and everything that it started."""
        process = self.daemons.pop(name)
        children = _descendants(process.pid)
        process.kill()
        process.wait()
        for child in children:
            try:
                child.kill()
            except psutil.NoSuchProcess:
                continue

    def start_plain_node(self, name: str) -> None:
        """Start a SuperNode as Flower itself would have it."""
        self._start(
            name,
            [
                *("flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{self.port}"),
                *("--host", "127.0.0.1", "--port", str(free_port())),
            ],
            {},
        )

    def supernode_pids(self, name: str) -> list[int]:
        """The SuperNode processes of a node that run now."""
        return [
            child.pid
            for child in _descendants(self.daemons[name].pid)
            if "tier_global.supernode_process" in _command_line(child)
        ]

    def submit(self, task: int, round_number: int, app_folder: Path = APP_FOLDER) -> str:
        """``flwr run``: start the conductor of a round; the run's id."""
        done = subprocess.run(
            [
                *(BINARIES / "flwr", "run", app_folder, "rig"),
                *("--run-config", f"task={task} round={round_number}", "--format", "json"),
            ],
            env=_environment(self.client_home),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=True,
        )
        run_id: str = json.loads(done.stdout)["run-id"]
        return run_id

    def conductor_pids(self) -> list[int]:
        """The ServerApp processes that run now."""
        return [
            child.pid
            for child in _descendants(self.daemons["superlink"].pid)
            if any("flwr-serverapp" in part for part in _command_line(child))
        ]

    def log_of(self, name: str) -> str:
        """What a daemon and its children have printed."""
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def run_log(self, run_id: str) -> str:
        """What the conductor of a run has printed."""
        done = subprocess.run(
            [BINARIES / "flwr", "log", run_id, "rig", "--show"],
            env=_environment(self.client_home),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=60,
            check=False,
        )
        return (done.stdout + done.stderr).decode(errors="replace")

    def _start(self, name: str, command: list[str], environment: dict[str, str]) -> None:
        home = self.folder / f"{name}-home"
        home.mkdir(exist_ok=True)
        with (self.folder / f"{name}.log").open("ab") as log:
            self.daemons[name] = subprocess.Popen(
                command,
                env=_environment(home) | environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=self.folder,
            )

    def _link_options(self) -> tuple[str, ...]:
        if self.tls is None:
            return ("--insecure",)
        certificate, key = map(str, self.tls)
        return (
            *("--ssl-certfile", certificate, "--ssl-keyfile", key, "--ssl-ca-certfile", certificate),
            "--enable-supernode-auth",
        )

    def _superlink_answers(self) -> bool:
        assert self.daemons["superlink"].poll() is None, self.log_of("superlink")
        try:
            if self.tls is None:
                httpx.get(f"http://127.0.0.1:{self.port}/", timeout=2)
            else:
                trust = ssl.create_default_context(cafile=self.tls[0])
                httpx.get(f"https://127.0.0.1:{self.port}/", timeout=2, verify=trust)
        except httpx.TransportError:
            return False
        return True


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:  # it ended meanwhile; a zombie counts as ended
        return []


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _environment(home: Path) -> dict[str, str]:
    return os.environ | {
        "PATH": f"{BINARIES}{os.pathsep}{os.environ['PATH']}",
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.2",
        "PYTHONUNBUFFERED": "1",
    }
