"""Following what happens, for streams; the database is the queue, so nothing piles up."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from orchestrator.domain.errors import Unavailable
from orchestrator.domain.ports import StreamEvent
from orchestrator.services.queries import QueryService

_POLL_S = 0.4
_HEARTBEAT_S = 15.0
_BATCH = 200


@dataclass
class EventFeed:
    """Gives events as they come, to a bounded number of followers."""

    queries: QueryService
    most_followers: int = 64
    _followers: int = 0

    def require_room(self) -> None:
        """Refuse another follower when there are too many. Raises Unavailable."""
        if self._followers >= self.most_followers:
            raise Unavailable("too many programs follow the events already; try again later")

    async def follow(self, after_id: int | None) -> AsyncIterator[StreamEvent | None]:
        """The events after a number (None: from now on), for ever; None now and then as a sign of life."""
        self._followers += 1
        try:
            last_id = after_id
            if last_id is None:
                last_id = await asyncio.to_thread(self.queries.last_event_id)
            quiet_s = 0.0
            while True:
                events = await asyncio.to_thread(self.queries.events_after, last_id, _BATCH)
                for event in events:
                    last_id = event.id
                    yield event
                if events:
                    quiet_s = 0.0
                    continue
                await asyncio.sleep(_POLL_S)
                quiet_s += _POLL_S
                if quiet_s >= _HEARTBEAT_S:
                    quiet_s = 0.0
                    yield None
        finally:
            self._followers -= 1
