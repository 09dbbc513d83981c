"""A hub for benchmarks: ``collegium serve`` as operators run it, on SQLite, in a process of its own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from deploy.local.ports import free_ports
from orchestrator.adapters.database import open_records
from orchestrator.adapters.database.migrate import migrate
from orchestrator.composition import SystemClock
from orchestrator.services.tokens import TokenService
from tests.integration.orchestrator_double_rig import DEPLOYMENT

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class ServedHub:
    """A hub that answers; ``token`` is an admin's."""

    port: int
    token: str
    pid: int
    database_url: str

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def headers(self) -> dict[str, str]:
        """What an admin sends."""
        return {"Authorization": f"Bearer {self.token}"}


@contextmanager
def process(
    arguments: Sequence[str | Path], folder: Path, environment: Mapping[str, str] | None = None
) -> Iterator["subprocess.Popen[bytes]"]:
    """A process whose output goes to a file, stopped by its own id at the end."""
    with (folder / "output.log").open("ab") as log:
        running = subprocess.Popen(
            [*arguments], env=os.environ | dict(environment or {}), stdout=log, stderr=log
        )
    try:
        yield running
    finally:
        running.send_signal(signal.SIGTERM)
        try:
            running.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            running.kill()
            running.wait()


@contextmanager
def served_hub(folder: Path, **settings: str) -> Iterator[ServedHub]:
    """A hub on the database ``hub.sqlite3`` in the folder, which is made when it is not there."""
    database_url = f"sqlite:///{folder}/hub.sqlite3"
    migrate(database_url)
    records = open_records(database_url)
    token = TokenService(records, SystemClock()).issue("admin", "benchmark")
    records.close()
    (folder / "deployment.json").write_bytes(DEPLOYMENT.to_json())
    port = free_ports(1)[0]
    environment = {
        "COLLEGIUM_MODE": "development",
        "COLLEGIUM_REQUEST_LIMIT": "100000000/minute",
        "COLLEGIUM_DATABASE_URL": database_url,
        "COLLEGIUM_ARTIFACT_FOLDER": str(folder / "artifacts"),
        "COLLEGIUM_DEPLOYMENT_FILE": str(folder / "deployment.json"),
        "COLLEGIUM_PORT": str(port),
        **settings,
    }
    with process([Path(sys.executable).with_name("collegium"), "serve"], folder, environment) as running:
        wait_until_it_answers(f"http://127.0.0.1:{port}/healthz", running)
        yield ServedHub(port, token, running.pid, database_url)


def wait_until_it_answers(url: str, running: "subprocess.Popen[bytes]") -> None:
    """Return at the first answer of 2xx."""
    give_up_s = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < give_up_s:
        if running.poll() is not None:
            raise RuntimeError(f"the process ended with {running.returncode}")
        try:
            if httpx.get(url).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.01)
    raise RuntimeError(f"{url} did not answer in {READY_TIMEOUT_S} s")


def resident_bytes(pid: int) -> int:
    """The memory that a process holds at the moment."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def peak_resident_bytes(pid: int) -> int:
    """The most memory that a process ever held."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("the kernel does not tell the peak")
