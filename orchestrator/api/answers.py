"""Answers to reads, remembered for as long as nothing that is stored has changed.

Many programs ask for the same round again and again while they wait. Where the records can tell at once
whether anything was written (SQLite can), such an answer is given again without reading it again. It is
remembered under the bearer token, the path and the query, and forgotten as soon as anybody, in any process,
writes anything: a token that is revoked, or a role that changes, counts from the next request on.
"""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.api.observation import operation_of
from orchestrator.domain.errors import TooManyRequests
from orchestrator.domain.identity import Principal
from orchestrator.domain.ports import Clock, Records
from orchestrator.services.throttle import Throttle

OPERATIONS = frozenset(
    (
        "get_intent",
        "get_node",
        "get_round",
        "get_task",
        "list_evaluations",
        "list_nodes",
        "list_rounds",
        "list_slashes",
        "list_task_evaluations",
        "list_tasks",
    )
)
"""Reads whose answers depend on the records, the token and the address, and on nothing else."""
_MOST = 512
_MESSAGES = 2
"""Of an answer that can be remembered: its head, and one body."""
_LARGEST_BYTES = 1 << 16
# With one of these, an answer depends on more.
_CONDITIONS = (
    b"if-match",
    b"if-none-match",
    b"if-modified-since",
    b"if-unmodified-since",
    b"range",
    b"cookie",
)

Headers = tuple[tuple[bytes, bytes], ...]


@dataclass(frozen=True)
class _Answer:
    headers: Headers
    body: bytes
    route: object
    """Kept for whoever counts requests by operation."""
    principal: Principal
    """Whom it was given to."""


class RememberedAnswers:
    """Middleware around the app's routes; a bounded number of answers, all of one version of the records."""

    def __init__(self, app: ASGIApp, records: Records, clock: Clock, throttle: Throttle) -> None:
        self._app = app
        self._throttle = throttle
        self._records = records
        self._clock = clock
        self._version: int | None = None
        self._answers: OrderedDict[bytes, _Answer] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        key = _key(scope)
        version = None if key is None else self._records.version()
        if key is None or version is None:
            await self._app(scope, receive, send)
            return
        if version != self._version:
            self._answers.clear()
            self._version = version
        known = self._answers.get(key)
        if known is not None and self._may_have(known.principal):
            scope["route"] = known.route
            # Lists of their own: what wraps this adds headers.
            await send({"type": "http.response.start", "status": 200, "headers": list(known.headers)})
            await send({"type": "http.response.body", "body": known.body})
            return
        said: list[Message] = []

        async def send_and_keep(message: Message) -> None:
            # Of a stream no more than what shows that it is one: an artifact may have gigabytes.
            if len(said) < _MESSAGES + 1:
                # As it is before what wraps this adds to it.
                said.append({**message, "headers": tuple(message.get("headers", ()))})
            await send(message)

        await self._app(scope, receive, send_and_keep)
        # What was written meanwhile may be missing in it: it belongs to the version from before.
        if version == self._version:
            self._remember(key, scope, said)

    def _remember(self, key: bytes, scope: Scope, said: list[Message]) -> None:
        if len(said) != _MESSAGES or said[0].get("status") != 200 or operation_of(scope) not in OPERATIONS:
            return
        body, principal = said[1].get("body", b""), scope.get("state", {}).get("principal")
        if len(body) > _LARGEST_BYTES or principal is None:
            return
        self._answers[key] = _Answer(said[0]["headers"], body, scope["route"], principal)
        if len(self._answers) > _MOST:
            self._answers.popitem(last=False)

    def _may_have(self, principal: Principal) -> bool:
        """Whether the token lasts and was not shown too often; the app tells whoever may not."""
        if self._clock.now_unix_s() >= principal.expires_unix_s:
            return False
        try:
            self._throttle.request(principal)
        except TooManyRequests:
            return False
        return True


def _key(scope: Scope) -> bytes | None:
    """What the answer depends on, without the token itself; None when it is no plain read."""
    if scope["type"] != "http" or scope["method"] != "GET" or not scope["path"].startswith("/v1/"):
        return None
    authorization = None
    for name, value in scope["headers"]:
        if name == b"authorization":
            authorization = value
        elif name in _CONDITIONS:
            return None
    if authorization is None:
        return None
    parts = (authorization, scope["path"].encode(errors="surrogatepass"), scope["query_string"])
    return hashlib.sha256(b"\0".join(parts)).digest()
