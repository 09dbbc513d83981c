"""PostgreSQL connections that wait for a server's answer only so long."""

from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen

LONGEST_ANSWER_S = 60.0
"""Far more than any statement of the hub takes; a migration waits as long as it must."""
_LOOK_AGAIN_S = 0.1

_Answer = TypeVar("_Answer")


class DeadlineConnection(psycopg.Connection[Any]):
    """A connection that ends when the server has not answered in time.

    Keepalives and ``tcp_user_timeout`` notice a machine that vanished. A server process that was stopped, or
    waits for a disk that hangs, keeps its connection alive and says nothing.
    """

    longest_answer_s = LONGEST_ANSWER_S

    def wait(
        self, gen: PQGen[_Answer], interval: float = _LOOK_AGAIN_S, timeout: float | None = None
    ) -> _Answer:
        """As psycopg's own, within the deadline.

        Raises:
            psycopg.OperationalError: there was no answer in time; the connection is closed.
        """
        deadline_s = self.longest_answer_s if timeout is None else timeout
        try:
            return super().wait(gen, interval, deadline_s)
        except psycopg.errors._WaitTimeout as error:
            # What the server is doing, it does for nobody: without the connection it rolls back.
            self.pgconn.finish()
            raise psycopg.OperationalError(f"the database did not answer within {deadline_s:g} s") from error
