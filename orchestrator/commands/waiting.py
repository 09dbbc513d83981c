"""Waiting for a condition, never without a deadline."""

from collections.abc import Callable
from time import monotonic, sleep
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from orchestrator.commands.output import Answer, CommandError, ExitCode
from orchestrator.commands.progress import Progress

if TYPE_CHECKING:
    from orchestrator.client.answers import Intent
    from orchestrator.client.api import Client

_POLL_S = 0.25

TimeoutOption = Annotated[float, typer.Option("--timeout-s", help="How long to wait for the chain.")]

Found = TypeVar("Found")


def wait_for(look: Callable[[], Found | None], what: str, timeout_s: float) -> Found:
    """What ``look`` finds, once it finds something.

    Raises:
        CommandError: it found nothing in time (exit code 4).
    """
    deadline_s = monotonic() + timeout_s
    with Progress(f"waiting for {what}"):
        while (found := look()) is None:
            if monotonic() >= deadline_s:
                raise timed_out(what, timeout_s)
            sleep(_POLL_S)
    return found


def timed_out(what: str, timeout_s: float) -> CommandError:
    """What a command says that waited for too long."""
    message = f"{what} took more than {timeout_s:.0f} s"
    return CommandError(message, code="timed_out", exit_code=ExitCode.TIMED_OUT)


def mined(api: "Client", intent: "Intent") -> "Intent | None":
    """An intent once it is on chain, else None.

    Raises:
        CommandError: the chain refuses it (exit code 3).
    """
    state = api.intent(intent.intent)
    if state.status == "refused":
        kind = state.kind.replace("_", " ")
        raise CommandError(
            f"the chain refuses the {kind}: {state.error}", code="refused", exit_code=ExitCode.REFUSED
        )
    return state if state.status in ("mined", "final") else None


def answer_when_mined(api: "Client", intent: "Intent", words: str, timeout_s: float) -> Answer:
    """The command's answer, once its intent is on chain. Raises CommandError."""
    kind = intent.kind.replace("_", " ")
    state = wait_for(lambda: mined(api, intent), f"the {kind}", timeout_s)
    return Answer({"intent": state.intent, "transaction": state.transaction_hash}, words)
