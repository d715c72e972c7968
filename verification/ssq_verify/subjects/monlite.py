"""monlite 0.2.0, its durable queue: a table of jobs in SQLite, claims by one update.

`complete` and `fail` say nothing when they had no effect, so each is followed by a look at the job. A lease
is what `recover` makes of it, called before each claim.
"""

from pathlib import Path
from typing import Any

from monlite import create_db, create_queue

from ssq_core.queue import LeaseLost, RetryPolicy
from ssq_verify.adapter import AdaptedClaim, check_held, claim_of, packed
from ssq_verify.subject import Policy, Promises, subject

NAME = "jobs"
RESOLUTION_SECONDS = 0.001
"""Its times are whole milliseconds: two clocks that agree may differ by as much."""


class MonliteAdapter:
    """One worker's handle."""

    def __init__(self, path: Path, lease_ttl_seconds: float, retry: RetryPolicy) -> None:
        self._db = create_db(str(path))
        self._queue = create_queue(
            self._db,
            max_attempts=retry.max_attempts,
            backoff=lambda attempt: round(retry.backoff_seconds(attempt) * 1000),
        )
        self._stuck_ms = round((lease_ttl_seconds + RESOLUTION_SECONDS) * 1000)

    def enqueue(self, job_id: str, *, payload: bytes = b"") -> None:
        """Add a job, unless one of that id is pending or active."""
        self._queue.add(NAME, packed(job_id, payload), job_id=job_id)

    def claim(self, *, worker_id: str) -> AdaptedClaim | None:  # noqa: ARG002 - only shown, in `locked_by`
        """Recover what is stuck, and claim."""
        self._queue.recover(older_than_ms=self._stuck_ms, name=NAME)
        job = self._queue.claim(NAME)
        return None if job is None else claim_of(job["payload"], job)

    def ack(self, *, claim: AdaptedClaim) -> None:
        """Complete the job."""
        job = self._still_held(claim)
        self._queue.complete(job)
        now = self._queue.get(job["id"])
        if now is None or now["status"] != "done" or now["attempts"] != job["attempts"]:
            raise LeaseLost(claim.job_id, claim.claim_id)
        claim.is_over = True

    def release(self, *, claim: AdaptedClaim) -> None:
        """Fail the job, which retries it."""
        job = self._still_held(claim)
        was_lost = self._has_moved_on(job)
        claim.is_over = not was_lost
        self._queue.fail(job, "released")
        if was_lost:
            raise LeaseLost(claim.job_id, claim.claim_id)
        if self._has_moved_on(job):
            raise RuntimeError("somebody claimed the job, before it was failed or after")

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def _still_held(self, claim: AdaptedClaim) -> dict[str, Any]:
        # `process` completes a job or fails it; that nobody does both is not what the package guards against.
        check_held(claim)
        job: dict[str, Any] = claim.receipt
        return job

    def _has_moved_on(self, job: dict[str, Any]) -> bool:
        now = self._queue.get(job["id"])
        return now is None or now["attempts"] != job["attempts"] or now["status"] == "done"


# README, "Durable queue": "retries + backoff + dedupe (job_id)", `max_attempts=3`, "multi-process safe".
# Docstrings of `monlite.queue`: "durable", "its attempt is counted at claim time, which also fences a later
# complete/fail against a job another worker has since reclaimed", "highest priority, then oldest"; `recover`
# resets jobs "stuck active (e.g. a crashed worker)". Nowhere: clocks that differ.
@subject(
    promises=Promises(max_clock_skew_seconds=RESOLUTION_SECONDS, order="fifo"),
    clock="system",
    embedded="sqlite",
)
def open_queue(workdir: Path, policy: Policy) -> Any:
    """Open the database for one worker."""
    return MonliteAdapter(workdir / "queue.db", policy.lease_ttl_seconds, policy.retry)
