"""Alembic's entry: runs the migrations on the connection that ``migrate`` hands over."""

from alembic import context

from orchestrator.adapters.database.models import Base


def run() -> None:
    """Run the migrations in one transaction."""
    connection = context.config.attributes["connection"]
    context.configure(
        connection=connection, target_metadata=Base.metadata, render_as_batch=True, transactional_ddl=True
    )
    with context.begin_transaction():
        context.run_migrations()


run()
