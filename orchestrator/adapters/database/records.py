"""Units of work: a unit is one transaction; a writing one holds the database's write lock from its start."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from sqlalchemy import CursorResult, Engine, PoolProxiedConnection, event
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import ORMExecuteState, Session, UOWTransaction

from orchestrator.adapters.database.audit import SqlAuditRepository
from orchestrator.adapters.database.audit_models import AuditRowRow
from orchestrator.adapters.database.credentials import (
    SqlSessionRepository,
    SqlTokenRepository,
    SqlUserRepository,
)
from orchestrator.adapters.database.declarations import SqlDeclarationRepository
from orchestrator.adapters.database.engine import open_engine, writing
from orchestrator.adapters.database.enrolment import SqlEnrolmentRepository
from orchestrator.adapters.database.hub_records import (
    SqlEvaluationRepository,
    SqlFlowerRunRepository,
    SqlNodeNameRepository,
    SqlStreamRepository,
    SqlTaskOrderRepository,
)
from orchestrator.adapters.database.idempotency import SqlIdempotencyRepository
from orchestrator.adapters.database.lease import SqlLeaseRepository
from orchestrator.adapters.database.models import IdempotencyRow, StreamRow
from orchestrator.adapters.database.outbox import SqlOutboxRepository
from orchestrator.adapters.database.projection import SqlProjectionRepository
from orchestrator.adapters.database.turns import Turn
from orchestrator.adapters.database.webhooks import SqlWebhookRepository
from orchestrator.adapters.database.witnesses import SqlWitnessRepository
from orchestrator.domain.errors import Conflict
from orchestrator.domain.ports import RecordsUnavailable

_NOT_MIGRATED = ("42P01", "42703")
"""PostgreSQL's codes for a missing table and a missing column; for SQLite both are operational errors."""
_CHANGED = "collegium_changed"
_NO_STATE = (StreamRow, IdempotencyRow, AuditRowRow)
"""What is written of a change, and is none itself."""


class SqlUnit:
    """``Unit`` over one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.declarations = SqlDeclarationRepository(session)
        self.enrolments = SqlEnrolmentRepository(session)
        self.audit = SqlAuditRepository(session)
        self.projection = SqlProjectionRepository(session)
        self.outbox = SqlOutboxRepository(session)
        self.lease = SqlLeaseRepository(session)
        self.witnesses = SqlWitnessRepository(session)
        self.stream = SqlStreamRepository(session)
        self.orders = SqlTaskOrderRepository(session)
        self.names = SqlNodeNameRepository(session)
        self.tokens = SqlTokenRepository(session)
        self.sessions = SqlSessionRepository(session)
        self.users = SqlUserRepository(session)
        self.evaluations = SqlEvaluationRepository(session)
        self.flower_runs = SqlFlowerRunRepository(session)
        self.idempotency = SqlIdempotencyRepository(session)
        self.webhooks = SqlWebhookRepository(session)

    def take_changes(self) -> bool:
        """Whether the unit has changed anything that is state since this was asked last."""
        if any(map(_is_state, _pending(self._session))):
            self._session.flush()
        return bool(self._session.info.pop(_CHANGED, False))

    def note_change(self) -> None:
        """Say that something changed which is not in the database."""
        self._session.info[_CHANGED] = True


class _WatchedSession(Session):
    """A session that knows whether it has changed anything."""


@event.listens_for(_WatchedSession, "after_flush")
def _note_flush(session: Session, _: UOWTransaction) -> None:
    if any(map(_is_state, _pending(session))):
        session.info[_CHANGED] = True


def _pending(session: Session) -> Iterator[object]:
    """Rows that the next flush writes, or that this one has written."""
    yield from session.new
    yield from session.deleted
    yield from (row for row in session.dirty if session.is_modified(row))


def _is_state(row: object) -> bool:
    return not isinstance(row, _NO_STATE)


@event.listens_for(_WatchedSession, "do_orm_execute")
def _note_statement(state: ORMExecuteState) -> Any:
    if not (state.is_insert or state.is_update or state.is_delete):
        return None
    if state.bind_mapper is not None and issubclass(state.bind_mapper.class_, _NO_STATE):
        return None
    result = state.invoke_statement()
    # Deleting what is not there changes nothing.
    if isinstance(result, CursorResult) and not result.returns_rows:
        has_changed = result.rowcount != 0
    else:
        # With RETURNING, the rows themselves tell; they are read here and handed on.
        returned = result.freeze()
        has_changed, result = bool(returned.data), returned()
    if has_changed:
        state.session.info[_CHANGED] = True
    return result


class DatabaseRecords:
    """``Records`` over a database that SQLAlchemy knows."""

    def __init__(self, engine: Engine) -> None:
        self._reading = engine
        self._writing = writing(engine)
        self._watching: PoolProxiedConnection | None = None
        self._turn = Turn() if engine.dialect.name == "sqlite" else nullcontext()

    @contextmanager
    def read(self) -> Iterator[SqlUnit]:
        """A unit that sees one consistent state and changes nothing."""
        with _translated(), Session(self._reading) as session:
            yield SqlUnit(session)

    @contextmanager
    def write(self) -> Iterator[SqlUnit]:
        """A unit that is committed at the end of its block, or undone by an error."""
        with _translated(), self._turn, _WatchedSession(self._writing) as session, session.begin():
            yield SqlUnit(session)

    def version(self) -> int | None:
        """A number that changes with every commit to a SQLite file; None elsewhere.

        SQLite counts the commits of other connections, in any process; this one writes nothing.
        """
        if self._reading.dialect.name != "sqlite":
            return None
        try:
            if self._watching is None:
                self._watching = self._reading.raw_connection()
            cursor = self._watching.cursor()
            cursor.execute("PRAGMA data_version")
            version: int = cursor.fetchall()[0][0]
        except (sqlite3.Error, SQLAlchemyError):
            return None
        return version

    def close(self) -> None:
        """Close all connections."""
        if self._watching is not None:
            self._watching.close()
        self._reading.dispose()


def open_records(database_url: str) -> DatabaseRecords:
    """The records in the database at a SQLAlchemy URL; a SQLite file's folder is made when missing."""
    return DatabaseRecords(open_engine(database_url))


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        raise RecordsUnavailable("the database cannot be used at the moment") from error
    except IntegrityError as error:
        raise Conflict("somebody else recorded the same at the same time; ask again") from error
    except DBAPIError as error:
        if error.connection_invalidated:
            raise RecordsUnavailable("the connection to the database is lost") from error
        if getattr(error.orig, "sqlstate", None) in _NOT_MIGRATED:
            raise RecordsUnavailable("the database has another schema than this version") from error
        raise
