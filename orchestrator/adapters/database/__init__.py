"""The database behind the repositories of the domain: SQLite or PostgreSQL."""

from orchestrator.adapters.database.records import DatabaseRecords, open_records

__all__ = ["DatabaseRecords", "open_records"]
