"""What happens, as server-sent events; a follower that lost its connection resumes by ``Last-Event-ID``."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.concurrency import run_in_threadpool

from orchestrator.api.access import Caller, ServicesOfApp, TokenFirst
from orchestrator.api.closing_stream import ClosingStream
from orchestrator.api.schemas import EventAnswer
from orchestrator.domain.identity import Principal
from orchestrator.domain.ports import StreamEvent
from orchestrator.services.bundle import Services

_MEDIA_TYPE = "text/event-stream"
_TRUSTED_FOR_S = 5.0
"""How long after a token was looked at something may be told to whoever showed it."""
_EXAMPLE = """\
id: 41

id: 42
event: round.training
data: {"kind": "round.training", "task": 1, "round": 2, "node": null,
data: "created_unix_s": 1767225600, "facts": {}}

"""

# In OpenAPI 3.1 the schema of such a stream is that of each event.
_ONE_EVENT = {
    "type": "object",
    "required": ["id"],
    "properties": {
        "id": {"type": "string", "pattern": "^[0-9]+$"},
        "event": {"type": "string"},
        "data": {
            "type": "string",
            "contentMediaType": "application/json",
            "contentSchema": {"$ref": "#/components/schemas/EventAnswer"},
        },
    },
}

router = APIRouter(prefix="/v1/events", tags=["events"], route_class=TokenFirst)

EventNumber = Annotated[int | None, Query(ge=0, lt=1 << 63, description="begin after this event")]
LastEventId = Annotated[
    int | None, Header(ge=0, lt=1 << 63, alias="Last-Event-ID", description="resume after this event")
]


@router.get(
    "",
    operation_id="follow_events",
    response_class=ClosingStream,
    responses={200: {"content": {_MEDIA_TYPE: {"schema": _ONE_EVENT, "example": _EXAMPLE}}}},
)
async def follow_events(
    services: ServicesOfApp, caller: Caller, after: EventNumber = None, last_event_id: LastEventId = None
) -> ClosingStream:
    """Events after ``Last-Event-ID``, else after ``after``, else from now on.

    The first line says after which event the stream begins, so that a stream that breaks before its first
    event is resumed where it began. It ends when the token does.
    """
    resume_after = last_event_id if last_event_id is not None else after
    services.feed.require_room()
    if resume_after is None:
        resume_after = await run_in_threadpool(services.queries.last_event_id)
    headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return ClosingStream(_lines(services, caller, resume_after), headers, _MEDIA_TYPE)


async def _lines(services: Services, caller: Principal, after: int) -> AsyncGenerator[str]:
    yield f"id: {after}\n\n"
    looked_at_s = time.monotonic()
    async with aclosing(services.feed.follow(after)) as batches:
        async for events in batches:
            if time.monotonic() - looked_at_s >= _TRUSTED_FOR_S:
                if not await run_in_threadpool(services.tokens.still_holds, caller):
                    return
                looked_at_s = time.monotonic()
            # One piece for all of them: with many followers, sending is what costs.
            yield "".join(map(_line, events)) or ": still here\n\n"


def _line(event: StreamEvent) -> str:
    data = EventAnswer.of(event).model_dump_json()
    return f"id: {event.id}\nevent: {event.announcement.kind}\ndata: {data}\n\n"
