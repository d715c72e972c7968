"""The SQLite queue of this package: one file, one transaction a transition."""

from pathlib import Path

from ssq_core.queue import LeaseQueue
from ssq_core.sqlite import SqliteWorkerQueue
from ssq_verify.subject import Policy, Promises, subject


@subject(promises=Promises(order="fifo"))
def open_queue(workdir: Path, policy: Policy) -> LeaseQueue:
    """Open the queue's one file for one worker."""
    return SqliteWorkerQueue(
        workdir / "queue.db",
        lease_ttl_seconds=policy.lease_ttl_seconds,
        clock=policy.clock,
        retry=policy.retry,
        max_clock_skew_seconds=policy.max_clock_skew_seconds,
    )
