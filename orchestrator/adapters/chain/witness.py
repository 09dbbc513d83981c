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
        logs = self._connection.batch(
            [
                (
                    RPCEndpoint("eth_getLogs"),
                    [{"blockHash": header["hash"], "address": self._addresses}],
                )
                for header in ours
            ]
        )
        logs_by_hash = {header["hash"]: answer["result"] for header, answer in zip(ours, logs, strict=True)}
        return {
            first_block + place: _digest(header, logs_by_hash.get(header["hash"], []))
            for place, header in enumerate(headers)
        }

    def _concerns_us(self, header: dict[str, Any]) -> bool:
        bloom = int(header["logsBloom"], 16)
        return any(may_have_logs_of(bloom, address) for address in self._addresses)


def _digest(header: dict[str, Any], logs: list[dict[str, Any]]) -> str:
    said = [[header.get(name) for name in _OF_HEADER], [[log.get(name) for name in _OF_LOG] for log in logs]]
    return hashlib.sha256(json.dumps(said).encode()).hexdigest()
