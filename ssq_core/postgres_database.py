"""What came of a statement? Its answer, or an error by type: nothing was changed, or nobody knows.

An error that the server answered with, on a connection that still lives, undid the transaction. Where it says
that another transaction came first, the statement is sent again. A connection that broke after a statement
was sent leaves the outcome unknown; one that the server had ended before is replaced: nothing was sent.
"""

import re
import time
from collections.abc import Callable, Mapping
from typing import Any, LiteralString, TypeVar

import psycopg

from ssq_core.postgres_connection import (
    Connection,
    Cursor,
    OwnConnection,
    Pool,
    conninfo,
    cursor_of,
    is_stale,
    place,
    readable,
    shown,
)
from ssq_core.postgres_schema import CREATE, FIND, LOCK, MARK, VERSION, Table
from ssq_core.queue import (
    OutcomeUnknown,
    QueueDataCorruptedError,
    QueueUnavailable,
    UnsupportedSchema,
)

T = TypeVar("T")
Row = tuple[Any, ...]
Terms = Mapping[str, object]

CONFLICT_SECONDS_MAX = 30.0
CONFLICTS = frozenset({"40001", "40P01"})
"""A serialization failure, a deadlock: another transaction came first, and this one was undone."""
CONNECTION_TROUBLE = "08"
"""The class of errors that a pooler answers with for a server that it lost."""
COMPLETION_UNKNOWN = "40003"
SERVER_VERSION_MIN = 12_00_00
"""The first with MATERIALIZED."""


class Database:
    """A handle on the queue's table; may be used by several threads, and across a fork."""

    def __init__(self, dsn: str | None, *, pool: Pool | None, table: str) -> None:
        self.table = Table(table)
        self._own: OwnConnection | None = None
        self._said: dict[str, str] = {}
        if pool is not None:
            self.where = f"table {table}"
            self._pool = pool
        elif dsn is None:
            raise ValueError("neither dsn nor pool is given; give a connection string, or a pool of your own")
        else:
            self._said = readable(dsn)
            self.where = f"table {table} at {place(self._said)}"
            self._pool = self._own = OwnConnection(conninfo(self._said))
        self._statements: dict[str, LiteralString] = {}
        self._open()

    def run(self, operation: str, statement: LiteralString, terms: Terms) -> list[Row]:
        """Run a statement of the schema as a transaction of its own, and return its rows.

        Raises `QueueUnavailable` if that changed nothing, `OutcomeUnknown` if nobody knows.
        """
        about = self._statements.get(statement)
        if about is None:
            about = self._statements[statement] = self.table.about(statement)
        own = self._own
        if own is not None:
            return self._settled(operation, lambda _: _answered(own.cursor, about, terms, prepare=None))
        # Of a pool's connections nobody here knows what else uses them.
        return self._settled(operation, lambda lent: _answered_once(lent, about, terms))

    def another(self) -> OwnConnection | None:
        """Return a connection of one's own to the same place; None where a pool lends them."""
        return None if self._own is None else OwnConnection(conninfo(self._said))

    def unavailable(self, operation: str, error: psycopg.Error) -> QueueUnavailable:
        """Return what to raise for an error of an operation that changes nothing."""
        return QueueUnavailable(operation, self.where, shown(error, self._said))

    def close(self) -> None:
        """Close the connection, unless it is a pool's; the next statement makes another."""
        if self._own is not None:
            self._own.close()

    def _open(self) -> None:
        mark = self._mark()
        if mark is None:
            self._settled("open", self._create)
            mark = self._mark()
        found = re.fullmatch(MARK.format(r"(\d+)"), mark or "")
        if found is None:
            raise QueueDataCorruptedError(self.where, "not a queue, but another program's table")
        if int(found[1]) != VERSION:
            raise UnsupportedSchema(self.where, int(found[1]), VERSION)

    def _mark(self) -> str | None:
        """Return the table's comment, empty if it has none; None if there is no table."""
        found = self.run("open", FIND, {"name": self.table.quoted})
        return found[0][0] or "" if found else None

    def _create(self, connection: Connection) -> None:
        version = connection.info.server_version
        if version < SERVER_VERSION_MIN:
            raise QueueUnavailable("open", self.where, f"the server is of version {version}; use 12 or later")
        with connection.transaction():
            _answered_once(connection, self.table.about(LOCK), {"name": f"ssq {self.table.quoted}"})
            # Whoever waited for the lock finds the table there by now.
            for statement in CREATE:
                _answered_once(connection, self.table.about(statement), {})

    def _settled(self, operation: str, work: Callable[[Connection], T]) -> T:
        began: float | None = None
        while True:
            try:
                return self._once(operation, work)
            except _NothingSentError:
                continue
            except _CameSecondError as conflict:
                began = time.monotonic() if began is None else began
                if time.monotonic() - began >= CONFLICT_SECONDS_MAX:
                    late = f"other transactions came first for {CONFLICT_SECONDS_MAX:.0f} s"
                    raise QueueUnavailable(operation, self.where, late) from conflict

    def _once(self, operation: str, work: Callable[[Connection], T]) -> T:
        lent: Connection | None = None
        try:
            with self._pool.connection() as connection:
                if is_stale(connection):
                    connection.close()
                    raise _NothingSentError
                lent = connection
                return work(connection)
        except psycopg.Error as error:
            raise self._typed(operation, error, lent) from error

    def _typed(self, operation: str, error: psycopg.Error, lent: Connection | None) -> Exception:
        told = shown(error, self._said)
        if lent is not None and (lent.closed or _leaves_it_open(error.sqlstate)):
            return OutcomeUnknown(operation, self.where, told)
        if lent is not None and error.sqlstate in CONFLICTS:
            return _CameSecondError()
        return self.unavailable(operation, error)


class _NothingSentError(Exception):
    """The connection had been ended by the server before it was used."""


class _CameSecondError(Exception):
    """The transaction was undone in favour of another."""


def _answered(cursor: Cursor, statement: LiteralString, terms: Terms, *, prepare: bool | None) -> list[Row]:
    """Send a statement; with `None` it is prepared where the connection lets that be."""
    cursor.execute(statement, terms, prepare=prepare, binary=True)
    return cursor.fetchall() if cursor.rownumber is not None else []


def _answered_once(connection: Connection, statement: LiteralString, terms: Terms) -> list[Row]:
    with cursor_of(connection) as cursor:
        return _answered(cursor, statement, terms, prepare=False)


def _leaves_it_open(sqlstate: str | None) -> bool:
    return sqlstate is not None and (
        sqlstate.startswith(CONNECTION_TROUBLE) or sqlstate == COMPLETION_UNKNOWN
    )
