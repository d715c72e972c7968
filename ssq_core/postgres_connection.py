"""How is a PostgreSQL server reached? By a connection of one's own, or one that somebody else's pool lends.

A connection is made when it is first needed and made anew when it is found closed. Whether a server that was
restarted meanwhile still knows it is asked only where its socket says that something has come unasked.
"""

import os
import select
import threading
import weakref
from contextlib import AbstractContextManager
from typing import Any, Protocol

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import tuple_row

Connection = psycopg.Connection[Any]
Cursor = psycopg.Cursor[tuple[Any, ...]]

DEFAULTS = {
    "connect_timeout": "10",
    "fallback_application_name": "ssq",
    # A network that has gone, or a host that has, is noticed within a minute.
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "60000",
}
"""What a connection string may set otherwise."""


PLANNED_ONCE = "; ".join(
    f"SET {setting}"
    for setting in (
        "plan_cache_mode = force_generic_plan",
        "enable_seqscan = off",
        "enable_bitmapscan = off",
        "enable_hashjoin = off",
        "enable_mergejoin = off",
        "jit = off",
    )
)
"""Plans by the indexes, row by row: made while the table is small, they stay right when it has grown."""


class Pool(Protocol):
    """What lends connections; that of `psycopg_pool` does, and may be shared with all else."""

    def connection(self) -> AbstractContextManager[Connection]:
        """Lend a connection, and at the end of the block commit what it did."""
        ...


class OwnConnection(AbstractContextManager[Connection, None]):
    """Lends one connection, to one thread at a time; a forked child gets another."""

    def __init__(self, conninfo: str) -> None:
        self._conninfo = conninfo
        self._lock = threading.Lock()
        self._connection: Connection | None = None
        self.cursor: Cursor
        """Of the connection that is lent, for all its statements: to make one is a good part of a claim."""
        self._process = os.getpid()
        _OWN.add(self)

    def __del__(self) -> None:
        if getattr(self, "_connection", None) is not None:
            self.close()

    def connection(self) -> AbstractContextManager[Connection]:
        """Lend the connection; each statement is a transaction by itself."""
        return self

    def __enter__(self) -> Connection:
        """Lend the connection."""
        self._lock.acquire()
        try:
            if self._connection is None or self._connection.closed:
                self._connection = _connected(self._conninfo)
                self.cursor = cursor_of(self._connection)
        except BaseException:
            self._lock.release()
            raise
        return self._connection

    def __exit__(self, *_: object) -> None:
        """Let the next thread have it."""
        self._lock.release()

    def close(self) -> None:
        """Close the connection; the next operation makes another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def forget(self) -> None:
        """Leave the connection to the parent, whose session would end with it."""
        _LEFT_TO_PARENT.append(self._connection)
        self._connection = None
        self._lock = threading.Lock()


def _connected(conninfo: str) -> Connection:
    """Connect, and let statements be prepared where all of them go to one session of the server.

    Behind a pooler in transaction mode the next statement goes to another session, where the same name may
    stand for another's statement. A pooler makes up the number of the process that it tells its clients.
    """
    connection = psycopg.connect(conninfo, autocommit=True, prepare_threshold=None)
    ((process,),) = connection.execute("SELECT pg_backend_pid()").fetchall()
    if process == connection.info.backend_pid:
        connection.execute(PLANNED_ONCE)
        connection.prepare_threshold = 0
    return connection


def cursor_of(connection: Connection) -> Cursor:
    """Return a cursor of psycopg's own kind, whatever the connection makes: its rows are tuples."""
    return psycopg.Cursor(connection, row_factory=tuple_row)


def is_direct(connection: Connection) -> bool:
    """Whether a connection of our own leads to one session of the server, without a pooler in between."""
    return connection.prepare_threshold is not None


def is_stale(connection: Connection) -> bool:
    """Whether the server has ended a connection that nobody uses: nothing was sent by it since."""
    poll = select.poll()
    poll.register(connection.fileno(), select.POLLIN)
    if not poll.poll(0):
        return False
    try:
        connection.execute("", prepare=False)
    except psycopg.Error:
        return True
    return False


def readable(dsn: str) -> dict[str, str]:
    """Return what a connection string says, with defaults. Raises `ValueError`, which shows nothing of it."""
    try:
        said = {name: str(value) for name, value in conninfo_to_dict(dsn).items() if value is not None}
    except psycopg.ProgrammingError:
        said = {}
    ports = said.get("port", "").split(",")
    # A password with a slash or an at sign in it, unescaped, would be taken for a port or a database.
    is_garbled = "@" in said.get("host", "") + said.get("dbname", "")
    if not said or is_garbled or not all(port.isdecimal() for port in ports if port):
        raise ValueError(
            "the dsn is no connection string (not shown: it may hold a password); "
            "write postgresql://user@host:5432/database, with %2F for / and %40 for @ in a password"
        )
    return DEFAULTS | said


def conninfo(said: dict[str, str]) -> str:
    """Return a connection string."""
    return make_conninfo("", **said)


def place(said: dict[str, str]) -> str:
    """Return where a connection string leads, as it may be shown."""
    host = said.get("host") or said.get("hostaddr") or os.environ.get("PGHOST") or "localhost"
    port = said.get("port") or os.environ.get("PGPORT") or "5432"
    database = said.get("dbname") or said.get("user") or "its default database"
    return f"{host}:{port}/{database}"


def shown(error: psycopg.Error, said: dict[str, str]) -> str:
    """Return what the driver or the server says, on one line, without the password."""
    told = " ".join(str(error).split()) or type(error).__name__
    password = said.get("password")
    return told.replace(password, "...") if password else told


_OWN: weakref.WeakSet[OwnConnection] = weakref.WeakSet()
_LEFT_TO_PARENT: list[object] = []
"""Kept, so that nothing is closed."""


def _after_fork() -> None:
    for own in list(_OWN):
        own.forget()


os.register_at_fork(after_in_child=_after_fork)
