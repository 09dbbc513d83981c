"""Databases of a PostgreSQL server that are emptied and used again: to copy one takes ten times as long."""

from dataclasses import dataclass, field

import psycopg

from tests.integration.postgresql import SUPERUSER, PostgresqlServer

_END_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""
_SCHEMA = """
SELECT md5(string_agg(part, ',' ORDER BY part)) FROM (
  SELECT concat_ws(' ', c.relname, c.relkind, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull)
  FROM pg_class c LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  WHERE c.relnamespace = 'public'::regnamespace
  UNION ALL
  SELECT concat_ws(' ', conname, pg_get_constraintdef(oid)) FROM pg_constraint
  WHERE connamespace = 'public'::regnamespace
  UNION ALL
  SELECT version_num FROM alembic_version
) AS parts (part)
"""
# Triggers rest meanwhile, those of foreign keys too: the tables may come in any order.
_EMPTY = """
DO $$
DECLARE each text; found boolean;
BEGIN
  SET LOCAL session_replication_role = replica;
  FOR each IN
    SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'
  LOOP
    EXECUTE format('SELECT EXISTS (SELECT FROM %I)', each) INTO found;
    IF found THEN EXECUTE format('DELETE FROM %I', each); END IF;
  END LOOP;
  FOR each IN SELECT sequencename FROM pg_sequences WHERE last_value IS NOT NULL LOOP
    EXECUTE format('ALTER SEQUENCE %I RESTART', each);
  END LOOP;
END $$
"""


@dataclass
class DatabasePool:
    """Databases of the present schema, without rows, on a running server."""

    server: PostgresqlServer
    template: str
    """A migrated database that nobody uses."""
    _free: list[str] = field(default_factory=list)

    def take(self) -> str:
        """The name of a database for one test."""
        return self._free.pop() if self._free else self.server.create_database(self.template)

    def give_back(self, name: str) -> None:
        """Empty a database for the next test; one whose schema a test changed, or that is gone, goes."""
        try:
            with self._connect(name) as connection, self._connect(self.template) as fresh:
                connection.execute(_END_OTHERS)
                connection.execute(_EMPTY)
                is_alike = connection.execute(_SCHEMA).fetchone() == fresh.execute(_SCHEMA).fetchone()
        except psycopg.Error:
            is_alike = False
        if is_alike:
            self._free.append(name)
        else:
            self.server.drop_database(name)

    def _connect(self, name: str) -> "psycopg.Connection[tuple[object, ...]]":
        return psycopg.connect(host=str(self.server.folder), user=SUPERUSER, dbname=name, autocommit=True)
