"""How does SQLite meet the world? Each statement, commit and rollback of a connection is a point.

A busy database makes the worker wait in virtual time until another connection ends a transaction, as long
as its own timeout says. The locks are SQLite's own, which keeps the connections of one process apart as it
does those of many. `now` and `CURRENT_TIMESTAMP` in SQL are the worker's clock.
"""

import os
import re
import sqlite3
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from ssq_verify.simulation.point import Point
from ssq_verify.simulation.world import Worker, current

STATEMENT_SHOWN_MAX = 60
TIME_FUNCTIONS = ("date", "time", "datetime", "julianday", "strftime", "unixepoch")
BUSY_TIMEOUT_SECONDS = 5.0
PARAMETERS = (
    "timeout",
    "detect_types",
    "isolation_level",
    "check_same_thread",
    "factory",
    "cached_statements",
    "uri",
)
"""Of `sqlite3.connect` after the database, in order; Python 3.15 takes them by name only."""

BUSY_TIMEOUT = re.compile(
    r"""\s* PRAGMA \s+ (\w+ \s* \.)? \s* busy_timeout \s*
    ( = \s* (?P<assigned>\d+) | \( \s* (?P<called>\d+) \s* \) )? \s* ;? \s*""",
    re.IGNORECASE | re.VERBOSE,
)
_REAL_CONNECT = sqlite3.connect
_ended: Counter[str] = Counter()
"""How many transactions of each database have ended, by path."""


class Cursor(sqlite3.Cursor):
    """A cursor whose statements are points."""

    def execute(self, sql: str, *args: Any) -> Self:
        """Run a statement at a point."""
        assert isinstance(self.connection, Connection)
        sql = self.connection.without_waiting(sql)
        return self._at_point(sql, partial(super().execute, sql, *args))

    def executemany(self, sql: str, *args: Any) -> Self:
        """Run a statement many times at one point."""
        return self._at_point(sql, partial(super().executemany, sql, *args))

    def _at_point(self, sql: str, statement: Callable[[], Any]) -> Self:
        assert isinstance(self.connection, Connection)
        self.connection.at_point(sql, statement)
        return self

    def executescript(self, script: str) -> Self:
        """Run a script, each of its statements at a point of its own."""
        if self.connection.in_transaction:
            self.connection.commit()
        for statement in _statements(script):
            self.execute(statement)
        return self


