"""pytaskcore 0.0.2: folders pending, running, finished; claims by rename.

Taken without `FileSystemTaskQueueClient`, the client for one rank of several, whose `fetch_task` prints and
keeps a file in the host's own temporary folder: it fetches, finishes and releases by `TaskQueueClient`, too.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from taskcore.base import FileSystemTaskQueue, TaskQueueClient

from ssq_core.queue import LeaseLost
from ssq_verify.adapter import AdaptedClaim, claim_of, packed
from ssq_verify.subject import Policy, Promises, subject


class TaskcoreAdapter:
    """One worker's handle; a client of the package holds one task, so each claim has its own."""

    def __init__(self, base_dir: Path, timeout_seconds: float) -> None:
        self._queue = FileSystemTaskQueue(str(base_dir))
        self._timeout_seconds = timeout_seconds

    def enqueue(self, job_id: str, *, payload: bytes = b"") -> None:
        """Add a task."""
        self._queue.add_task({"job": packed(job_id, payload)})

    def claim(self, *, worker_id: str) -> AdaptedClaim | None:  # noqa: ARG002 - the package knows no workers
        """Take back what is stale, as the README has it, and fetch a task."""
        client = TaskQueueClient(self._queue)
        self._queue.reclaim_stale_tasks(timeout_seconds=self._timeout_seconds)
        fetched = client.fetch_task()
        return None if fetched is None else claim_of(fetched[1]["job"], client)

    def ack(self, *, claim: AdaptedClaim) -> None:
        """Finish the client's task."""
        self._settle(claim, claim.receipt.finish_current_task)

    def release(self, *, claim: AdaptedClaim) -> None:
        """Release the client's task."""
        self._settle(claim, claim.receipt.release_current_task)

    def _settle(self, claim: AdaptedClaim, end: Callable[[], None]) -> None:
        if not claim.receipt.has_task():
            raise LeaseLost(claim.job_id, claim.claim_id)
        try:
            end()
        except FileNotFoundError as error:
            raise LeaseLost(claim.job_id, claim.claim_id) from error


# README, "Features": "Automatic task recovery and stale task reclamation" (lease; so a late ack may find its
# task gone), "Safe concurrent access using atomic file operations". Nowhere: an order, a bound on attempts, a
# rest, clocks that differ, power loss, claims that differ in two runs of a task.
@subject(
    promises=Promises(
        fencing=False,
        back_off=False,
        max_attempts=None,
        idempotent_enqueue=False,
        late_ack="either",
        durability="process-crash",
        max_clock_skew_seconds=0.0,
        order=None,
    ),
    clock="system",
)
def open_queue(workdir: Path, policy: Policy) -> Any:
    """Open the queue's folder for one worker."""
    return TaskcoreAdapter(workdir / "queue", policy.lease_ttl_seconds)
