"""Runs a node's SuperNode: Flower's daemon, and for each message that it gets a process that answers it.

The daemon runs with ``--isolation process``: it talks to the hub and starts nothing. This process asks its
local API for messages, as Flower's ``flower-superexec`` would, and starts ``message_process`` for each.
Nothing else that Flower knows how to start, such as agents, is ever started, whatever the hub calls its run.

What is kept up: the daemon, which a hub can end by sending what Flower cannot read, is started again.
"""

import logging
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import httpx
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.supercore.constant import TaskType
from flwr.supercore.interceptors import RuntimeVersionHttpInterceptor, SuperExecAuthHttpInterceptor
from flwr.supercore.runtime import RuntimeHttpClient

from tier_global.backoff import Backoff
from tier_global.clock import SystemClock
from tier_global.errors import SetupError
from tier_global.keys import write_private
from tier_global.message_process import TOKEN_VARIABLE

POLL_S = 0.2
"""How often the daemon is asked for messages."""
_STOP_GRACE_S = 8.0
_EXIT_USAGE = 2
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_HOST = "127.0.0.1"

log = logging.getLogger("collegium.node")


@dataclass(frozen=True)
class SuperNodeSettings:
    """How the daemon is started: where the hub is, its own port on the loopback interface, its files."""

    superlink: str
    port: int
    state_folder: Path
    certificates: Path | None
    """What the hub is known by; None: the link is not encrypted."""
    flower_key: Path | None
    """What the node is known to the hub by."""
    environment: Mapping[str, str]

    @property
    def runtime_api(self) -> str:
        """The daemon's own API."""
        return f"{_HOST}:{self.port}"

    @property
    def secret_file(self) -> Path:
        """What whoever asks the daemon for messages must know; made anew at every start."""
        return self.state_folder / "runtime.secret"


class _Stopped(BaseException):
    """This process was told to stop."""


def run_supernode(settings: SuperNodeSettings) -> int:
    """Be the network's SuperNode until a signal says stop; the exit code.

    A daemon that ends is started again, unless it does not understand its command line.

    Raises:
        SetupError: the port is taken.
    """
    _require_free(settings.port)
    settings.state_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(settings.secret_file, secrets.token_hex(32))
    with _SuperNode(settings) as supernode:
        try:
            for number in _STOP_SIGNALS:
                signal.signal(number, _raise_stopped)
            return supernode.run()
        except _Stopped:
            return 0


class _SuperNode:
    """The daemon and the processes that answer its messages."""

    def __init__(self, settings: SuperNodeSettings) -> None:
        self._settings = settings
        self._clock = SystemClock()
        self._pause = Backoff[str](self._clock)
        self._messages: list[subprocess.Popen[bytes]] = []
        self._daemon: subprocess.Popen[bytes] | None = None
        self._api = RuntimeHttpClient.from_server_address(
            settings.runtime_api,
            insecure=True,
            root_certificates=None,
            interceptors=[
                RuntimeVersionHttpInterceptor(component_name="SuperExec"),
                SuperExecAuthHttpInterceptor(
                    master_secret=settings.secret_file.read_bytes(),
                    protected_methods={"/flwr.proto.Runtime/AcquireTask"},
                ),
            ],
        )

    def __enter__(self) -> "_SuperNode":
        return self

    def __exit__(self, *exception: object) -> None:
        self._api.close()
        _end([*self._messages, *([self._daemon] if self._daemon else [])])

    def run(self) -> int:
        """Answer messages; returns the daemon's exit code where it does not understand its command line."""
        self._daemon = self._start_daemon()
        while True:
            exit_code = self._daemon.poll()
            if exit_code is not None:
                if exit_code == _EXIT_USAGE:
                    return exit_code
                self._restart_daemon(exit_code)
            token = self._next_message()
            if token is not None:
                self._messages.append(self._start_message(token))
            self._messages = [process for process in self._messages if process.poll() is None]
            self._clock.sleep(POLL_S)

    def _restart_daemon(self, exit_code: int) -> None:
        log.warning("flower-supernode ended with exit code %d; it is started again", exit_code)
        self._pause.count("daemon")
        while not self._pause.is_over("daemon"):
            self._clock.sleep(POLL_S)
        self._daemon = self._start_daemon()

    def _next_message(self) -> str | None:
        """The token of a message that waits; None where there is none, or no daemon yet."""
        try:
            answer = self._api.AcquireTask(AcquireTaskRequest(supported_task_types=list(TaskType)))
        except httpx.TransportError:
            return None
        except httpx.HTTPStatusError as error:
            log.warning("the SuperNode's own API: %s", error)
            return None
        return answer.token if answer.HasField("task") and answer.token else None

    def _start_daemon(self) -> subprocess.Popen[bytes]:
        return self._start(
            [
                *("tier_global.supernode_process", str(os.getpid())),
                *("--superlink", self._settings.superlink, *self._link_options()),
                *("--host", _HOST, "--port", str(self._settings.port)),
                *("--isolation", "process", "--superexec-auth-secret-file", str(self._settings.secret_file)),
            ],
            {},
        )

    def _link_options(self) -> list[str]:
        if self._settings.certificates is None:
            return ["--insecure"]
        options = ["--root-certificates", str(self._settings.certificates)]
        if self._settings.flower_key is not None:
            options += ["--auth-supernode-private-key", str(self._settings.flower_key)]
        return options

    def _start_message(self, token: str) -> subprocess.Popen[bytes]:
        return self._start(
            [
                *("tier_global.message_process", "--parent", str(os.getpid())),
                *("--runtime-api", self._settings.runtime_api),
            ],
            {TOKEN_VARIABLE: token},
        )

    def _start(self, module: list[str], environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        # -P: the folder that the operator happens to be in holds no modules.
        return subprocess.Popen(
            [sys.executable, "-P", "-m", *module],
            env={**self._settings.environment, **environment},
            stdin=subprocess.DEVNULL,
        )


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            raise SetupError(
                f"port {port} of {_HOST}: {error.strerror}; choose another with --port"
            ) from error


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    """Ask, wait, then kill."""
    for process in processes:
        process.terminate()
    clock = SystemClock()
    give_up_unix_s = clock.now_unix_s() + _STOP_GRACE_S
    for process in processes:
        try:
            process.wait(max(0.0, give_up_unix_s - clock.now_unix_s()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _raise_stopped(_number: int, _frame: FrameType | None) -> None:
    # Once only: what ends the children must not be interrupted.
    for number in _STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    raise _Stopped
