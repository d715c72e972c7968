"""The limit of PostgreSQL: one prepared `UPDATE … RETURNING` and one `DELETE` a job, by the same driver."""

import hashlib
from pathlib import Path
from typing import Any

import psycopg

from ssq_stress.bench.raw import RawClaim
from ssq_verify import servers
from ssq_verify.subject import Policy, Promises, subject

TABLE = """
CREATE TABLE IF NOT EXISTS {table} (
    number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, job_id text NOT NULL, payload bytea,
    is_taken boolean NOT NULL DEFAULT false
) WITH (fillfactor = 70);
CREATE INDEX IF NOT EXISTS {table}_waiting ON {table} (number) WHERE NOT is_taken;
"""
CLAIM = """
UPDATE {table} SET is_taken = true WHERE number = (
    SELECT number FROM {table} WHERE NOT is_taken ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED
) RETURNING number, job_id, payload
"""
ACK = "DELETE FROM {table} WHERE number = %s"
ENQUEUE = "INSERT INTO {table} (job_id, payload) VALUES (%s, %s)"
LOCK = "SELECT pg_advisory_xact_lock(1)"


class RawPostgres:
    """One table; each statement is its own transaction."""

    def __init__(self, url: str, table: str) -> None:
        self._connection = psycopg.connect(url, autocommit=True, prepare_threshold=0)
        with self._connection.transaction():
            self._connection.execute(LOCK)
            self._connection.execute(TABLE.format(table=table).encode(), prepare=False)
        self._claim, self._ack, self._enqueue = (
            text.format(table=table).encode() for text in (CLAIM, ACK, ENQUEUE)
        )

    def enqueue(self, job_id: str, *, payload: bytes = b"") -> None:
        """Insert a row."""
        self._connection.execute(self._enqueue, (job_id, payload))

    def enqueue_many(self, jobs: list[tuple[str, bytes]]) -> None:
        """Insert rows in one transaction."""
        with self._connection.transaction():
            self._connection.cursor().executemany(self._enqueue, jobs)

    def claim(self, *, worker_id: str) -> RawClaim | None:  # noqa: ARG002 - a queue's signature
        """Take the first row that waits and that nobody else is taking."""
        row = self._connection.execute(self._claim).fetchone()
        return RawClaim(row[1], str(row[0])) if row else None

    def ack(self, *, claim: RawClaim) -> None:
        """Delete the row."""
        self._connection.execute(self._ack, (int(claim.claim_id),))


@subject(promises=Promises(lease=False, fencing=False, max_attempts=None, order=None), server="postgres")
def open_limit(workdir: Path, _policy: Policy) -> Any:
    """Open the table for one process."""
    table = f"raw_{hashlib.sha256(bytes(workdir)).hexdigest()[:16]}"
    return RawPostgres(servers.place("postgres").url, table)
