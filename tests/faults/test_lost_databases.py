"""PostgreSQL that ends its connections, or dies, in each phase of a round."""

from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.faults.hub import PHASES
from tests.faults.scene import Scene, opened_scene
from tests.integration.postgresql import PostgresqlServer, running_postgresql

TICKS = 20


@pytest.mark.parametrize("opened", ["postgresql"], indirect=True)
def test_connections_that_end_again_and_again(scene: Scene, postgresql: PostgresqlServer) -> None:
    with scene.case(f"ended connections, {scene.phase}") as hub:
        hub.start_worker()
        name = make_url(hub.settings.database_url).database
        for _ in range(TICKS):
            postgresql.execute(
                f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
            )
            hub.tick()
        hub.play_to_the_end()
        assert hub.deaths == 0
        scene.require_whole(hub)


def test_a_server_that_dies_in_each_phase(postgresql: PostgresqlServer, tmp_path: Path) -> None:
    """``postgresql`` says whether there is a server to run; the one that dies is another."""
    with (
        running_postgresql() as server,
        opened_scene(tmp_path, server) as opened,
        opened.case("killed database server, every phase") as hub,
    ):
        # A copied database's sequences are safe from a crash only after the next checkpoint.
        server.execute("CHECKPOINT")
        hub.start_worker()
        for phase in PHASES:
            hub.play(lambda phase=phase: hub.phase() == phase)
            hub.act()
            server.kill()
            hub.act()
            server.start()
        hub.play_to_the_end()
        assert hub.deaths == 0
        opened.require_whole(hub)
