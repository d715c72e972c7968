"""rq 3.0.0 on Redis: a list of job ids, a hash a job, a registry of what is being executed.

At the level of its `SimpleWorker`, which does not fork. A claim is what `work`, `perform_job` do before the
job's function: `dequeue_any`, `prepare_execution`, `prepare_job_execution`. An ack is what they do after it:
`handle_execution_ended`, `handle_job_success`; a release is `handle_job_failure`. Left out are the function
itself, the timer around it, the worker's own heartbeat between jobs, and its maintenance every ten minutes.
"""

import hashlib
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry as DriverRetry
from rq import Queue, Retry, SimpleWorker

from ssq_verify import servers
from ssq_verify.adapter import AdaptedClaim, check_held, claim_of, packed
from ssq_verify.subject import Policy, Promises, subject

for _name in ("rq.worker", "rq.queue", "rq.job"):
    logging.getLogger(_name).setLevel(logging.ERROR)

FUNCTION = "ssq.job"
"""Nobody calls it."""
RETRIES_MAX = 1_000_000
CALLBACK_SECONDS = 60
"""Its own time for a callback after the end."""


class RqAdapter:
    """One worker's handle."""

    def __init__(self, connection: Any, name: str) -> None:
        self._connection = connection
        self._queue = Queue(name, connection=connection)
        self._worker = SimpleWorker([self._queue], connection=connection, prepare_for_work=False)
        self.close = connection.close

    def enqueue(self, job_id: str, *, payload: bytes = b"") -> None:
        """Enqueue a call under the job's id."""
        self.enqueue_many([(job_id, payload)])

    def enqueue_many(self, jobs: list[tuple[str, bytes]]) -> None:
        """Enqueue calls in one pipeline."""
        self._queue.enqueue_many([_call(job_id, payload) for job_id, payload in jobs])

    def claim(self, *, worker_id: str) -> AdaptedClaim | None:  # noqa: ARG002 - a worker has its own name
        """Dequeue a job, and register that it is being executed."""
        found = Queue.dequeue_any([self._queue], None, connection=self._connection)
        if found is None:
            return None
        job, _ = found
        execution = self._worker.prepare_execution(job)
        self._worker.prepare_job_execution(job, remove_from_intermediate_queue=True)
        job.started_at = datetime.now(UTC)
        return claim_of(job.args[0], (job, execution))

    def ack(self, *, claim: AdaptedClaim) -> None:
        """Do what comes after a function that returned."""
        job, execution = self._ended(claim)
        self._worker.handle_job_success(job, self._queue, self._queue.started_job_registry, execution)

    def release(self, *, claim: AdaptedClaim) -> None:
        """Do what comes after one that raised."""
        job, execution = self._ended(claim)
        self._worker.handle_job_failure(job, self._queue, execution=execution)

    def _ended(self, claim: AdaptedClaim) -> Any:
        check_held(claim)
        claim.is_over = True
        self._worker.handle_execution_ended(claim.receipt[0], self._queue, CALLBACK_SECONDS)
        return claim.receipt


def _call(job_id: str, payload: bytes) -> Any:
    return Queue.prepare_data(
        FUNCTION,
        args=(packed(job_id, payload),),
        job_id=job_id,
        description=job_id,
        result_ttl=0,  # a job that was acked is gone
        retry=Retry(max=RETRIES_MAX),
    )


# README: "queueing jobs and processing them in the background"; `Retry`: a failed job is retried so
# many times, at once or after an interval. Jobs of dead workers are for its maintenance
# (`StartedJobRegistry.cleanup`: retried, or failed, a minute after their timeout), which is left out, so no
# leases here. Nowhere: fences, power loss.
@subject(
    promises=Promises(
        lease=False,
        fencing=False,
        back_off=False,
        max_attempts=None,
        idempotent_enqueue=False,
        durability="process-crash",
        order="fifo-relaxed",
    ),
    server="redis",
)
def open_queue(workdir: Path, _policy: Policy) -> Any:
    """Open the queue for one worker, under a name of its own."""
    place = servers.place("redis")
    connection = redis.Redis.from_url(place.url, retry=DriverRetry(NoBackoff(), 0))
    name = f"{place.area or 'ssq'}{hashlib.sha256(bytes(workdir)).hexdigest()[:16]}"
    return RqAdapter(connection, name)
