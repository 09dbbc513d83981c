"""Alterations of honest facts: what a lying endpoint could say instead."""

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass, replace
from enum import IntEnum
from typing import Any

from contracts.events import Event
from contracts.verify.facts import LoggedEvent, TaskFacts

Lie = Callable[[TaskFacts], TaskFacts]


def other(value: Any) -> Any:
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, IntEnum):
        return next(each for each in type(value) if each is not value)
    if isinstance(value, int):
        return value + 1
    if isinstance(value, str):
        # An address or a digest: another of the same length.
        return "0x" + format(int(value, 16) ^ 1, f"0{len(value) - 2}x")
    if isinstance(value, tuple):
        return (other(value[0]), *value[1:]) if value else value
    if is_dataclass(value) and not isinstance(value, type):
        first = fields(value)[0].name
        return replace(value, **{first: other(getattr(value, first))})
    raise TypeError(f"no other value for a {type(value).__name__}")


def changed_field(value: Any, field: str, change: Callable[[Any], Any] = other) -> Any:
    """A dataclass with another value in one field."""
    return replace(value, **{field: change(getattr(value, field))})


def in_event(index: int, field: str, change: Callable[[Any], Any] = other) -> Lie:
    """Another value in one field of one event."""

    def lie(facts: TaskFacts) -> TaskFacts:
        events = list(facts.events)
        events[index] = replace(events[index], event=changed_field(events[index].event, field, change))
        return replace(facts, events=tuple(events))

    return lie


def without_event(index: int) -> Lie:
    """One event left out."""
    return lambda facts: replace(facts, events=facts.events[:index] + facts.events[index + 1 :])


def doubled_event(index: int) -> Lie:
    """One event a second time, right after the first."""

    def lie(facts: TaskFacts) -> TaskFacts:
        again = replace(facts.events[index], index=facts.events[index].index + 1)
        return replace(facts, events=(*facts.events[: index + 1], again, *facts.events[index + 1 :]))

    return lie


def in_round(number: int, field: str, change: Callable[[Any], Any] = other) -> Lie:
    """Another value in one field of one round's view."""

    def lie(facts: TaskFacts) -> TaskFacts:
        rounds = list(facts.rounds)
        index = next(i for i, each in enumerate(rounds) if each.number == number)
        view = rounds[index].view
        view = replace(view, **{field: change(getattr(view, field))})
        rounds[index] = replace(rounds[index], view=view)
        return replace(facts, rounds=tuple(rounds))

    return lie


def in_first_of(number: int, field: str, part: str) -> Lie:
    """Another value in one field of the first proposal, vote or attestation of a round's view."""
    return in_round(number, field, lambda parts: (changed_field(parts[0], part), *parts[1:]))


def first_index(facts: TaskFacts, is_it: Callable[[LoggedEvent], bool]) -> int:
    """The place of the first event that ``is_it``."""
    return next(index for index, logged in enumerate(facts.events) if is_it(logged))


def indices_of(facts: TaskFacts, kind: type[Event]) -> Iterator[int]:
    """The places of all events of a kind."""
    return (index for index, logged in enumerate(facts.events) if isinstance(logged.event, kind))
