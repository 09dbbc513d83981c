"""Asks the chain whether an account has signed: by the lens, whose code for it is that of the contracts.

web3 loads with the first question: an API whose nodes sign by keys never asks one.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from contracts import abi
from contracts.deployment import Deployment
from orchestrator.domain.signatures import SignatureClaim

if TYPE_CHECKING:
    from orchestrator.adapters.chain.connection import Connection

_CALL_GAS = 400_000
"""What the lens needs for a signer that uses all that it is given, and a signature of a kilobyte."""


class Web3ContractSigners:
    """The ``ContractSigners`` port over JSON-RPC; opening it does no network I/O."""

    def __init__(self, rpc_urls: Sequence[str], deployment: Deployment, timeout_s: float) -> None:
        self._rpc_urls = rpc_urls
        self._deployment = deployment
        self._timeout_s = timeout_s

    def have_signed(self, claim: SignatureClaim) -> bool:
        """Whether the contracts would take the signature as the account's now."""
        from orchestrator.adapters.chain.connection import translated_errors

        connection = self._connection
        connection.require_chain()
        with translated_errors():
            lens = connection.web3.eth.contract(
                address=connection.web3.to_checksum_address(self._deployment.lens), abi=abi.load("Lens").abi
            )
            question = lens.functions.isSignedBy(
                connection.web3.to_checksum_address(claim.account), claim.digest, claim.signature
            )
            return bool(question.call({"gas": _CALL_GAS}))

    @cached_property
    def _connection(self) -> "Connection":
        from orchestrator.adapters.chain.connection import Connection
        from orchestrator.adapters.chain.endpoints import Endpoints

        return Connection(Endpoints(self._rpc_urls), self._deployment, timeout_s=self._timeout_s)
