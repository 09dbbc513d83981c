"""The app of a rig behind a real server."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from tests.integration.orchestrator_double_rig import Rig

DEADLINE_S = 60.0


@contextmanager
def serving(rig: Rig) -> Iterator[str]:
    """The app behind a real server, which has ended every request when this is left."""
    config = uvicorn.Config(rig.app, port=0, log_level="warning", timeout_graceful_shutdown=1, ws="none")
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run)
    thread.start()
    deadline_s = time.monotonic() + DEADLINE_S
    while not running.started:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
    port = running.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    running.should_exit = True
    thread.join(DEADLINE_S)
