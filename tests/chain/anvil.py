"""A real Anvil on a free port, stopped by its own process id."""

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

ANVIL = Path(__file__).parents[2] / "contracts" / "evm" / "node_modules" / ".bin" / "anvil"
START_TIMEOUT_S = 30.0
RICH_KEYS = (
    "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
)
"""Anvil's first development accounts, which hold the chain's own currency."""


@dataclass(frozen=True)
class Anvil:
    """A running chain. A transaction is a block of its own unless it runs with a block time."""

    rpc_url: str
    pid: int

    def ask(self, method: str, *parameters: object) -> Any:
        """One JSON-RPC call."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(parameters)}
        answer = httpx.post(self.rpc_url, json=body, timeout=10).json()
        assert "error" not in answer, answer
        return answer["result"]

    def mine(self, blocks: int = 1) -> None:
        """Seal empty blocks."""
        self.ask("anvil_mine", hex(blocks))

    def pass_time(self, seconds: int) -> None:
        """Let chain time pass, and seal a block at the new time."""
        self.ask("evm_increaseTime", seconds)
        self.mine()

    def give_gas(self, address: str) -> None:
        """Let an account pay for its transactions."""
        self.ask("anvil_setBalance", address, hex(10**21))


@contextmanager
def running_anvil(log: Path, *arguments: str) -> Iterator[Anvil]:
    """Start Anvil, wait until it listens, and stop it at the end."""
    process, anvil = start_anvil(log, *arguments)
    try:
        yield anvil
    finally:
        process.terminate()
        process.wait(timeout=10)
        shutil.rmtree(_states(log), ignore_errors=True)


def start_anvil(log: Path, *arguments: str, port: int = 0) -> tuple["subprocess.Popen[bytes]", Anvil]:
    """Start Anvil on a port (0: a free one) and wait until it listens; the caller stops it."""
    shutil.rmtree(_states(log), ignore_errors=True)
    command = [str(ANVIL), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--cache-path", str(_states(log)), *arguments]
    with log.open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
    try:
        port = _listening_port(process, log)
    except BaseException:
        process.terminate()
        process.wait(timeout=10)
        raise
    return process, Anvil(rpc_url=f"http://127.0.0.1:{port}", pid=process.pid)


def _states(log: Path) -> Path:
    """Where it puts states it has no room for; a killed Anvil leaves them, in the home folder unless told."""
    return log.with_name(f"{log.stem}-states")


def _listening_port(process: "subprocess.Popen[bytes]", log: Path) -> int:
    give_up = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < give_up:
        found = re.search(r"Listening on 127\.0\.0\.1:(\d+)", log.read_text())
        if found:
            return int(found[1])
        assert process.poll() is None, f"Anvil ended:\n{log.read_text()}"
        time.sleep(0.02)
    raise AssertionError(f"Anvil did not listen in {START_TIMEOUT_S} s:\n{log.read_text()}")
