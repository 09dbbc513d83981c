"""Text in one order on every database: SQLite compares bytes, PostgreSQL as the language of its operator."""

from typing import Any

from sqlalchemy import ColumnElement, collate
from sqlalchemy.orm import InstrumentedAttribute, Session


def by_bytes(session: Session, column: ColumnElement[Any] | InstrumentedAttribute[Any]) -> ColumnElement[Any]:
    """A column of text, to be ordered or compared byte by byte."""
    if session.get_bind().dialect.name == "postgresql":
        return collate(column, "C")
    return column.expression if isinstance(column, InstrumentedAttribute) else column
