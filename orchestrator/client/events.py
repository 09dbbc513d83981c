"""Following the hub's events: a stream that breaks is taken up again after the last event that came."""

import time
from collections.abc import Iterator

import httpx
from pydantic import ValidationError

from orchestrator.client.answers import Event
from orchestrator.client.errors import HubRefused, HubUnreachable
from orchestrator.client.session import Session

SILENCE_S = 45.0
"""The hub says every 15 s that it is there; a connection that is silent for longer is dead."""
PATIENCE_S = 120.0
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 5.0
_MOST_LINE_BYTES = 1 << 20
_COMES_BACK = (429, 502, 503, 504)


class Follower:
    """Reads the stream; ``last_id`` is the last event's number, or that of the one before the first."""

    def __init__(
        self,
        session: Session,
        after: int | None = None,
        *,
        for_s: float | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.last_id = after
        self._session = session
        self._end_s = None if for_s is None else time.monotonic() + for_s
        self._patience_s = patience_s
        self._lost_since_s: float | None = None
        self._pause_s = _FIRST_PAUSE_S

    def batches(self) -> Iterator[tuple[Event, ...]]:
        """Events as they come; nothing, ``()``, whenever the stream has begun, also when it begins again.

        Ends after ``for_s``.

        Raises:
            HubUnreachable: the hub did not answer for ``patience_s``.
            HubRefused: it does not let this token follow.
        """
        while not self._is_over():
            try:
                yield from self._stream()
            except HubUnreachable as error:
                self._wait(error)
            except HubRefused as error:
                if error.status not in _COMES_BACK:
                    raise
                self._wait(error)
            else:
                self._wait(HubUnreachable("the orchestrator ended the stream of events"))

    def _stream(self) -> Iterator[tuple[Event, ...]]:
        headers = {} if self.last_id is None else {"Last-Event-ID": str(self.last_id)}
        timeout = httpx.Timeout(SILENCE_S if self._end_s is None else min(SILENCE_S, self._left_s()))
        with self._session.stream("GET", "/v1/events", headers=headers, timeout=timeout) as response:
            fields: dict[str, str] = {}
            for line in _lines(response):
                if self._is_over():
                    return
                self._lost_since_s, self._pause_s = None, _FIRST_PAUSE_S
                if line:
                    name, _, value = line.partition(":")
                    fields[name] = value.removeprefix(" ")
                    continue
                event, fields = self._event(fields), {}
                if event is not None:
                    yield event

    def _event(self, fields: dict[str, str]) -> tuple[Event, ...] | None:
        """What a block of fields says; None for a sign of life."""
        if "id" not in fields:
            return None
        try:
            number = int(fields["id"])
            if "data" not in fields:
                self.last_id = number
                return ()
            event = Event.model_validate_json(fields["data"]).model_copy(update={"id": number})
        except (ValueError, ValidationError) as error:
            raise HubUnreachable("the orchestrator's stream of events cannot be read") from error
        self.last_id = number
        return (event,)

    def _wait(self, error: HubUnreachable | HubRefused) -> None:
        """Let some time pass before the next attempt. Raises the error when the hub was away for too long."""
        now_s = time.monotonic()
        if self._is_over():
            return
        if self._lost_since_s is None:
            self._lost_since_s = now_s
        elif now_s - self._lost_since_s >= self._patience_s:
            raise error
        pause_s = self._pause_s if self._end_s is None else min(self._pause_s, self._left_s())
        time.sleep(pause_s)
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)

    def _is_over(self) -> bool:
        return self._end_s is not None and time.monotonic() >= self._end_s

    def _left_s(self) -> float:
        assert self._end_s is not None
        return max(0.01, self._end_s - time.monotonic())


def _lines(response: httpx.Response) -> Iterator[str]:
    """The stream's lines; only a line feed ends one, whatever else the text holds."""
    rest = b""
    for chunk in response.iter_bytes():
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > _MOST_LINE_BYTES:
            raise HubUnreachable("the orchestrator's stream of events has a line without an end")
        for line in lines:
            yield line.decode(errors="replace").removesuffix("\r")
