"""persist-queue 1.1.0, its SQLiteAckQueue: a table of items with a status, for the threads of one process."""

from pathlib import Path
from typing import Any

from persistqueue import Empty, SQLiteAckQueue

from ssq_verify.adapter import AdaptedClaim, claim_of, packed, settle_once
from ssq_verify.subject import Policy, Promises, subject


class PersistAdapter:
    """The process's handle."""

    def __init__(self, path: Path) -> None:
        self._queue = SQLiteAckQueue(str(path))
        self.close = self._queue.close

    def enqueue(self, job_id: str, *, payload: bytes = b"") -> None:
        """Put an item."""
        self._queue.put(packed(job_id, payload))

    def claim(self, *, worker_id: str) -> AdaptedClaim | None:  # noqa: ARG002 - the package knows no workers
        """Get an item that is ready."""
        try:
            item = self._queue.get(block=False, raw=True)
        except Empty:
            return None
        return claim_of(item["data"], item["pqid"])

    def ack(self, *, claim: AdaptedClaim) -> None:
        """Ack the item."""
        settle_once(claim, lambda: self._queue.ack(id=claim.receipt))

    def release(self, *, claim: AdaptedClaim) -> None:
        """Nack the item."""
        settle_once(claim, lambda: self._queue.nack(id=claim.receipt))


# README, "Key Features": "Thread-safe", "survive crashes", "Items can be read after process restart"; its
# maintainer: "working for multi-threading, not multi-process" (issue 152): one process. "FIFO queue with ack
# support" (docstring): the order; "ack ... or if processing failed nack": once, by the item's id. Nowhere:
# leases, a bound on retries, a rest, power loss.
@subject(
    promises=Promises(
        lease=False,
        fencing=False,
        back_off=False,
        max_attempts=None,
        idempotent_enqueue=False,
        durability="process-crash",
        order="fifo",
        processes="one",
    ),
    clock="system",
    embedded="sqlite",
)
def open_queue(workdir: Path, _policy: Policy) -> Any:
    """Open the queue's folder."""
    return PersistAdapter(workdir / "queue")
