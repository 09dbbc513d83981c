"""What tests of every cost share: databases of the orchestrator's records, the dashboard's story, hosts."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.dashboard_story import Story
    from tests.integration.databases import Databases
    from tests.integration.postgresql import PostgresqlServer
    from tests.integration.postgresql_pool import DatabasePool

KINDS = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def postgresql() -> Iterator["PostgresqlServer"]:
    """A PostgreSQL server for the session. Without one the test is skipped, or fails where nothing may be."""
    from tests.integration.postgresql import PostgresqlMissing, running_postgresql

    try:
        running = running_postgresql()
        server = running.__enter__()
    except PostgresqlMissing as error:
        if os.environ.get("COLLEGIUM_NO_SKIPS"):
            raise
        pytest.skip(str(error))
    yield server
    running.__exit__(None, None, None)


@pytest.fixture(scope="session")
def postgresql_pool(postgresql: "PostgresqlServer") -> "DatabasePool":
    """Migrated databases on that server."""
    from tests.integration.databases import migrated_template
    from tests.integration.postgresql_pool import DatabasePool

    return DatabasePool(postgresql, migrated_template(postgresql))


@pytest.fixture(params=KINDS)
def databases(request: pytest.FixtureRequest) -> Iterator["Databases"]:
    """Where a test's databases come from: it runs once on each kind."""
    yield from _databases(request)


@pytest.fixture(scope="module", params=KINDS)
def module_databases(request: pytest.FixtureRequest) -> Iterator["Databases"]:
    """The same for what a module's tests share."""
    yield from _databases(request)


def _databases(request: pytest.FixtureRequest) -> Iterator["Databases"]:
    from tests.integration.databases import PostgresqlDatabases, SqliteDatabases

    made: Databases = SqliteDatabases()
    if request.param == "postgresql":
        made = PostgresqlDatabases(request.getfixturevalue("postgresql_pool"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def namespaces() -> None:
    """For tests that need network namespaces. Without them they are skipped, or fail where nothing may be."""
    from tests.integration.network_hosts import why_impossible

    if (reason := why_impossible()) is not None:
        if os.environ.get("COLLEGIUM_NO_SKIPS"):
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture
def story(tmp_path: Path) -> Iterator["Story"]:
    """What a dashboard shows, told step by step."""
    from tests.integration.dashboard_story import Story

    story = Story(tmp_path)
    yield story
    story.records.close()
