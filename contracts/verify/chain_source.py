"""Reads the facts of a task from an RPC endpoint, all at one block.

Nothing here judges: the answers are taken apart and typed, and the checks compare them. An answer that
cannot be taken apart is ``ChainUnavailable``. How much is asked follows from the events, never from a number
that the endpoint states, but for the height itself, which is bounded.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from eth_utils.address import to_checksum_address

from contracts.abi import ContractName
from contracts.deployment import Deployment
from contracts.digests import is_digest
from contracts.events import (
    Drawn,
    EventDecoder,
    ExitRequested,
    FaultRecorded,
    InvalidLog,
    Migrated,
    NodeAdmitted,
    PhaseChanged,
    RoundRequested,
    SlashExecuted,
    SlashWaived,
    TaskFunded,
    Withdrawn,
)
from contracts.unbonding import UnbondingEntry
from contracts.verify import facts
from contracts.verify.deployed import linked_library
from contracts.verify.errors import ChainUnavailable, TaskUnknown
from contracts.verify.rpc import JsonRpc, RpcRefused, RpcRequest, data_bytes, fields, items, quantity
from contracts.verify.views import ViewCall, view_call

_LOG_RANGE_BLOCKS = 2_000
"""Blocks asked for in one log query; public endpoints refuse wider ones."""
_MOST_BLOCKS = 200_000_000
"""Seventy years of blocks of twelve seconds: an endpoint that states a greater height is not followed."""
_MOST_TASKS = (1 << 64) - 1
_MOST_LOG_DATA_BYTES = 64 << 10
_MOST_TOPICS = 4
_TIMED = (
    *(RoundRequested, Drawn, PhaseChanged, ExitRequested, Withdrawn, Migrated),
    *(FaultRecorded, SlashWaived, SlashExecuted),
)
"""The events whose time is compared with something."""
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_T = TypeVar("_T")


@dataclass(frozen=True)
class _Block:
    hash: str
    time_unix_s: int


class ChainSource:
    """One deployment behind one RPC endpoint, read at the block that is newest when this is made.

    Raises:
        ChainUnavailable: the endpoint does not answer, or is another chain than the deployment's.
    """

    def __init__(self, rpc_url: str, deployment: Deployment, *, timeout_s: float = 60.0) -> None:
        self._deployment = deployment
        self._rpc = JsonRpc(rpc_url, timeout_s=timeout_s)
        chain_id = quantity(self._rpc.ask("eth_chainId"), "chain id")
        if chain_id != deployment.chain_id:
            raise ChainUnavailable(
                f"the endpoint is chain {chain_id}, the deployment's is {deployment.chain_id}"
            )
        self.block = quantity(self._rpc.ask("eth_blockNumber"), "block number")
        if self.block - deployment.block > _MOST_BLOCKS:
            raise ChainUnavailable(f"the endpoint states a height of {self.block}, which no chain has")
        self._terms: facts.StakeTerms | None = None
        self._head = self._blocks([self.block]).get(self.block)
        if self._head is None:
            raise ChainUnavailable(f"the endpoint does not serve block {self.block}, its own newest")

    def codes(self) -> tuple[facts.DeployedCode, ...]:
        """What lies at the deployment's addresses, and at the library's that the rounds contract calls.

        Raises:
            ChainUnavailable: the endpoint failed or gave an unusable answer.
        """
        at = self._deployment
        codes = self._codes(
            (("Registry", at.registry), ("Tasks", at.tasks), ("Rounds", at.rounds), ("Lens", at.lens))
        )
        rounds_code = next(code.code for code in codes if code.contract == "Rounds")
        library = linked_library(rounds_code, "Rounds", "Settlement")
        if library is not None:
            codes += self._codes([("Settlement", to_checksum_address(library))])
        return codes

    def wiring(self) -> facts.Wiring:
        """How the contracts are wired, once their code is known to be theirs.

        Raises:
            ChainUnavailable: the endpoint failed or gave an unusable answer.
        """
        at = self._deployment
        wires: list[tuple[ContractName, str, str, str]] = [
            ("Rounds", at.rounds, "registry", at.registry),
            ("Rounds", at.rounds, "tasks", at.tasks),
            ("Tasks", at.tasks, "rounds", at.rounds),
            ("Tasks", at.tasks, "token", at.token),
            ("Registry", at.registry, "rounds", at.rounds),
            ("Registry", at.registry, "token", at.token),
            ("Lens", at.lens, "rounds", at.rounds),
        ]
        found = self._view_all(
            str, [view_call(contract, address, getter) for contract, address, getter, _ in wires]
        )
        return facts.Wiring(
            randomness=self._view(str, view_call("Rounds", at.rounds, "randomness")),
            terms=self._stake_terms(),
            wires=tuple(
                facts.Wire(contract, getter, expected, said)
                for (contract, _, getter, expected), said in zip(wires, found, strict=True)
            ),
        )

    def randomness_code(self, wiring: facts.Wiring) -> facts.DeployedCode:
        """What lies where the seeds come from.

        Raises:
            ChainUnavailable: the endpoint failed or gave an unusable answer.
        """
        (code,) = self._codes([("BlockhashRandomness", wiring.randomness)])
        return code

    def task(self, task: int) -> facts.TaskFacts:
        """All facts of a task.

        Raises:
            TaskUnknown: there is no such task.
            ChainUnavailable: the endpoint failed or gave an unusable answer.
        """
        if task > _MOST_TASKS:
            raise TaskUnknown(f"no chain has a task {task}")
        at = self._deployment
        try:
            view = self._view(facts.TaskView, view_call("Lens", at.lens, "taskOf", task))
        except RpcRefused as error:
            if task > self._view(int, view_call("Tasks", at.tasks, "taskCount")):
                raise TaskUnknown(f"the chain has no task {task}") from error
            raise
        events = self._events()
        requested = sorted(
            {
                logged.event.round
                for logged in events
                if isinstance(logged.event, RoundRequested) and logged.event.task == task
            }
        )
        funders = _distinct(
            logged.event.funder
            for logged in events
            if isinstance(logged.event, TaskFunded) and logged.event.task == task
        )
        slashes = sum(isinstance(logged.event, FaultRecorded) for logged in events)
        result = facts.TaskFacts(
            task=task,
            block=self.block,
            deployment=at,
            token_decimals=self._view(int, view_call("TestToken", at.token, "decimals")),
            terms=self._stake_terms(),
            view=view,
            events=events,
            rounds=self._rounds(task, requested),
            nodes=self._nodes(
                _distinct(logged.event.node for logged in events if isinstance(logged.event, NodeAdmitted))
            ),
            slashes=self._slashes(slashes),
            slash_count=self._view(int, view_call("Registry", at.registry, "slashCount")),
            refundable=dict(
                zip(
                    funders,
                    self._view_all(
                        int,
                        [view_call("Tasks", at.tasks, "refundableOf", task, funder) for funder in funders],
                    ),
                    strict=True,
                )
            ),
            holdings=self._holdings(),
        )
        # A reorganisation while reading would have mixed two histories.
        if self._blocks([self.block]).get(self.block) != self._head:
            raise ChainUnavailable(f"block {self.block} was replaced while it was read: try again")
        return result

    # Views

    def _view(self, kind: type[_T], call: ViewCall) -> _T:
        result: _T
        (result,) = self._view_all(kind, [call])
        return result

    def _view_all(self, kind: Any, calls: Sequence[ViewCall]) -> list[Any]:
        requests = [
            RpcRequest("eth_call", ({"to": call.address, "data": "0x" + call.data.hex()}, hex(self.block)))
            for call in calls
        ]
        answers = self._rpc.ask_all(requests)
        return [
            call.read(kind, data_bytes(answer, f"answer of {call.contract}.{call.function}"))
            for call, answer in zip(calls, answers, strict=True)
        ]

    def _codes(self, addresses: Sequence[tuple[ContractName, str]]) -> tuple[facts.DeployedCode, ...]:
        requests = [RpcRequest("eth_getCode", (address, hex(self.block))) for _, address in addresses]
        answers = self._rpc.ask_all(requests)
        return tuple(
            facts.DeployedCode(contract, address, data_bytes(answer, f"code of {contract}"))
            for (contract, address), answer in zip(addresses, answers, strict=True)
        )

    def _stake_terms(self) -> facts.StakeTerms:
        if self._terms is None:
            getters = ("unbondingSeconds", "appealSeconds", "mostAbsences")
            registry = self._deployment.registry
            calls = [view_call("Registry", registry, getter) for getter in getters]
            self._terms = facts.StakeTerms(*self._view_all(int, calls))
        return self._terms

    def _rounds(self, task: int, numbers: Sequence[int]) -> tuple[facts.RoundFacts, ...]:
        lens = self._deployment.lens
        calls = [view_call("Lens", lens, "roundOf", task, number) for number in numbers]
        views: list[facts.RoundView] = self._view_all(facts.RoundView, calls)
        seed_blocks = self._blocks(view.seed_block for view in views if 0 < view.seed_block <= self.block)
        return tuple(
            facts.RoundFacts(
                number=number,
                view=view,
                seed_block_hash=seed_blocks[view.seed_block].hash if view.seed_block in seed_blocks else None,
            )
            for number, view in zip(numbers, views, strict=True)
        )

    def _nodes(self, nodes: Sequence[str]) -> dict[str, facts.NodeFacts]:
        at = self._deployment
        views = self._view_all(
            facts.NodeView, [view_call("Registry", at.registry, "nodeOf", node) for node in nodes]
        )
        unbonding = self._view_all(
            tuple[UnbondingEntry, ...],
            [view_call("Registry", at.registry, "unbondingOf", node) for node in nodes],
        )
        claimable = self._view_all(int, [view_call("Tasks", at.tasks, "claimableOf", node) for node in nodes])
        return {
            node: facts.NodeFacts(*parts)
            for node, *parts in zip(nodes, views, unbonding, claimable, strict=True)
        }

    def _slashes(self, count: int) -> tuple[facts.SlashView, ...]:
        registry = self._deployment.registry
        calls = [view_call("Registry", registry, "slashOf", number) for number in range(count)]
        try:
            return tuple(self._view_all(facts.SlashView, calls))
        except RpcRefused:
            # There are fewer than events: the count will say so.
            return ()

    def _holdings(self) -> tuple[facts.Holdings, ...]:
        at = self._deployment
        contracts: list[tuple[ContractName, str]] = [("Registry", at.registry), ("Tasks", at.tasks)]
        return tuple(
            facts.Holdings(
                contract=contract,
                owed=self._view(int, view_call(contract, address, "totalOwed")),
                held=self._view(int, view_call("TestToken", at.token, "balanceOf", address)),
            )
            for contract, address in contracts
        )

    # Blocks and logs

    def _blocks(self, numbers: Iterable[int]) -> dict[int, _Block]:
        """The blocks that the endpoint still serves."""
        distinct = sorted(set(numbers))
        answers = self._rpc.ask_all(
            [RpcRequest("eth_getBlockByNumber", (hex(number), False)) for number in distinct]
        )
        return {
            number: _block(answer, number)
            for number, answer in zip(distinct, answers, strict=True)
            if answer is not None
        }

    def _events(self) -> tuple[facts.LoggedEvent, ...]:
        """All events of the three contracts, in the chain's order."""
        at = self._deployment
        decoder = EventDecoder(at)
        found: dict[tuple[int, int], Any] = {}
        for start in range(at.block, self.block + 1, _LOG_RANGE_BLOCKS):
            end = min(start + _LOG_RANGE_BLOCKS - 1, self.block)
            query = {
                "fromBlock": hex(start),
                "toBlock": hex(end),
                "address": [at.registry, at.tasks, at.rounds],
            }
            for answer in items(self._rpc.ask("eth_getLogs", query), "logs"):
                log = fields(answer, "log")
                block = quantity(log.get("blockNumber"), "block of a log")
                position = (block, quantity(log.get("logIndex"), "index of a log"))
                if not start <= block <= end or position in found:
                    raise ChainUnavailable(
                        f"the endpoint gave a log at {position} that was not asked for, or gave it twice"
                    )
                found[position] = _decoded(decoder, log)
        events = [(position, found[position]) for position in sorted(found) if found[position] is not None]
        times = self._blocks(position[0] for position, event in events if isinstance(event, _TIMED))
        return tuple(
            facts.LoggedEvent(
                block=block,
                index=index,
                time_unix_s=times[block].time_unix_s if block in times else None,
                event=event,
            )
            for (block, index), event in events
        )


