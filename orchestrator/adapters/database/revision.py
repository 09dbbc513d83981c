"""Which schema a database has, told without alembic: to import that would be a tenth of every start."""

import re
from importlib.resources import files

from sqlalchemy import inspect, text

from orchestrator.adapters.database.engine import open_engine

_MIGRATION = re.compile(r"(\d{4})_\w+\.py")


def newest_revision() -> str:
    """The revision of this version's schema: migrations are files that begin with theirs."""
    names = (script.name for script in (files("orchestrator.migrations") / "versions").iterdir())
    return max(found[1] for name in names if (found := _MIGRATION.fullmatch(name)))


def is_migrated(database_url: str) -> bool:
    """Whether the database has the schema of this version."""
    engine = open_engine(database_url)
    try:
        with engine.connect() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return False
            revisions = connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all()
            return revisions == [newest_revision()]
    finally:
        engine.dispose()
