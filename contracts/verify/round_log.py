"""The events of each round, by kind."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from contracts.events import (
    Attested,
    Committed,
    Drawn,
    PhaseChanged,
    Proposed,
    Revealed,
    Rewarded,
    RoundClosed,
    RoundRequested,
    Tallied,
)
from contracts.verify.facts import LoggedEvent

RoundKey = tuple[int, int]
"""Task and round."""


@dataclass(frozen=True)
class RoundLog:
    """All events of one round, each kind in the chain's order.

    What the contracts write once, for a round or for a node in it, is here once: a second such event is left
    out and named in ``doubled``.
    """

    requested: RoundRequested | None = None
    request_block: int | None = None
    drawn: Drawn | None = None
    phases: tuple[PhaseChanged, ...] = ()
    proposed: tuple[Proposed, ...] = ()
    committed: tuple[Committed, ...] = ()
    revealed: tuple[Revealed, ...] = ()
    tallied: Tallied | None = None
    attested: tuple[Attested, ...] = ()
    closed: RoundClosed | None = None
    rewarded: Rewarded | None = None
    doubled: tuple[str, ...] = ()


def round_logs(events: Iterable[LoggedEvent]) -> Mapping[RoundKey, RoundLog]:
    """The rounds that ``events`` speak of."""
    logs: dict[RoundKey, RoundLog] = {}
    for logged in events:
        event = logged.event
        if isinstance(event, _OF_ROUNDS):
            key = (event.task, event.round)
            logs[key] = _with(logs.get(key, RoundLog()), event, logged.block)
    return logs


_RoundEvent = (
    RoundRequested
    | Drawn
    | PhaseChanged
    | Proposed
    | Committed
    | Revealed
    | Tallied
    | Attested
    | RoundClosed
    | Rewarded
)
_OF_ROUNDS = (
    *(RoundRequested, Drawn, PhaseChanged, Proposed, Committed, Revealed, Tallied, Attested),
    *(RoundClosed, Rewarded),
)


def _with(log: RoundLog, event: _RoundEvent, block: int) -> RoundLog:
    match event:
        case RoundRequested() if log.requested is None:
            return replace(log, requested=event, request_block=block)
        case Drawn() if log.drawn is None:
            return replace(log, drawn=event)
        case PhaseChanged() if event.phase not in {entered.phase for entered in log.phases}:
            return replace(log, phases=(*log.phases, event))
        case Proposed() if _is_first(event, log.proposed):
            return replace(log, proposed=(*log.proposed, event))
        case Committed() if _is_first(event, log.committed):
            return replace(log, committed=(*log.committed, event))
        case Revealed() if _is_first(event, log.revealed):
            return replace(log, revealed=(*log.revealed, event))
        case Tallied() if log.tallied is None:
            return replace(log, tallied=event)
        case Attested() if _is_first(event, log.attested):
            return replace(log, attested=(*log.attested, event))
        case RoundClosed() if log.closed is None:
            return replace(log, closed=event)
        case Rewarded() if log.rewarded is None:
            return replace(log, rewarded=event)
    name = type(event).__name__
    if isinstance(event, PhaseChanged):
        name += f" to {event.phase.name}"
    elif isinstance(event, Proposed | Committed | Revealed | Attested):
        name += f" of {event.node}"
    return replace(log, doubled=(*log.doubled, name))


def _is_first(
    event: Proposed | Committed | Revealed | Attested,
    earlier: Iterable[Proposed | Committed | Revealed | Attested],
) -> bool:
    return event.node not in {each.node for each in earlier}
