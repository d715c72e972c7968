"""alchemical-queues 0.3.0, its task queue, on SQLite by SQLAlchemy: a visibility timeout and claim tokens."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from alchemical_queues import AlchemicalQueues, ClaimExpired
from sqlalchemy import create_engine

from ssq_core.queue import LeaseLost
from ssq_verify.adapter import AdaptedClaim, claim_of, packed
from ssq_verify.subject import Policy, Promises, subject


class AlchemicalAdapter:
    """One worker's handle, with an engine of its own."""

    def __init__(self, path: Path, visibility_timeout: timedelta) -> None:
        is_new = not path.exists()
        self._engine = create_engine(f"sqlite:///{path}")
        queues = AlchemicalQueues(self._engine)
        if is_new:
            queues.create_all()
        self._queue = queues.get_task_queue("jobs", visibility_timeout=visibility_timeout)

    def enqueue(self, job_id: str, *, payload: bytes = b"") -> None:
        """Put an entry."""
        self._queue.put(packed(job_id, payload))

    def claim(self, *, worker_id: str) -> AdaptedClaim | None:  # noqa: ARG002 - a claim has a token, not a name
        """Get an entry."""
        entry = self._queue.get()
        return None if entry is None else claim_of(entry.data, (entry.entry_id, entry.claim_token))

    def ack(self, *, claim: AdaptedClaim) -> None:
        """Discard the entry."""
        self._settle(claim, self._queue.discard)

    def release(self, *, claim: AdaptedClaim) -> None:
        """Release the entry."""
        self._settle(claim, self._queue.release)

    def extend(self, *, claim: AdaptedClaim) -> None:
        """Extend the claim by another timeout from now."""
        self._settle(claim, self._queue.extend)

    def close(self) -> None:
        """Close the engine's connections."""
        self._engine.dispose()

    def _settle(self, claim: AdaptedClaim, operation: Callable[[int, int], None]) -> None:
        try:
            partial(operation, *claim.receipt)()
        except ClaimExpired as error:
            raise LeaseLost(claim.job_id, claim.claim_id) from error


# Docstrings of `AlchemicalTaskQueue`: `get` claims "until `visibility_timeout` elapses, so if your process
# dies ... a later `get()` call will eventually claim it again"; "two concurrent get() calls can never claim
# the same entry"; `ClaimExpired` once a claim "timed out and was reclaimed by someone else, or was already
# responded to, released, or discarded"; "in order of priority and then in order of adding". Nowhere, of the
# queue without its `Worker`: ids of one's own, a bound on attempts, a rest, power loss, clocks that differ.
@subject(
    promises=Promises(
        back_off=False,
        max_attempts=None,
        idempotent_enqueue=False,
        durability="process-crash",
        max_clock_skew_seconds=0.0,
        order="fifo",
    ),
    clock="system",
    embedded="sqlite",
)
def open_queue(workdir: Path, policy: Policy) -> Any:
    """Open the database for one worker."""
    return AlchemicalAdapter(workdir / "queue.db", timedelta(seconds=policy.lease_ttl_seconds))
