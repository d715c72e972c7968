"""The SQLite queue of this package: one file, one transaction a transition."""

from pathlib import Path

from ssq_core.queue import Durability, LeaseQueue
from ssq_core.sqlite import SqliteWorkerQueue
from ssq_verify.subject import Policy, Promises, subject


@subject(promises=Promises(order="fifo"), embedded="sqlite")
def open_queue(workdir: Path, policy: Policy) -> LeaseQueue:
    """Open the queue's one file for one worker."""
    return _opened(workdir, policy, "power-loss")


@subject(promises=Promises(order="fifo", durability="process-crash"), embedded="sqlite")
def open_unsynced(workdir: Path, policy: Policy) -> LeaseQueue:
    """Open it as a queue that syncs its log now and then, not at each commit."""
    return _opened(workdir, policy, "process-crash")


def _opened(workdir: Path, policy: Policy, durability: Durability) -> LeaseQueue:
    return SqliteWorkerQueue(
        workdir / "queue.db",
        lease_ttl_seconds=policy.lease_ttl_seconds,
        clock=policy.clock,
        retry=policy.retry,
        max_clock_skew_seconds=policy.max_clock_skew_seconds,
        durability=durability,
    )
