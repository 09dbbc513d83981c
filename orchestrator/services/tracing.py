"""Spans around what takes time; nothing happens, and nothing is imported, until a process sets a tracer."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Tracer(Protocol):
    """As much of OpenTelemetry's tracer as is used."""

    def start_as_current_span(
        self, name: str, *, attributes: Mapping[str, str | int]
    ) -> AbstractContextManager[object]:
        """A span that lasts as long as the block."""


_tracer: Tracer | None = None


def set_tracer(tracer: Tracer | None) -> None:
    """Where this process's spans go from now on."""
    global _tracer
    _tracer = tracer


@contextmanager
def span(name: str, attributes: Mapping[str, str | int | None]) -> Iterator[None]:
    """The block as a span; attributes that are None are left out."""
    if _tracer is None:
        yield
        return
    given = {key: value for key, value in attributes.items() if value is not None}
    with _tracer.start_as_current_span(name, attributes=given):
        yield
