"""Webhooks in tables."""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, and_, delete, func, select, update
from sqlalchemy.orm import Session

from orchestrator.adapters.database.webhook_models import DeliveryRow, SubscriptionRow
from orchestrator.domain.webhooks import Delivery, DeliveryStatus, Subscription

_ERROR_LENGTH = 300


class SqlWebhookRepository:
    """``WebhookRepository`` over one session."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def all(self) -> list[Subscription]:
        """All subscriptions, by number."""
        query = select(SubscriptionRow).order_by(SubscriptionRow.id)
        return [_subscription(row) for row in self._session.scalars(query)]

    def after(self, subscription: int, limit: int) -> list[Subscription]:
        """The subscriptions after a number, in order."""
        query = select(SubscriptionRow).where(SubscriptionRow.id > subscription).order_by(SubscriptionRow.id)
        return [_subscription(row) for row in self._session.scalars(query.limit(limit))]

    def by_id(self, subscription: int) -> Subscription | None:
        """A subscription by its number."""
        row = self._session.get(SubscriptionRow, subscription)
        return None if row is None else _subscription(row)

    def add(
        self, url: str, kinds: tuple[str, ...], salt: bytes, after_event: int, now_unix_s: int
    ) -> Subscription:
        """A new subscription, to events after a number."""
        row = SubscriptionRow(
            url=url, kinds=list(kinds), salt=salt, after_event=after_event, created_unix_s=now_unix_s
        )
        self._session.add(row)
        self._session.flush()
        return _subscription(row)

    def remove(self, subscription: int) -> None:
        """Forget a subscription and its deliveries."""
        self._session.execute(delete(DeliveryRow).where(DeliveryRow.subscription == subscription))
        self._session.execute(delete(SubscriptionRow).where(SubscriptionRow.id == subscription))

    def queue(self, subscription: int, events: Sequence[int], after_event: int, now_unix_s: int) -> None:
        """Make deliveries for events, and note up to which event that was done."""
        for event in events:
            self._session.add(
                DeliveryRow(
                    subscription=subscription,
                    event=event,
                    status=DeliveryStatus.PENDING.value,
                    attempts=0,
                    next_unix_s=now_unix_s,
                    changed_unix_s=now_unix_s,
                )
            )
        self._session.execute(
            update(SubscriptionRow).where(SubscriptionRow.id == subscription).values(after_event=after_event)
        )
        self._session.flush()

    def is_any_due(self, now_unix_s: int) -> bool:
        """Whether there is a pending delivery whose time has come."""
        query = select(DeliveryRow.id).where(_is_due(now_unix_s)).limit(1)
        return self._session.scalar(query) is not None

    def claim(self, now_unix_s: int, until_unix_s: int, limit: int) -> list[Delivery]:
        """Pending deliveries whose time has come, one attempt further; nobody else gets them meanwhile."""
        query = (
            select(DeliveryRow)
            .where(_is_due(now_unix_s))
            .order_by(DeliveryRow.next_unix_s, DeliveryRow.id)
            .limit(limit)
            .with_for_update(skip_locked=True)
        )
        rows = list(self._session.scalars(query))
        for row in rows:
            row.next_unix_s = until_unix_s
            row.attempts += 1
        self._session.flush()
        return [_delivery(row) for row in rows]

    def delivery(self, delivery: int) -> Delivery | None:
        """A delivery by its number."""
        row = self._session.get(DeliveryRow, delivery)
        return None if row is None else _delivery(row)

    def deliveries(self, subscription: int, before: int, limit: int) -> list[Delivery]:
        """The deliveries of a subscription before a number, newest first."""
        query = select(DeliveryRow).where(DeliveryRow.subscription == subscription, DeliveryRow.id < before)
        rows = self._session.scalars(query.order_by(DeliveryRow.id.desc()).limit(limit))
        return [_delivery(row) for row in rows]

    def save(self, delivery: Delivery) -> None:
        """Store a delivery's new state; nothing happens when its subscription was removed meanwhile."""
        error = None if delivery.error is None else delivery.error[:_ERROR_LENGTH]
        self._session.execute(
            update(DeliveryRow)
            .where(DeliveryRow.id == delivery.id)
            .values(
                status=delivery.status.value,
                attempts=delivery.attempts,
                next_unix_s=delivery.next_unix_s,
                changed_unix_s=delivery.changed_unix_s,
                answered=delivery.answered,
                error=error,
            )
        )

    def remove_settled(self, before_unix_s: int) -> None:
        """Forget deliveries that arrived, or died, before a time."""
        self._session.execute(
            delete(DeliveryRow).where(
                DeliveryRow.status != DeliveryStatus.PENDING.value, DeliveryRow.changed_unix_s < before_unix_s
            )
        )

    def count(self) -> dict[str, int]:
        """How many deliveries have which status."""
        query = select(DeliveryRow.status, func.count()).group_by(DeliveryRow.status)
        return {status: int(count) for status, count in self._session.execute(query)}


def _is_due(now_unix_s: int) -> ColumnElement[bool]:
    return and_(DeliveryRow.status == DeliveryStatus.PENDING.value, DeliveryRow.next_unix_s <= now_unix_s)


def _subscription(row: SubscriptionRow) -> Subscription:
    return Subscription(row.id, row.url, tuple(row.kinds), row.salt, row.after_event, row.created_unix_s)


def _delivery(row: DeliveryRow) -> Delivery:
    return Delivery(
        id=row.id,
        subscription=row.subscription,
        event=row.event,
        status=DeliveryStatus(row.status),
        attempts=row.attempts,
        next_unix_s=row.next_unix_s,
        changed_unix_s=row.changed_unix_s,
        answered=row.answered,
        error=row.error,
    )
