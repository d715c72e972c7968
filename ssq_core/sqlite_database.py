"""One SQLite file that many processes share: made whole, opened with care, one transaction at a time.

Creation. A new database is built under another name, synced and linked into place. So whoever sees the path
sees a finished queue, many processes may open it at once, and a kill leaves at most a stray `*.new` file.
(Setting it up in place would leave the switch to WAL, which SQLite does not wait for, as a race between the
openers.)

Waiting. SQLite's own busy handler sleeps longer and longer, up to 100 ms, while whoever comes later finds
the lock free: among busy workers a few wait for seconds. So the lock is asked for here, every 1 to 4 ms.
Nothing else is kept of who waits: a waiter that is killed or stopped holds nobody up. (Taking turns by a lock
in the kernel halves the longest waits once more; but it has no timeout, a stopped waiter would stop all, and
each transaction pays for a switch of processes.)

Fork. SQLite forgets that a POSIX lock is not inherited, even for connections that the child opens itself
while it has the parent's in memory. So every connection is closed before a fork, and either side opens its
own when needed.
"""

# One os call a step, each visible to what counts, fails or cuts off steps:
# ruff: noqa: PTH100, PTH102, PTH108, PTH110, PTH112, PTH120

import math
import os
import secrets
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ssq_core.filesystem import refuse_network_filesystem
from ssq_core.queue import (
    Durability,
    QueueBusy,
    QueueDataCorruptedError,
    QueueError,
    QueueIOError,
    UnsupportedSchema,
)
from ssq_core.stored import Mark, QueueMigrated

APPLICATION_ID = 0x73737131
"""`ssq1` in ASCII, at byte 68 of the file: tells a queue from another program's database."""

SCHEMA_MOVED = 0x6D6F7665
"""In place of the schema's version, `move` in ASCII: the table `migration` says where the jobs went."""

SQLITE_VERSION_MIN = (3, 35)
"""The first with RETURNING."""

NAP_SECONDS_MIN, NAP_SECONDS_MAX = 0.001, 0.004
"""How long a writer sleeps before it asks again: a 32nd part of what it has waited, within these bounds.

The upper one is short, for whoever commits and begins anew leaves the file free for an instant only.
"""
NAPS = 32

MILLISECONDS_MAX = 2**31 - 1
"""The longest timeout that SQLite can be told."""

