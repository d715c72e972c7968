"""A queue whose time comes from C: SQLite's own function says when its leases begin and end."""

import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime

from ssq_core.sqlite import SqliteWorkerQueue
from ssq_verify.subject import Promises, subject

SEEN = "seen"
"""Beside a run's history: the monotonic clock, SQLite's, Python's, and the monotonic clock again."""


def told_by_sqlite():
    """Return the time as SQLite's own C code is told it."""
    with closing(sqlite3.connect(":memory:")) as connection:
        ((milliseconds,),) = connection.execute("SELECT (julianday('now') - 2440587.5) * 86400000")
    return datetime.fromtimestamp(round(milliseconds) / 1_000, UTC)


def look():
    """Return the time of SQLite and of Python, between two looks at the monotonic clock."""
    return time.monotonic(), told_by_sqlite().timestamp(), time.time(), time.monotonic()


class Looking(SqliteWorkerQueue):
    """It writes down what the clocks show at each claim."""

    def __init__(self, path, **options):
        super().__init__(path, clock=told_by_sqlite, **options)
        self._seen = path.parents[3] / SEEN

    def claim(self, *, worker_id):
        """Look, then claim."""
        with self._seen.open("a") as lines:
            lines.write(" ".join(map(str, look())) + "\n")
        return super().claim(worker_id=worker_id)


@subject(promises=Promises(), clock="libc")
def open_queue(workdir, policy):
    """Open it for one worker; the policy's clock plays no part."""
    return Looking(
        workdir / "queue.db",
        lease_ttl_seconds=policy.lease_ttl_seconds,
        retry=policy.retry,
        max_clock_skew_seconds=policy.max_clock_skew_seconds,
    )
