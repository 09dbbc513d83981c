"""The EVM chain behind the ports of ``orchestrator.domain.chain``, through web3.

web3 takes over a second to import, so it loads when a function here is called, not with this module.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from contracts.deployment import Deployment
from orchestrator.adapters.chain.keys import read_key
from orchestrator.adapters.chain.lanes import USUAL_TERMS, LaneTerms, TransactionLanes
from orchestrator.adapters.chain.signers import Web3ContractSigners
from orchestrator.domain.chain import ChainReader
from orchestrator.domain.ports import ContractSigners
from orchestrator.domain.witnesses import ChainWitness

if TYPE_CHECKING:
    from orchestrator.adapters.chain.endpoints import Endpoints

DEFAULT_TIMEOUT_S = 10.0
"""How long one RPC request may take."""

_SIGNER_TIMEOUT_S = 5.0
"""Somebody waits for the answer."""

__all__ = [
    "DEFAULT_TIMEOUT_S",
    "LaneTerms",
    "TransactionLanes",
    "open_contract_signers",
    "open_endpoints",
    "open_lanes",
    "open_reader",
    "open_witnesses",
]


def open_endpoints(rpc_urls: Sequence[str]) -> "Endpoints":
    """Several nodes of one chain, to be given to what follows in place of one."""
    from orchestrator.adapters.chain.endpoints import Endpoints

    return Endpoints(rpc_urls)


def open_witnesses(
    endpoints: "Endpoints", deployment: Deployment, *, timeout_s: float = DEFAULT_TIMEOUT_S
) -> list[ChainWitness]:
    """Every endpoint by itself. Opening does no network I/O."""
    from orchestrator.adapters.chain.witness import Web3Witness

    pairs = zip(endpoints.names, endpoints.urls, strict=True)
    return [Web3Witness(name, url, deployment, timeout_s=timeout_s) for name, url in pairs]


def open_reader(
    rpc: "str | Endpoints", deployment: Deployment, *, timeout_s: float = DEFAULT_TIMEOUT_S
) -> ChainReader:
    """A reader of the deployment's contracts. Opening does no network I/O."""
    from orchestrator.adapters.chain.connection import Connection
    from orchestrator.adapters.chain.reader import Web3ChainReader

    return Web3ChainReader(Connection(rpc, deployment, timeout_s=timeout_s))


def open_contract_signers(
    rpc_urls: Sequence[str], deployment: Deployment, *, timeout_s: float = _SIGNER_TIMEOUT_S
) -> ContractSigners:
    """What asks contracts for their signatures. Opening does no network I/O."""
    return Web3ContractSigners(rpc_urls, deployment, timeout_s)


def open_lanes(
    rpc: "str | Endpoints",
    deployment: Deployment,
    *,
    relayer_key_file: Path,
    council_key_file: Path,
    terms: LaneTerms = USUAL_TERMS,
    timeout_s: float = DEFAULT_TIMEOUT_S,
) -> TransactionLanes:
    """The sending accounts of the control plane. Opening reads the key files and does no network I/O.

    Raises:
        ChainKeyError: a key file is unsafe or malformed.
    """
    from orchestrator.adapters.chain.connection import Connection
    from orchestrator.adapters.chain.lane import Web3TransactionLane

    connection = Connection(rpc, deployment, timeout_s=timeout_s)
    return TransactionLanes(
        council=Web3TransactionLane(connection, read_key(council_key_file), terms),
        relayer=Web3TransactionLane(connection, read_key(relayer_key_file), terms),
    )
