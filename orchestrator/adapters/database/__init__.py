"""The database behind the repositories of ``orchestrator.domain.ports``: SQLite, in types PostgreSQL shares."""

from orchestrator.adapters.database.records import DatabaseRecords, open_records

__all__ = ["DatabaseRecords", "open_records"]
