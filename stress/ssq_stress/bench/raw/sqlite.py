"""The limit of SQLite: one `UPDATE … RETURNING` and one `DELETE` a job, each a transaction."""

import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

from ssq_stress.bench.raw import RawClaim
from ssq_verify.subject import Policy, Promises, subject

TABLE = """
CREATE TABLE IF NOT EXISTS job (number INTEGER PRIMARY KEY, job_id TEXT NOT NULL, payload BLOB, is_taken INT);
CREATE INDEX IF NOT EXISTS waiting ON job (number) WHERE is_taken = 0;
"""
CLAIM = """
UPDATE job SET is_taken = 1 WHERE number = (SELECT min(number) FROM job WHERE is_taken = 0)
RETURNING number, job_id, payload
"""
ACK = "DELETE FROM job WHERE number = ?"
ENQUEUE = "INSERT INTO job (job_id, payload, is_taken) VALUES (?, ?, 0)"


class RawSqlite:
    """One table, by the standard library's driver."""

    def __init__(self, path: Path, *, is_synced: bool) -> None:
        self._connection = sqlite3.connect(path, timeout=60.0, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute(f"PRAGMA synchronous = {'FULL' if is_synced else 'NORMAL'}")
        self._connection.executescript(TABLE)

    def enqueue(self, job_id: str, *, payload: bytes = b"") -> None:
        """Insert a row."""
        self.enqueue_many([(job_id, payload)])

    def enqueue_many(self, jobs: list[tuple[str, bytes]]) -> None:
        """Insert rows in one transaction."""
        self._connection.execute("BEGIN IMMEDIATE")
        self._connection.executemany(ENQUEUE, jobs)
        self._connection.execute("COMMIT")

    def claim(self, *, worker_id: str) -> RawClaim | None:  # noqa: ARG002 - a queue's signature
        """Take the first row that waits."""
        rows = self._connection.execute(CLAIM).fetchall()
        return RawClaim(rows[0][1], str(rows[0][0])) if rows else None

    def ack(self, *, claim: RawClaim) -> None:
        """Delete the row."""
        self._connection.execute(ACK, (int(claim.claim_id),))


PROMISES = Promises(lease=False, fencing=False, max_attempts=None)


@subject(promises=PROMISES, embedded="sqlite")
def open_limit(workdir: Path, _policy: Policy) -> Any:
    """Open the table for one process that syncs each commit."""
    return RawSqlite(workdir / "raw.db", is_synced=True)


@subject(promises=replace(PROMISES, durability="process-crash"), embedded="sqlite")
def open_unsynced(workdir: Path, _policy: Policy) -> Any:
    """Open the table for one process that syncs its log now and then."""
    return RawSqlite(workdir / "raw.db", is_synced=False)
