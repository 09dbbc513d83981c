"""A node's own reading of the chain: rounds, tasks and nodes, by ``eth_call`` over JSON-RPC.

Reads the contracts' views with the committed ABI. It does without web3, whose import alone would add more
than a second to every message: each Flower message starts a new process.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import httpx
from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak

from contracts.abi import ContractName, load
from contracts.deployment import Deployment
from contracts.digests import is_digest
from contracts.events import abi_type
from contracts.phase import Phase
from contracts.settlement import Standing
from tier_global.errors import ChainUnavailable, NodeRefusal

_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class ProposalOnChain:
    """One proposal of a round; its median is 0 until the tally, and where too few scored it."""

    node: str
    adapter_digest: str
    standing: Standing
    median_micronats: int = 0

    @property
    def accepted(self) -> bool:
        """Whether it goes into the aggregate."""
        return self.standing is Standing.ACCEPTED


@dataclass(frozen=True)
class RoundOnChain:
    """One round: what a node checks a request against. Proposals ascend by node."""

    phase: Phase
    parent_digest: str
    context: str
    deadline_unix_s: int
    proposers: tuple[str, ...]
    voters: tuple[str, ...]
    proposals: tuple[ProposalOnChain, ...]
    committed: Mapping[str, str]
    """Commitments by voter, of those who have committed."""


@dataclass(frozen=True)
class TaskOnChain:
    """One task; no round of it will ever be opened again once it is over."""

    spec_digest: str
    approved: frozenset[str]
    is_over: bool


@dataclass(frozen=True)
class NodeOnChain:
    """One node of the registry; ``signer`` is its signing key now, ``group`` is shared by sister networks."""

    signer: str
    group: int
    admitted: bool
    stake: int
    unbonding: int
    absences: int
    can_be_drawn: bool


class ChainView(Protocol):
    """What a node asks the chain. Every method may raise ChainUnavailable."""

    def round(self, task: int, round_number: int) -> RoundOnChain:
        """One round; phase NONE when it was never requested."""

    def task(self, task: int) -> TaskOnChain:
        """One task. Raises NodeRefusal when there is none."""

    def approved_policy_digest(self, task: int, node: str) -> str:
        """The policy that the node's newest approval of a task names. Raises NodeRefusal without one."""

    def node(self, address: str) -> NodeOnChain:
        """One node."""

    def tasks_nonce(self, address: str) -> int:
        """The nonce that the node's next approval or revocation must carry."""

    def registry_nonce(self, address: str) -> int:
        """The nonce that the node's next message to the registry must carry."""


