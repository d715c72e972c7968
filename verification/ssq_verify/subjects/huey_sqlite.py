"""huey 3.5.4 on SQLite, the storage of `SqliteHuey`: a table of tasks, a table of what is scheduled.

At the level of its consumer: a worker's `dequeue` and `execute`, and the scheduler's `loop`, which moves what
is due from the schedule to the queue. `huey-sqlite@3.4.0` is judged by the same adapter.
"""

import logging
import sqlite3
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from huey import SqliteHuey
from huey.consumer import Scheduler
from huey.exceptions import RetryTask

from ssq_verify.adapter import AdaptedClaim, check_held, claim_of, packed
from ssq_verify.subject import Policy, Promises, subject

logging.getLogger("huey").addHandler(logging.NullHandler())
logging.getLogger("huey").propagate = False

BUSY_SECONDS = 600
"""Its `timeout` for a locked database: longer than most processes are stopped for."""
OPENINGS_MAX = 100
"""A consumer that could not begin is begun again by whoever supervises it."""


class HueyAdapter:
    """One worker's handle.

    Executing a task is the ack, or the release: its function then asks for a retry.
    """

    def __init__(self, huey: Any, policy: Policy) -> None:
        self._huey = huey
        self._policy = policy
        self._retry_at: datetime | None = None
        self._task: Any = huey.task(name="job")(self._work)
        self._stopped = threading.Event()
        self._stopped.set()

    def enqueue(self, job_id: str, *, payload: bytes = b"") -> None:
        """Call the task."""
        self._task(packed(job_id, payload))

    def sweep(self) -> None:
        """Do what the consumer's scheduler does once a second, or more seldom; one that dies is replaced."""
        scheduler = Scheduler(self._huey, self._stopped, interval=1, periodic=False)
        try:
            scheduler.loop(self._now())
        except Exception:  # noqa: BLE001 - so does the consumer: it logs that the process died, and makes another
            return

    def claim(self, *, worker_id: str) -> AdaptedClaim | None:  # noqa: ARG002 - the package knows no workers
        """Dequeue a task, which takes it out of the queue."""
        if not self._policy.has_sweeper:
            self.sweep()
        now = self._now()
        while (task := self._huey.dequeue()) is not None:
            if self._huey.ready_to_run(task, now):
                # As a message: the handle that executes it may be another one of this worker's.
                return claim_of(task.args[0], (self._huey.serialize_task(task), now))
            # A scheduler whose clock is ahead brought it back too soon; executing it puts it on the schedule.
            self._huey.execute(task, now)
        return None

    def ack(self, *, claim: AdaptedClaim) -> None:
        """Execute the task."""
        self._execute(claim, retry_at=None)

    def release(self, *, claim: AdaptedClaim) -> None:
        """Execute the task, which asks to be retried after a rest."""
        rest = timedelta(seconds=self._policy.retry.backoff_seconds(1))
        self._execute(claim, retry_at=self._policy.clock() + rest)

    def close(self) -> None:
        """Close its storage."""
        self._huey.storage.close()

    def _work(self, _text: str) -> None:
        if self._retry_at is not None:
            raise RetryTask(eta=self._retry_at)

    def _execute(self, claim: AdaptedClaim, *, retry_at: datetime | None) -> None:
        check_held(claim)
        claim.is_over, self._retry_at = True, retry_at
        message, now = claim.receipt
        self._huey.execute(self._huey.deserialize_task(message), now)

    def _now(self) -> datetime:
        return self._policy.clock().astimezone(UTC).replace(tzinfo=None)


# docs/guide.rst, "Scheduling tasks": the scheduler "will pick-up the message and place it back into the
# queue"; one that raises `RetryTask` "will be retried regardless". Its author: "huey will persist scheduled
# and enqueued tasks" (issue 225); of a worker that dies, "the task is lost, correct" (issue 253). Nowhere:
# leases, an order (`strict_fifo` is an option), power loss, one task for one id.
PROMISES = Promises(
    lease=False,
    fencing=False,
    back_off="constant",
    max_attempts=None,
    idempotent_enqueue=False,
    durability="process-crash",
    order=None,
)


@subject(promises=PROMISES, embedded="sqlite")
def open_queue(workdir: Path, policy: Policy) -> Any:
    """Open the database for one worker."""
    return HueyAdapter(_opened(workdir / "huey.db"), policy)


def _opened(path: Path) -> Any:
    for _ in range(OPENINGS_MAX):
        try:
            return SqliteHuey("ssq", filename=str(path), timeout=BUSY_SECONDS)
        except sqlite3.OperationalError as error:
            if "locked" not in str(error):
                raise
    raise TimeoutError(f"{path} was locked {OPENINGS_MAX} times for {BUSY_SECONDS} s")
