"""The lease queue on a Redis or Valkey server, for many hosts: each transition is one Lua script.

The server keeps the time, so a worker's clock plays no part. It also numbers the jobs as enqueues arrive, so
a claim takes the oldest job that is available at its instant: the order is that of enqueueing, exactly. A
claim's cost grows with neither the backlog nor the number of jobs that rest or are held. When very many
leases end at once, a claim moves them over in steps of `STEPS_MAX`, and others get their turn between two.

Many jobs at once are one script, up to `BATCH_MAX` of them. Who waits for a job blocks on the server, which
wakes it; it looks by itself, too, when a rest or a lease ends, and twice in the time that a connection may
be silent, so that one which broke unseen is found out.

Durability is the server's, by its settings; a worker that dies loses nothing under any of them.

    appendonly yes, appendfsync always      what returned survives the loss of power
    appendonly yes, appendfsync everysec    what returned survives the death of the server's process; the loss
                                            of power may undo the last two seconds, in order
    appendonly yes, appendfsync no          as everysec, but of power up to what the kernel had not written
    snapshots only (RDB)                    the death of the server undoes all since the last snapshot
    neither                                 the death of the server loses the queue

After a loss of power a server with `everysec` or `no` may refuse to start (`Bad file format`): its log has
grown, and zeros are where data had not been written. `valkey-check-aof --fix`, or `redis-check-aof --fix`, on
the newest `*.incr.aof` cuts it off there; what is cut off is of what the table gives up. `ssq` does so, too.

A failover to a replica may undo what the replica had not received: replication is asynchronous, under any of
these. A step of the server's clock, or the other clock of a replica that takes over, makes leases and rests
shorter or longer by as much. A job that was undone comes back, or is gone, whole: a script is one transaction
in the log.
"""

import math
import secrets
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ssq_core import redis_scripts as scripts
from ssq_core.microseconds import seconds_to_micros, to_datetime
from ssq_core.queue import (
    DeadJob,
    LeaseLost,
    LeasesLost,
    OutcomeUnknown,
    QueueClaim,
    QueueStats,
    QueueUnavailable,
    RetryPolicy,
    checked_jobs,
    checked_lease_seconds,
    checked_limit,
    checked_payload,
    checked_wait_seconds,
    encoded_job_id,
    in_pieces,
)
from ssq_core.redis_server import Server

if TYPE_CHECKING:
    import redis

STEPS_MAX = 1_000
"""How many jobs one script moves or buries; the server serves nobody else meanwhile."""


