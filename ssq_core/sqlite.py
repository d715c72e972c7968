"""The lease queue in one SQLite file, for when one file is wanted: each transition is one transaction.

A claim is one statement that finds the oldest available job and makes it claimed. Its cost grows with neither
the backlog nor the number of jobs that rest or are held: these *wait* in an index by time, apart from the
index by age that a claim reads, and each is moved over once, by the first claim after its time has come. The
move is a hint only: every claim judges by its own clock, so that a worker whose clock is ahead takes nothing
for others.

Many jobs at once are one transaction, up to `BATCH_MAX` of them: one sync for all.

No process hears of another's commit. So `wait` looks into the file every few milliseconds, at the heads of
the two indexes only, and takes no lock that a writer could meet.

Durability. `"power-loss"` syncs SQLite's log at each commit (`synchronous = FULL`): an operation that
returned is still there after the power fails. `"process-crash"` syncs at checkpoints only (`NORMAL`): it
survives the death of any process; power loss may undo the last operations, in order, and never damages the
file.
"""

import os
import secrets
import sqlite3
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace

from ssq_core.microseconds import seconds_to_micros, to_datetime, to_micros
from ssq_core.queue import (
    Clock,
    DeadJob,
    Durability,
    LeaseLost,
    LeasesLost,
    QueueClaim,
    QueueStats,
    RetryPolicy,
    checked_durability,
    checked_jobs,
    checked_lease_seconds,
    checked_limit,
    checked_payload,
    checked_skew_seconds,
    checked_wait_seconds,
    encoded_job_id,
    in_pieces,
    utc_now,
)
from ssq_core.sqlite_database import Database

SCHEMA_VERSION = 1

LOOK_SECONDS_MIN, LOOK_SECONDS_MAX = 0.001, 0.02
"""How long `wait` sleeps before it looks again, at first and after a while."""

SCHEMA = """
CREATE TABLE jobs (
  seq       INTEGER PRIMARY KEY AUTOINCREMENT, -- the order of enqueueing; no clock in it, never used twice
  job_id    TEXT    NOT NULL UNIQUE,
  state     TEXT    NOT NULL CHECK (state IN ('queued', 'claimed', 'dead')),
  attempt   INTEGER NOT NULL,                  -- claims of this incarnation so far
  due_us    INTEGER NOT NULL,                  -- available_at, lease_expires_at or died_at, by state
  waiting   INTEGER NOT NULL,                  -- 1 until a claim has seen that its time has come
  claim_id  TEXT,                              -- of the current claim
  worker_id TEXT,                              -- who holds it, for people who look
  payload   BLOB    NOT NULL,
  CHECK ((state = 'claimed') = (claim_id IS NOT NULL))
);
CREATE INDEX available ON jobs (seq)    WHERE waiting = 0 AND state <> 'dead';
CREATE INDEX waiting   ON jobs (due_us) WHERE waiting = 1;
"""

# Strictly past the lease's end and the skew: the holder's own clock may be behind by as much.
_TIME_HAS_COME = "due_us <= :now AND (state = 'queued' OR due_us < :now - :skew)"

# INDEXED BY: without statistics the planner may prefer to walk the whole table, which is in order too.
_STOP_WAITING = f"""
UPDATE jobs INDEXED BY waiting SET waiting = 0
WHERE waiting = 1 AND {_TIME_HAS_COME}
"""  # noqa: S608 - the one insertion is the constant above

# A lease that ended at the last attempt, or a job released under a policy with more attempts, is buried.
_CLAIM_OR_BURY = f"""
UPDATE jobs SET
  state     = CASE WHEN attempt < :attempts_max THEN 'claimed' ELSE 'dead' END,
  due_us    = CASE WHEN attempt < :attempts_max THEN :expires ELSE :now END,
  claim_id  = CASE WHEN attempt < :attempts_max THEN :nonce || '.' || seq END,
  worker_id = CASE WHEN attempt < :attempts_max THEN :worker_id END,
  waiting   = attempt < :attempts_max,
  attempt   = attempt + (attempt < :attempts_max)
WHERE seq IN (
  SELECT seq FROM jobs INDEXED BY available
  WHERE waiting = 0 AND state <> 'dead' AND {_TIME_HAS_COME}
  ORDER BY seq LIMIT :limit
)
RETURNING seq, state, job_id, claim_id, attempt, payload
"""  # noqa: S608 - as above

_ENQUEUE = """
INSERT INTO jobs (job_id, state, attempt, due_us, waiting, payload) VALUES (?, 'queued', 0, 0, 0, ?)
ON CONFLICT (job_id) DO NOTHING
"""

_ACK = "DELETE FROM jobs WHERE job_id = ? AND claim_id = ?"

_IS_ANY_AVAILABLE = f"""
SELECT
  EXISTS (
    SELECT 1 FROM jobs INDEXED BY available WHERE waiting = 0 AND state <> 'dead' AND {_TIME_HAS_COME}
  )
  OR EXISTS (SELECT 1 FROM jobs INDEXED BY waiting WHERE waiting = 1 AND {_TIME_HAS_COME})
"""  # noqa: S608 - as above

