"""Webhooks: who wants to be told of what, and what became of telling them.

A delivery is one event for one subscription. It is tried until the receiver answers with 2xx, at growing
distances, and is dead after the last attempt; replaying it starts over. Its message id never changes, so that
a receiver can tell a repetition from news.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

MOST_ATTEMPTS = 10
_FIRST_PAUSE_S = 5
_LONGEST_PAUSE_S = 6 * 3600
_PATTERN = re.compile(r"[a-z_]{1,40}(?:\.(?:[a-z_]{1,40}|\*))?")


class DeliveryStatus(StrEnum):
    """Where a delivery stands."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"


@dataclass(frozen=True)
class Subscription:
    """A receiver. ``kinds`` are kinds of events, ``round.*`` means all of a family; none means every kind."""

    id: int
    url: str
    kinds: tuple[str, ...]
    salt: bytes
    """What its secret is derived from, beside the hub's key."""
    after_event: int
    """Deliveries were made for events up to this one."""
    created_unix_s: int

    def wants(self, kind: str) -> bool:
        """Whether it is to be told of events of a kind."""
        family = kind.split(".")[0]
        return not self.kinds or kind in self.kinds or f"{family}.*" in self.kinds


@dataclass(frozen=True)
class Delivery:
    """One event for one subscription, and how telling it went so far."""

    id: int
    subscription: int
    event: int
    status: DeliveryStatus
    attempts: int
    next_unix_s: int
    """When it is to be tried (again), while it is pending."""
    changed_unix_s: int
    answered: int | None = None
    """The status of the receiver's last answer."""
    error: str | None = None
    """Why the last attempt failed."""

    @property
    def message_id(self) -> str:
        """The same at every attempt and replay, and for no other delivery."""
        return f"event-{self.event}-{self.subscription}"


def is_kind_pattern(pattern: str) -> bool:
    """Whether it is a kind of events or a family of kinds, by its form."""
    return _PATTERN.fullmatch(pattern) is not None


def pause_s(attempts: int) -> int:
    """How long to wait after so many attempts: 5 s, then four times longer each time, at most 6 hours."""
    # The exponent is bounded first, so that no number grows without need.
    return int(min(_FIRST_PAUSE_S * 4 ** min(attempts - 1, 10), _LONGEST_PAUSE_S))
