"""Spans around what takes time; nothing happens, and nothing is imported, until a process sets a tracer."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

Attribute = str | int | Sequence[str] | Sequence[int]


class Tracer(Protocol):
    """As much of OpenTelemetry's tracer as is used."""

    def start_as_current_span(
        self, name: str, *, attributes: Mapping[str, Attribute]
    ) -> AbstractContextManager[object]:
        """A span that lasts as long as the block."""


_tracer: Tracer | None = None


def set_tracer(tracer: Tracer | None) -> None:
    """Where this process's spans go from now on."""
    global _tracer
    _tracer = tracer


@contextmanager
def span(name: str, attributes: Mapping[str, Attribute]) -> Iterator[None]:
    """The block as a span."""
    if _tracer is None:
        yield
        return
    with _tracer.start_as_current_span(name, attributes=attributes):
        yield
