"""What is the most that a backend could do? The bare steps of a claim and an ack, without any promise.

No leases, no attempts, no check of whose claim it is: no queues, but what queues are held against.
"""

from dataclasses import dataclass

LIMITS = {
    "file": "ssq_stress.bench.raw.files:open_synced",
    "sqlite": "ssq_stress.bench.raw.sqlite:open_limit",
    "postgres": "ssq_stress.bench.raw.postgres:open_limit",
    "redis": "ssq_stress.bench.raw.redis:open_limit",
}
"""The limit of a subject's backend."""
SHORT = {reference: f"limit of {name}" for name, reference in LIMITS.items()}


@dataclass(frozen=True, slots=True)
class RawClaim:
    """A job that was taken; nothing says for how long."""

    job_id: str
    claim_id: str
