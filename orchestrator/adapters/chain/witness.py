"""What one RPC endpoint says of the chain, so that it can be held against what another says."""

import hashlib
import json
from typing import Any

from web3.types import RPCEndpoint

from contracts.deployment import Deployment
from orchestrator.adapters.chain.bloom import may_have_logs_of
from orchestrator.adapters.chain.connection import Connection, translated_errors
from orchestrator.domain.chain import ChainError

_OF_HEADER = ("hash", "parentHash", "stateRoot", "receiptsRoot", "logsBloom", "timestamp")
_OF_LOG = ("address", "topics", "data", "logIndex", "transactionHash")


class Web3Witness:
    """The ``ChainWitness`` port over one endpoint."""

    def __init__(self, name: str, rpc_url: str, deployment: Deployment, *, timeout_s: float) -> None:
        self.name = name
        self._connection = Connection(rpc_url, deployment, timeout_s=timeout_s)
        self._addresses = [deployment.registry, deployment.tasks, deployment.rounds]

    def chain_id(self) -> int:
        """The chain that it belongs to."""
        with translated_errors():
            return int(self._connection.web3.eth.chain_id)

    def head(self) -> int:
        """The height of its newest block."""
        with translated_errors():
            return int(self._connection.web3.eth.block_number)

    def accounts(self, first_block: int, last_block: int) -> dict[int, str]:
        """For every block of a range, a digest of its header and of our contracts' logs in it."""
        answers = self._connection.batch(
            [
                (RPCEndpoint("eth_getBlockByNumber"), [hex(number), False])
                for number in range(first_block, last_block + 1)
            ]
        )
        headers: list[dict[str, Any]] = [answer["result"] for answer in answers]
        if any(header is None for header in headers):
            raise ChainError("it lacks blocks below its head")
        with translated_errors():
            ours = [header for header in headers if self._concerns_us(header)]
        logs_by_hash = self._logs([header["hash"] for header in ours])
        return {
            first_block + place: _digest(header, logs_by_hash.get(header["hash"], []))
            for place, header in enumerate(headers)
        }

    def _logs(self, hashes: list[str]) -> dict[str, list[dict[str, Any]] | None]:
        """Our contracts' logs of blocks; None where it has none of the blocks that it named itself."""
        try:
            answers = self._connection.batch(
                [
                    (
                        RPCEndpoint("eth_getLogs"),
                        [{"blockHash": block_hash, "address": self._addresses}],
                    )
                    for block_hash in hashes
                ]
            )
        except ChainError:
            return dict.fromkeys(hashes)
        return {block_hash: answer["result"] for block_hash, answer in zip(hashes, answers, strict=True)}

    def _concerns_us(self, header: dict[str, Any]) -> bool:
        bloom = int(header["logsBloom"], 16)
        return any(may_have_logs_of(bloom, address) for address in self._addresses)


def _digest(header: dict[str, Any], logs: list[dict[str, Any]] | None) -> str:
    of_logs = None if logs is None else [[log.get(name) for name in _OF_LOG] for log in logs]
    said = [[header.get(name) for name in _OF_HEADER], of_logs]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()
