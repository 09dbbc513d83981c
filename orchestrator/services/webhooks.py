"""Webhooks: subscriptions, their secrets, and the deliveries that the worker makes.

A subscription's secret is derived, not kept: HMAC-SHA256 of its random salt under the hub's webhook key,
which lies in a file. So the database alone gives nobody a secret, and the secret is shown once only.
"""

import hashlib
import hmac
import json
import logging
import secrets
from base64 import b64encode
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from standardwebhooks import Webhook

from orchestrator.domain.errors import NotFound, Unacceptable, Unavailable, WebhookRefused
from orchestrator.domain.ports import Clock, Records, StreamEvent, WebhookFailed, WebhookReceivers
from orchestrator.domain.webhooks import (
    MOST_ATTEMPTS,
    Delivery,
    DeliveryStatus,
    Subscription,
    is_kind_pattern,
    pause_s,
)
from orchestrator.services.lease import LeaseLost

_SALT_BYTES = 16
_MOST_SUBSCRIPTIONS = 50
_MOST_KINDS = 50
_EVENTS_AT_ONCE = 200
_THREADS = 4
_KEPT_S = 30 * 24 * 3600
CLAIM_S = 120
"""How long a delivery that a worker took is left to it; one that died leaves it to the next."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class WebhookKey:
    """What secrets are derived from."""

    key: bytes = field(repr=False)

    def secret(self, salt: bytes) -> str:
        """A subscription's secret, as the standard writes it."""
        derived = hmac.new(self.key, b"collegium webhook\0" + salt, hashlib.sha256).digest()
        return "whsec_" + b64encode(derived).decode()


@dataclass(frozen=True)
class WebhookService:
    """Subscriptions, for the API. Without a key there are none to be made."""

    records: Records
    receivers: WebhookReceivers
    key: WebhookKey | None
    clock: Clock

    def subscribe(self, url: str, kinds: tuple[str, ...]) -> tuple[Subscription, str]:
        """A new subscription to what happens from now on, and its secret, which is never shown again.

        Raises:
            Unavailable: this hub has no key for webhooks.
            WebhookRefused: the address is not a public one over HTTPS.
            Unacceptable: a kind is none, or there are too many.
        """
        if self.key is None:
            raise Unavailable("webhooks are off: COLLEGIUM_WEBHOOK_KEY_FILE is not set")
        if len(kinds) > _MOST_KINDS:
            raise Unacceptable(f"at most {_MOST_KINDS} kinds may be named; none means all")
        for kind in kinds:
            if not is_kind_pattern(kind):
                raise Unacceptable(f"{kind[:80]!r} is no kind of events, such as round.final or round.*")
        self.receivers.check(url)
        salt = secrets.token_bytes(_SALT_BYTES)
        with self.records.write() as unit:
            if len(unit.webhooks.all()) >= _MOST_SUBSCRIPTIONS:
                raise Unacceptable(f"there are {_MOST_SUBSCRIPTIONS} webhooks already; remove one first")
            made = unit.webhooks.add(url, kinds, salt, unit.stream.last_id(), self.clock.now_unix_s())
        return made, self.key.secret(salt)

    def all(self) -> list[Subscription]:
        """All subscriptions, by number."""
        with self.records.read() as unit:
            return unit.webhooks.all()

    def remove(self, subscription: int) -> None:
        """Forget a subscription and its deliveries. Raises NotFound."""
        with self.records.write() as unit:
            if unit.webhooks.by_id(subscription) is None:
                raise NotFound(f"there is no webhook {subscription}")
            unit.webhooks.remove(subscription)

    def deliveries(self, subscription: int, before: int | None, limit: int) -> list[Delivery]:
        """The newest deliveries, those before a number if one is given. Raises NotFound."""
        with self.records.read() as unit:
            if unit.webhooks.by_id(subscription) is None:
                raise NotFound(f"there is no webhook {subscription}")
            return unit.webhooks.deliveries(subscription, before, limit)

    def replay(self, subscription: int, delivery: int) -> Delivery:
        """Deliver once more, under the same message id, whatever became of it. Raises NotFound."""
        now_unix_s = self.clock.now_unix_s()
        with self.records.write() as unit:
            found = unit.webhooks.delivery(delivery)
            if found is None or found.subscription != subscription:
                raise NotFound(f"webhook {subscription} has no delivery {delivery}")
            again = replace(
                found,
                status=DeliveryStatus.PENDING,
                attempts=0,
                next_unix_s=now_unix_s,
                changed_unix_s=now_unix_s,
            )
            unit.webhooks.save(again)
        return again


