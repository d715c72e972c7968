"""How does SQLite meet the world? Each statement, commit and rollback of a connection is a point.

A busy database makes the worker wait in virtual time until another connection ends a transaction, as long
as its own timeout says. The locks are SQLite's own, which keeps the connections of one process apart as it
does those of many.
"""

import os
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache, partial
from typing import Any, Self, cast

from ssq_verify.simulation import sqlfunctions
from ssq_verify.simulation.replacement import REAL, refuse, register
from ssq_verify.simulation.sqltext import database_of, kind_of, point_of, statements_of
from ssq_verify.simulation.world import Worker, current

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

CONNECTING = "connecting"
"""Kept by a worker while a connection of the simulator's is made."""
_RealConnection, _RealCursor = sqlite3.Connection, sqlite3.Cursor


class _InUseError(Exception):
    """A backup met a database that another holds."""


class _OfRealOnes(type):
    """Lets a class that stands for one of `sqlite3` take objects of that for its own."""

    def __instancecheck__(cls, one: object) -> bool:
        return isinstance(one, cls.__mro__[1])


class Cursor(sqlite3.Cursor, metaclass=_OfRealOnes):
    """A cursor whose statements are points, if its connection is a worker's."""

    def execute(self, sql: str, *args: Any) -> Self:
        """Run a statement at a point."""
        connection = self.connection
        if type(connection) is _RealConnection:
            return super().execute(sql, *args)
        own = cast("Connection", connection)
        sql = own.without_waiting(sql)
        own.at_point(sql, partial(super().execute, sql, *args))
        return self

    def executemany(self, sql: str, *args: Any) -> Self:
        """Run a statement many times at one point."""
        return self._at_point(sql, partial(super().executemany, sql, *args))

    def executescript(self, script: str) -> Self:
        """Run a script, each of its statements at a point of its own."""
        if type(self.connection) is _RealConnection:
            super().executescript(script)
            return self
        connection = cast("Connection", self.connection)
        with connection.in_autocommit():
            for statement in statements_of(script):
                self.execute(statement)
        return self

    def fetchone(self) -> Any:
        """Return the next row; after the last the database may be free for others."""
        row = super().fetchone()
        if row is None:
            self._rests()
        return row

    def fetchall(self) -> list[Any]:
        """Return all rows."""
        rows = super().fetchall()
        self._rests()
        return rows

    def __next__(self) -> Any:
        try:
            return super().__next__()
        except StopIteration:
            self._rests()
            raise

    def close(self) -> None:
        """Let go of the rows that are left."""
        super().close()
        self._rests()

    def _rests(self) -> None:
        connection = self.connection
        if type(connection) is not _RealConnection:
            cast("Connection", connection).rests()

    def _at_point(self, sql: str, statement: Callable[[], Any]) -> Self:
        if type(self.connection) is _RealConnection:
            statement()
        else:
            cast("Connection", self.connection).at_point(sql, statement)
        return self


