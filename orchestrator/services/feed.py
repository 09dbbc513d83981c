"""Following what happens, for streams: one look at the records serves every follower.

The database is the queue, so nothing piles up for a follower that is slow: it is behind, and reads what it
has missed from the database. Whoever keeps up is served from the newest events, held in memory once.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field

from orchestrator.domain.errors import Unavailable
from orchestrator.domain.ports import RecordsUnavailable, StreamEvent
from orchestrator.services.queries import QueryService

_POLL_S = 0.2
_HEARTBEAT_S = 15.0
_BATCH = 200
_NEWEST = 1000

Batch = tuple[StreamEvent, ...]

logger = logging.getLogger(__name__)


@dataclass
class EventFeed:
    """Gives events as they come, to a bounded number of followers in one event loop."""

    queries: QueryService
    most_followers: int = 2000
    _followers: int = 0
    _newest: deque[StreamEvent] = field(default_factory=lambda: deque(maxlen=_NEWEST))
    _looked_to: int | None = None
    """Every event up to this number is in ``_newest``, or was pushed out of it, or came before it began."""
    _news: asyncio.Event = field(default_factory=asyncio.Event)
    _looking: asyncio.Task[None] | None = None

    @property
    def followers(self) -> int:
        """How many follow at the moment."""
        return self._followers

    def require_room(self) -> None:
        """Refuse another follower when there are too many. Raises Unavailable."""
        if self._followers >= self.most_followers:
            raise Unavailable("too many programs follow the events already; try again later")

    async def follow(self, after_id: int) -> AsyncGenerator[Batch]:
        """The events after a number, for ever, some at a time.

        A batch is empty now and then, as a sign of life.
        """
        self._followers += 1
        try:
            last_id = after_id
            while True:
                self._keep_looking()
                # Taken before looking, so that what comes in between is not missed.
                news = self._news
                events = await self._after(last_id)
                if events:
                    last_id = events[-1].id
                    yield events
                    continue
                try:
                    async with asyncio.timeout(_HEARTBEAT_S):
                        await news.wait()
                except TimeoutError:
                    yield ()
        finally:
            self._followers -= 1
            if self._followers == 0 and self._looking is not None:
                self._looking.cancel()
                self._looking = None

    async def _after(self, last_id: int) -> Batch:
        if self._looked_to is not None and last_id >= self._looked_to:
            return ()
        if self._newest and self._newest[0].id <= last_id + 1:
            return tuple(event for event in self._newest if event.id > last_id)[:_BATCH]
        return await asyncio.to_thread(self.queries.events_after, last_id, _BATCH)

    def _keep_looking(self) -> None:
        """Have somebody look, also when the last one met an error that nobody foresaw."""
        if self._looking is not None and self._looking.done() and not self._looking.cancelled():
            logger.error("looking for events anew", exc_info=self._looking.exception())
            self._looking = None
        if self._looking is None:
            self._newest.clear()
            self._looked_to = None
            self._news = asyncio.Event()
            self._looking = asyncio.create_task(self._look())

    async def _look(self) -> None:
        """Read what is new for everybody, until nobody follows."""
        while True:
            try:
                if self._looked_to is None:
                    self._looked_to = await asyncio.to_thread(self.queries.last_event_id)
                    # What came in until now is in the database only: whoever waits has to look there.
                    self._wake()
                events = await asyncio.to_thread(self.queries.events_after, self._looked_to, _BATCH)
            except RecordsUnavailable:
                events = ()
            if events:
                self._newest.extend(events)
                self._looked_to = events[-1].id
                self._wake()
            if len(events) < _BATCH:
                await asyncio.sleep(_POLL_S)

    def _wake(self) -> None:
        waiting, self._news = self._news, asyncio.Event()
        waiting.set()
