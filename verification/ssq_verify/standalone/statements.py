"""How do workers share a database? Each statement is a point; who meets a lock lets the others go on."""

import re
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal

from ssq_verify.standalone.turns import Worker, deaths, point, rest

real_connect = sqlite3.connect


class Cursor(sqlite3.Cursor):
    """A cursor whose statements are points."""

    def execute(self, sql: str, *args: Any) -> Any:
        """Run a statement."""
        sql = re.sub(r"(?i)(busy_timeout\s*[=(]\s*)\d+", r"\g<1>0", sql)
        at_point(lambda: super(Cursor, self).execute(sql, *args), self.connection, sql)
        return self

    def executemany(self, sql: str, *args: Any) -> Any:
        """Run a statement many times."""
        at_point(lambda: super(Cursor, self).executemany(sql, *args), self.connection, sql)
        return self

    def executescript(self, script: str) -> Any:
        """Run statements one by one."""
        self.connection.commit()
        pending = ""
        for piece in script.split(";"):
            pending += f"{piece};"
            if sqlite3.complete_statement(pending) and pending.strip("; \n\t"):
                self.execute(pending)
            pending = "" if sqlite3.complete_statement(pending) else pending
        return self


class Connection(sqlite3.Connection):
    """A connection whose statements are points."""

    def cursor(self, factory: Any = Cursor) -> Any:
        """Return a cursor."""
        return super().cursor(factory)

    def execute(self, sql: str, *args: Any) -> Any:
        """Run a statement."""
        return self.cursor().execute(sql, *args)

    def executemany(self, sql: str, *args: Any) -> Any:
        """Run a statement many times."""
        return self.cursor().executemany(sql, *args)

    def executescript(self, script: str) -> Any:
        """Run statements one by one."""
        return self.cursor().executescript(script)

    def commit(self) -> None:
        """Commit."""
        if self.in_transaction:
            at_point(super().commit, self, "COMMIT")

    def rollback(self) -> None:
        """Roll back."""
        if self.in_transaction:
            at_point(super().rollback, self, "ROLLBACK")

    def __exit__(self, *error: object) -> Literal[False]:
        (self.commit if error[0] is None else self.rollback)()
        return False


def at_point(statement: Callable[[], Any], connection: sqlite3.Connection, sql: str) -> Any:
    """Run a statement at a point, waiting for locks where SQLite would."""
    me = threading.current_thread()
    point("sqlite")
    while True:
        try:
            return statement()
        except sqlite3.OperationalError as error:
            is_waiting = not connection.in_transaction or sql.lstrip().upper().startswith("COMMIT")
            if "locked" not in str(error) or not is_waiting or not isinstance(me, Worker):
                raise
            rest()


def connect(database: Any, *_args: Any, **kwargs: Any) -> Any:
    """Connect as `sqlite3.connect` does."""
    settings = {**kwargs, "timeout": 0.0, "check_same_thread": False}
    connection = real_connect(database, **{"factory": Connection, **settings})
    me = threading.current_thread()
    if isinstance(me, Worker):
        me.owned.append(connection)
    return connection


def close_connections(worker: Worker) -> None:
    """Let a process that has ended lose its transaction."""
    for connection in worker.owned:
        if isinstance(connection, sqlite3.Connection):
            with suppress(sqlite3.Error):
                sqlite3.Connection.close(connection)


def stop_at_statements() -> None:
    """Put the stand-in in its place."""
    sqlite3.connect = sqlite3.dbapi2.connect = connect
    deaths.append(close_connections)