@dataclass
class WebhookDeliveries:
    """Makes deliveries out of events, and makes them arrive; for the worker.

    Receivers are slow or gone at times, so posting happens on threads of its own and never holds up the
    chain's work. A worker that dies in between leaves deliveries pending: they are tried again, and the
    receiver may get one twice under the same message id.
    """

    records: Records
    receivers: WebhookReceivers
    key: WebhookKey
    clock: Clock
    _threads: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(max_workers=_THREADS, thread_name_prefix="webhook")
    )
    _busy: list[Future[None]] = field(default_factory=list)
    _cleaned_unix_s: int = 0

    def run_once(self) -> None:
        """Queue what is new, and start what is due, as far as threads are free."""
        self._queue_new()
        done = [future for future in self._busy if future.done()]
        self._busy = [future for future in self._busy if future not in done]
        free = _THREADS - len(self._busy)
        now_unix_s = self.clock.now_unix_s()
        if free > 0:
            for delivery in self._claim(free, now_unix_s):
                self._busy.append(self._threads.submit(self._deliver, delivery))
        if now_unix_s >= self._cleaned_unix_s + 3600:
            self._cleaned_unix_s = now_unix_s
            with self.records.write() as unit:
                unit.webhooks.remove_settled(now_unix_s - _KEPT_S)
        for future in done:
            future.result()

    def close(self) -> None:
        """Wait for what is under way and start nothing more."""
        self._threads.shutdown(wait=True, cancel_futures=True)

    def _queue_new(self) -> None:
        with self.records.read() as unit:
            last_id = unit.stream.last_id()
            behind = [each for each in unit.webhooks.all() if each.after_event < last_id]
        for subscription in behind:
            with self.records.write() as unit:
                # Read again under the write lock: another worker may have done it.
                current = unit.webhooks.by_id(subscription.id)
                if current is None:
                    continue
                events = unit.stream.after(current.after_event, _EVENTS_AT_ONCE)
                if events:
                    wanted = [each.id for each in events if current.wants(each.announcement.kind)]
                    unit.webhooks.queue(current.id, wanted, events[-1].id, self.clock.now_unix_s())

    def _claim(self, limit: int, now_unix_s: int) -> list[Delivery]:
        with self.records.read() as unit:
            if not unit.webhooks.is_any_due(now_unix_s):
                return []
        with self.records.write() as unit:
            return unit.webhooks.claim(now_unix_s, now_unix_s + CLAIM_S, limit)

    def _deliver(self, delivery: Delivery) -> None:
        """Try a delivery and note how it went; left to whoever has the lease when this worker has not."""
        with suppress(LeaseLost):
            self._try(delivery)

    def _try(self, delivery: Delivery) -> None:
        with self.records.read() as unit:
            subscription = unit.webhooks.by_id(delivery.subscription)
            events = unit.stream.after(delivery.event - 1, 1)
        if subscription is None:
            return
        answered, error = self._post(delivery, subscription, events[0])
        now_unix_s = self.clock.now_unix_s()
        tried = replace(delivery, changed_unix_s=now_unix_s, answered=answered, error=error)
        if error is None:
            tried = replace(tried, status=DeliveryStatus.DELIVERED)
        elif delivery.attempts >= MOST_ATTEMPTS:
            tried = replace(tried, status=DeliveryStatus.DEAD)
            logger.warning("webhook %d: %s is dead: %s", subscription.id, delivery.message_id, error)
        else:
            tried = replace(tried, next_unix_s=now_unix_s + pause_s(delivery.attempts))
            logger.info("webhook %d: %s failed: %s", subscription.id, delivery.message_id, error)
        with self.records.write() as unit:
            # Not over what happened meanwhile: a replay, or another worker after this one took too long.
            if unit.webhooks.delivery(delivery.id) == delivery:
                unit.webhooks.save(tried)

    def _post(
        self, delivery: Delivery, subscription: Subscription, event: StreamEvent
    ) -> tuple[int | None, str | None]:
        """The receiver's status, and why that is no delivery (None when it is one)."""
        body = payload(event)
        sent_at = datetime.fromtimestamp(self.clock.now_unix_s(), UTC)
        signer = Webhook(self.key.secret(subscription.salt))
        headers = {
            "content-type": "application/json",
            "user-agent": "collegium",
            "webhook-id": delivery.message_id,
            "webhook-timestamp": str(int(sent_at.timestamp())),
            "webhook-signature": signer.sign(delivery.message_id, sent_at, body),
        }
        try:
            status = self.receivers.post(subscription.url, body.encode(), headers)
        except (WebhookRefused, WebhookFailed) as error:
            return None, str(error)
        if 200 <= status < 300:
            return status, None
        return status, f"the receiver answered with {status}"


def payload(event: StreamEvent) -> str:
    """What a receiver gets: the standard's type, timestamp and data."""
    announcement = event.announcement
    timestamp = datetime.fromtimestamp(event.created_unix_s, UTC).isoformat().replace("+00:00", "Z")
    data = {
        "id": event.id,
        "task": announcement.task,
        "round": announcement.round,
        "node": announcement.node,
        "facts": dict(announcement.facts),
    }
    return json.dumps({"type": announcement.kind, "timestamp": timestamp, "data": data})
