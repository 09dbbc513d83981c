"""A worker stops when a signal asks it to, whatever its main thread is at."""

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from orchestrator.worker import set_at_signals

DEADLINE_S = 20.0


@pytest.fixture
def handler_as_before() -> Iterator[None]:
    before = signal.getsignal(signal.SIGUSR1)
    yield
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.usefixtures("handler_as_before")
@pytest.mark.timeout(2 * DEADLINE_S)
def test_a_signal_that_interrupts_the_wait_itself() -> None:
    stop = threading.Event()
    set_at_signals(stop, [signal.SIGUSR1])
    # As ``stop.wait()`` does for some instructions, before it lets go of the lock and after it has it again.
    with stop._cond:  # type: ignore[attr-defined]
        os.kill(os.getpid(), signal.SIGUSR1)
    assert stop.wait(DEADLINE_S)
