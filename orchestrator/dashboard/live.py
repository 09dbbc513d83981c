"""The page's live stream: which panels have changed, told once per burst of events.

One stream reads the event log after a number and says `event: <panel>` for each panel that the new events
change; the page then asks for that panel's HTML. Reading from the log, not from memory, makes a stream
complete again that was cut, and shows what other processes did.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from orchestrator.dashboard.words import PANELS, panels_of
from orchestrator.domain.ports import StreamEvent

LOOK_AGAIN_S = 0.5
HEARTBEAT_S = 15.0
MOST_EVENTS = 500

ReadAfter = Callable[[int], Sequence[StreamEvent]]
"""Events after a number, oldest first, at most ``MOST_EVENTS``."""


async def panel_stream(
    read_after: ReadAfter, still_allowed: Callable[[], bool], task: int, after: int
) -> AsyncIterator[str]:
    """Server-sent events for one page of a task, until the session ends or the reader goes away."""
    # The retry time is for browsers that reconnect by themselves; the comment opens the stream at once.
    yield "retry: 2000\n: open\n\n"
    loop = asyncio.get_running_loop()
    next_heartbeat = loop.time() + HEARTBEAT_S
    while True:
        events = await asyncio.to_thread(read_after, after)
        if events:
            after = events[-1].id
            for panel in _changed_panels(events, task):
                yield f"id: {after}\nevent: {panel}\ndata: {after}\n\n"
        if loop.time() >= next_heartbeat:
            if not await asyncio.to_thread(still_allowed):
                return
            yield ": heartbeat\n\n"
            next_heartbeat = loop.time() + HEARTBEAT_S
        if len(events) < MOST_EVENTS:
            await asyncio.sleep(LOOK_AGAIN_S)


def _changed_panels(events: Sequence[StreamEvent], task: int) -> list[str]:
    changed: set[str] = set()
    for event in events:
        if event.announcement.task in (None, task):
            changed.update(panels_of(event.announcement.kind))
    return [panel for panel in PANELS if panel in changed]