def _decoded(decoder: EventDecoder, log: dict[str, Any]) -> Any:
    address = log.get("address")
    topics = [data_bytes(topic, "topic", length=32) for topic in items(log.get("topics"), "topics of a log")]
    data = data_bytes(log.get("data"), "data of a log")
    if log.get("removed") or not isinstance(address, str) or _ADDRESS.fullmatch(address) is None:
        raise ChainUnavailable("the endpoint gave a log that was removed or has no address")
    if len(topics) > _MOST_TOPICS or len(data) > _MOST_LOG_DATA_BYTES:
        raise ChainUnavailable("the endpoint gave a log that is larger than any of the contracts'")
    try:
        return decoder.decode(address, topics, data)
    except InvalidLog as error:
        raise ChainUnavailable(f"the endpoint gave an unusable log: {error}") from error


def _block(answer: object, number: int) -> _Block:
    block = fields(answer, "block")
    if quantity(block.get("number"), "number of a block") != number:
        raise ChainUnavailable(f"the endpoint gave another block than {number}, which was asked for")
    block_hash = str(block.get("hash")).lower()
    if not is_digest(block_hash):
        raise ChainUnavailable(f"the endpoint gave no hash for block {number}")
    return _Block(hash=block_hash, time_unix_s=quantity(block.get("timestamp"), "time of a block"))


def _distinct(texts: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(texts))
