"""Clients that ask one thing over and over on connections that they keep; thin, to measure the server."""

import asyncio
import time
from dataclasses import dataclass


@dataclass(frozen=True)
class Load:
    """What some clients saw."""

    seconds: float
    latencies_s: tuple[float, ...]

    @property
    def per_s(self) -> float:
        """Answers a second."""
        return len(self.latencies_s) / self.seconds

    @property
    def median_s(self) -> float:
        """Half of the answers came sooner."""
        return sorted(self.latencies_s)[len(self.latencies_s) // 2]

    @property
    def p99_s(self) -> float:
        """99 of a hundred answers came sooner."""
        return sorted(self.latencies_s)[len(self.latencies_s) * 99 // 100]


def ask_for_a_while(port: int, path: str, headers: dict[str, str], clients: int, seconds: float) -> Load:
    """Every client asks again as soon as it has its answer; an answer other than 200 is an error."""
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", *(f"{k}: {v}" for k, v in headers.items())]
    request = ("\r\n".join(lines) + "\r\n\r\n").encode()
    return asyncio.run(_ask(port, request, clients, seconds))


async def _ask(port: int, request: bytes, clients: int, seconds: float) -> Load:
    connections = [await asyncio.open_connection("127.0.0.1", port) for _ in range(clients)]
    began_s = time.perf_counter()
    found = await asyncio.gather(
        *(_client(reader, writer, request, began_s + seconds) for reader, writer in connections)
    )
    taken_s = time.perf_counter() - began_s
    for _, writer in connections:
        writer.close()
    return Load(taken_s, tuple(latency for latencies in found for latency in latencies))


async def _client(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes, until_s: float
) -> list[float]:
    latencies_s = []
    while (asked_s := time.perf_counter()) < until_s:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        if not head.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(head.decode(errors="replace"))
        await reader.readexactly(_content_length(head))
        latencies_s.append(time.perf_counter() - asked_s)
    return latencies_s


def _content_length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    raise RuntimeError("the answer does not say how long it is")
