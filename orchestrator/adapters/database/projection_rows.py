"""The projection's tables, row by row: read in one order from every database, and replaced as a whole."""

from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from typing import Any

from sqlalchemy import Column, ColumnElement, String, Table, insert, select
from sqlalchemy.orm import Session

from orchestrator.adapters.database.models import PROJECTION_TABLES, Base
from orchestrator.adapters.database.text_order import by_bytes
from orchestrator.domain.projection_rows import ProjectionRow

_ROWS_AT_ONCE = 500
TABLES: tuple[Table, ...] = tuple(
    Base.metadata.tables[table.__tablename__] for table in reversed(PROJECTION_TABLES)
)
"""In an order in which rows can be inserted."""


def read_rows(session: Session) -> Iterator[ProjectionRow]:
    """All rows, by table and key."""
    for place, table in enumerate(TABLES):
        keys = list(table.primary_key)
        query = select(table).order_by(*(_in_order(session, key) for key in keys))
        found = session.execute(query.execution_options(yield_per=_ROWS_AT_ONCE)).mappings()
        for row in found:
            yield ProjectionRow(
                place, table.name, tuple((key.name, row[key.name]) for key in keys), dict(row)
            )


def insert_rows(session: Session, rows: Iterable[ProjectionRow]) -> None:
    """Add rows to empty tables, in the order of ``read_rows``."""
    for place, of_table in groupby(rows, key=lambda row: row.place):
        while some := [dict(row.values) for row in islice(of_table, _ROWS_AT_ONCE)]:
            session.execute(insert(TABLES[place]), some)


def _in_order(session: Session, column: Column[Any]) -> ColumnElement[Any]:
    return by_bytes(session, column) if isinstance(column.type, String) else column