class RedisWorkerQueue:
    """A lease queue in twelve keys of one server, or of one node of a cluster.

    One handle may be used by several threads, and after a fork by either side. Every operation may raise
    `QueueUnavailable` (nothing was changed), `OutcomeUnknown` (the connection broke after the request had
    gone out), `QueueDataCorruptedError` and `UnsupportedSchema` (the keys are another program's, or another
    format's).

    `client` is a `redis.Redis` of your own, for what a URL can't say (Sentinel, certificates): its pool of
    connections is used, its retries are not.
    """

    def __init__(
        self,
        url: str | None = None,
        lease_ttl_seconds: float = 60,
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008 - a frozen value
        *,
        name: str = "ssq",
        client: "redis.Redis | None" = None,
        timeout_seconds: float = 5.0,
    ) -> None:
        if timeout_seconds <= 0:
            raise ValueError(f"timeout_seconds is {timeout_seconds}; give more than 0")
        if not name or set("{}") & set(name):
            raise ValueError(f"name is {name!r}; give text without braces, such as 'ssq'")
        self._lease_ttl_us = seconds_to_micros(checked_lease_seconds(lease_ttl_seconds))
        self._retry = retry
        self._server = Server(url=url, client=client, name=name, seconds_max=timeout_seconds)

    def enqueue(self, job_id: str, *, payload: bytes = b"") -> None:
        """Add a job; of a job that is queued, claimed or dead, change nothing. Raises `InvalidJobId`."""
        encoded = encoded_job_id(job_id)
        self._server.run("enqueue", scripts.ENQUEUE, 1, encoded, checked_payload(payload))

    def enqueue_many(self, jobs: Iterable[tuple[str, bytes]]) -> None:
        """Add jobs in this order, each as `enqueue` would; `BATCH_MAX` of them at a time or not at all.

        Raises `InvalidJobId` or `TypeError` for any of them before it adds one.
        """
        for piece in in_pieces(checked_jobs(jobs)):
            parts = [part for job in piece for part in job]
            self._server.run("enqueue_many", scripts.ENQUEUE, len(piece), *parts)

    def claim(self, *, worker_id: str) -> QueueClaim | None:
        """Take the oldest available job, or None if none was available at some instant of the call."""
        claims = self._claimed("claim", 1, worker_id)
        return claims[0] if claims else None

    def claim_many(self, limit: int, *, worker_id: str) -> list[QueueClaim]:
        """Take the oldest available jobs, oldest first; fewer if no more are available."""
        return self._claimed("claim_many", checked_limit(limit), worker_id)

    def ack(self, *, claim: QueueClaim) -> None:
        """Finish the claimed job for good. Raise `LeaseLost` if the claim is no longer current."""
        _, *lost = self._server.run("ack", scripts.ACK, 1, claim.job_id, claim.claim_id)
        if lost:
            raise LeaseLost(claim.job_id, claim.claim_id)

    def ack_many(self, *, claims: Iterable[QueueClaim]) -> None:
        """Finish all claimed jobs whose claims are current; then raise `LeasesLost` if others were not."""
        all_lost: list[QueueClaim] = []
        for piece in in_pieces(list(claims)):
            parts = [part for claim in piece for part in (claim.job_id, claim.claim_id)]
            _, *lost = self._server.run("ack_many", scripts.ACK, len(piece), *parts)
            all_lost += [piece[number - 1] for number in lost]
        if all_lost:
            raise LeasesLost(all_lost)

    def release(self, *, claim: QueueClaim) -> None:
        """Give the job back: queued again after its back-off, or dead after its last attempt.

        Raise `LeaseLost` if the claim is no longer current.
        """
        rest_us = seconds_to_micros(self._retry.backoff_seconds(claim.attempt))
        self._on_claim("release", scripts.RELEASE, claim, self._retry.max_attempts, rest_us)

    def extend(self, *, claim: QueueClaim) -> QueueClaim:
        """Start the lease anew from now: a heartbeat. Raise `LeaseLost` if the claim is no longer current."""
        _, expires = self._on_claim("extend", scripts.EXTEND, claim, self._lease_ttl_us)
        return replace(claim, lease_expires_at=to_datetime(int(expires)))

    def stats(self) -> QueueStats:
        """Count the jobs by state, by the server's clock; its cost does not grow with the queue."""
        _, queued, delayed, claimed, expired, dead = self._server.run("stats", scripts.STATS)
        return QueueStats(queued=queued, delayed=delayed, claimed=claimed, expired=expired, dead=dead)

    def dead(self) -> list[DeadJob]:
        """Return the dead letters, oldest job first; the server serves nobody else while it reads them."""
        _, *letters = self._server.run("dead", scripts.DEAD)
        return [
            DeadJob(
                job_id=job.decode(), attempts=int(attempts), died_at=to_datetime(int(died)), payload=payload
            )
            for _, job, attempts, died, payload in sorted(letters, key=lambda letter: int(letter[0]))
        ]

    def requeue_dead(self, job_id: str) -> bool:
        """Give a dead job a new incarnation, in its old place, with all attempts; False if it is not dead."""
        (word,) = self._server.run("requeue_dead", scripts.REQUEUE, encoded_job_id(job_id))
        return bool(word == b"ok")

    def wait(self, *, seconds: float) -> bool:
        """Return True once a job may be available, False after so many seconds. A hint: claim anyway.

        Raises `QueueUnavailable` if the connection breaks meanwhile.
        """
        until = time.monotonic() + checked_wait_seconds(seconds)
        while True:
            left = max(until - time.monotonic(), 0.0)
            try:
                if self._is_available_within(min(left, self._server.silent_seconds_max / 2)):
                    return True
            except OutcomeUnknown as error:
                raise QueueUnavailable("wait", error.where, error.reason) from error
            if not left:
                return False

    def close(self) -> None:
        """Close the idle connections; the next operation opens one again."""
        self._server.close()

    def _claimed(self, operation: str, limit: int, worker_id: str) -> list[QueueClaim]:
        claims: list[QueueClaim] = []
        word = b"more"
        while word == b"more":
            # All but the last of these left off when they had done a part of the housekeeping.
            word, *taken = self._server.run(
                operation,
                scripts.CLAIM,
                secrets.token_hex(16),
                worker_id,
                self._lease_ttl_us,
                self._retry.max_attempts,
                STEPS_MAX,
                limit - len(claims),
            )
            claims += _claims(taken, worker_id)
        return claims

    def _is_available_within(self, seconds: float) -> bool:
        """Look, then block until the bell rings, something comes due, or the time is over."""
        word, *terms = self._server.run("wait", scripts.WAIT, math.ceil(seconds * 1e6))
        if word == b"available":
            return True
        microseconds, rings = map(int, terms)
        return bool(seconds) and self._server.hears("wait", rings, microseconds / 1e6)

    def _on_claim(self, operation: str, script: scripts.Script, claim: QueueClaim, *terms: int) -> list[Any]:
        answer = self._server.run(operation, script, claim.job_id, claim.claim_id, *terms)
        if answer[0] == b"lost":
            raise LeaseLost(claim.job_id, claim.claim_id)
        return answer


def _claims(taken: list[Any], worker_id: str) -> list[QueueClaim]:
    if not taken:
        return []
    now, expires, *jobs = taken
    claimed_at, lease_expires_at = to_datetime(int(now)), to_datetime(int(expires))
    return [
        QueueClaim(
            job_id=job.decode(),
            claim_id=claim_id.decode(),
            worker_id=worker_id,
            attempt=attempt,
            claimed_at=claimed_at,
            lease_expires_at=lease_expires_at,
            payload=payload,
        )
        for job, claim_id, attempt, payload in jobs
    ]
