"""What is a queue asked to do while it is timed? One load: pure data.

The words are those of the contract: throughput is claim and ack pairs a minute, claim latency the time inside
`claim`, the backlog what waits in the queue when the clock starts.
"""

from dataclasses import dataclass

WARM_UP_CLAIMS = 50
"""For each worker: what it does first is done for the first time."""
SECONDS_MAX = 10.0
"""A queue so slow that it does not come to its claims in this time is measured by those that it did."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """One way to use a queue, to be timed."""

    backlog: int = 2_000
    workers: int = 4
    claims: int = 2_000
    """How many claim and ack pairs, all workers together: never more than the backlog."""
    payload_bytes: int = 0
    batch: int = 1
    """How many jobs a call is about, where the queue takes many; 1: calls with one."""
    rate: float | None = None
    """Open loop: so many claims a second are due, whether or not the one before has ended. None: closed."""
    warm_up: int = WARM_UP_CLAIMS
    seconds_max: float = SECONDS_MAX

    @property
    def jobs(self) -> int:
        """How many jobs are enqueued before: the backlog, and what warms the workers up."""
        return self.backlog + self.warm_up * self.workers

    @property
    def block(self) -> int:
        """How many claims a worker is given at a time, so that none ends long before the others."""
        calls = max(1, self.claims // (self.workers * 20 * self.batch))
        return calls * self.batch
