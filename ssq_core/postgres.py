"""The lease queue in PostgreSQL, for production: a transition is a statement, and the server keeps the time.

Workers' clocks play no part: leases and rests begin and end by the server's `clock_timestamp()`, so that E is
0 however wrong they are. Nothing is kept in a session: a pool, or a pooler in transaction mode, may stand in
between.

Order. Jobs are claimed in the order of their enqueueing, but for one thing: a claim passes over a row that
another claim is about to take, and if that other one dies before its commit, a younger job went first. That
is `fifo-relaxed`.

Durability. An operation that returned is on the server's disk where its `synchronous_commit`, `fsync` and
`full_page_writes` are on, as they are by default. With `synchronous_commit` off the loss of power, and the
death of the server as well, may undo what was answered in up to three times its `wal_writer_delay` before.
"""

import secrets
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from ssq_core.queue import (
    DeadJob,
    LeaseLost,
    MissingDriver,
    QueueClaim,
    QueueStats,
    RetryPolicy,
    checked_lease_seconds,
    checked_payload,
    encoded_job_id,
)

try:
    import psycopg as _driver  # noqa: F401 - asked for before those that need it
except ImportError as error:
    raise MissingDriver("psycopg", "postgres") from error

from ssq_core import postgres_schema as schema
from ssq_core.postgres_connection import Pool
from ssq_core.postgres_database import Database


class PostgresWorkerQueue:
    """A lease queue in one table of a PostgreSQL database, made if there is none.

    One handle may be used by several threads. Every operation may raise `QueueUnavailable`, having changed
    nothing, and `OutcomeUnknown` if the connection broke before the answer came; opening also raises
    `UnsupportedSchema` for a table of another version, and `QueueDataCorruptedError` for another program's.
    A `pool` lends connections of psycopg, as `psycopg_pool.ConnectionPool` does; then no `dsn` is needed.
    """

    def __init__(
        self,
        dsn: str | None = None,
        *,
        lease_ttl_seconds: float = 60,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - a frozen value
        table: str = "ssq_jobs",
        pool: Pool | None = None,
    ) -> None:
        self._lease_ttl = timedelta(seconds=checked_lease_seconds(lease_ttl_seconds))
        self._retry = retry
        self._database = Database(dsn, pool=pool, table=table)

    def enqueue(self, job_id: str, *, payload: bytes = b"") -> None:
        """Add a job; of a job that is queued, claimed or dead, change nothing. Raises `InvalidJobId`."""
        encoded = encoded_job_id(job_id)
        self._database.run(
            "enqueue", schema.ENQUEUE, {"job_id": encoded, "payload": checked_payload(payload)}
        )

    def claim(self, *, worker_id: str) -> QueueClaim | None:
        """Take the oldest available job, or None if none was available at some instant of the call."""
        terms = {
            "claim_id": secrets.token_hex(16),
            "claimed_by": _storable(worker_id),
            "lease_ttl": self._lease_ttl,
            "attempts_max": self._retry.max_attempts,
        }
        while changed := self._database.run("claim", schema.CLAIM, terms):
            for claim_id, job_id, attempt, claimed_at, lease_expires_at, payload in changed:
                # The others were buried.
                if claim_id is not None:
                    return QueueClaim(
                        job_id=job_id.decode(),
                        claim_id=claim_id,
                        worker_id=worker_id,
                        attempt=attempt,
                        claimed_at=_aware(claimed_at),
                        lease_expires_at=_aware(lease_expires_at),
                        payload=payload,
                    )
        return None

    def ack(self, *, claim: QueueClaim) -> None:
        """Finish the claimed job for good. Raise `LeaseLost` if the claim is no longer current."""
        if not self._database.run("ack", schema.ACK, _named(claim)):
            raise LeaseLost(claim.job_id, claim.claim_id)

    def release(self, *, claim: QueueClaim) -> None:
        """Give the job back: queued again after its back-off, or dead after its last attempt.

        Raise `LeaseLost` if the claim is no longer current.
        """
        rest_seconds = self._retry.backoff_seconds(claim.attempt)
        terms = _named(claim) | {
            "attempts_max": self._retry.max_attempts,
            # Without a rest it is there at once, and no clock is asked.
            "rest": timedelta(seconds=rest_seconds) if rest_seconds else None,
        }
        if not self._database.run("release", schema.RELEASE, terms):
            raise LeaseLost(claim.job_id, claim.claim_id)

    def extend(self, *, claim: QueueClaim) -> QueueClaim:
        """Start the lease anew from now: a heartbeat. Raise `LeaseLost` if the claim is no longer current."""
        rows = self._database.run("extend", schema.EXTEND, _named(claim) | {"lease_ttl": self._lease_ttl})
        if not rows:
            raise LeaseLost(claim.job_id, claim.claim_id)
        return replace(claim, lease_expires_at=_aware(rows[0][0]))

    def stats(self) -> QueueStats:
        """Count the jobs by state, by the server's clock; reads the whole queue."""
        ((queued, delayed, claimed, expired, dead),) = self._database.run("stats", schema.STATS, {})
        return QueueStats(queued=queued, delayed=delayed, claimed=claimed, expired=expired, dead=dead)

    def dead(self) -> list[DeadJob]:
        """Return the dead letters, oldest job first; reads the whole queue."""
        return [
            DeadJob(job_id=job_id.decode(), attempts=attempts, died_at=_aware(died_at), payload=payload)
            for job_id, attempts, died_at, payload in self._database.run("dead", schema.DEAD, {})
        ]

    def requeue_dead(self, job_id: str) -> bool:
        """Give a dead job a new incarnation, in its old place, with all attempts; False if it is not dead."""
        return bool(self._database.run("requeue_dead", schema.REQUEUE, {"job_id": encoded_job_id(job_id)}))

    def close(self) -> None:
        """Close the connection, unless it is a pool's; the next operation makes another."""
        self._database.close()


def _named(claim: QueueClaim) -> dict[str, object]:
    return {
        "job_id": claim.job_id.encode(errors="surrogatepass"),
        "claim_id": _storable(claim.claim_id),
    }


def _storable(text: str) -> str:
    """Return a text as a database in any encoding can hold it; what is plain ASCII is left as it is."""
    return text.encode("ascii", "backslashreplace").decode().replace("\0", r"\x00")


def _aware(utc: datetime) -> datetime:
    return utc.replace(tzinfo=UTC)