class JsonRpcChainView:
    """The chain through one RPC endpoint."""

    def __init__(self, rpc_url: str, deployment: Deployment) -> None:
        self._client = httpx.Client(base_url=rpc_url, timeout=_TIMEOUT_S)
        self._deployment = deployment
        self._request_numbers = itertools.count(1)
        self._lens = _views("Lens")
        self._registry = _views("Registry")
        self._tasks = _views("Tasks")

    def round(self, task: int, round_number: int) -> RoundOnChain:
        view = self._call(self._deployment.lens, self._lens["roundOf"], [task, round_number])
        return RoundOnChain(
            phase=Phase(view["phase"]),
            parent_digest=_hex(view["parentDigest"]),
            context=_hex(view["context"]),
            deadline_unix_s=view["deadline"],
            proposers=tuple(to_checksum_address(node) for node in view["proposers"]),
            voters=tuple(to_checksum_address(node) for node in view["voters"]),
            proposals=tuple(
                ProposalOnChain(
                    node=to_checksum_address(proposal["node"]),
                    adapter_digest=_hex(proposal["adapterDigest"]),
                    standing=Standing(proposal["standing"]),
                    median_micronats=proposal["medianMicronats"],
                )
                for proposal in view["proposals"]
            ),
            committed={
                to_checksum_address(vote["node"]): _hex(vote["commitment"])
                for vote in view["votes"]
                if any(vote["commitment"])
            },
        )

    def task(self, task: int) -> TaskOnChain:
        try:
            view = self._call(self._deployment.lens, self._lens["taskOf"], [task])
        except _Reverted as error:
            if error.data.startswith(_TASK_UNKNOWN):
                raise NodeRefusal("no_task", f"there is no task {task} on chain") from error
            raise
        return TaskOnChain(
            spec_digest=_hex(view["config"]["specDigest"]),
            approved=frozenset(to_checksum_address(node) for node in view["approved"]),
            is_over=view["money"]["isOver"],
        )

    def approved_policy_digest(self, task: int, node: str) -> str:
        topics = [
            _APPROVED,
            "0x" + encode(["uint64"], [task]).hex(),
            "0x" + encode(["address"], [node]).hex(),
        ]
        wanted = {
            "address": self._deployment.tasks,
            "fromBlock": hex(self._deployment.block),
            "toBlock": "latest",
            "topics": topics,
        }
        # In the order of the chain: an endpoint may give them in any.
        approvals = sorted(self._logs(wanted), key=lambda log: (log.block, log.index))
        if not approvals:
            raise NodeRefusal("not_approved", f"the chain holds no approval of task {task} by {node}")
        return approvals[-1].data

    def node(self, address: str) -> NodeOnChain:
        view = self._call(self._deployment.registry, self._registry["nodeOf"], [address])
        return NodeOnChain(
            signer=to_checksum_address(view["signer"]),
            group=view["group"],
            admitted=view["admitted"],
            stake=view["stake"],
            unbonding=view["unbonding"],
            absences=view["absences"],
            can_be_drawn=view["eligibleStake"] > 0,
        )

    def tasks_nonce(self, address: str) -> int:
        nonce: int = self._call(self._deployment.tasks, self._tasks["nonces"], [address])
        return nonce

    def registry_nonce(self, address: str) -> int:
        nonce: int = self._call(self._deployment.registry, self._registry["nonces"], [address])
        return nonce

    def chain_id(self) -> int:
        """The chain's id, to compare with the deployment's."""
        return int(self._rpc("eth_chainId", []), 16)

    def _call(self, contract: str, view: "_View", arguments: Sequence[object]) -> Any:
        data = view.selector + encode(view.input_types, arguments)
        result = self._rpc("eth_call", [{"to": contract, "data": "0x" + data.hex()}, "latest"])
        try:
            (value,) = decode(view.output_types, bytes.fromhex(result.removeprefix("0x")))
        except (DecodingError, ValueError) as error:
            raise ChainUnavailable(f"the chain's answer to {view.name} cannot be read: {error}") from error
        return _named(view.output, value)

    def _logs(self, wanted: Mapping[str, object]) -> list["_Log"]:
        try:
            return [
                _Log(int(log["blockNumber"], 16), int(log["logIndex"], 16), _digest_text(log["data"]))
                for log in self._ask("eth_getLogs", [wanted])
            ]
        except (TypeError, KeyError, ValueError) as error:
            raise ChainUnavailable("the chain's answer to eth_getLogs cannot be read") from error

    def _rpc(self, method: str, parameters: Sequence[object]) -> str:
        result = self._ask(method, parameters)
        if not isinstance(result, str):
            raise ChainUnavailable(f"{method} was answered with {str(result)[:300]}")
        return result

    def _ask(self, method: str, parameters: Sequence[object]) -> Any:
        request = {
            "jsonrpc": "2.0",
            "id": next(self._request_numbers),
            "method": method,
            "params": parameters,
        }
        try:
            response = self._client.post("", json=request).raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            raise ChainUnavailable(f"{method} failed: {error}") from error
        revert = _revert_data(response)
        if revert is not None:
            raise _Reverted(method, revert)
        result = response.get("result") if isinstance(response, dict) else None
        if result is None:
            raise ChainUnavailable(f"{method} was answered with an error: {str(response)[:300]}")
        return result


@dataclass(frozen=True)
class _Log:
    """One event: where it is on chain, and its data, 32 bytes as digest text."""

    block: int
    index: int
    data: str


@dataclass(frozen=True)
class _View:
    """One view function of a contract's ABI; it returns exactly one value."""

    name: str
    selector: bytes
    input_types: tuple[str, ...]
    output: Mapping[str, Any]

    @property
    def output_types(self) -> tuple[str, ...]:
        return (abi_type(self.output),)


class _Reverted(ChainUnavailable):
    """A contract refused a call; ``data`` is its error, encoded, as 0x text."""

    def __init__(self, method: str, data: str) -> None:
        super().__init__(f"{method} was refused by the contract: {data[:74]}")
        self.data = data


_APPROVED = "0x" + keccak(text="Approved(uint64,address,bytes32)").hex()
_TASK_UNKNOWN = "0x" + keccak(text="TaskUnknown(uint64)")[:4].hex()


def _revert_data(response: object) -> str | None:
    """The contract's error in an answer, if it is a refusal."""
    error = response.get("error") if isinstance(response, dict) else None
    data = error.get("data") if isinstance(error, dict) else None
    return data if isinstance(data, str) else None


def _views(contract: ContractName) -> dict[str, _View]:
    views: dict[str, _View] = {}
    for entry in load(contract).abi:
        if entry["type"] == "function" and len(entry["outputs"]) == 1:
            input_types = tuple(abi_type(parameter) for parameter in entry["inputs"])
            selector = keccak(text=f"{entry['name']}({','.join(input_types)})")[:4]
            views[entry["name"]] = _View(entry["name"], selector, input_types, entry["outputs"][0])
    return views


def _named(parameter: Mapping[str, Any], value: Any) -> Any:
    """A decoded value with the names of its struct fields."""
    if parameter["type"] == "tuple":
        return {
            part["name"]: _named(part, item)
            for part, item in zip(parameter["components"], value, strict=True)
        }
    if parameter["type"] == "tuple[]":
        return [_named({**parameter, "type": "tuple"}, item) for item in value]
    return value


def _digest_text(data: str) -> str:
    if not is_digest(data):
        raise ValueError("not 32 bytes")
    return data


def _hex(data: bytes) -> str:
    return "0x" + data.hex()
