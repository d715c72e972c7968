"""dirq 1.8, its QueueSimple: a file an element, a hard link beside it while it is locked.

A worker goes through the names that it has listed, and lists anew at their end, as `for name in dirq` does.
What a dead one had locked is freed by `purge`, which is left to a periodic task.
"""

from itertools import chain
from pathlib import Path
from typing import Any

from dirq.QueueSimple import LOCKED_SUFFIX, QueueSimple

from ssq_core.queue import LeaseLost
from ssq_verify.adapter import AdaptedClaim, check_held, claim_of, packed
from ssq_verify.subject import Policy, Promises, subject


class DirqAdapter:
    """One worker's handle."""

    def __init__(self, path: Path, policy: Policy) -> None:
        self._queue = QueueSimple(str(path))
        self._policy = policy

    def enqueue(self, job_id: str, *, payload: bytes = b"") -> None:
        """Add an element."""
        self._queue.add(packed(job_id, payload).encode())

    def sweep(self) -> None:
        """Purge: remove the locks that are older than a lease."""
        lease = self._policy.lease_ttl_seconds
        self._queue.purge(maxtemp=lease, maxlock=lease)

    def claim(self, *, worker_id: str) -> AdaptedClaim | None:  # noqa: ARG002 - the package knows no workers
        """Lock the next element that can be locked, and get it."""
        if not self._policy.has_sweeper:
            self.sweep()
        for name in chain(iter(self._queue.next, ""), self._queue):
            if self._queue.lock(name):
                return claim_of(self._queue.get(name), name)
        return None

    def ack(self, *, claim: AdaptedClaim) -> None:
        """Remove the element."""
        self._begin_to_settle(claim)
        try:
            self._queue.remove(claim.receipt)
        except FileNotFoundError as error:
            # Where the lock alone has gone, the element has been removed.
            if not str(error.filename).endswith(LOCKED_SUFFIX):
                raise LeaseLost(claim.job_id, claim.claim_id) from error

    def release(self, *, claim: AdaptedClaim) -> None:
        """Unlock the element."""
        self._begin_to_settle(claim)
        if not self._queue.unlock(claim.receipt, permissive=True):
            raise LeaseLost(claim.job_id, claim.claim_id)

    def _begin_to_settle(self, claim: AdaptedClaim) -> None:
        check_held(claim)
        claim.is_over = True


# `dirq.queue`, to which it refers: "multiple concurrent readers and writers"; "FIFO order but this is
# not guaranteed"; "If the process that created the lock dies without unlocking the element, we end up with a
# staled lock. The purge() method can be used to remove these staled locks": a lease of `maxlock`. Nowhere:
# fences, a bound on retries, a rest, an id of the caller's, power loss.
@subject(
    promises=Promises(
        fencing=False,
        back_off=False,
        max_attempts=None,
        idempotent_enqueue=False,
        durability="process-crash",
        max_clock_skew_seconds=0.0,
        time_resolution_seconds=1.0,
        order=None,
    ),
    clock="system",
)
def open_queue(workdir: Path, policy: Policy) -> Any:
    """Open the folder for one worker."""
    return DirqAdapter(workdir / "queue", policy)
