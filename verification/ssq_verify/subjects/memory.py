"""The contract as a plain in-memory queue: the model answer; nothing outlives its process.

It is meant to be read beside `openspec/specs/lease-queue/spec.md`: one lock, one list, no index.
"""

import itertools
import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from ssq_core.queue import DeadJob, LeaseLost, QueueClaim, QueueStats, encoded_job_id
from ssq_verify.subject import Policy, Promises, subject

LONG_AGO = datetime.min.replace(tzinfo=UTC)


class State(StrEnum):
    """Where a job stands; one that was acked is no longer there."""

    QUEUED = "queued"
    CLAIMED = "claimed"
    DEAD = "dead"


@dataclass(kw_only=True, slots=True)
class Job:
    """One incarnation of a job."""

    job_id: str
    payload: bytes
    state: State = State.QUEUED
    attempt: int = 0
    due: datetime = LONG_AGO
    """Queued: available from here on. Claimed: when its lease ends. Dead: when it died."""
    claim_id: str | None = None


@dataclass(kw_only=True, slots=True)
class Store:
    """What the handles on one queue share: its jobs, the oldest first."""

    jobs: dict[str, Job] = field(default_factory=dict)
    claim_numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    lock: threading.Lock = field(default_factory=threading.Lock)


class MemoryWorkerQueue:
    """One worker's handle on a queue in memory."""

    def __init__(self, store: Store, policy: Policy) -> None:
        self._store = store
        self._retry = policy.retry
        self._clock = policy.clock
        self._lease_ttl = timedelta(seconds=policy.lease_ttl_seconds)
        self._max_clock_skew = timedelta(seconds=policy.max_clock_skew_seconds)

    def enqueue(self, job_id: str, *, payload: bytes = b"") -> None:
        """Add a job; of a job that is queued, claimed or dead, change nothing. Raises `InvalidJobId`."""
        encoded_job_id(job_id)
        with self._store.lock:
            self._store.jobs.setdefault(job_id, Job(job_id=job_id, payload=payload))

    def claim(self, *, worker_id: str) -> QueueClaim | None:
        """Take the oldest available job, or None."""
        with self._store.lock:
            now = self._clock()
            for job in self._store.jobs.values():
                if not self._available(job, now):
                    continue
                if job.attempt < self._retry.max_attempts:
                    return self._claimed(job, worker_id, now)
                self._bury(job, now)
            return None

    def ack(self, *, claim: QueueClaim) -> None:
        """Finish the claimed job for good. Raises `LeaseLost`."""
        with self._store.lock:
            del self._store.jobs[self._current(claim).job_id]

    def release(self, *, claim: QueueClaim) -> None:
        """Give the job back: queued again after its back-off, or dead. Raises `LeaseLost`."""
        with self._store.lock:
            job = self._current(claim)
            if job.attempt >= self._retry.max_attempts:
                self._bury(job, self._clock())
                return
            backoff = timedelta(seconds=self._retry.backoff_seconds(job.attempt))
            job.state = State.QUEUED
            job.due = self._clock() + backoff if backoff else LONG_AGO
            job.claim_id = None

    def extend(self, *, claim: QueueClaim) -> QueueClaim:
        """Start the lease anew from now. Raises `LeaseLost`."""
        with self._store.lock:
            job = self._current(claim)
            job.due = self._clock() + self._lease_ttl
            return QueueClaim(
                job_id=job.job_id,
                claim_id=claim.claim_id,
                worker_id=claim.worker_id,
                attempt=job.attempt,
                claimed_at=claim.claimed_at,
                lease_expires_at=job.due,
                payload=job.payload,
            )

    def stats(self) -> QueueStats:
        """Count the jobs by state, by this handle's clock."""
        with self._store.lock:
            now = self._clock()
            found = [(job.state, self._available(job, now)) for job in self._store.jobs.values()]
            return QueueStats(
                queued=found.count((State.QUEUED, True)),
                delayed=found.count((State.QUEUED, False)),
                claimed=found.count((State.CLAIMED, False)),
                expired=found.count((State.CLAIMED, True)),
                dead=found.count((State.DEAD, False)),
            )

    def dead(self) -> list[DeadJob]:
        """Return the dead letters, oldest job first."""
        with self._store.lock:
            return [
                DeadJob(job_id=job.job_id, attempts=job.attempt, died_at=job.due, payload=job.payload)
                for job in self._store.jobs.values()
                if job.state is State.DEAD
            ]

    def requeue_dead(self, job_id: str) -> bool:
        """Give a dead job a new incarnation, in its old place; False if it is not dead."""
        encoded_job_id(job_id)
        with self._store.lock:
            job = self._store.jobs.get(job_id)
            if job is None or job.state is not State.DEAD:
                return False
            self._store.jobs[job_id] = Job(job_id=job_id, payload=job.payload)
            return True

    def _available(self, job: Job, now: datetime) -> bool:
        match job.state:
            case State.QUEUED:
                return job.due <= now
            case State.CLAIMED:
                # Strictly past: the holder's own clock may be behind by as much as the skew.
                return job.due + self._max_clock_skew < now
            case State.DEAD:
                return False

    def _claimed(self, job: Job, worker_id: str, now: datetime) -> QueueClaim:
        job.state = State.CLAIMED
        job.attempt += 1
        job.due = now + self._lease_ttl
        job.claim_id = f"claim-{next(self._store.claim_numbers)}"
        return QueueClaim(
            job_id=job.job_id,
            claim_id=job.claim_id,
            worker_id=worker_id,
            attempt=job.attempt,
            claimed_at=now,
            lease_expires_at=job.due,
            payload=job.payload,
        )

    def _bury(self, job: Job, now: datetime) -> None:
        job.state = State.DEAD
        job.due = now
        job.claim_id = None

    def _current(self, claim: QueueClaim) -> Job:
        job = self._store.jobs.get(claim.job_id)
        if job is None or job.claim_id is None or job.claim_id != claim.claim_id:
            raise LeaseLost(claim.job_id, claim.claim_id)
        return job


_STORES: dict[str, Store] = {}


@subject(promises=Promises(durability="none"))
def open_queue(workdir: Path, policy: Policy) -> MemoryWorkerQueue:
    """Open the queue of this folder and process for one worker."""
    return MemoryWorkerQueue(_store(workdir), policy)


def _store(workdir: Path) -> Store:
    # A mark in the folder, not its path, names the store: a folder made anew holds a new queue, and so does
    # one that another process left.
    mark = workdir / "memory-queue"
    with suppress(FileNotFoundError, KeyError):
        return _STORES[mark.read_text()]
    name = f"{os.getpid()}-{len(_STORES) + 1}"
    mark.write_text(name)
    return _STORES.setdefault(name, Store())
