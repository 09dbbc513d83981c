"""A disk on which nothing can be written any more, and then can: no file may grow, as when it is full."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager

from contracts.digests import sha256_digest
from tests.faults.conftest import ON_SQLITE
from tests.faults.scene import Scene

TICKS = 30
NOTHING_BYTES = 1


@contextmanager
def full_disk(process: int = 0) -> Iterator[None]:
    """Let a process (0: this one) write no file beyond its first byte; Python then sees an error."""
    before = resource.prlimit(process, resource.RLIMIT_FSIZE)
    resource.prlimit(process, resource.RLIMIT_FSIZE, (NOTHING_BYTES, before[1]))
    try:
        yield
    finally:
        resource.prlimit(process, resource.RLIMIT_FSIZE, before)


@ON_SQLITE
def test_the_worker_cannot_write_its_database(scene: Scene) -> None:
    with scene.case(f"full disk of the worker, {scene.phase}") as hub:
        hub.start_worker()
        with full_disk(hub.worker.pid):
            commits = hub.commits()
            for _ in range(TICKS):
                hub.tick()
            scene.chain.seal()
            assert hub.commits() == commits
            assert hub.phase() == scene.phase
            assert not hub.is_up_to_date()
        hub.play_to_the_end()
        assert hub.deaths == 0
        scene.require_whole(hub)


@ON_SQLITE
def test_the_api_cannot_write_its_database(scene: Scene) -> None:
    with scene.case(f"full disk of the API, {scene.phase}") as hub:
        # Opens the database, so that reading it goes on.
        hub.get("/v1/tasks")
        with full_disk():
            hub.act()
        assert hub.sent == 0
        hub.start_worker()
        hub.play_to_the_end()
        scene.require_whole(hub)


@ON_SQLITE
def test_an_artifact_that_does_not_fit_is_not_there(opened: Scene) -> None:
    data = b"\x00" * 100_000
    path = f"/v1/artifacts/{sha256_digest(data)}"
    with opened.case("full disk of the artifacts") as hub:
        with full_disk():
            answer = hub.api.put(path, content=data)
        assert answer.status_code in (503, 507)
        assert answer.headers["content-type"] == "application/problem+json"
        assert hub.api.get(path).status_code == 404
        assert hub.api.put(path, content=data).is_success
        hub.start_worker()
        hub.play_to_the_end()
        opened.require_whole(hub)
