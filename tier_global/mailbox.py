"""How the conductor reaches nodes, as a port: requests go out, replies come in when they come."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from tier_global.exchange import Reply, Request


@dataclass(frozen=True)
class Arrival:
    """An answer to one letter: a reply, or in ``failure`` why there will be none."""

    letter: str
    reply: Reply | None
    failure: str = ""


class Mailbox(Protocol):
    """Connected nodes are known by a number that a node gets anew whenever it starts.

    A node reads its letters one by one, in the order in which they were sent.
    """

    def connected(self) -> Mapping[int, str]:
        """The nodes that are connected now, or were a moment ago, and as whom each is registered, or ""."""

    def send(self, request: Request, to: Sequence[int]) -> dict[int, str]:
        """Send one request to several nodes: letter by node, without those that it could not be sent to."""

    def collect(self) -> list[Arrival]:
        """The answers that have come since the last call; never waits. Each answer comes once."""
