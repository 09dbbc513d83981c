"""A database that one test gives back is to the next one as good as new."""

import pytest
from sqlalchemy import create_engine, text

from orchestrator.adapters.database import open_records
from orchestrator.domain.projection import Announcement
from tests.integration.databases import all_rows
from tests.integration.postgresql_pool import DatabasePool


def test_what_a_test_wrote_is_gone_and_numbers_begin_again(postgresql_pool: DatabasePool) -> None:
    url = postgresql_pool.server.url(name := postgresql_pool.take())
    fresh = all_rows(url)
    records = open_records(url)
    for _ in range(2):
        with records.write() as unit:
            unit.stream.append(Announcement("something"), 0)
        # Whoever still holds a connection does not keep the database from the next test.
        postgresql_pool.give_back(name)
        assert postgresql_pool.take() == name
        assert all_rows(url) == fresh
    records.close()
    with (again := open_records(url)).write() as unit:
        unit.stream.append(Announcement("something"), 0)
        assert unit.stream.last_id() == 1
    again.close()
    postgresql_pool.give_back(name)


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE outbox ADD COLUMN more INT",
        "DROP TABLE webhooks CASCADE",
        "CREATE TABLE kept (number INT)",
        "ALTER TABLE outbox DROP CONSTRAINT uq_outbox_key",
        "UPDATE alembic_version SET version_num = '0001'",
    ],
)
def test_a_changed_schema_is_nobodys(postgresql_pool: DatabasePool, change: str) -> None:
    engine = create_engine(postgresql_pool.server.url(name := postgresql_pool.take()))
    with engine.begin() as connection:
        connection.execute(text(change))
    engine.dispose()
    postgresql_pool.give_back(name)
    assert postgresql_pool.take() != name
