"""The file queue of this package: one folder, claims by rename."""

from pathlib import Path

from ssq_core.file import FileWorkerQueue
from ssq_core.queue import Durability, LeaseQueue
from ssq_verify.subject import Policy, Promises, subject


@subject(promises=Promises(order="fifo-relaxed", forks=True))
def open_queue(workdir: Path, policy: Policy) -> LeaseQueue:
    """Open the queue in a folder of its own for one worker."""
    return _opened(workdir, policy, "power-loss")


@subject(promises=Promises(order="fifo-relaxed", durability="process-crash"))
def open_unsynced(workdir: Path, policy: Policy) -> LeaseQueue:
    """Open it as a queue that syncs nothing."""
    return _opened(workdir, policy, "process-crash")


def _opened(workdir: Path, policy: Policy, durability: Durability) -> LeaseQueue:
    return FileWorkerQueue(
        workdir / "queue",
        lease_ttl_seconds=policy.lease_ttl_seconds,
        clock=policy.clock,
        retry=policy.retry,
        max_clock_skew_seconds=policy.max_clock_skew_seconds,
        durability=durability,
    )
