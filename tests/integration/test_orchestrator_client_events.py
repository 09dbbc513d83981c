"""The client follows the events of a real hub that is killed and comes back: every event once, in order."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from deploy.local.ports import free_ports
from orchestrator.adapters.database import open_records
from orchestrator.client.answers import Event
from orchestrator.client.api import Client
from orchestrator.client.errors import HubRefused, HubUnreachable
from orchestrator.client.events import Follower
from orchestrator.composition import SystemClock
from orchestrator.domain.identity import Role
from orchestrator.domain.projection import Announcement
from orchestrator.services.tokens import TokenService
from tests.integration.databases import new_database
from tests.integration.orchestrator_double_rig import DEPLOYMENT

COLLEGIUM = Path(sys.executable).with_name("collegium")
DEADLINE_S = 60.0


def eventually(look: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + DEADLINE_S
    while not look():
        assert time.monotonic() < deadline_s, "it did not happen in time"
        time.sleep(0.02)


class Hub:
    """``collegium serve``, which can be killed and started again at the same port."""

    def __init__(self, folder: Path) -> None:
        self.database_url = new_database(folder)
        self.records = open_records(self.database_url)
        self.tokens = TokenService(self.records, SystemClock())
        self.url = f"http://127.0.0.1:{free_ports(1)[0]}"
        (folder / "deployment.json").write_bytes(DEPLOYMENT.to_json())
        self._log = folder / "serve.log"
        self._environment = os.environ | {
            "COLLEGIUM_MODE": "development",
            "COLLEGIUM_DATABASE_URL": self.database_url,
            "COLLEGIUM_ARTIFACT_FOLDER": str(folder / "artifacts"),
            "COLLEGIUM_DEPLOYMENT_FILE": str(folder / "deployment.json"),
            "COLLEGIUM_PORT": self.url.rpartition(":")[2],
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [COLLEGIUM, "serve"], env=self._environment, stdout=log, stderr=log
            )
        eventually(self._answers)

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(DEADLINE_S)

    def happen(self, count: int) -> None:
        for _ in range(count):
            with self.records.write() as unit:
                unit.stream.append(Announcement("round.training", task=1, round=1), 0)

    def token(self, role: Role) -> str:
        return self.tokens.issue(role, role)

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        try:
            return httpx.get(f"{self.url}/healthz").status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[Hub]:
    hub = Hub(tmp_path)
    hub.start()
    yield hub
    hub.kill()
    hub.records.close()


class Following:
    """A client that follows in a thread of its own, and what it was told."""

    def __init__(self, hub: Hub, token: str, after: int | None = None) -> None:
        self.events: list[Event] = []
        self.openings = 0
        self.error: Exception | None = None
        self._client = Client(hub.url, token)
        self._batches = self._client.follow(after=after, for_s=DEADLINE_S)
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    @property
    def numbers(self) -> list[int]:
        return [event.id for event in self.events]

    def _follow(self) -> None:
        try:
            for events in self._batches:
                self.events += events
                self.openings += not events
        except (HubRefused, HubUnreachable, httpx.HTTPError) as error:
            self.error = error


def test_a_hub_that_dies_again_and_again_loses_no_event(hub: Hub) -> None:
    with ExitStack() as stack:
        hub.happen(3)
        from_the_start = Following(hub, hub.token("auditor"), after=0)
        from_now = Following(hub, hub.token("auditor"))
        stack.callback(hub.kill)
        # Both know where they stand before anything happens: what comes while the hub is away is not missed.
        eventually(lambda: from_the_start.openings == from_now.openings == 1)
        for round_number in range(1, 3):
            hub.kill()
            hub.happen(10)
            hub.start()
            hub.happen(10)
            last = 3 + 20 * round_number
            eventually(lambda last=last: from_now.numbers[-1:] == from_the_start.numbers[-1:] == [last])  # type: ignore[misc]
        assert from_the_start.numbers == list(range(1, 44))
        assert from_now.numbers == list(range(4, 44))
        assert {event.kind for event in from_now.events} == {"round.training"}
        assert from_now.openings == 3


def test_a_stream_ends_with_its_token(hub: Hub) -> None:
    admin, auditor = hub.token("admin"), hub.token("auditor")
    following = Following(hub, auditor, after=0)
    eventually(lambda: following.openings == 1)
    with Client(hub.url, admin) as api:
        api.revoke_token(next(token.token for token in api.tokens() if token.role == "auditor"))
    deadline_s = time.monotonic() + DEADLINE_S
    while following.error is None:
        assert time.monotonic() < deadline_s
        hub.happen(1)
        time.sleep(0.05)
    assert isinstance(following.error, HubRefused)
    assert following.error.status == 401


def test_following_ends_in_time_and_gives_a_dead_hub_up(hub: Hub) -> None:
    with Client(hub.url, hub.token("auditor")) as api:
        assert list(api.events(for_s=0.5)) == []
        hub.kill()
        with pytest.raises(HubUnreachable):
            list(Follower(api, patience_s=0.5).batches())
        assert list(api.events(for_s=0.5)) == []


def test_a_token_that_nobody_knows_is_refused(hub: Hub) -> None:
    with Client(hub.url, "nobody") as api, pytest.raises(HubRefused) as refused:
        next(api.events())
    assert refused.value.status == 401
