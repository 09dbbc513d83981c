"""Bring a database to the schema that this version of the code needs."""

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext

from orchestrator.adapters.database.engine import open_engine, writing

_SCRIPTS = "orchestrator:migrations"


def migrate(database_url: str) -> str:
    """Run the migrations that are missing; the revision that the database has then."""
    engine = open_engine(database_url)
    try:
        # Two that migrate at the same time do so one after the other.
        with writing(engine).connect() as connection:
            config = alembic_config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
            return _revision(MigrationContext.configure(connection))
    finally:
        engine.dispose()


def alembic_config() -> Config:
    """Alembic's settings; its commands also need ``attributes["connection"]``."""
    config = Config()
    config.set_main_option("script_location", _SCRIPTS)
    return config


def _revision(context: MigrationContext) -> str:
    return context.get_current_revision() or "none"
