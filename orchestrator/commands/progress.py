"""What a command that takes long shows: on a terminal where it stands, elsewhere plain lines only."""

from types import TracebackType
from typing import TYPE_CHECKING, Self

from orchestrator.commands.output import say

if TYPE_CHECKING:
    from rich.status import Status


class Progress:
    """A line that moves on a terminal's stderr while the block lasts; nothing where there is no terminal."""

    def __init__(self, words: str) -> None:
        self._words = words
        self._status: Status | None = None

    def __enter__(self) -> Self:
        from rich.console import Console

        console = Console(stderr=True)
        if console.is_terminal:
            self._status = console.status(self._words)
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()

    def say(self, line: str) -> None:
        """A line that stays."""
        if self._status is None:
            say(line)
        else:
            self._status.console.print(line, markup=False, highlight=False)

    def now(self, words: str) -> None:
        """Where it stands; only a terminal shows it."""
        if self._status is not None:
            self._status.update(words)