class Connection(sqlite3.Connection, metaclass=_OfRealOnes):
    """A connection whose statements are points, if it is a worker's."""

    def __init__(self, database: Any, *args: Any, **kwargs: Any) -> None:
        settings = dict(zip(PARAMETERS, args, strict=False)) | kwargs
        worker = current()
        self._path = "" if worker is None else database_of(os.fsdecode(database))
        """Of the database; "" for one that nobody else sees."""
        self._timeout_seconds: float = settings.pop("timeout", BUSY_TIMEOUT_SECONDS)
        self._holds = False
        """Whether the transaction has come to hold a lock."""
        self._ended: Counter[str] = Counter() if worker is None else worker.world.transactions_ended
        if worker is None:
            super().__init__(database, timeout=self._timeout_seconds, **settings)
            return
        # Workers have no threads; but what a dead one left is collected in whatever thread comes to it.
        settings["check_same_thread"] = False
        worker.own[CONNECTING] = True
        try:
            super().__init__(database, timeout=0.0, **settings)
        finally:
            worker.own[CONNECTING] = False
        worker.connections.append(self)
        sqlfunctions.give(self)

    @property
    def isolation_level(self) -> Any:
        """How transactions begin by themselves; None ends the one that is open."""
        return super().isolation_level

    @isolation_level.setter
    def isolation_level(self, level: Any) -> None:
        if level is None:
            self.commit()
        vars(_RealConnection)["isolation_level"].__set__(self, level)

    def cursor(self, factory: Any = Cursor) -> Any:
        """Return a cursor whose statements are points."""
        return super().cursor(_extended(factory, Cursor))

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

    def __exit__(self, *error: object) -> Any:
        """Commit, or roll back after an error, as the real one does without calling either."""
        if error[0] is not None:
            self.rollback()
            return False
        try:
            self.commit()
        except sqlite3.Error:
            self.rollback()
            raise
        return False

    def backup(self, target: sqlite3.Connection, *, sleep: float = 0.25, **settings: Any) -> None:
        """Copy all pages at a point, and again after a while if another holds the database."""
        told = settings.pop("progress", None)

        def progress(status: int, remaining: int, total: int) -> None:
            if status in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED} and current() is not None:
                raise _InUseError
            if told is not None:
                told(status, remaining, total)

        copied = partial(super().backup, target, progress=progress, **settings)
        while True:
            try:
                self.at_point(f"backup to {Connection.path_of(target)}", copied)
            except _InUseError:
                time.sleep(sleep)
            else:
                return

    def blobopen(self, *args: Any, **kwargs: Any) -> Any:
        """Open a value at a point; what is read and written through it has none."""
        return self.at_point("blobopen", partial(super().blobopen, *args, **kwargs))

    @contextmanager
    def in_autocommit(self) -> Iterator[None]:
        """Commit what is open, and let no transaction begin by itself."""
        self.commit()
        level = self.isolation_level
        if level is not None:
            self.isolation_level = None
        try:
            yield
        finally:
            if level is not None:
                self.isolation_level = level

    def close(self) -> None:
        """Close; an open transaction is rolled back."""
        super().close()
        self._ended[self._path] += 1

    @staticmethod
    def path_of(connection: sqlite3.Connection) -> str:
        """Return where a connection's database is, for people."""
        path = getattr(connection, "_path", "")
        worker = current()
        return (worker and worker.world.within(path)) or os.path.basename(path)  # noqa: PTH119 - to be shown

    def rests(self) -> None:
        """Note that a statement may have let go of what it held."""
        if not self.in_transaction:
            self._ended[self._path] += 1

    def without_waiting(self, sql: str) -> str:
        """Return the statement; one that would have SQLite itself wait sets how long the worker does."""
        asked = kind_of(sql).asks
        if asked is None or current() is None:
            return sql
        milliseconds = asked["assigned"] or asked["called"]
        if milliseconds is not None:
            self._timeout_seconds = int(milliseconds) / 1000
        return f"SELECT {round(self._timeout_seconds * 1000)} AS timeout"

    def at_point(self, sql: str, statement: Callable[[], Any]) -> Any:
        """Stop at a point, then run the statement, waiting while the database is busy."""
        worker = current()
        if worker is None or worker.inside or not self._path:
            return statement()
        worker.reach(point_of(sql, worker.world.within(self._path) or self._path))
        until_ns = worker.world.time.now_ns + round(self._timeout_seconds * 1e9)
        while True:
            seen = self._ended[self._path]
            try:
                return self._ran(sql, statement)
            except sqlite3.OperationalError as error:
                if not self._waits(error, sql):
                    raise
                if not worker.wait(partial(self._has_ended_since, seen), until_ns):
                    raise

    def _has_ended_since(self, seen: int) -> bool:
        return self._ended[self._path] != seen

    def _ran(self, sql: str, statement: Callable[[], Any]) -> Any:
        was_open, kind = self.in_transaction, kind_of(sql)
        try:
            result = statement()
        finally:
            is_open = self.in_transaction
            if was_open and (kind.ends or not is_open):
                self._holds = False
                self._ended[self._path] += 1
        if is_open and not kind.ends and not kind.begins:
            self._holds = True
        return result

    def _waits(self, error: sqlite3.OperationalError, sql: str) -> bool:
        # SQLite does not wait where waiting could be for ever: with a snapshot or a read lock of its own.
        code = getattr(error, "sqlite_errorcode", 0)
        if code & 0xFF != sqlite3.SQLITE_BUSY or code == sqlite3.SQLITE_BUSY_SNAPSHOT:
            return False
        return not self._holds or kind_of(sql).commits


def install() -> None:
    """Let classes that are derived from those of `sqlite3` be derived from these."""
    for name, real, own in (("Connection", _RealConnection, Connection), ("Cursor", _RealCursor, Cursor)):
        register(f"sqlite3.{name}", real, own)
        for module in (sqlite3, sqlite3.dbapi2):
            setattr(module, name, own)


def connect(worker: Worker, database: Any, *args: Any, **kwargs: Any) -> Any:
    """Connect as `sqlite3.connect` does; a simulated worker's connection stops at points."""
    settings = dict(zip(PARAMETERS, args, strict=False)) | kwargs
    factory = _extended(settings.pop("factory", Connection), Connection)
    if factory is None:
        refuse(worker, "an SQLite connection of a class of its own")
    return REAL["sqlite3.connect"](database, factory=factory, **settings)


@lru_cache(maxsize=256)
def _extended(factory: Any, own: type) -> Any:
    """Return a factory of objects that stop at points; None where it would not be what it was."""
    if not isinstance(factory, type) or issubclass(factory, own):
        return factory
    if any(
        name in vars(known)
        for known in factory.__mro__[: -len(own.__mro__) + 1]
        for name in vars(own)
        if name[0] != "_"
    ):
        return None
    return type(factory.__name__, (own, factory), {})
