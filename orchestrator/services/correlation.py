"""Which request, or which of the hub's own decisions, the work at hand belongs to.

The id is kept with every intent that the work causes, and stands in every line of the log about either.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from structlog.contextvars import bind_contextvars, bound_contextvars, clear_contextvars, get_contextvars

from orchestrator.domain.outbox import Intent, call_kind

LONGEST = 64
_NAME = "correlation_id"


def new_correlation_id() -> str:
    """An id that nothing else has."""
    return uuid.uuid4().hex


def correlation_id() -> str | None:
    """The id of the work at hand; None outside of any."""
    found: str | None = get_contextvars().get(_NAME)
    return found


def begin(identifier: str) -> None:
    """What follows in this context (a request's task, say) belongs to ``identifier`` and to nothing else."""
    clear_contextvars()
    bind_contextvars(**{_NAME: identifier})


@contextmanager
def about(*intents: Intent) -> Iterator[None]:
    """The log's lines in the block are about one intent or several, and so about what caused them."""
    facts: dict[str, object] = {}
    if len(intents) == 1:
        (intent,) = intents
        facts = {"intent": intent.id, "kind": call_kind(intent.call), _NAME: intent.correlation_id}
    elif intents:
        facts = {"intents": [each.id for each in intents]}
        facts[_NAME + "s"] = [each.correlation_id for each in intents]
    with bound_contextvars(**facts):
        yield
