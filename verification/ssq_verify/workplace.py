"""Where the contract suite works: a queue, a clock moved by hand, the ways in which a claim becomes stale."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from ssq_core.queue import LeaseQueue, QueueClaim, QueueStats, RetryPolicy, utc_now
from ssq_verify.subject import Policy, load

LEASE_TTL = timedelta(seconds=60)
MAX_CLOCK_SKEW = timedelta(seconds=2)
MICROSECOND = timedelta(microseconds=1)
RETRY = RetryPolicy(max_attempts=3)
RETRY_WITH_REST = RetryPolicy(max_attempts=5, backoff_base_seconds=10.0, backoff_max_seconds=30.0)

RACERS = 4
RACE_JOBS = 100
RACE_START_SECONDS_MAX = 120
WAIT_SECONDS_MAX = 120.0
"""After which a wait that nothing ended has failed."""

Stale = tuple[QueueClaim, Callable[[], None]]
"""A claim that is no longer current, and what must still be so after it was used."""


@dataclass(kw_only=True)
class ManualClock:
    """A clock that stands still until it is moved."""

    now: datetime = datetime(2024, 2, 29, 23, 59, 30, tzinfo=UTC)

    def __call__(self) -> datetime:
        """Return the present instant."""
        return self.now

    def advance(self, duration: timedelta) -> None:
        """Let time pass."""
        self.now += duration


@dataclass(kw_only=True)
class Workplace:
    """One queue, the true time, and any number of handles on it, each with a clock of its own."""

    opened: Callable[[Path, Policy], LeaseQueue]
    workdir: Path
    clock: ManualClock = field(default_factory=ManualClock)
    max_clock_skew: timedelta = MAX_CLOCK_SKEW

    def handle(self, *, ahead: timedelta = timedelta(0), retry: RetryPolicy = RETRY) -> LeaseQueue:
        """Open the queue for one more worker, whose clock is ahead of the true time."""
        policy = Policy(
            lease_ttl_seconds=LEASE_TTL.total_seconds(),
            retry=retry,
            max_clock_skew_seconds=self.max_clock_skew.total_seconds(),
            clock=lambda: self.clock.now + ahead,
            server_time=self.clock,
        )
        return self.opened(self.workdir, policy)

    def expire(self) -> None:
        """Let so much time pass that every lease has ended for everybody."""
        self.clock.advance(LEASE_TTL + self.max_clock_skew + MICROSECOND)


def claimed(queue: LeaseQueue, worker_id: str = "w1") -> QueueClaim:
    """Claim, where the contract says that a job is available."""
    claim = queue.claim(worker_id=worker_id)
    assert claim is not None, "a job was available, and claim found none"
    return claim


def drained(queue: LeaseQueue) -> list[str]:
    """Claim and ack until nothing is available; return the job ids in order."""
    taken = []
    while (claim := queue.claim(worker_id="w1")) is not None:
        taken.append(claim.job_id)
        queue.ack(claim=claim)
    return taken


def kill(place: Workplace, queue: LeaseQueue, job_id: str) -> None:
    """Enqueue a job and release it at every attempt, so that it is dead."""
    queue.enqueue(job_id)
    for _ in range(RETRY.max_attempts):
        queue.release(claim=claimed(queue))
        place.clock.advance(MICROSECOND)


def altered(claim: QueueClaim, *, job_id: str, claim_id: str) -> QueueClaim:
    """Return the claim of another job, or another claim of that job."""
    return QueueClaim(
        job_id=job_id,
        claim_id=claim_id,
        worker_id=claim.worker_id,
        attempt=claim.attempt,
        claimed_at=claim.claimed_at,
        lease_expires_at=claim.lease_expires_at,
        payload=claim.payload,
    )


def counted(
    *, queued: int = 0, delayed: int = 0, claimed: int = 0, expired: int = 0, dead: int = 0
) -> QueueStats:
    """Return these counts, and nothing in the other states."""
    return QueueStats(queued=queued, delayed=delayed, claimed=claimed, expired=expired, dead=dead)


def _acked(place: Workplace, queue: LeaseQueue) -> Stale:
    claim = claimed(queue)
    queue.ack(claim=claim)
    return claim, lambda: _nothing_left(place)


def _released(place: Workplace, queue: LeaseQueue) -> Stale:
    claim = claimed(queue)
    queue.release(claim=claim)
    return claim, lambda: _next_claim_has(place, attempt=2)


def _superseded(place: Workplace, queue: LeaseQueue) -> Stale:
    claim = claimed(queue)
    place.expire()
    other = place.handle()
    current = claimed(other, "w2")

    def still() -> None:
        assert queue.claim(worker_id="w3") is None
        other.ack(claim=current)
        _nothing_left(place)

    return claim, still


def _superseded_and_acked(place: Workplace, queue: LeaseQueue) -> Stale:
    claim = claimed(queue)
    place.expire()
    queue.ack(claim=claimed(place.handle(), "w2"))
    return claim, lambda: _nothing_left(place)


def _incarnated_anew(place: Workplace, queue: LeaseQueue) -> Stale:
    claim = claimed(queue)
    queue.ack(claim=claim)
    queue.enqueue("j1")
    current = claimed(queue)

    def still() -> None:
        queue.ack(claim=current)
        _nothing_left(place)

    return claim, still


def _buried(place: Workplace, queue: LeaseQueue) -> Stale:
    for _ in range(RETRY.max_attempts):
        claim = claimed(queue)
        place.expire()
    assert queue.claim(worker_id="w2") is None

    def still() -> None:
        assert [(job.job_id, job.attempts) for job in queue.dead()] == [("j1", RETRY.max_attempts)]
        _nothing_left(place)

    return claim, still


STALE: dict[str, Callable[[Workplace, LeaseQueue], Stale]] = {
    "acked": _acked,
    "released": _released,
    "superseded": _superseded,
    "superseded, acked": _superseded_and_acked,
    "new incarnation": _incarnated_anew,
    "buried": _buried,
}


def _nothing_left(place: Workplace) -> None:
    place.clock.advance(10 * LEASE_TTL)
    assert place.handle().claim(worker_id="later") is None, "a job came back"


def _next_claim_has(place: Workplace, *, attempt: int) -> None:
    claim = claimed(place.handle(), "later")
    assert (claim.job_id, claim.attempt) == ("j1", attempt)


def race_policy(*, lease_ttl_seconds: float = 3600, retry: RetryPolicy = RETRY) -> Policy:
    """Return the policy of a race: real time, and leases longer than any test, if not told otherwise."""
    return Policy(lease_ttl_seconds=lease_ttl_seconds, retry=retry, max_clock_skew_seconds=0, clock=utc_now)


Work = Callable[[Any, str], list[tuple[str, int]]]
"""What a racer does with its queue under its name; it returns what it claimed."""


def line_up(barrier: Any) -> None:
    """Wait until all racers are there."""
    barrier.wait(RACE_START_SECONDS_MAX)


def race(reference: str, workdir: Path, work: Work, worker: str) -> list[tuple[str, int]]:
    """Open the subject and work it off, in a process of its own."""
    return work(load(reference).factory(workdir, race_policy()), worker)


def worked_off(queue: Any, worker: str) -> list[tuple[str, int]]:
    """Claim and ack until nothing is available; return job ids and attempts."""
    taken = []
    while (claim := queue.claim(worker_id=worker)) is not None:
        queue.ack(claim=claim)
        taken.append((claim.job_id, claim.attempt))
    return taken


def worked_off_by_threes(queue: Any, worker: str) -> list[tuple[str, int]]:
    """Claim and ack up to three jobs at once until nothing is available; return job ids and attempts."""
    taken = []
    while claims := queue.claim_many(3, worker_id=worker):
        queue.ack_many(claims=claims)
        taken += [(claim.job_id, claim.attempt) for claim in claims]
    return taken
