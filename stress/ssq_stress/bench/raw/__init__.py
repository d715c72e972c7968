"""What is the most that a backend could do? The bare steps of a claim and an ack, without any promise.

No leases, no attempts, no check of whose claim it is: no queues, but what queues are held against.
"""

from dataclasses import dataclass

from ssq_verify.subject import Subject

LIMITS = {
    "file": "ssq_stress.bench.raw.files:open_synced",
    "sqlite": "ssq_stress.bench.raw.sqlite:open_limit",
    "file-process-crash": "ssq_stress.bench.raw.files:open_unsynced",
    "sqlite-process-crash": "ssq_stress.bench.raw.sqlite:open_unsynced",
    "postgres": "ssq_stress.bench.raw.postgres:open_limit",
    "redis": "ssq_stress.bench.raw.redis:open_limit",
}
"""The limit of a backend, as a queue uses it that survives a loss of power, or only a process's crash."""
CALLS = {
    "file": "ssq_stress.bench.raw.steps:open_synced",
    "file-process-crash": "ssq_stress.bench.raw.steps:open_unsynced",
}
"""The file queue's own system calls, bare."""
SHORT = {reference: f"limit of {name}" for name, reference in LIMITS.items()} | {
    reference: f"calls of {name}" for name, reference in CALLS.items()
}


@dataclass(frozen=True, slots=True)
class RawClaim:
    """A job that was taken; nothing says for how long."""

    job_id: str
    claim_id: str


def limit_of(subject: Subject) -> str:
    """Return what a subject is held against: the limit of what it keeps its jobs in, with as many syncs."""
    return LIMITS.get(f"{subject.backend}-{subject.promises.durability}", LIMITS[subject.backend])
