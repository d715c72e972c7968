"""femtoqueue 0.4.2: a folder for each state and each node, claims by rename.

One node holds one task, so a worker that holds several is several nodes. A node is new with its process: one
that comes back under its old name takes its own task again at once, as documented, lease or no lease.
"""

import uuid
from pathlib import Path
from typing import Any

import femtoqueue

from ssq_core.queue import LeaseLost
from ssq_verify.adapter import AdaptedClaim, claim_of, packed
from ssq_verify.subject import Policy, Promises, subject


class FemtoAdapter:
    """One worker's nodes, each with the id of the claim that it holds."""

    def __init__(self, data_dir: Path, timeout_stale_ms: int) -> None:
        self._data_dir = data_dir
        self._timeout_stale_ms = timeout_stale_ms
        self._held: dict[str, str | None] = {}
        self._nodes: dict[str, femtoqueue.FemtoQueue] = {}
        self._producer = self._new_node()

    def enqueue(self, job_id: str, *, payload: bytes = b"") -> None:
        """Push a task."""
        self._producer.push(packed(job_id, payload).encode())

    def claim(self, *, worker_id: str) -> AdaptedClaim | None:  # noqa: ARG002 - nodes have names of their own
        """Pop a task with a node that has none."""
        idle = [node_id for node_id, held in self._held.items() if held is None]
        node = self._nodes[idle[0]] if idle else self._new_node()
        task = node.pop()
        if task is None:
            return None
        claim = claim_of(task.data, (node, task))
        self._held[node.node_id] = claim.claim_id
        return claim

    def ack(self, *, claim: AdaptedClaim) -> None:
        """Move the task to `done`."""
        node, task = claim.receipt
        if self._held.get(node.node_id) == claim.claim_id:
            self._held[node.node_id] = None
        try:
            node.done(task)
        except Exception as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise LeaseLost(claim.job_id, claim.claim_id) from error
            raise

    def _new_node(self) -> femtoqueue.FemtoQueue:
        node = femtoqueue.FemtoQueue(self._data_dir, uuid.uuid4().hex, self._timeout_stale_ms)
        self._nodes[node.node_id], self._held[node.node_id] = node, None
        return node


# README, "Features": stale tasks "(i.e. in progress for too long) are moved back to `pending` automatically
# after a timeout" (lease; so a late ack may find its task gone), tasks "processed in insertion order" for
# nodes of one clock (fifo, no skew). `sync_after_write` is off unless asked for (no power loss). Nowhere: a
# bound on attempts, a retry of what failed (`fail` is an end), claims that differ in two runs of a task.
@subject(
    promises=Promises(
        fencing=False,
        back_off=False,
        max_attempts=None,
        idempotent_enqueue=False,
        late_ack="either",
        durability="process-crash",
        max_clock_skew_seconds=0.0,
        order="fifo",
    ),
    clock="system",
)
def open_queue(workdir: Path, policy: Policy) -> Any:
    """Open a node of its own for one worker."""
    return FemtoAdapter(workdir / "queue", round(policy.lease_ttl_seconds * 1000))
