"""The feed: everybody gets everything in order, from memory or from the database, whoever came when."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from orchestrator.adapters.database import DatabaseRecords
from orchestrator.domain.errors import Unavailable
from orchestrator.domain.ports import RecordsUnavailable
from orchestrator.domain.projection import Announcement
from orchestrator.services import feed as feed_module
from orchestrator.services.feed import EventFeed
from orchestrator.services.queries import QueryService
from tests.integration.databases import Databases, open_quick_records
from tests.integration.orchestrator_double_rig import ClockDouble

DEADLINE_S = 60.0


@dataclass
class Setting:
    """A database and a feed over it."""

    records: DatabaseRecords
    feed: EventFeed

    def happen(self, count: int = 1) -> None:
        for _ in range(count):
            with self.records.write() as unit:
                unit.stream.append(Announcement("round.final"), 0)


@pytest.fixture
def setting(tmp_path: Path, databases: Databases) -> Iterator[Setting]:
    records = open_quick_records(databases.new(tmp_path))
    yield Setting(records, EventFeed(QueryService(records, ClockDouble())))
    records.close()


async def read(feed: EventFeed, after: int | None, count: int) -> list[int]:
    """The numbers of the first events."""
    got: list[int] = []
    follower = feed.follow(after)
    async for events in follower:
        got += [event.id for event in events]
        if len(got) >= count:
            break
    await follower.aclose()  # type: ignore[attr-defined]
    return got


Result = TypeVar("Result")


def run(work: Callable[[], Awaitable[Result]]) -> Result:
    async def within() -> Result:
        async with asyncio.timeout(DEADLINE_S):
            return await work()

    return asyncio.run(within())


def test_followers_from_everywhere_get_everything_in_order(setting: Setting) -> None:
    setting.happen(300)

    async def work() -> list[list[int]]:
        followers = [
            asyncio.create_task(read(setting.feed, after, 700 - after)) for after in (0, 150, 300, 0)
        ]
        for _ in range(40):
            await asyncio.to_thread(setting.happen, 10)
        # One that comes late is served from the database first.
        followers.append(asyncio.create_task(read(setting.feed, 10, 690)))
        return await asyncio.gather(*followers)

    starts = (0, 150, 300, 0, 10)
    assert run(work) == [list(range(start + 1, 701)) for start in starts]
    assert setting.feed.followers == 0


def test_more_than_memory_holds_comes_from_the_database(
    setting: Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    setting.feed._newest = type(setting.feed._newest)(maxlen=5)

    async def work() -> list[int]:
        fast = asyncio.create_task(read(setting.feed, 0, 50))
        slow = setting.feed.follow(0)
        await asyncio.to_thread(setting.happen, 3)
        got = [event.id for event in await anext(slow)]
        await asyncio.to_thread(setting.happen, 47)
        await fast
        while len(got) < 50:
            got += [event.id for event in await anext(slow)]
        await slow.aclose()  # type: ignore[attr-defined]
        return got

    assert run(work) == list(range(1, 51))


def test_from_now_on(setting: Setting) -> None:
    setting.happen(5)

    async def work() -> list[int]:
        follower = asyncio.create_task(read(setting.feed, None, 2))
        while setting.feed._looked_to is None:
            await asyncio.sleep(0)
        await asyncio.to_thread(setting.happen, 2)
        return await follower

    assert run(work) == [6, 7]


def test_a_number_from_the_future_harms_nobody(setting: Setting) -> None:
    async def work() -> list[int]:
        ahead = asyncio.create_task(read(setting.feed, 1 << 40, 1))
        other = asyncio.create_task(read(setting.feed, 0, 2))
        await asyncio.to_thread(setting.happen, 2)
        got = await other
        ahead.cancel()
        return got

    assert run(work) == [1, 2]


def test_a_database_that_is_away_for_a_while(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> list[int]:
        follower = asyncio.create_task(read(setting.feed, 0, 1))
        while setting.feed._looked_to is None:
            await asyncio.sleep(0)
        asked = asyncio.Event()
        loop = asyncio.get_running_loop()

        def away(*_: object) -> None:
            loop.call_soon_threadsafe(asked.set)
            raise RecordsUnavailable("away")

        with monkeypatch.context() as patched:
            patched.setattr(QueryService, "events_after", away)
            await asked.wait()
        await asyncio.to_thread(setting.happen)
        return await follower

    assert run(work) == [1]


def test_an_error_that_nobody_foresaw_ends_nothing(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "_HEARTBEAT_S", 0.05)

    async def work() -> list[int]:
        follower = asyncio.create_task(read(setting.feed, 0, 1))
        while setting.feed._looked_to is None:
            await asyncio.sleep(0)
        assert setting.feed._looking is not None

        def broken(*_: object) -> None:
            raise ZeroDivisionError

        with monkeypatch.context() as patched:
            patched.setattr(QueryService, "events_after", broken)
            await asyncio.wait([setting.feed._looking])
        await asyncio.to_thread(setting.happen)
        return await follower

    assert run(work) == [1]


def test_signs_of_life_and_room(setting: Setting, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed_module, "_HEARTBEAT_S", 0.01)
    setting.feed.most_followers = 1

    async def work() -> None:
        follower = setting.feed.follow(0)
        assert await anext(follower) == ()
        with pytest.raises(Unavailable):
            setting.feed.require_room()
        await follower.aclose()  # type: ignore[attr-defined]
        setting.feed.require_room()
        assert setting.feed._looking is None

    run(work)
