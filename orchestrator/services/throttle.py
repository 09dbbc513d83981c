"""How often one address or one principal may ask; counted in this process, by the minute.

Where several processes answer for one hub, each allows its share of a limit: together they never allow more.

Wrong credentials and attempts to sign in count for the address that they come from, so that nobody guesses
on; everything else counts for whoever asks.
"""

import math
import time
from dataclasses import dataclass

from limits import RateLimitItem, parse
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from orchestrator.domain.errors import TooManyRequests
from orchestrator.domain.identity import Principal


@dataclass(frozen=True)
class Limits:
    """As the ``limits`` library writes them; ``requests`` None: no limit per principal.

    They hold for all ``processes`` of the API together.
    """

    requests: str | None = "30000/minute"
    attempts: str = "60/minute"
    wrong_credentials: str = "60/minute"
    contract_signatures: str = "600/minute"
    processes: int = 1

    def check(self) -> None:
        """Raises ValueError when one of them cannot be read, or has no share for each process."""
        for limit in (self.requests, self.attempts, self.wrong_credentials, self.contract_signatures):
            if limit is not None:
                self.share(limit)

    def share(self, limit: str) -> RateLimitItem:
        """What one process allows of a limit. Raises ValueError as ``check``."""
        whole = parse(limit)
        if whole.amount < self.processes:
            raise ValueError(f"{limit} is less than one for each of {self.processes} processes")
        return type(whole)(whole.amount // self.processes, whole.multiples)


class Throttle:
    """Counts, and refuses what is too much. Every method may raise TooManyRequests."""

    def __init__(self, limits: Limits) -> None:
        self._limiter = FixedWindowRateLimiter(MemoryStorage())
        self._requests = None if limits.requests is None else limits.share(limits.requests)
        self._attempts = limits.share(limits.attempts)
        self._wrong = limits.share(limits.wrong_credentials)
        self._contract_signatures = limits.share(limits.contract_signatures)

    def request(self, principal: Principal) -> None:
        """Somebody known asks for something."""
        if self._requests is not None:
            self._hit(self._requests, f"principal:{principal.role}:{principal.token}:{principal.name}")

    def attempt(self, address: str) -> None:
        """Somebody tries to sign in."""
        self._hit(self._attempts, f"attempt:{address}")

    def wrong_credential(self, address: str) -> None:
        """An address showed a credential that is worth nothing."""
        self._hit(self._wrong, f"wrong:{address}")

    def look_at(self, address: str) -> None:
        """An address is about to show a credential: refused when too many were worth nothing."""
        if not self._limiter.test(self._wrong, f"wrong:{address}"):
            self._refuse(self._wrong, f"wrong:{address}")

    def contract_signature(self, asker: str) -> None:
        """Somebody sends a signature that only the chain can judge."""
        self._hit(self._contract_signatures, f"signature:{asker}")

    def _hit(self, limit: RateLimitItem, key: str) -> None:
        if not self._limiter.hit(limit, key):
            self._refuse(limit, key)

    def _refuse(self, limit: RateLimitItem, key: str) -> None:
        reset_unix_s = self._limiter.get_window_stats(limit, key).reset_time
        raise TooManyRequests(
            "too many requests; wait before the next one", max(1, math.ceil(reset_unix_s - time.time()))
        )
