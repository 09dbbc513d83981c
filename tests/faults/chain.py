"""The chain of the fault suite: Anvil, sealing blocks when told to, and going back to a moment before."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from contracts.abi import ContractName
from contracts.verify.views import view_call
from tests.chain.anvil import Anvil, running_anvil, start_anvil

CHAIN_DEADLINE_S = 30.0
_ORDER = ("--order", "fifo")


@dataclass
class Chain:
    """Anvil with a lasting connection; with its own sealing off, a block is made when ``seal`` says so."""

    anvil: Anvil
    _client: httpx.Client = field(default_factory=lambda: httpx.Client(timeout=10))
    _saved: int = 0

    def rpc(self, method: str, *parameters: object) -> Any:
        """One JSON-RPC call."""
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(parameters)}
        answer = self._client.post(self.anvil.rpc_url, json=body).json()
        assert "error" not in answer, answer
        return answer["result"]

    def head(self) -> int:
        """The newest block's number."""
        return int(self.rpc("eth_blockNumber"), 16)

    def seal(self, blocks: int = 1) -> None:
        """Make blocks of what is waiting."""
        self.rpc("anvil_mine", hex(blocks))

    def waiting(self) -> int:
        """How many transactions wait for a block."""
        status = self.rpc("txpool_status")
        return int(status["pending"], 16) + int(status["queued"], 16)

    def forget_waiting(self, sender: str) -> None:
        """Lose what an account has waiting for a block."""
        self.rpc("anvil_removePoolTransactions", sender)

    def reorganise(self, depth: int) -> None:
        """Replace the newest blocks with empty ones."""
        self.rpc("anvil_reorg", depth, [])

    def view(
        self, kind: type, contract: ContractName, address: str, function: str, *arguments: object
    ) -> Any:
        """What a contract's view answers."""
        call = view_call(contract, address, function, *arguments)
        answer = self.rpc("eth_call", {"to": address, "data": "0x" + call.data.hex()}, "latest")
        return call.read(kind, bytes.fromhex(answer[2:]))

    def transactions(self, first_block: int) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        """Every transaction from a block on, with its receipt."""
        found = []
        for number in range(first_block, self.head() + 1):
            block = self.rpc("eth_getBlockByNumber", hex(number), True)
            receipts = {
                each["transactionHash"]: each for each in self.rpc("eth_getBlockReceipts", hex(number))
            }
            found += [(each, receipts[each["hash"]]) for each in block["transactions"]]
        return found

    def save(self, folder: Path) -> Path:
        """The state as Anvil itself writes it: all but what waits for a block."""
        self._saved += 1
        state = folder / f"chain-{self._saved}.json"
        state.write_bytes(gzip.decompress(bytes.fromhex(self.rpc("anvil_dumpState")[2:])))
        return state

    def mark(self) -> str:
        """A moment to which ``go_back`` can go."""
        return str(self.rpc("evm_snapshot"))

    def go_back(self, mark: str) -> str:
        """Undo what happened since a moment; the mark that takes the place of that one."""
        self.rpc("anvil_dropAllTransactions")
        assert self.rpc("evm_revert", mark)
        # Going back uses a snapshot up.
        return self.mark()


class MortalChain(Chain):
    """An Anvil that can be killed and started again, on the same port, from what it had saved."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process, anvil = start_anvil(self._log, *_ORDER)
        super().__init__(anvil)

    @property
    def _log(self) -> Path:
        return self._folder / "anvil.log"

    def kill(self) -> None:
        """Kill the node; nobody answers at its address."""
        # Anvil's command only starts the binary.
        processes = psutil.Process(self._process.pid).children(recursive=True)
        for process in processes:
            process.kill()
        self._process.kill()
        self._process.wait()
        psutil.wait_procs(processes, timeout=CHAIN_DEADLINE_S)

    def start(self, state: Path) -> None:
        """Start the node again with what it had saved."""
        port = int(self.anvil.rpc_url.rpartition(":")[2])
        self._process, _ = start_anvil(self._log, *from_state(state), port=port)

    def mark(self) -> str:
        """A saved state."""
        return str(self.save(self._folder))

    def go_back(self, mark: str) -> str:
        """Start again from a saved state."""
        self.kill()
        self.start(Path(mark))
        return mark


def from_state(state: Path) -> tuple[str, ...]:
    """Anvil's arguments, to go on from a saved state."""
    return (*_ORDER, "--no-mining", "--load-state", str(state))


@contextmanager
def snapshot_chain(folder: Path) -> Iterator[Chain]:
    """A chain that goes back by its snapshots, which is quick."""
    with running_anvil(folder / "anvil.log", *_ORDER) as anvil:
        yield Chain(anvil)


@contextmanager
def mortal_chain(folder: Path) -> Iterator[MortalChain]:
    """A chain that can be killed."""
    chain = MortalChain(folder)
    try:
        yield chain
    finally:
        chain.kill()
