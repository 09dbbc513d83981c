"""The chain's RPC endpoints and the deployment's contracts on it, with web3's errors translated."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache, cached_property
from typing import Any, cast

import requests
from eth_typing import ABIError
from eth_utils.abi import function_abi_to_4byte_selector
from web3 import HTTPProvider, Web3
from web3.contract import Contract
from web3.exceptions import ContractLogicError, Web3Exception
from web3.types import RPCEndpoint, RPCResponse

import contracts.accounts  # noqa: F401  # web3 raises the recursion limit: this puts it back
from contracts import abi
from contracts.deployment import Deployment
from orchestrator.adapters.chain.calls import CallData
from orchestrator.adapters.chain.deadline import DeadlineSession
from orchestrator.adapters.chain.endpoints import Endpoints, FailoverProvider
from orchestrator.domain.chain import CallRefused, ChainError

_EXECUTION_REVERTED = 3
"""JSON-RPC's code for it."""
_SELECTOR_CHARACTERS = 10
"""0x and four bytes."""
_CONTRACT_NAMES: tuple[abi.ContractName, ...] = (
    "Registry",
    "Tasks",
    "Rounds",
    "Settlement",
    "TestToken",
    "Anchors",
)


def open_web3(rpc_url: str, *, timeout_s: float) -> Web3:
    """A web3 that asks once and gives up after ``timeout_s``: trying again is the caller's decision."""
    return Web3(
        HTTPProvider(
            rpc_url,
            request_kwargs={"timeout": timeout_s},
            session=DeadlineSession(),
            exception_retry_configuration=None,
        )
    )


class Connection:
    """The deployment's contracts behind RPC endpoints of one chain; opening it does no network I/O."""

    def __init__(self, rpc: str | Endpoints, deployment: Deployment, *, timeout_s: float) -> None:
        self.deployment = deployment
        if isinstance(rpc, str):
            self.web3 = open_web3(rpc, timeout_s=timeout_s)
        else:
            self.web3 = Web3(FailoverProvider(rpc, deployment.chain_id, timeout_s=timeout_s))
        self.registry = self._contract("Registry", deployment.registry)
        self.tasks = self._contract("Tasks", deployment.tasks)
        self.rounds = self._contract("Rounds", deployment.rounds)
        self.anchors = self._contract("Anchors", deployment.anchors)

    def _contract(self, name: abi.ContractName, address: str) -> Contract:
        return self.web3.eth.contract(address=Web3.to_checksum_address(address), abi=abi.load(name).abi)

    @cached_property
    def _confirmed_chain_id(self) -> int:
        return self.web3.eth.chain_id

    def require_chain(self) -> None:
        """Refuse an endpoint of another chain than the deployment's; asks the endpoint once.

        Raises:
            ChainError: it is another chain, or it does not answer.
        """
        with translated_errors():
            found = self._confirmed_chain_id
        if found != self.deployment.chain_id:
            expected = self.deployment.chain_id
            raise ChainError(f"the RPC endpoint is chain {found}, the deployment's is {expected}")

    def ask(self, method: str, *params: object) -> Any:
        """The result of one JSON-RPC request, as JSON. web3's own methods take several times as long.

        Raises:
            CallRefused: a contract reverted.
            ChainError: no answer, or any other error.
        """
        provider = self.web3.provider
        assert isinstance(provider, HTTPProvider)
        with translated_errors():
            answer = provider.make_request(RPCEndpoint(method), params)
        return _result(answer)

    def ask_number(self, method: str, *params: object) -> int:
        """As ``ask``, where the result is a number."""
        return _number(self.ask(method, *params))

    def batch(self, requests_: list[tuple[RPCEndpoint, list[object]]]) -> list[RPCResponse]:
        """The answers to several JSON-RPC requests sent as one, in their order.

        Raises:
            ChainError: no answer, or an error in place of one of them.
        """
        answers = self._answers(requests_)
        for answer in answers:
            if "error" in answer:
                raise ChainError(f"the RPC endpoint answered with an error: {answer['error']}")
        return answers

    def _answers(self, requests_: list[tuple[RPCEndpoint, list[object]]]) -> list[RPCResponse]:
        if not requests_:
            return []
        provider = self.web3.provider
        assert isinstance(provider, HTTPProvider)
        with translated_errors():
            answers = provider.make_batch_request([(method, params) for method, params in requests_])
        if not isinstance(answers, list) or len(answers) != len(requests_):
            raise ChainError("the RPC endpoint did not answer a batch of requests")
        return answers

    def estimates(self, sender: str, calls: Sequence[CallData]) -> list[int | CallRefused]:
        """The gas that each call would take in the pending block, or its refusal; one request.

        Raises:
            ChainError: no answer, or one that is neither.
        """
        answers = self._answers(
            [
                (
                    RPCEndpoint("eth_estimateGas"),
                    [{"from": sender, "to": call.to, "data": call.data}, "pending"],
                )
                for call in calls
            ]
        )
        return [_estimate(answer) for answer in answers]


def _estimate(answer: RPCResponse) -> int | CallRefused:
    try:
        return _number(_result(answer))
    except CallRefused as refusal:
        return refusal


def _result(answer: RPCResponse) -> Any:
    """What an answer holds. Raises CallRefused, ChainError."""
    error: Any = answer.get("error")
    if error is None:
        return answer.get("result")
    data = error.get("data") if isinstance(error, dict) else None
    if not isinstance(data, str) and (
        not isinstance(error, dict) or error.get("code") != _EXECUTION_REVERTED
    ):
        raise ChainError(f"the RPC endpoint answered with an error: {error}")
    known = known_error(data) if isinstance(data, str) else None
    raise CallRefused(known or error.get("message") or "reverted without a reason")


def _number(result: Any) -> int:
    if not isinstance(result, str):
        raise ChainError(f"the RPC endpoint gave an unusable answer: {result!r} is no number")
    with translated_errors():
        return int(result, 16)


@contextmanager
def translated_errors() -> Iterator[None]:
    """Turn the errors of web3 and its HTTP client into the domain's.

    Raises:
        CallRefused: a contract reverted.
        ChainError: anything else that web3 or the HTTP client raised.
    """
    try:
        yield
    except ContractLogicError as error:
        raise CallRefused(revert_reason(error)) from error
    except (Web3Exception, requests.RequestException) as error:
        raise ChainError(f"the RPC endpoint failed: {error}") from error
    except ValueError as error:  # an answer that is not JSON, or not what the method promises
        raise ChainError(f"the RPC endpoint gave an unusable answer: {error}") from error


def revert_reason(error: ContractLogicError) -> str:
    """The name of the custom error that a contract reverted with, or the node's own words."""
    data = error.data if isinstance(error.data, str) else ""
    return known_error(data) or error.message or "reverted without a reason"


def known_error(data: str) -> str | None:
    """The name of the custom error that such data (0x text) begins with, if a contract knows it."""
    return _error_names().get(data[:_SELECTOR_CHARACTERS])


def error_name(selector: str) -> str:
    """The name of a custom error, its selector where no contract knows it, empty for the zero selector."""
    return "" if int(selector, 16) == 0 else known_error(selector) or selector


@cache
def _error_names() -> dict[str, str]:
    """Selector → name of every custom error that the deployment's contracts know."""
    return {
        "0x" + function_abi_to_4byte_selector(cast(ABIError, entry)).hex(): entry["name"]
        for name in _CONTRACT_NAMES
        for entry in abi.load(name).abi
        if entry["type"] == "error"
    }
