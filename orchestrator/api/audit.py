"""Names every request for the audit log, and records those that are refused.

What a request changes is recorded where it is changed (``services.audit``). A refusal is an answer 4xx to an
operation that could change something or sign somebody in, one 403 to whoever may not read something, and a
limit that was hit.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from eth_utils.address import is_address, to_checksum_address
from pydantic_core import from_json
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from contracts.digests import is_digest, sha256_digest
from contracts.hash_chain import MOST_EXACT
from orchestrator.api.limits import BODY_LIMIT_BYTES
from orchestrator.api.observation import operation_of
from orchestrator.services.audit import ANONYMOUS, Attempt, AuditService, Deed, Subject, attempting
from orchestrator.services.correlation import correlation_id

_READING = ("GET", "HEAD", "OPTIONS")
_SIGN_IN_PREFIX = "/login"
_LIMITS = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
_API_PREFIX = "/v1/"
_PATH_DIGEST = "digest"
_MOST_DIGITS = len(str(MOST_EXACT))


class AuditMiddleware:
    """Stands behind the correlation id, before all else; bodies under ``streamed_prefix`` are not kept."""

    def __init__(self, app: ASGIApp, audit: AuditService, streamed_prefix: str) -> None:
        self._app = app
        self._audit = audit
        self._streamed_prefix = streamed_prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = _Request(scope, receive, keeps_body=not scope["path"].startswith(self._streamed_prefix))

        async def send_and_record(message: Message) -> None:
            if message["type"] == "http.response.start":
                await self._record(request, message["status"])
            await send(message)

        with attempting(request.attempt):
            await self._app(scope, request.receive, send_and_record)

    async def _record(self, request: "_Request", status: int) -> None:
        if not request.is_refused(status):
            return
        attempt = request.attempt
        if attempt.reason is None:
            attempt.reason = HTTPStatus(status).phrase.lower().replace(" ", "_")
        is_limit = status == HTTPStatus.TOO_MANY_REQUESTS
        await run_in_threadpool(lambda: self._audit.refuse(attempt, is_limit=is_limit))


class _Request:
    """What the log wants to know of a request; the router fills the scope in while the request is handled."""

    def __init__(self, scope: Scope, receive: Receive, keeps_body: bool) -> None:
        self.attempt = Attempt(self.deed)
        self._scope = scope
        self._receive = receive
        self._may_change = scope["method"] not in _READING
        self._keeps_body = keeps_body and self._may_change
        self._body = b""

    async def receive(self) -> Message:
        """The next piece of the request; kept where bodies are small."""
        message = await self._receive()
        if self._keeps_body and message["type"] == "http.request":
            self._body += message.get("body", b"")
            # A body beyond the limit is refused, and its digest is not wanted.
            self._keeps_body = len(self._body) <= BODY_LIMIT_BYTES
        return message

    def is_refused(self, status: int) -> bool:
        """Whether an answer with that status is a refusal to be recorded."""
        if not HTTPStatus.BAD_REQUEST <= status < HTTPStatus.INTERNAL_SERVER_ERROR:
            return False
        if status == HTTPStatus.METHOD_NOT_ALLOWED:
            return False  # no operation of ours, although the router names the path's
        if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.FORBIDDEN):
            return True
        if self._scope["path"].startswith(_SIGN_IN_PREFIX):
            return True
        if status == HTTPStatus.UNAUTHORIZED and "authorization" in Headers(scope=self._scope):
            return True
        return self._may_change and ("route" in self._scope or status in _LIMITS)

    def deed(self) -> Deed:
        """What is asked for."""
        return Deed(self._operation(), correlation_id() or "none", self._subject(), self._body_digest())

    def _operation(self) -> str:
        return operation_of(self._scope)

    def _subject(self) -> Subject:
        path: Mapping[str, Any] = self._scope.get("path_params", {})
        # What a stranger sent is not parsed.
        said = self._said() if self.attempt.principal != ANONYMOUS else {}
        return Subject(
            task=_number(path.get("task", said.get("task"))),
            round=_number(path.get("round_number", said.get("round"))),
            node=_address(path.get("node", said.get("node"))),
        )

    def _said(self) -> Mapping[str, Any]:
        """The body's own fields, or its message's."""
        try:
            body = from_json(self._body) if self._body else {}
        except ValueError:
            return {}
        if not isinstance(body, dict):
            return {}
        message = body.get("message")
        return message if isinstance(message, dict) else body

    def _body_digest(self) -> str | None:
        # Bodies of forms may hold a secret that is short enough to be guessed from its digest.
        if not self._scope["path"].startswith(_API_PREFIX):
            return None
        if not self._keeps_body:
            digest = self._scope.get("path_params", {}).get(_PATH_DIGEST)
            return digest if self._may_change and isinstance(digest, str) and is_digest(digest) else None
        return sha256_digest(self._body) if self._body else None


def _number(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= _MOST_DIGITS:
        value = int(value)
    return value if type(value) is int and 0 <= value <= MOST_EXACT else None


def _address(value: object) -> str | None:
    return to_checksum_address(value) if isinstance(value, str) and is_address(value) else None
