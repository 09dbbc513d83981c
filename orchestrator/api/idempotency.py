"""``Idempotency-Key``: a POST that is sent again with the same key is answered again, not done again.

The key belongs to the caller and the operation. Answers that the request itself decided are kept for a day;
those that came of circumstances (no token, not in time, the hub is broken) free the key. An answer that says
``Cache-Control: no-store`` holds a secret: it is given once. What a request began is finished, and its answer
kept, also when the client was told before that it takes too long.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable

from fastapi import Request, Response
from fastapi.concurrency import run_in_threadpool

from orchestrator.api.problems import as_problem
from orchestrator.domain.idempotency import InvalidIdempotencyKey, KeptAnswer
from orchestrator.services.idempotency import IdempotencyService

KEY_HEADER = "Idempotency-Key"
REPLAYED_HEADER = "Idempotency-Replayed"
KEY_PATTERN = r"[\x21-\x7e]{1,200}"
_GIVEN_ONCE = "no-store"
_KEPT_HEADERS = ("content-type", "location", "etag")
_DECIDED = frozenset({404, 409, 410, 412, 422})
_at_work: set[asyncio.Task[Response]] = set()
"""Held here, because the event loop alone would let go of a task that nobody waits for any more."""


async def answered_once(
    request: Request,
    service: IdempotencyService,
    owner: str,
    operation: str,
    handle: Callable[[Request], Awaitable[Response]],
) -> Response:
    """What ``handle`` answers, or what it answered before to the same request with the same key."""
    key = request.headers.get(KEY_HEADER)
    if request.method != "POST" or key is None:
        return await handle(request)
    if not re.fullmatch(KEY_PATTERN, key):
        raise InvalidIdempotencyKey(f"{KEY_HEADER} has 1 to 200 visible ASCII characters")
    asked = f"{request.url.path}?{request.url.query}\n".encode() + await request.body()
    # A task of its own: the deadline of the request ends the waiting for it and not the work.
    task = asyncio.create_task(_answered_once(request, service, owner, operation, key, asked, handle))
    _at_work.add(task)
    task.add_done_callback(_at_work.discard)
    return await asyncio.shield(task)


async def _answered_once(
    request: Request,
    service: IdempotencyService,
    owner: str,
    operation: str,
    key: str,
    asked: bytes,
    handle: Callable[[Request], Awaitable[Response]],
) -> Response:
    found = await run_in_threadpool(service.begin, owner=owner, operation=operation, key=key, request=asked)
    if isinstance(found, KeptAnswer):
        return Response(found.body, found.status, {**found.headers, REPLAYED_HEADER: "true"})
    try:
        response = await _answer(request, handle)
    except Exception:
        await run_in_threadpool(service.release, found)
        raise
    if response.status_code < 300 or response.status_code in _DECIDED:
        await run_in_threadpool(service.finish, found, _kept(response))
    else:
        await run_in_threadpool(service.release, found)
    return response


def holds_a_secret(response: Response) -> None:
    """A dependency of operations whose answer holds a secret: nobody keeps it."""
    response.headers["Cache-Control"] = _GIVEN_ONCE


async def _answer(request: Request, handle: Callable[[Request], Awaitable[Response]]) -> Response:
    """The answer, also where it is a refusal."""
    try:
        return await handle(request)
    except Exception as error:
        problem = as_problem(error)
        if problem is None:
            raise
        return problem


def _kept(response: Response) -> KeptAnswer:
    headers = {name: response.headers[name] for name in _KEPT_HEADERS if name in response.headers}
    is_given_once = _GIVEN_ONCE in response.headers.get("cache-control", "")
    return KeptAnswer(response.status_code, headers, None if is_given_once else bytes(response.body))