_BUSY = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class Database:
    """A handle on the file; may be used by several threads, and across a fork."""

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        schema: str,
        schema_version: int,
        busy_timeout_seconds: float,
        durability: Durability,
    ) -> None:
        if sqlite3.sqlite_version_info < SQLITE_VERSION_MIN:
            found, least = sqlite3.sqlite_version, ".".join(map(str, SQLITE_VERSION_MIN))
            raise QueueIOError("open", os.fspath(path), f"SQLite {found} is too old; use {least} or later")
        # The process may change its folder before a connection is opened anew.
        self.path = os.path.abspath(path)
        self._schema_version = schema_version
        self._busy_timeout_seconds = busy_timeout_seconds
        self._durability = durability
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        with self._typed_errors("open"):
            # WAL keeps its index in memory that the processes of one host share.
            refuse_network_filesystem(os.path.realpath(self.path))
            self._create(schema)
            self._connection = self._opened()
        _DATABASES.add(self)

    def __del__(self) -> None:
        connection: sqlite3.Connection | None = getattr(self, "_connection", None)
        if connection is not None:
            connection.close()

    def close(self) -> None:
        """Close the connection; the next transaction opens another."""
        with self._lock:
            self._disconnect()

    @contextmanager
    def transaction(self, operation: str) -> Iterator[sqlite3.Connection]:
        """Run the body as one transaction: all of it, or after any exception nothing.

        Raises `QueueBusy` if others kept the file locked for longer than the timeout,
        `QueueDataCorruptedError`, or `QueueIOError` (after a failed sync at commit nobody can say whether the
        transaction will be there).
        """
        with self._lock, self._typed_errors(operation):
            connection = self._connection or self._connected()
            try:
                self._begin(connection)
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                self._roll_back()
                raise

    @contextmanager
    def snapshot(self, operation: str) -> Iterator[sqlite3.Connection]:
        """Run a body that only reads, on one state of the file, and wait for no writer. Raises the same."""
        with self._lock, self._typed_errors(operation):
            connection = self._connection or self._connected()
            # Here SQLite itself waits: for whoever restores the log after a crash, nobody else.
            connection.execute(f"PRAGMA busy_timeout = {_milliseconds(self._busy_timeout_seconds)}")
            try:
                connection.execute("BEGIN")
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                self._roll_back()
                raise
            finally:
                if self._connection is not None:
                    connection.execute("PRAGMA busy_timeout = 0")

    def _begin(self, connection: sqlite3.Connection) -> None:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError as error:
            self._wait_to_begin(connection, error)

    def _wait_to_begin(self, connection: sqlite3.Connection, refusal: sqlite3.OperationalError) -> None:
        began = time.monotonic()
        while _code(refusal) in _BUSY:
            waited = time.monotonic() - began
            left = self._busy_timeout_seconds - waited
            if left <= 0:
                break
            time.sleep(min(_nap_seconds(waited), left))
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError as error:
                refusal = error
            else:
                return
        raise refusal

    def _connected(self) -> sqlite3.Connection:
        self._connection = self._opened()
        return self._connection

    def _roll_back(self) -> None:
        assert self._connection is not None
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error:
            # Closing rolls back too, and nothing of the failed transaction may reach the next one.
            self._disconnect()

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _opened(self) -> sqlite3.Connection:
        # mode=rw: a path that has gone is an error, not a new empty database. The URI quotes every odd
        # character.
        connection = sqlite3.connect(
            f"{Path(self.path).as_uri()}?mode=rw",
            uri=True,
            timeout=self._busy_timeout_seconds,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            self._check(connection)
            level = "FULL" if self._durability == "power-loss" else "NORMAL"
            connection.execute(f"PRAGMA synchronous = {level}")
            connection.execute("PRAGMA busy_timeout = 0")
        except BaseException:
            connection.close()
            raise
        return connection

    def _check(self, connection: sqlite3.Connection) -> None:
        (application_id,) = connection.execute("PRAGMA application_id").fetchone()
        if application_id != APPLICATION_ID:
            raise QueueDataCorruptedError(
                self.path, "not a queue, but an empty file or another program's database"
            )
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if (mark := moved_mark(connection)) is not None:
            raise QueueMigrated(self.path, mark)
        if version != self._schema_version:
            raise UnsupportedSchema(self.path, version, self._schema_version)

    def _create(self, schema: str) -> None:
        folder = os.path.dirname(self.path)
        if not os.path.exists(self.path):
            _make_folder(folder)
            draft = f"{self.path}.{secrets.token_hex(8)}.new"
            try:
                self._write(draft, schema)
                with suppress(FileExistsError):  # another process was first
                    os.link(draft, self.path)
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(draft)
        if self._durability == "power-loss":
            # At every open: the process that linked it may not have come to this line yet.
            _sync(folder)

    def _write(self, draft: str, schema: str) -> None:
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        connection = sqlite3.connect(draft, isolation_level=None)
        try:
            connection.execute("PRAGMA synchronous = OFF")  # synced once, below
            connection.execute("PRAGMA journal_mode = WAL")
            connection.executescript(schema)
            connection.execute(f"PRAGMA user_version = {self._schema_version}")
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        finally:
            connection.close()  # moves the log into the file and removes it
        if self._durability == "power-loss":
            _sync(draft)

    @contextmanager
    def _typed_errors(self, operation: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._typed(error, operation) from error
        except OSError as error:
            raise QueueIOError(
                operation, error.filename or self.path, error.strerror or str(error)
            ) from error

    def _typed(self, error: sqlite3.Error, operation: str) -> QueueError:
        code = _code(error)
        if code in _BUSY:
            return QueueBusy(operation, self.path, f"locked by others for {self._busy_timeout_seconds} s")
        if code in _DAMAGED:
            return QueueDataCorruptedError(self.path, str(error))
        return QueueIOError(operation, self.path, str(error))


def moved_mark(connection: sqlite3.Connection) -> Mark | None:
    """Return what a queue's file says of a move of its jobs, None if there was none."""
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version != SCHEMA_MOVED:
        return None
    token, destination, is_complete = connection.execute("SELECT * FROM migration").fetchone()
    return Mark(token=token, destination=destination, is_complete=bool(is_complete))


def _code(error: sqlite3.Error) -> int:
    # Extended codes (such as SQLITE_IOERR_FSYNC) keep the primary one in their low byte.
    return (getattr(error, "sqlite_errorcode", None) or sqlite3.SQLITE_ERROR) & 0xFF


def _nap_seconds(waited: float) -> float:
    return min(max(NAP_SECONDS_MIN, waited / NAPS), NAP_SECONDS_MAX)


def _milliseconds(seconds: float) -> int:
    return min(math.ceil(seconds * 1000), MILLISECONDS_MAX)


def _make_folder(folder: str) -> None:
    if os.path.isdir(folder):
        return
    parent = os.path.dirname(folder)
    _make_folder(parent)
    with suppress(FileExistsError):
        os.mkdir(folder, 0o700)
    _sync(parent)


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


_DATABASES: weakref.WeakSet[Database] = weakref.WeakSet()
_HELD_OVER_FORK: list[Database] = []


def _before_fork() -> None:
    # Waits for running transactions; the locks stay held, so that nobody opens a connection before the fork
    # is done.
    for database in list(_DATABASES):
        database._lock.acquire()  # noqa: SLF001 - this module's own
        database._disconnect()  # noqa: SLF001 - this module's own
        _HELD_OVER_FORK.append(database)


def _after_fork() -> None:
    while _HELD_OVER_FORK:
        _HELD_OVER_FORK.pop()._lock.release()  # noqa: SLF001 - this module's own


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
