"""Reads blocks, events and facts from the chain.

Logs are fetched by block hash. Asked for a range, a node that lags behind (one of several behind a
balancer, say) answers with an empty list and no error, and events would be lost in silence; asked for
the hash of a block it does not have, it must refuse. All logs of a block are asked for and held against the
bloom filter in its header, so that a node that drops or invents one is noticed.
"""

from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal, cast

from web3.types import RPCEndpoint

from contracts.events import EventDecoder
from orchestrator.adapters.chain.bloom import bloom_of, may_have_logs_of
from orchestrator.adapters.chain.calls import is_due_data
from orchestrator.adapters.chain.connection import Connection, translated_errors
from orchestrator.domain.chain import Block, ChainError, IndexedEvent, StakeTerms

_BATCH_BLOCKS = 100
"""Blocks asked for in one HTTP request."""


class Web3ChainReader:
    """The ``ChainReader`` port over JSON-RPC."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._decoder = EventDecoder(connection.deployment)
        deployment = connection.deployment
        self._addresses = [deployment.registry, deployment.tasks, deployment.rounds]

    def head(self) -> Block:
        """The newest block."""
        return self._block("latest")

    def block(self, number: int) -> Block:
        """The block at a height."""
        return self._block(number)

    def blocks(self, first_block: int, last_block: int) -> Sequence[Block]:
        """The blocks of a range, each the parent of the next.

        Raises:
            ChainError: the node lacks a block of the range, or the chain changed while it was read.
        """
        self._connection.require_chain()
        found: list[Block] = []
        for first in range(first_block, last_block + 1, _BATCH_BLOCKS):
            headers = self._headers(first, min(first + _BATCH_BLOCKS - 1, last_block))
            with translated_errors():
                found += [_block_of(header) for header in headers]
        require_linked(found)
        return found

    def events(self, first_block: int, last_block: int) -> Sequence[IndexedEvent]:
        """All events of the deployment's contracts in a range of blocks, in their order.

        Raises:
            ChainError: the node lacks a block of the range, or the chain changed while it was read.
        """
        self._connection.require_chain()
        found: list[IndexedEvent] = []
        for first in range(first_block, last_block + 1, _BATCH_BLOCKS):
            found += self._events_of_batch(first, min(first + _BATCH_BLOCKS - 1, last_block))
        return found

    def is_due(self, task: int) -> bool:
        """Whether ``advance`` would move the task's open round in the next block."""
        self._connection.require_chain()
        question = is_due_data(self._connection.deployment, task)
        return (
            self._connection.ask_number("eth_call", {"to": question.to, "data": question.data}, "pending")
            == 1
        )

    def stake_terms(self) -> StakeTerms:
        """What the registry fixes for ever."""
        return self._stake_terms

    @cached_property
    def _stake_terms(self) -> StakeTerms:
        self._connection.require_chain()
        registry = self._connection.registry.functions
        with translated_errors():
            return StakeTerms(
                unbonding_s=registry.unbondingSeconds().call(),
                appeal_s=registry.appealSeconds().call(),
                most_absences=registry.mostAbsences().call(),
            )

    def _block(self, identifier: int | Literal["latest"]) -> Block:
        self._connection.require_chain()
        height = hex(identifier) if isinstance(identifier, int) else identifier
        header = self._connection.ask("eth_getBlockByNumber", height, False)
        if header is None:
            raise ChainError(f"the RPC endpoint does not know block {identifier}")
        with translated_errors():
            return _block_of(header)

    def _events_of_batch(self, first: int, last: int) -> Iterator[IndexedEvent]:
        headers = self._headers(first, last)
        with translated_errors():
            require_linked([_block_of(header) for header in headers])
        with translated_errors():
            ours = [header for header in headers if self._concerns_us(header)]
        answers = self._connection.batch(
            [(RPCEndpoint("eth_getLogs"), [{"blockHash": header["hash"]}]) for header in ours]
        )
        for header, answer in zip(ours, answers, strict=True):
            # A log that cannot be read is an unusable answer, like any other ValueError.
            with translated_errors():
                _require_whole(header, answer["result"])
            for log in answer["result"]:
                with translated_errors():
                    event = self._indexed(log)
                if event is not None:
                    yield event

    def _concerns_us(self, header: dict[str, Any]) -> bool:
        bloom = int(header["logsBloom"], 16)
        return any(may_have_logs_of(bloom, address) for address in self._addresses)

    def _indexed(self, log: dict[str, Any]) -> IndexedEvent | None:
        topics = [bytes.fromhex(topic[2:]) for topic in log["topics"]]
        event = self._decoder.decode(log["address"], topics, bytes.fromhex(log["data"][2:]))
        if event is None:
            return None
        return IndexedEvent(
            event=event,
            block_number=int(log["blockNumber"], 16),
            block_hash=log["blockHash"],
            transaction_hash=log["transactionHash"],
            log_index=int(log["logIndex"], 16),
        )

    def _headers(self, first: int, last: int) -> list[dict[str, Any]]:
        answers = self._connection.batch(
            [(RPCEndpoint("eth_getBlockByNumber"), [hex(number), False]) for number in range(first, last + 1)]
        )
        headers: list[dict[str, Any]] = []
        for number, answer in zip(range(first, last + 1), answers, strict=True):
            if answer["result"] is None:
                raise ChainError(f"the RPC endpoint does not know block {number}")
            headers.append(cast(dict[str, Any], answer["result"]))
        return headers


def _block_of(header: dict[str, Any]) -> Block:
    return Block(
        number=int(header["number"], 16),
        hash=header["hash"],
        parent_hash=header["parentHash"],
        timestamp_unix_s=int(header["timestamp"], 16),
    )


def require_linked(blocks: Sequence[Block]) -> None:
    """Refuse blocks of which one is not the parent of the next. Raises ChainError."""
    for below, above in pairwise(blocks):
        if above.parent_hash != below.hash:
            raise ChainError(f"the chain changed at block {above.number} while it was read")


def _require_whole(header: dict[str, Any], logs: list[dict[str, Any]]) -> None:
    """Refuse logs that are not those of the block. Raises ChainError."""
    number = int(header["number"], 16)
    indices = [int(log["logIndex"], 16) for log in logs]
    if indices != list(range(len(logs))) or bloom_of(logs) != int(header["logsBloom"], 16):
        raise ChainError(f"the RPC endpoint's logs of block {number} contradict the block's bloom filter")
