"""What happens, as server-sent events; a follower that lost its connection resumes by ``Last-Event-ID``."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.responses import StreamingResponse

from orchestrator.api.access import Caller, ServicesOfApp, TokenFirst
from orchestrator.api.schemas import EventAnswer
from orchestrator.domain.ports import StreamEvent

router = APIRouter(prefix="/v1/events", tags=["events"], route_class=TokenFirst)

EventNumber = Annotated[int | None, Query(ge=0, lt=1 << 63, description="begin after this event")]
LastEventId = Annotated[
    int | None, Header(ge=0, lt=1 << 63, alias="Last-Event-ID", description="resume after this event")
]


@router.get("", operation_id="follow_events", response_class=StreamingResponse)
async def follow_events(
    services: ServicesOfApp, _: Caller, after: EventNumber = None, last_event_id: LastEventId = None
) -> StreamingResponse:
    """Events after ``Last-Event-ID``, else after ``after``, else from now on."""
    resume_after = last_event_id if last_event_id is not None else after
    services.feed.require_room()
    events = services.feed.follow(resume_after)
    return StreamingResponse(
        _lines(events),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )


async def _lines(batches: AsyncIterator[tuple[StreamEvent, ...]]) -> AsyncIterator[str]:
    async for events in batches:
        # One piece for all of them: with many followers, sending is what costs.
        yield "".join(map(_line, events)) or ": still here\n\n"


def _line(event: StreamEvent) -> str:
    data = EventAnswer.of(event).model_dump_json()
    return f"id: {event.id}\nevent: {event.announcement.kind}\ndata: {data}\n\n"
