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

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from ssq_core.queue import (
    BATCH_MAX,
    DeadJob,
    LeaseLost,
    LeasesLost,
    MissingDriver,
    QueueClaim,
    QueueStats,
    RetryPolicy,
    checked_jobs,
    checked_lease_seconds,
    checked_limit,
    checked_payload,
    checked_wait_seconds,
    encoded_job_id,
)

try:
    import psycopg as _driver  # noqa: F401 - asked for before those that need it
except ImportError as error:
    raise MissingDriver("psycopg", "postgres") from error

from psycopg.types.numeric import Int8

from ssq_core import postgres_schema as schema
from ssq_core.postgres_claims import Claims
from ssq_core.postgres_connection import Pool
from ssq_core.postgres_database import Database
from ssq_core.postgres_waiting import Waiting

CLAIM_ID = re.compile(r"([1-9][0-9]{0,17})-([0-9a-f]{32})")
"""The number of the claim's row, and a random one."""
PIECE_BYTES_MAX = 16_000_000
"""Of payloads in one statement; a server takes a gigabyte at most."""


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
        lease_ttl = timedelta(seconds=checked_lease_seconds(lease_ttl_seconds))
        # Not an interval, which may have days: those are of 23 hours where the session's time zone says so.
        self._lease_us = Int8(lease_ttl // timedelta(microseconds=1))
        self._retry = retry
        self._database = Database(dsn, pool=pool, table=table)
        self._claims = Claims(self._database, lease_ttl=lease_ttl, retry=retry)
        self._waiting = Waiting(self._database)

    def enqueue(self, job_id: str, *, payload: bytes = b"") -> None:
        """Add a job; of a job that is queued, claimed or dead, change nothing. Raises `InvalidJobId`."""
        encoded = encoded_job_id(job_id)
        self._database.run(
            "enqueue", schema.ENQUEUE, {"job_id": encoded, "payload": checked_payload(payload)}
        )

    def enqueue_many(self, jobs: Iterable[tuple[str, bytes]]) -> None:
        """Add jobs in this order, a statement for `BATCH_MAX` of them, or for as many as fit into 16 MB."""
        for piece in _pieces(checked_jobs(jobs)):
            terms = {
                "job_ids": [job_id.encode() for job_id, _ in piece],
                "payloads": [data for _, data in piece],
            }
            self._database.run("enqueue_many", schema.ENQUEUE_MANY, terms)

    def claim(self, *, worker_id: str) -> QueueClaim | None:
        """Take the oldest available job, or None if none was available at some instant of the call."""
        taken = self._claims.taken(1, worker_id=worker_id, claimed_by=_storable(worker_id))
        return taken[0] if taken else None

    def claim_many(self, limit: int, *, worker_id: str) -> list[QueueClaim]:
        """Take the oldest available jobs, oldest first; fewer than the limit if no more were available."""
        return self._claims.taken(checked_limit(limit), worker_id=worker_id, claimed_by=_storable(worker_id))

    def wait(self, *, seconds: float) -> bool:
        """Return True as soon as a job is available, False after so many seconds.

        It is told by the server, over a connection more; through a pool or a pooler it asks again and again.
        """
        return self._waiting.wait(checked_wait_seconds(seconds))

    def ack(self, *, claim: QueueClaim) -> None:
        """Finish the claimed job for good. Raise `LeaseLost` if the claim is no longer current."""
        if not self._database.run("ack", schema.ACK, _terms(claim)):
            raise LeaseLost(claim.job_id, claim.claim_id)

    def ack_many(self, *, claims: Iterable[QueueClaim]) -> None:
        """Finish all claimed jobs whose claims are current; then raise `LeasesLost` if others were not.

        A statement for `BATCH_MAX` of them, each whole or not at all.
        """
        all_claims, lost = list(claims), []
        for start in range(0, len(all_claims), BATCH_MAX):
            lost += self._lost(all_claims[start : start + BATCH_MAX])
        if lost:
            raise LeasesLost(lost)

    def _lost(self, claims: list[QueueClaim]) -> list[QueueClaim]:
        """Ack claims, and return those that were not current, as is one that is given a second time."""
        named = [_named(claim) for claim in claims]
        keys = sorted({name for name in named if name is not None})
        terms = {
            "seqs": [Int8(seq) for seq, _, _ in keys],
            "claim_ids": [nonce for _, nonce, _ in keys],
            "job_ids": [job_id for _, _, job_id in keys],
        }
        acked: set[object] = set(self._database.run("ack_many", schema.ACK_MANY, terms)) if keys else set()
        lost = []
        for claim, name in zip(claims, named, strict=True):
            if name in acked:
                acked.remove(name)
            else:
                lost.append(claim)
        return lost

    def release(self, *, claim: QueueClaim) -> None:
        """Give the job back: queued again after its back-off, or dead after its last attempt.

        Raise `LeaseLost` if the claim is no longer current.
        """
        rest_seconds = self._retry.backoff_seconds(claim.attempt)
        terms = _terms(claim) | {
            "attempts_max": self._retry.max_attempts,
            # Without a rest it is there at once, and no clock is asked.
            "rest": timedelta(seconds=rest_seconds) if rest_seconds else None,
        }
        if not self._database.run("release", schema.RELEASE, terms):
            raise LeaseLost(claim.job_id, claim.claim_id)

    def extend(self, *, claim: QueueClaim) -> QueueClaim:
        """Start the lease anew from now: a heartbeat. Raise `LeaseLost` if the claim is no longer current."""
        rows = self._database.run("extend", schema.EXTEND, _terms(claim) | {"lease_us": self._lease_us})
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
        """Close the connections, unless they are a pool's; the next operation makes another."""
        self._waiting.close()
        self._database.close()


def _pieces(jobs: list[tuple[str, bytes]]) -> Iterator[list[tuple[str, bytes]]]:
    """Yield jobs in their order, as many at a time as one statement takes."""
    piece: list[tuple[str, bytes]] = []
    size = 0
    for job in jobs:
        if piece and (len(piece) == BATCH_MAX or size + len(job[1]) > PIECE_BYTES_MAX):
            yield piece
            piece, size = [], 0
        piece.append(job)
        size += len(job[1])
    if piece:
        yield piece


def _named(claim: QueueClaim) -> tuple[int, bytes, bytes] | None:
    """Return by what a claim's row is known; None if this queue never gave out such a claim."""
    parts = CLAIM_ID.fullmatch(claim.claim_id)
    if parts is None:
        return None
    return int(parts[1]), bytes.fromhex(parts[2]), claim.job_id.encode(errors="surrogatepass")


def _terms(claim: QueueClaim) -> dict[str, object]:
    """Return by what a claim's row is known. Raises `LeaseLost`."""
    named = _named(claim)
    if named is None:
        raise LeaseLost(claim.job_id, claim.claim_id)
    seq, nonce, job_id = named
    return {"seq": Int8(seq), "claim_id": nonce, "job_id": job_id}


def _storable(text: str) -> str:
    """Return a text as a database in any encoding can hold it; what is plain ASCII is left as it is."""
    return text.encode("ascii", "backslashreplace").decode().replace("\0", r"\x00")


def _aware(utc: datetime) -> datetime:
    return utc.replace(tzinfo=UTC)
