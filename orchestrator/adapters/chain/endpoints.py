"""Several RPC endpoints of one chain: the next is asked when one fails or is found out."""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import requests
from web3 import HTTPProvider
from web3.types import RPCEndpoint, RPCResponse

from orchestrator.adapters.chain.deadline import DeadlineSession

_AVOIDED_S = 30.0
"""How long an endpoint that did not answer is asked only after the others."""
_ORDINALS = ("first", "second", "third", "fourth")

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")


class Endpoints:
    """Addresses of one chain's nodes, in the order in which they are asked.

    They are named by their place, because an address may hold a password.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        self.urls = tuple(urls)
        self.names = tuple(f"{ordinal} RPC endpoint" for ordinal in _ORDINALS[: len(self.urls)])
        self._faulty: frozenset[str] = frozenset()
        self._failed_until_s: dict[int, float] = {}

    def avoid(self, names: Iterable[str]) -> None:
        """Ask these only when no other answers."""
        self._faulty = frozenset(names)

    def failed(self, place: int) -> None:
        """Note that one did not answer."""
        self._failed_until_s[place] = time.monotonic() + _AVOIDED_S

    def in_order(self) -> list[int]:
        """Places of the endpoints, the best first."""
        now_s = time.monotonic()

        def rank(place: int) -> tuple[bool, bool, int]:
            is_failed = self._failed_until_s.get(place, now_s) > now_s
            return self.names[place] in self._faulty, is_failed, place

        return sorted(range(len(self.urls)), key=rank)


class WrongChain(requests.RequestException):
    """The endpoint belongs to another chain."""


class FailoverProvider(HTTPProvider):
    """web3's provider over several endpoints: each request goes to the first that answers it."""

    def __init__(self, endpoints: Endpoints, chain_id: int, *, timeout_s: float) -> None:
        options: dict[str, Any] = {
            "request_kwargs": {"timeout": timeout_s},
            "exception_retry_configuration": None,
        }
        super().__init__(endpoints.urls[0], **options)
        self._endpoints = endpoints
        self._chain_id = chain_id
        self._providers = [HTTPProvider(url, session=DeadlineSession(), **options) for url in endpoints.urls]
        self._confirmed: set[int] = set()

    def make_request(self, method: RPCEndpoint, params: Any) -> RPCResponse:
        """The answer to one request."""
        return self._first_answer(lambda provider: provider.make_request(method, params))

    def make_batch_request(
        self, batch_requests: list[tuple[RPCEndpoint, Any]]
    ) -> list[RPCResponse] | RPCResponse:
        """The answers to several requests sent as one."""
        return self._first_answer(lambda provider: provider.make_batch_request(batch_requests))

    def _first_answer(self, ask: Callable[[HTTPProvider], Answer]) -> Answer:
        failure: requests.RequestException | None = None
        for place in self._endpoints.in_order():
            try:
                self._require_chain(place)
                return ask(self._providers[place])
            except requests.RequestException as error:
                logger.warning("the %s fails: %s", self._endpoints.names[place], type(error).__name__)
                self._endpoints.failed(place)
                failure = error
        assert failure is not None, "there is an endpoint"
        raise failure

    def _require_chain(self, place: int) -> None:
        if place in self._confirmed:
            return
        answer = self._providers[place].make_request(RPCEndpoint("eth_chainId"), [])
        found = int(str(answer.get("result", "0x0")), 16)
        if found != self._chain_id:
            name = self._endpoints.names[place]
            raise WrongChain(f"the {name} is chain {found}, the deployment's is {self._chain_id}")
        self._confirmed.add(place)