_RELEASE = """
UPDATE jobs SET state = :state, due_us = :due, waiting = :waiting, claim_id = NULL, worker_id = NULL
WHERE job_id = :job_id
"""

_REQUEUE = """
UPDATE jobs SET state = 'queued', attempt = 0, due_us = 0
WHERE job_id = ? AND state = 'dead'
"""

_STATS = f"""
SELECT
  COUNT(*) FILTER (WHERE state = 'queued'  AND {_TIME_HAS_COME}),
  COUNT(*) FILTER (WHERE state = 'queued'  AND NOT ({_TIME_HAS_COME})),
  COUNT(*) FILTER (WHERE state = 'claimed' AND NOT ({_TIME_HAS_COME})),
  COUNT(*) FILTER (WHERE state = 'claimed' AND {_TIME_HAS_COME}),
  COUNT(*) FILTER (WHERE state = 'dead')
FROM jobs
"""  # noqa: S608 - as above


class SqliteWorkerQueue:
    """A lease queue in a SQLite file on a local disk, made if there is none and private to its owner.

    One handle may be used by several threads. Every operation may raise `QueueBusy` if other processes kept
    the file locked for `busy_timeout_seconds`, `QueueIOError`, and `QueueDataCorruptedError`; opening also
    raises `UnsupportedSchema` for a file of another version and `UnsupportedFilesystem` for a shared or
    network disk.
    """

    def __init__(  # noqa: PLR0917 - as PLR0913: a published interface
        self,
        path: str | os.PathLike[str],
        lease_ttl_seconds: float = 60,
        clock: Clock = utc_now,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - a frozen value
        max_clock_skew_seconds: float = 0.0,
        durability: Durability = "power-loss",
        busy_timeout_seconds: float = 5.0,
    ) -> None:
        if busy_timeout_seconds < 0:
            raise ValueError(f"busy_timeout_seconds is {busy_timeout_seconds}; give 0 or more")
        self._lease_ttl_us = seconds_to_micros(checked_lease_seconds(lease_ttl_seconds))
        self._skew_us = seconds_to_micros(checked_skew_seconds(max_clock_skew_seconds))
        self._clock = clock
        self._retry = retry
        self._database = Database(
            path,
            schema=SCHEMA,
            schema_version=SCHEMA_VERSION,
            busy_timeout_seconds=busy_timeout_seconds,
            durability=checked_durability(durability),
        )

    def enqueue(self, job_id: str, *, payload: bytes = b"") -> None:
        """Add a job; of a job that is queued, claimed or dead, change nothing. Raises `InvalidJobId`."""
        encoded_job_id(job_id)
        checked_payload(payload)
        with self._database.transaction("enqueue") as connection:
            connection.execute(_ENQUEUE, (job_id, payload))

    def enqueue_many(self, jobs: Iterable[tuple[str, bytes]]) -> None:
        """Add jobs in this order, each as `enqueue` would; `BATCH_MAX` of them at a time or not at all.

        Raises `InvalidJobId` or `TypeError` for any of them before it adds one.
        """
        for piece in in_pieces(checked_jobs(jobs)):
            with self._database.transaction("enqueue_many") as connection:
                connection.executemany(_ENQUEUE, piece)

    def claim(self, *, worker_id: str) -> QueueClaim | None:
        """Take the oldest available job, or None if none was available at some instant of the call."""
        claims = self._claimed("claim", 1, worker_id)
        return claims[0] if claims else None

    def claim_many(self, limit: int, *, worker_id: str) -> list[QueueClaim]:
        """Take the oldest available jobs at one instant, oldest first; fewer if no more are available."""
        return self._claimed("claim_many", checked_limit(limit), worker_id)

    def ack(self, *, claim: QueueClaim) -> None:
        """Finish the claimed job for good. Raise `LeaseLost` if the claim is no longer current."""
        with self._database.transaction("ack") as connection:
            if not connection.execute(_ACK, (claim.job_id, claim.claim_id)).rowcount:
                raise LeaseLost(claim.job_id, claim.claim_id)

    def ack_many(self, *, claims: Iterable[QueueClaim]) -> None:
        """Finish all claimed jobs whose claims are current; then raise `LeasesLost` if others were not."""
        lost: list[QueueClaim] = []
        for piece in in_pieces(list(claims)):
            with self._database.transaction("ack_many") as connection:
                lost += [
                    claim
                    for claim in piece
                    if not connection.execute(_ACK, (claim.job_id, claim.claim_id)).rowcount
                ]
        if lost:
            raise LeasesLost(lost)

    def release(self, *, claim: QueueClaim) -> None:
        """Give the job back: queued again after its back-off, or dead after its last attempt.

        Raise `LeaseLost` if the claim is no longer current.
        """
        with self._database.transaction("release") as connection:
            attempt = _current_attempt(connection, claim)
            now = self._now_us()
            backoff_us = seconds_to_micros(self._retry.backoff_seconds(attempt))
            if attempt >= self._retry.max_attempts:
                state, due, waiting = "dead", now, 0
            elif backoff_us:
                state, due, waiting = "queued", now + backoff_us, 1
            else:
                # At once, whatever anybody's clock says.
                state, due, waiting = "queued", 0, 0
            connection.execute(
                _RELEASE, {"state": state, "due": due, "waiting": waiting, "job_id": claim.job_id}
            )

    def extend(self, *, claim: QueueClaim) -> QueueClaim:
        """Start the lease anew from now: a heartbeat. Raise `LeaseLost` if the claim is no longer current."""
        with self._database.transaction("extend") as connection:
            _current_attempt(connection, claim)
            expires = self._now_us() + self._lease_ttl_us
            connection.execute(
                "UPDATE jobs SET due_us = ?, waiting = 1 WHERE job_id = ?", (expires, claim.job_id)
            )
            return replace(claim, lease_expires_at=to_datetime(expires))

    def stats(self) -> QueueStats:
        """Count the jobs by state, by this handle's clock; reads the whole queue."""
        with self._database.snapshot("stats") as connection:
            terms = {"now": self._now_us(), "skew": self._skew_us}
            queued, delayed, claimed, expired, dead = connection.execute(_STATS, terms).fetchone()
            return QueueStats(queued=queued, delayed=delayed, claimed=claimed, expired=expired, dead=dead)

    def dead(self) -> list[DeadJob]:
        """Return the dead letters, oldest job first; reads the whole queue."""
        with self._database.snapshot("dead") as connection:
            rows = connection.execute(
                "SELECT job_id, attempt, due_us, payload FROM jobs WHERE state = 'dead' ORDER BY seq"
            ).fetchall()
        return [
            DeadJob(job_id=job_id, attempts=attempt, died_at=to_datetime(died), payload=payload)
            for job_id, attempt, died, payload in rows
        ]

    def requeue_dead(self, job_id: str) -> bool:
        """Give a dead job a new incarnation, in its old place, with all attempts; False if it is not dead."""
        encoded_job_id(job_id)
        with self._database.transaction("requeue_dead") as connection:
            return connection.execute(_REQUEUE, (job_id,)).rowcount == 1

    def wait(self, *, seconds: float) -> bool:
        """Return True once a job may be available, False after so many seconds. A hint: claim anyway."""
        until, nap = time.monotonic() + checked_wait_seconds(seconds), LOOK_SECONDS_MIN
        while not self._is_any_available():
            left = until - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(nap, left))
            nap = min(2 * nap, LOOK_SECONDS_MAX)
        return True

    def close(self) -> None:
        """Close the file; the next operation opens it again."""
        self._database.close()

    def _claimed(self, operation: str, limit: int, worker_id: str) -> list[QueueClaim]:
        with self._database.transaction(operation) as connection:
            # Read under the lock, so that a wait for it does not eat the lease.
            now = self._now_us()
            terms = {
                "now": now,
                "skew": self._skew_us,
                "expires": now + self._lease_ttl_us,
                "attempts_max": self._retry.max_attempts,
                "nonce": secrets.token_hex(16),
                "worker_id": worker_id,
            }
            connection.execute(_STOP_WAITING, terms)
            taken = list(_taken(connection, terms, limit))
        claimed_at, lease_expires_at = to_datetime(now), to_datetime(now + self._lease_ttl_us)
        return [
            QueueClaim(
                job_id=job_id,
                claim_id=claim_id,
                worker_id=worker_id,
                attempt=attempt,
                claimed_at=claimed_at,
                lease_expires_at=lease_expires_at,
                payload=payload,
            )
            for _, _, job_id, claim_id, attempt, payload in taken
        ]

    def _is_any_available(self) -> bool:
        with self._database.snapshot("wait") as connection:
            terms = {"now": self._now_us(), "skew": self._skew_us}
            return bool(connection.execute(_IS_ANY_AVAILABLE, terms).fetchone()[0])

    def _now_us(self) -> int:
        return to_micros(self._clock())


_Row = tuple[int, str, str, str, int, bytes]


def _taken(connection: sqlite3.Connection, terms: dict[str, object], limit: int) -> Iterator[_Row]:
    """Claim up to so many jobs, oldest first; those that used up their attempts are buried on the way."""
    while limit:
        # fetchall: a RETURNING statement that is not read to its end would stay open over the commit.
        rows: list[_Row] = connection.execute(_CLAIM_OR_BURY, terms | {"limit": limit}).fetchall()
        if not rows:
            return
        claimed = sorted(row for row in rows if row[1] == "claimed")  # RETURNING keeps no order
        yield from claimed
        limit -= len(claimed)


def _current_attempt(connection: sqlite3.Connection, claim: QueueClaim) -> int:
    row = connection.execute(
        "SELECT attempt FROM jobs WHERE job_id = ? AND claim_id = ?", (claim.job_id, claim.claim_id)
    ).fetchone()
    if row is None:
        raise LeaseLost(claim.job_id, claim.claim_id)
    return int(row[0])
