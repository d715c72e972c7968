"""How does a SQLite queue give its jobs away? In one transaction its table gets another name.

Whoever has the file open finds no table `jobs` any more, and whoever opens it a version that says where the
jobs went. The same transaction looks at the leases, so that none can be taken in between.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ssq_core.microseconds import to_datetime, to_micros
from ssq_core.queue import Clock, QueueBusy, QueueDataCorruptedError, QueueIOError, UnsupportedSchema, utc_now
from ssq_core.sqlite import SCHEMA_VERSION
from ssq_core.sqlite_database import APPLICATION_ID, SCHEMA_MOVED, moved_mark
from ssq_core.stored import DamagedJob, Mark, MoveRefused, StoredJob

_BUSY_SECONDS = 10.0
_PAGE = 1_000

_FENCE = (
    "ALTER TABLE jobs RENAME TO migrated_jobs",
    "CREATE TABLE migration (token TEXT NOT NULL, destination TEXT NOT NULL, is_complete INTEGER NOT NULL)",
    f"PRAGMA user_version = {SCHEMA_MOVED}",
)
_UNFENCE = (
    "DROP TABLE migration",
    "ALTER TABLE migrated_jobs RENAME TO jobs",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)
_HELD = "SELECT COUNT(*), MAX(due_us) FROM jobs WHERE state = 'claimed' AND due_us >= ?"
_NEXT = """
SELECT seq, job_id, state, attempt, due_us, payload FROM migrated_jobs WHERE seq > ? ORDER BY seq LIMIT ?
"""


class SqliteSource:
    """A SQLite queue whose jobs move elsewhere. Every method may raise `QueueIOError` and `QueueBusy`."""

    def __init__(self, path: str | Path, *, skew_seconds: float = 0, clock: Clock = utc_now) -> None:
        """Find the queue. Raises `MoveRefused`, `UnsupportedSchema`, `QueueDataCorruptedError`."""
        self._path = Path(path).absolute()
        self.where = str(self._path)
        self._skew_micros = round(skew_seconds * 1_000_000)
        self._clock = clock
        if not self._path.is_file():
            raise MoveRefused(self.where, "no such file; check the path")
        with self._typed("open"):
            self._connection = sqlite3.connect(
                f"{self._path.as_uri()}?mode=rw", uri=True, timeout=_BUSY_SECONDS, isolation_level=None
            )
        try:
            with self._typed("open"):
                self._check()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def mark(self) -> Mark | None:
        """Return what the file says of a move, None if there was none."""
        with self._typed("open"):
            return moved_mark(self._connection)

    def fence(self, mark: Mark) -> None:
        """Let every operation of everybody fail from now on. Raises `MoveRefused` if a lease is held."""
        with self._transaction("fence"):
            if moved_mark(self._connection) is not None:
                return
            self._refuse_live()
            for statement in _FENCE:
                self._connection.execute(statement)
            self._connection.execute(
                "INSERT INTO migration VALUES (?, ?, ?)", (mark.token, mark.destination, False)
            )

    def unfence(self) -> None:
        """Undo that: the queue is as it was."""
        with self._transaction("unfence"):
            for statement in _UNFENCE:
                self._connection.execute(statement)

    def count(self) -> int:
        """Return how many jobs there are."""
        with self._typed("count"):
            table = "jobs" if moved_mark(self._connection) is None else "migrated_jobs"
            ((count,),) = self._connection.execute(f"SELECT COUNT(*) FROM {table}")  # noqa: S608 - one of two
            return int(count)

    def stored(self, *, after: int = 0) -> Iterator[StoredJob | DamagedJob]:
        """Yield the jobs beyond a position, oldest first."""
        while True:
            with self._typed("read"):
                rows = self._connection.execute(_NEXT, (after, _PAGE)).fetchall()
            if not rows:
                return
            for row in rows:
                yield self._stored(*row)
            after = rows[-1][0]

    def retire(self, mark: Mark) -> None:
        """Say for good that the jobs are elsewhere; they stay in the table `migrated_jobs`."""
        with self._transaction("retire"):
            self._connection.execute("UPDATE migration SET is_complete = ?", (mark.is_complete,))

    def _check(self) -> None:
        ((application_id,),) = self._connection.execute("PRAGMA application_id")
        if application_id != APPLICATION_ID:
            raise MoveRefused(self.where, "not a queue, but another program's file; name a queue's")
        ((version,),) = self._connection.execute("PRAGMA user_version")
        if version not in {SCHEMA_VERSION, SCHEMA_MOVED}:
            raise UnsupportedSchema(self.where, version, SCHEMA_VERSION)
        self._connection.execute("PRAGMA synchronous = FULL")

    def _refuse_live(self) -> None:
        earliest = to_micros(self._clock()) - self._skew_micros
        ((held, latest),) = self._connection.execute(_HELD, (earliest,))
        if held:
            ends = to_datetime(latest + self._skew_micros)
            raise MoveRefused(
                self.where,
                f"{held:,} of its jobs are held by workers; stop them, and wait until {ends:%F %T} UTC "
                "if they do not give back what they hold",
            )

    def _stored(  # noqa: PLR0917 - a row
        self, position: int, job_id: str, state: str, attempts: int, due: int, payload: bytes
    ) -> StoredJob:
        is_resting = state == "queued" and due > to_micros(self._clock())
        return StoredJob(
            position=position,
            job_id=job_id,
            payload=payload,
            attempts=attempts,
            available_at=to_datetime(due) if is_resting else None,
            died_at=to_datetime(due) if state == "dead" else None,
        )

    @contextmanager
    def _transaction(self, operation: str) -> Iterator[None]:
        with self._typed(operation):
            self._connection.execute("BEGIN EXCLUSIVE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _typed(self, operation: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
            if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                reason = f"others kept it locked for {_BUSY_SECONDS:.0f} s; stop the workers"
                raise QueueBusy(operation, self.where, reason) from error
            if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
                raise QueueDataCorruptedError(self.where, str(error)) from error
            raise QueueIOError(operation, self.where, str(error)) from error
