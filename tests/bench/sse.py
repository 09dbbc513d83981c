"""1,000 listeners to the stream while a round runs: does every one get every event, in order?

``collegium serve`` on SQLite answers; another connection writes what a round of eight nodes announces, over
and over. Each listener holds a connection of its own, loses it at a time of its own (in the middle of an
event at times), and resumes by Last-Event-ID. Counted are events that a listener lacks, has twice, or has
out of order.
"""

import asyncio
import random
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.adapters.database import DatabaseRecords, open_records
from orchestrator.domain.projection import Announcement
from tests.bench._hub import ServedHub, served_hub
from tests.bench._rows import Row

LISTENERS = 1_000
RECONNECTIONS = 3
EVENTS = 300
EVENTS_A_SECOND = 15
CONNECTING_AT_ONCE = 50
TIMEOUT_S = 400.0
# What a round of eight nodes announces.
ROUND = (
    *("round.requested", "round.drawn"),
    *("proposal.received",) * 4,
    "round.committing",
    *("vote.committed",) * 8,
    "round.revealing",
    *("vote.revealed",) * 8,
    "round.attesting",
    *("attestation.received",) * 8,
    "round.final",
)


@dataclass
class Listener:
    """A program that follows the stream from its beginning."""

    cuts: list[int]
    """After how many events its connection breaks."""
    got: list[int] = field(default_factory=list)
    connections: int = 0
    ended_s: float = 0.0


def run() -> list[Row]:
    """The rows of ``sse``."""
    with tempfile.TemporaryDirectory(prefix="collegium-bench-") as folder, served_hub(Path(folder)) as hub:
        records = open_records(hub.database_url)
        try:
            listeners, written_s, behind_s = asyncio.run(_follow(hub, records))
        finally:
            records.close()
    wanted = list(range(1, EVENTS + 1))
    wrong = sum(_wrong(listener.got, wanted) for listener in listeners)
    connections = sum(listener.connections for listener in listeners)
    how = (
        f"{LISTENERS} listeners, {EVENTS} events each in {written_s:.0f} s, {connections} connections; "
        f"the last event reached the last listener {behind_s:.1f} s after it was written"
    )
    return [Row.at_most("sse.missing_events", wrong, "events", 0, how)]


async def _follow(hub: ServedHub, records: DatabaseRecords) -> tuple[list[Listener], float, float]:
    chance = random.Random(1)
    listeners = [Listener(sorted(chance.sample(range(1, EVENTS), RECONNECTIONS))) for _ in range(LISTENERS)]
    gate = asyncio.Semaphore(CONNECTING_AT_ONCE)
    async with asyncio.timeout(TIMEOUT_S), asyncio.TaskGroup() as tasks:
        for listener in listeners:
            tasks.create_task(_listen(hub, listener, gate))
        while not all(listener.connections for listener in listeners):
            await asyncio.sleep(0.05)
        began_s = time.monotonic()
        for number in range(EVENTS):
            await asyncio.to_thread(_write, records, ROUND[number % len(ROUND)], number)
            await asyncio.sleep(max(0.0, began_s + (number + 1) / EVENTS_A_SECOND - time.monotonic()))
        written_s = time.monotonic() - began_s
    return listeners, written_s, max(listener.ended_s for listener in listeners) - began_s - written_s


def _write(records: DatabaseRecords, kind: str, number: int) -> None:
    node = f"0x{number % 8:040x}"
    with records.write() as unit:
        unit.stream.append(Announcement(kind, 1, 1, node, {"number": number}), int(time.time()))


async def _listen(hub: ServedHub, listener: Listener, gate: asyncio.Semaphore) -> None:
    for until in (*listener.cuts, EVENTS):
        async with gate:
            reader, writer = await asyncio.open_connection("127.0.0.1", hub.port)
            last = listener.got[-1] if listener.got else 0
            writer.write(
                f"GET /v1/events HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {hub.token}\r\n"
                f"Last-Event-ID: {last}\r\n\r\n".encode()
            )
            head = await reader.readuntil(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200 "):
                raise RuntimeError(head.decode(errors="replace"))
        listener.connections += 1
        number = 0
        while len(listener.got) < until:
            line = await reader.readline()
            if not line:
                raise RuntimeError("the stream ended by itself")
            if line.startswith(b"id: "):
                number = int(line[4:])
            elif line.startswith(b"event: "):
                # A stream's first line has a number, and no event.
                listener.got.append(number)
        # Cut at once: the rest of the event, and whatever follows it, is lost on the way.
        writer.transport.abort()
    listener.ended_s = time.monotonic()


def _wrong(got: list[int], wanted: list[int]) -> int:
    if got == wanted:
        return 0
    return max(1, len(set(wanted) - set(got)), len(got) - len(set(got)))
