"""pgqueuer 1.6.0, on PostgreSQL: a table of jobs, claimed by one statement, kept by heartbeats.

At the level of `Queries`, which its manager calls: `dequeue`, `update_heartbeat`, `log_jobs`, `retry_job`. A
worker has a manager's id of its own. `pgqueuer@0.25.0` and `pgqueuer@0.25.1` are judged by the same adapter.
"""

import dataclasses
import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
from pgqueuer.db import PsycopgDriver
from pgqueuer.errors import DuplicateJobError
from pgqueuer.queries import EntrypointExecutionParameter, Queries

from ssq_core.queue import LeaseLost
from ssq_verify.adapter import AdaptedClaim, claim_of, packed
from ssq_verify.schemas import Schemas, schemas
from ssq_verify.servers import Place
from ssq_verify.subject import Policy, Promises, subject

ENTRYPOINT = "job"
CONCURRENCY_MAX = 1_000
"""Of this entrypoint, `concurrency_limit`: more than there are jobs, so that it never holds one back."""


class Connected:
    """One connection in one schema, made anew if it broke: the package leaves that to its users."""

    def __init__(self, home: "Schemas[Connected]", url: str) -> None:
        self._home = home
        self._url = url
        self._connection: psycopg.AsyncConnection[Any] | None = None

    def install(self) -> None:
        """Make the package's tables."""
        self.ask(lambda queries: queries.install())

    def ask(self, call: Callable[[Queries], Awaitable[Any]]) -> Any:
        """Do one of its calls."""
        return self._home.run(self._asked(call))

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._home.run(self._connection.close())

    async def _asked(self, call: Callable[[Queries], Awaitable[Any]]) -> Any:
        if self._connection is None or self._connection.closed:
            self._connection = await psycopg.AsyncConnection.connect(self._url, autocommit=True)
        return await call(Queries(PsycopgDriver(self._connection)))


class PgqueuerAdapter:
    """One worker's handle."""

    def __init__(self, home: Schemas[Connected], workdir: Path, policy: Policy) -> None:
        self._home = home
        self._tenant = home.tenant(workdir)
        self._policy = policy
        self._manager = uuid.uuid4()
        self._others: list[Any] = []
        self._dequeued_at = policy.server_time()

    def enqueue(self, job_id: str, *, payload: bytes = b"") -> None:
        """Enqueue a job, unless one of that key is queued or picked."""
        text = packed(job_id, payload).encode()
        try:
            self._ask(lambda queries: queries.enqueue(ENTRYPOINT, text, dedupe_key=job_id))
        except DuplicateJobError:
            return

    def claim(self, *, worker_id: str) -> AdaptedClaim | None:  # noqa: ARG002 - managers have ids of their own
        """Dequeue one job: one that is queued, or whose heartbeat is too old."""
        job = self._left_over()
        if job is None:
            self._dequeued_at = self._policy.server_time()
            job, *self._others = self._ask(self._dequeue) or [None]
        return None if job is None else claim_of(job.payload, job)

    def ack(self, *, claim: AdaptedClaim) -> None:
        """Log the job as successful, which removes it."""
        self._settle(claim, lambda queries: queries.log_jobs([(claim.receipt, "successful", None)]))

    def extend(self, *, claim: AdaptedClaim) -> AdaptedClaim:
        """Send a heartbeat."""
        self._ask(lambda queries: queries.update_heartbeat([claim.receipt.id]))
        return claim

    def _left_over(self) -> Any:
        """Return what a dequeue of one job gave besides: 0.25 takes a queued one and a stale one.

        Its heart beats from the dequeue on; after half a lease it is left for others to take.
        """
        age = self._policy.server_time() - self._dequeued_at
        if not self._others or age > timedelta(seconds=self._policy.lease_ttl_seconds) / 2:
            return None
        job = self._others.pop()
        self._ask(lambda queries: queries.update_heartbeat([job.id]))
        return job

    def _settle(self, claim: AdaptedClaim, call: Callable[[Queries], Awaitable[Any]]) -> None:
        # Its manager logs a job or retries it; that nobody does both is not what the package guards against.
        if claim.is_over:
            raise LeaseLost(claim.job_id, claim.claim_id)
        self._ask(call)
        claim.is_over = True

    def _ask(self, call: Callable[[Queries], Awaitable[Any]]) -> Any:
        self._home.move(self._policy.server_time())
        return self._tenant.ask(call)

    def _dequeue(self, queries: Queries) -> Awaitable[list[Any]]:
        stale = timedelta(seconds=self._policy.lease_ttl_seconds)
        limits = {ENTRYPOINT: EntrypointExecutionParameter(concurrency_limit=CONCURRENCY_MAX)}
        return queries.dequeue(1, limits, self._manager, None, stale)  # type: ignore[arg-type]


class Retrying(PgqueuerAdapter):
    """What 1.x has: a job that failed is retried by the queue."""

    def release(self, *, claim: AdaptedClaim) -> None:
        """Retry the job after a rest."""
        rest = timedelta(seconds=self._policy.retry.backoff_seconds(1))
        self._settle(claim, lambda queries: queries.retry_job(claim.receipt, rest, None))


class Before1(PgqueuerAdapter):
    """What 0.25 has: a timer of each entrypoint in place of the heartbeats' timeout, and no retry."""

    def _dequeue(self, queries: Queries) -> Awaitable[list[Any]]:
        parameters: Any = EntrypointExecutionParameter
        timer = timedelta(seconds=self._policy.lease_ttl_seconds)
        limits = parameters(retry_after=timer, serialized=False, concurrency_limit=CONCURRENCY_MAX)
        dequeue: Any = queries.dequeue
        found: Awaitable[list[Any]] = dequeue(1, {ENTRYPOINT: limits}, self._manager, None)
        return found


HAS_TIMERS = "retry_after" in {field.name for field in dataclasses.fields(EntrypointExecutionParameter)}
_known: dict[tuple[int, Place], Schemas[Connected]] = {}


# ADR-0004: "at-least-once", "no fencing tokens", "no job is lost to a worker crash"; docs/guides/heartbeat:
# "a job that stops updating its heartbeat for the specified duration will be retried by the next available
# worker" (0.25: by `retry_timer`). `dedupe_key`: one live job of a key. `dequeue`: by priority, then by id.
# Nowhere: a bound on re-delivery (a poison job is found by its stale heartbeat, docs/guides/reliability.md).
@subject(
    promises=Promises(
        fencing=False,
        back_off=False if HAS_TIMERS else "constant",
        max_attempts=None,
        max_clock_skew_seconds=None,
        order="fifo-relaxed",
    ),
    server="postgres",
)
def open_queue(workdir: Path, policy: Policy) -> Any:
    """Open the queue for one worker, in a schema of its own."""
    return (Before1 if HAS_TIMERS else Retrying)(schemas(_known, Connected), workdir, policy)
