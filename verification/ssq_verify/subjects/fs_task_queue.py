"""fs-task-queue 0.1.9 with its default lock, which locks nothing: a symbolic link in a folder a state."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fs_task_queue import Queue
from fs_task_queue.core import DummyLock, Job, JobStatus

from ssq_verify.adapter import AdaptedClaim, claim_of, packed
from ssq_verify.subject import Policy, Promises, subject

ONE_LOOK_SECONDS = 0.5
"""Less than the second that `dequeue` sleeps between two looks."""

# README: "each task is guaranteed to be executed once" where the file system obeys flock, "at least once"
# elsewhere. Nowhere: leases (a dead worker's job stays started), a retry, an order, power loss; a job may be
# called as often as one likes.
PROMISES = Promises(
    lease=False,
    fencing=False,
    back_off=False,
    max_attempts=None,
    idempotent_enqueue=False,
    repeat_ack="accepted",
    durability="process-crash",
    max_clock_skew_seconds=0.0,
    order=None,
)


def handled(_job: str) -> None:
    """Be the work of a job: by the time that it is called, the worker has done it."""


class FsTaskQueueAdapter:
    """One worker's handle. Calling a job, which runs it and says that it is finished, is the ack."""

    def __init__(self, directory: Path, lock_class: type[DummyLock]) -> None:
        directory.mkdir(exist_ok=True)
        self._queue = Queue(directory, lock_class=lock_class)

    def enqueue(self, job_id: str, *, payload: bytes = b"") -> None:
        """Enqueue a call."""
        self._queue.enqueue(handled, packed(job_id, payload))

    def claim(self, *, worker_id: str) -> AdaptedClaim | None:  # noqa: ARG002 - the package knows no workers
        """Look once for a job."""
        try:
            job = self._queue.dequeue(timeout=ONE_LOOK_SECONDS)
        except TimeoutError:
            return None
        return self._claim_of(job)

    def job_ids(self) -> Iterator[str]:
        """Yield the jobs that are in some state: one that is in none is never handed out."""
        for path in self._queue.job_directory.iterdir():
            job = Job(self._queue, path.name)
            if job.get_status() is not None:
                yield self._claim_of(job).job_id

    def ack(self, *, claim: AdaptedClaim) -> None:
        """Call the job, which catches whatever goes wrong: its status tells."""
        claim.receipt()
        status = claim.receipt.get_status()
        if status is not JobStatus.FINISHED:
            raise RuntimeError(f"the job ended as {status}")

    def _claim_of(self, job: Job) -> AdaptedClaim:
        (text,) = json.loads(job.job_path.read_bytes())["args"]
        return claim_of(text, job)


@subject(promises=PROMISES, clock="system")
def open_queue(workdir: Path, _policy: Policy) -> Any:
    """Open the queue's folder for one worker."""
    return FsTaskQueueAdapter(workdir / "queue", DummyLock)
