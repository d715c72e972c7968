"""The contract as a plain in-memory queue: the model answer; nothing outlives its process.

It is meant to be read beside `openspec/specs/lease-queue/spec.md`: one lock, one list, no index.
"""

import itertools
import os
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path

from ssq_core.queue import (
    DeadJob,
    LeaseLost,
    LeasesLost,
    QueueClaim,
    QueueStats,
    checked_jobs,
    checked_limit,
    encoded_job_id,
)
from ssq_verify.subject import Policy, Promises, subject

LONG_AGO = datetime.min.replace(tzinfo=UTC)
LOOK_SECONDS_MAX = 0.25
"""Who waits looks as often at the queue's clock, which may be moved while it waits."""


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
    lock: threading.Condition = field(default_factory=lambda: threading.Condition(threading.Lock()))
    """Tells those who wait of what was enqueued or given back."""


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
        self.enqueue_many([(job_id, payload)])

    def enqueue_many(self, jobs: Iterable[tuple[str, bytes]]) -> None:
        """Add jobs in this order, each as `enqueue` would, at one instant. Raises `InvalidJobId`."""
        checked = checked_jobs(jobs)
        with self._store.lock:
            for job_id, payload in checked:
                self._store.jobs.setdefault(job_id, Job(job_id=job_id, payload=payload))
            self._store.lock.notify_all()

    def claim(self, *, worker_id: str) -> QueueClaim | None:
        """Take the oldest available job, or None."""
        return next(iter(self.claim_many(1, worker_id=worker_id)), None)

    def claim_many(self, limit: int, *, worker_id: str) -> list[QueueClaim]:
        """Take the oldest available jobs, oldest first, all at one instant."""
        limit = checked_limit(limit)
        with self._store.lock:
            now = self._clock()
            return list(itertools.islice(self._claims(worker_id, now), limit))

    def ack(self, *, claim: QueueClaim) -> None:
        """Finish the claimed job for good. Raises `LeaseLost`."""
        with self._store.lock:
            del self._store.jobs[self._current(claim).job_id]

    def ack_many(self, *, claims: Iterable[QueueClaim]) -> None:
        """Finish all jobs whose claims are current, at one instant. Raises `LeasesLost` for others."""
        lost = []
        with self._store.lock:
            for claim in list(claims):
                try:
                    del self._store.jobs[self._current(claim).job_id]
                except LeaseLost:
                    lost.append(claim)
        if lost:
            raise LeasesLost(lost)

    def wait(self, *, seconds: float) -> bool:
        """Return True as soon as a job may be available, False after so many seconds."""
        if not seconds >= 0:
            raise ValueError(f"seconds is {seconds}; give 0 or more")
        end = time.monotonic() + seconds
        with self._store.lock:
            while not any(self._available(job, self._clock()) for job in self._store.jobs.values()):
                left = end - time.monotonic()
                if left <= 0:
                    return False
                self._store.lock.wait(min(left, LOOK_SECONDS_MAX))
            return True

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
            self._store.lock.notify_all()

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
            self._store.lock.notify_all()
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

    def _claims(self, worker_id: str, now: datetime) -> Iterator[QueueClaim]:
        for job in self._store.jobs.values():
            if not self._available(job, now):
                continue
            if job.attempt < self._retry.max_attempts:
                yield self._claimed(job, worker_id, now)
            else:
                self._bury(job, now)

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
