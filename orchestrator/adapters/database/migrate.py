"""Bring a database to the schema that this version of the code needs."""

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy.orm import Session

from contracts.audit import AuditEntry
from orchestrator.adapters.database.audit import SqlAuditRepository
from orchestrator.adapters.database.engine import open_engine, writing

_SCRIPTS = "orchestrator:migrations"


def migrate(database_url: str, entry: AuditEntry | None = None) -> str:
    """Run the migrations that are missing; the revision that the database has then.

    The ``entry`` goes into the audit log with them, if there were any.
    """
    engine = open_engine(database_url, is_patient=True)
    try:
        # Two that migrate at the same time do so one after the other.
        with writing(engine).connect() as connection:
            config = alembic_config()
            config.attributes["connection"] = connection
            before = _revision(MigrationContext.configure(connection))
            command.upgrade(config, "head")
            after = _revision(MigrationContext.configure(connection))
            if entry is not None and after != before:
                with Session(connection, join_transaction_mode="control_fully") as session:
                    SqlAuditRepository(session).append(entry)
                    session.commit()
            connection.commit()
            return after
    finally:
        engine.dispose()


def alembic_config() -> Config:
    """Alembic's settings; its commands also need ``attributes["connection"]``."""
    config = Config()
    config.set_main_option("script_location", _SCRIPTS)
    return config


def _revision(context: MigrationContext) -> str:
    return context.get_current_revision() or "none"
