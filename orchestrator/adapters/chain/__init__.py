"""The EVM chain behind the ports of ``orchestrator.domain.chain``, through web3.

web3 takes over a second to import, so it loads when a function here is called, not with this module.
"""

from pathlib import Path

from contracts.deployment import Deployment
from orchestrator.adapters.chain.keys import read_key
from orchestrator.adapters.chain.lanes import USUAL_TERMS, LaneTerms, TransactionLanes
from orchestrator.domain.chain import ChainReader

DEFAULT_TIMEOUT_S = 10.0
"""How long one RPC request may take."""

__all__ = ["DEFAULT_TIMEOUT_S", "LaneTerms", "TransactionLanes", "open_lanes", "open_reader"]


def open_reader(rpc_url: str, deployment: Deployment, *, timeout_s: float = DEFAULT_TIMEOUT_S) -> ChainReader:
    """A reader of the deployment's contracts. Opening does no network I/O."""
    from orchestrator.adapters.chain.connection import Connection
    from orchestrator.adapters.chain.reader import Web3ChainReader

    return Web3ChainReader(Connection(rpc_url, deployment, timeout_s=timeout_s))


def open_lanes(
    rpc_url: str,
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

    connection = Connection(rpc_url, deployment, timeout_s=timeout_s)
    return TransactionLanes(
        council=Web3TransactionLane(connection, read_key(council_key_file), terms),
        relayer=Web3TransactionLane(connection, read_key(relayer_key_file), terms),
    )
