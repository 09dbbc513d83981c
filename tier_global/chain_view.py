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

from contracts.abi import load
from contracts.deployment import Deployment
from contracts.phase import Phase
from tier_global.errors import ChainUnavailable

_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class ProposalOnChain:
    """One proposal of a round; its median is 0 until the tally, and where too few scored it."""

    node: str
    adapter_digest: str
    accepted: bool
    median_micronats: int = 0


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
    """One task."""

    spec_digest: str
    approved: frozenset[str]


@dataclass(frozen=True)
class NodeOnChain:
    """One node of the registry; ``group`` is shared by sister networks."""

    signer: str
    group: int
    admitted: bool


class ChainView(Protocol):
    """What a node asks the chain. Every method may raise ChainUnavailable."""

    def round(self, task: int, round_number: int) -> RoundOnChain:
        """One round; phase NONE when it was never requested."""

    def task(self, task: int) -> TaskOnChain:
        """One task."""

    def node(self, address: str) -> NodeOnChain:
        """One node."""

    def approval_nonce(self, address: str) -> int:
        """The node's next unused approval nonce."""


class JsonRpcChainView:
    """The chain through one RPC endpoint."""

    def __init__(self, rpc_url: str, deployment: Deployment) -> None:
        self._client = httpx.Client(base_url=rpc_url, timeout=_TIMEOUT_S)
        self._deployment = deployment
        self._request_numbers = itertools.count(1)
        self._rounds = _views("Rounds")
        self._registry = _views("Registry")

    def round(self, task: int, round_number: int) -> RoundOnChain:
        view = self._call(self._deployment.rounds, self._rounds["roundOf"], [task, round_number])
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
                    accepted=proposal["accepted"],
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
        view = self._call(self._deployment.rounds, self._rounds["taskOf"], [task])
        return TaskOnChain(
            spec_digest=_hex(view["config"]["specDigest"]),
            approved=frozenset(to_checksum_address(node) for node in view["approved"]),
        )

    def node(self, address: str) -> NodeOnChain:
        view = self._call(self._deployment.registry, self._registry["nodeOf"], [address])
        return NodeOnChain(
            signer=to_checksum_address(view["signer"]), group=view["group"], admitted=view["admitted"]
        )

    def approval_nonce(self, address: str) -> int:
        nonce: int = self._call(self._deployment.rounds, self._rounds["nonceOf"], [address])
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

    def _rpc(self, method: str, parameters: Sequence[object]) -> str:
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
        result = response.get("result") if isinstance(response, dict) else None
        if not isinstance(result, str):
            raise ChainUnavailable(f"{method} was answered with an error: {str(response)[:300]}")
        return result


@dataclass(frozen=True)
class _View:
    """One view function of a contract's ABI; it returns exactly one value."""

    name: str
    selector: bytes
    input_types: tuple[str, ...]
    output: Mapping[str, Any]

    @property
    def output_types(self) -> tuple[str, ...]:
        return (_type_of(self.output),)


def _views(contract: str) -> dict[str, _View]:
    views: dict[str, _View] = {}
    for entry in load(contract).abi:
        if entry["type"] == "function" and len(entry["outputs"]) == 1:
            input_types = tuple(_type_of(parameter) for parameter in entry["inputs"])
            selector = keccak(text=f"{entry['name']}({','.join(input_types)})")[:4]
            views[entry["name"]] = _View(entry["name"], selector, input_types, entry["outputs"][0])
    return views


def _type_of(parameter: Mapping[str, Any]) -> str:
    """An ABI parameter's type as eth-abi writes it, structs as tuples."""
    kind: str = parameter["type"]
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(_type_of(part) for part in parameter['components'])}){kind.removeprefix('tuple')}"


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


def _hex(data: bytes) -> str:
    return "0x" + data.hex()