class Connection(sqlite3.Connection):
    """A connection of one simulated worker."""

    def __init__(self, database: Any, *args: Any, **kwargs: Any) -> None:
        settings = dict(zip(PARAMETERS, args, strict=False)) | kwargs
        self._path = _path(str(database))
        self._timeout_seconds: float = settings.pop("timeout", BUSY_TIMEOUT_SECONDS)
        self._worker = current()
        super().__init__(database, timeout=0.0, **settings)
        if self._worker is not None:
            self._worker.connections.append(self)
            _give_time(self, self._worker)

    def cursor(self, factory: Any = Cursor) -> Any:
        """Return a cursor whose statements are points."""
        return super().cursor(factory)

    def execute(self, sql: str, *args: Any) -> Any:
        """Run a statement at a point."""
        return self.cursor().execute(sql, *args)

    def executemany(self, sql: str, *args: Any) -> Any:
        """Run a statement many times at one point."""
        return self.cursor().executemany(sql, *args)

    def executescript(self, script: str) -> Any:
        """Run a script."""
        return self.cursor().executescript(script)

    def commit(self) -> None:
        """Commit at a point."""
        if self.in_transaction:
            self.at_point("COMMIT", super().commit)

    def rollback(self) -> None:
        """Roll back at a point."""
        if self.in_transaction:
            self.at_point("ROLLBACK", super().rollback)

    def close(self) -> None:
        """Close; an open transaction is rolled back."""
        super().close()
        _ended[self._path] += 1

    def without_waiting(self, sql: str) -> str:
        """Return the statement; one that would have SQLite itself wait sets how long the worker does."""
        asked = BUSY_TIMEOUT.fullmatch(sql)
        if asked is None:
            return sql
        milliseconds = asked["assigned"] or asked["called"]
        if milliseconds is not None:
            self._timeout_seconds = int(milliseconds) / 1000
        return f"SELECT {round(self._timeout_seconds * 1000)} AS timeout"

    def at_point(self, sql: str, statement: Callable[[], Any]) -> Any:
        """Stop at a point, then run the statement, waiting while the database is busy."""
        worker = current()
        if worker is None or worker.inside:
            return statement()
        worker.reach(_point(sql, worker.world.within(self._path) or self._path))
        until_ns = worker.world.time.now_ns + round(self._timeout_seconds * 1e9)
        while True:
            seen = _ended[self._path]
            try:
                return self._ran(statement)
            except sqlite3.OperationalError as error:
                if not self._waits(error, sql):
                    raise
                if not worker.wait(partial(self._has_ended_since, seen), until_ns):
                    raise

    def _has_ended_since(self, seen: int) -> bool:
        return _ended[self._path] != seen

    def _ran(self, statement: Callable[[], Any]) -> Any:
        was_open = self.in_transaction
        try:
            return statement()
        finally:
            if was_open and not self.in_transaction:
                _ended[self._path] += 1

    def _waits(self, error: sqlite3.OperationalError, sql: str) -> bool:
        # SQLite does not wait where waiting could be for ever: with a snapshot or a read lock of its own.
        code = getattr(error, "sqlite_errorcode", 0)
        if code & 0xFF != sqlite3.SQLITE_BUSY or code == sqlite3.SQLITE_BUSY_SNAPSHOT:
            return False
        return not self.in_transaction or sql.lstrip().upper().startswith("COMMIT")


def connect(worker: Worker | None, *args: Any, **kwargs: Any) -> Any:
    """Connect as `sqlite3.connect` does; a simulated worker's connection stops at points."""
    if worker is not None:
        kwargs.setdefault("factory", Connection)
    return _REAL_CONNECT(*args, **kwargs)


def _path(database: str) -> str:
    """Return the path that a name or a URI leads to: one name for one database."""
    return unquote(urlsplit(database).path) if database.startswith("file:") else os.path.abspath(database)  # noqa: PTH100 - links are not followed


def _point(sql: str, database: str) -> Point:
    shown = " ".join(sql.split())
    if len(shown) > STATEMENT_SHOWN_MAX:
        shown = shown[:STATEMENT_SHOWN_MAX] + "…"
    return Point("sqlite", shown, writes=frozenset((f"database:{database}",)))


def _statements(script: str) -> list[str]:
    statements, pending = [], ""
    for piece in script.split(";"):
        pending += piece + ";"
        if sqlite3.complete_statement(pending):
            if pending.strip("; \n\t"):
                statements.append(pending)
            pending = ""
    return statements


def _give_time(connection: sqlite3.Connection, worker: Worker) -> None:
    """Let SQL's own functions show the worker's clock."""
    plain = _REAL_CONNECT(":memory:")
    worker.connections.append(plain)

    def evaluated(name: str, *args: Any) -> Any:
        now = worker.clock().strftime("%Y-%m-%d %H:%M:%S.%f")
        told = [now if isinstance(arg, str) and arg.lower() == "now" else arg for arg in args]
        if not told or (name == "strftime" and len(told) == 1):
            told.append(now)
        return plain.execute(f"SELECT {name}({', '.join('?' * len(told))})", told).fetchone()[0]

    for name in TIME_FUNCTIONS:
        connection.create_function(name, -1, lambda *args, name=name: evaluated(name, *args))
    for constant, name in (
        ("current_timestamp", "datetime"),
        ("current_date", "date"),
        ("current_time", "time"),
    ):
        connection.create_function(constant, 0, lambda name=name: evaluated(name))
