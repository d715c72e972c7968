"""litequeue 0.9: one SQLite table of messages with a status; `pop` locks one, `done` marks it.

What is done stays in the table until somebody prunes it; nobody does here.
"""

from pathlib import Path
from typing import Any

from litequeue import LiteQueue

from ssq_verify.adapter import AdaptedClaim, claim_of, packed, settle_once
from ssq_verify.subject import Policy, Promises, subject

BUSY_SECONDS = 600
"""How long it waits for a locked database: longer than most processes are stopped for."""


class LiteAdapter:
    """One worker's handle."""

    def __init__(self, path: Path) -> None:
        self._queue = LiteQueue(str(path), timeout=BUSY_SECONDS)
        self.close = self._queue.close

    def enqueue(self, job_id: str, *, payload: bytes = b"") -> None:
        """Put a message."""
        self._queue.put(packed(job_id, payload))

    def enqueue_many(self, jobs: list[tuple[str, bytes]]) -> None:
        """Put messages in one of its transactions."""
        with self._queue.transaction(mode="IMMEDIATE"):
            for job_id, payload in jobs:
                self.enqueue(job_id, payload=payload)

    def claim(self, *, worker_id: str) -> AdaptedClaim | None:  # noqa: ARG002 - the package knows no workers
        """Pop a message."""
        message = self._queue.pop()
        return None if message is None else claim_of(message.data, message.message_id)

    def ack(self, *, claim: AdaptedClaim) -> None:
        """Mark the message as done."""
        settle_once(claim, lambda: self._queue.done(claim.receipt))

    def release(self, *, claim: AdaptedClaim) -> None:
        """Mark it as free again."""
        settle_once(claim, lambda: self._queue.retry(claim.receipt))


# README: "Queue implemented on top of SQLite"; "Persistence"; "after you `pop` a message, you need to mark
# it as done". `_pop_transaction`: "lock the message to avoid another process from getting it too". `retry`:
# "Mark a locked message as free again". Nowhere: leases (`list_locked` lists, nobody frees), order, a bound
# on retries, a rest; `PRAGMA synchronous = NORMAL`, so not power loss.
@subject(
    promises=Promises(
        lease=False,
        fencing=False,
        back_off=False,
        max_attempts=None,
        idempotent_enqueue=False,
        durability="process-crash",
        order=None,
    ),
    clock="system",
    embedded="sqlite",
)
def open_queue(workdir: Path, _policy: Policy) -> Any:
    """Open the database for one worker."""
    return LiteAdapter(workdir / "queue.db")
