"""procrastinate 3.10.0, on PostgreSQL: a table of jobs, a table of workers with their heartbeats.

At the level of `JobManager`, which its worker calls: `fetch_job`, `finish_job`, `retry_job`,
`update_heartbeat`. A job is held as long as its worker's heart beats, so each claim is by a worker of its
own, which is registered before it and leaves when the job is finished. What dead workers held is brought back
by `sweep`: the periodic task of "Retry stalled jobs" in its documentation.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from procrastinate import App, PsycopgConnector
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Job, Status
from procrastinate.manager import JobManager

from ssq_core.queue import LeaseLost
from ssq_verify.adapter import AdaptedClaim, claim_of, packed
from ssq_verify.schemas import Schemas, schemas
from ssq_verify.servers import Place
from ssq_verify.subject import Policy, Promises, subject

TASK = "job"
GONE = "Job was not found"


class Opened:
    """The package's app in one schema, with one connection; its pool replaces one that broke."""

    def __init__(self, home: "Schemas[Opened]", url: str) -> None:
        self._home = home
        self._app = App(connector=PsycopgConnector(conninfo=url, min_size=1, max_size=1, timeout=5.0))
        home.run(self._app.open_async())

    def install(self) -> None:
        """Make the package's tables."""
        self._home.run(self._app.schema_manager.apply_schema_async())

    def ask(self, call: Callable[[JobManager], Awaitable[Any]]) -> Any:
        """Do one of its calls."""
        return self._home.run(call(self._app.job_manager))

    def close(self) -> None:
        """Close the pool."""
        self._home.run(self._app.close_async())


class ProcrastinateAdapter:
    """One worker's handle. A receipt is a job, and the worker that fetched it."""

    def __init__(self, home: Schemas[Opened], workdir: Path, policy: Policy) -> None:
        self._home = home
        self._tenant = home.tenant(workdir)
        self._policy = policy

    def enqueue(self, job_id: str, *, payload: bytes = b"") -> None:
        """Defer a job."""
        job = Job(
            queue="default",
            lock=None,
            queueing_lock=None,
            task_name=TASK,
            task_kwargs={"text": packed(job_id, payload)},
        )
        self._ask(lambda manager: manager.defer_job_async(job))

    def sweep(self) -> None:
        """Prune workers without heartbeats, and retry what they held."""
        ttl = float(self._policy.lease_ttl_seconds)
        self._ask(lambda manager: manager.prune_stalled_workers(ttl))
        for job in self._ask(lambda manager: manager.get_stalled_jobs(seconds_since_heartbeat=ttl)):
            self._retry(job, 0.0)

    def claim(self, *, worker_id: str) -> AdaptedClaim | None:  # noqa: ARG002 - its workers are numbered
        """Fetch a job, as a worker that has just begun."""
        if not self._policy.has_sweeper:
            self.sweep()
        worker = self._ask(lambda manager: manager.register_worker())
        job = self._ask(lambda manager: manager.fetch_job(None, worker))
        if job is None:
            self._ask(lambda manager: manager.unregister_worker(worker))
            return None
        return claim_of(job.task_kwargs["text"], (job, worker))

    def ack(self, *, claim: AdaptedClaim) -> None:
        """Finish the job, and delete it."""
        job, worker = claim.receipt
        self._settle(claim, lambda manager: manager.finish_job(job, Status.SUCCEEDED, delete_job=True))
        self._ask(lambda manager: manager.unregister_worker(worker))

    def release(self, *, claim: AdaptedClaim) -> None:
        """Retry the job after a rest."""
        job, worker = claim.receipt
        self._retry(job, self._policy.retry.backoff_seconds(1), claim)
        self._ask(lambda manager: manager.unregister_worker(worker))

    def extend(self, *, claim: AdaptedClaim) -> AdaptedClaim:
        """Let the worker's heart beat."""
        _, worker = claim.receipt
        self._ask(lambda manager: manager.update_heartbeat(worker))
        return claim

    def _retry(self, job: Job, seconds: float, claim: AdaptedClaim | None = None) -> None:
        # Its default is the present time of the machine; here, of the worker.
        retry_at = self._policy.clock() + timedelta(seconds=seconds)
        self._settle(claim, lambda manager: manager.retry_job(job, retry_at=retry_at))

    def _settle(self, claim: AdaptedClaim | None, call: Callable[[JobManager], Awaitable[Any]]) -> None:
        # Its worker finishes a job or retries it; that nobody does both is not what it guards against.
        if claim is not None and claim.is_over:
            raise LeaseLost(claim.job_id, claim.claim_id)
        try:
            self._ask(call)
        except ConnectorException as error:
            if GONE not in str(error.__cause__):
                raise
            if claim is not None:
                raise LeaseLost(claim.job_id, claim.claim_id) from error
        if claim is not None:
            claim.is_over = True

    def _ask(self, call: Callable[[JobManager], Awaitable[Any]]) -> Any:
        self._home.move(self._policy.server_time())
        return self._tenant.ask(call)


_known: dict[tuple[int, Place], Schemas[Opened]] = {}


# docs/howto/production/retry_stalled_jobs.md: jobs in `doing` of workers without a heartbeat are "considered
# stalled", and "can then be retried for example by a periodic task"; docs/howto/advanced/retry.md: a rest.
# Nowhere: fencing, whether a job that is `todo` again may still be finished, a bound on retries of stalled
# jobs (`max_attempts` is the task's own retry strategy), clocks that differ: the rest is by the worker's.
@subject(
    promises=Promises(
        fencing=False,
        back_off="constant",
        max_attempts=None,
        idempotent_enqueue=False,
        late_ack="either",
        order="fifo-relaxed",
    ),
    server="postgres",
)
def open_queue(workdir: Path, policy: Policy) -> Any:
    """Open the queue for one worker, in a schema of its own."""
    return ProcrastinateAdapter(schemas(_known, Opened), workdir, policy)
