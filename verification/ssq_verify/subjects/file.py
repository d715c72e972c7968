"""The file queue of this package: one folder, claims by rename."""

from pathlib import Path

from ssq_core.file import FileWorkerQueue
from ssq_core.queue import LeaseQueue
from ssq_verify.subject import Policy, Promises, subject


@subject(promises=Promises(order="fifo-relaxed", forks=True))
def open_queue(workdir: Path, policy: Policy) -> LeaseQueue:
    """Open the queue in a folder of its own for one worker."""
    return FileWorkerQueue(
        workdir / "queue",
        lease_ttl_seconds=policy.lease_ttl_seconds,
        clock=policy.clock,
        retry=policy.retry,
        max_clock_skew_seconds=policy.max_clock_skew_seconds,
    )
