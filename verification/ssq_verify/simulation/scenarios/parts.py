"""What is a scenario made of? Steps by short names, and the times at which queues go wrong."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from msgspec.structs import replace

from ssq_verify.history import Terms
from ssq_verify.scenario import NO_FAULTS, SETUP_WORKER, Faults, Scenario, Settings, Step, StepKind

TICK = 1e-6
"""The least time between two events."""
SECOND = 1.0
COARSE = 0.01
EAST, WEST = "Pacific/Kiritimati", "Etc/GMT+12"
"""Fourteen hours before and twelve behind: the most that two clocks on a wall can differ."""

Steps = tuple[Step, ...]
Scenarios = tuple[Scenario, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Times:
    """Spans that matter, in seconds, by the policy and by what the queue promises."""

    ttl: float
    skew: float
    """E; 0 for a queue whose server keeps the time."""
    spare: float = SECOND
    """Longer than the queue's own times are coarse."""

    @property
    def overdue(self) -> float:
        """After so long an expired job is available by any clock within E, with some time to spare."""
        return self.ttl + 2 * self.skew + self.spare

    @property
    def takeover(self) -> float:
        """After so long a right clock allows the next claim of an expired job."""
        return self.ttl + self.skew


def times(settings: Settings, terms: Terms) -> Times:
    """Return the spans of a queue that is opened with these settings and held to these terms.

    A very small E only says how coarse a queue's own times are: it promises nothing of clocks that differ, so
    that clocks are set apart by what the settings ask for, which is beyond it.
    """
    promised = terms.max_clock_skew_seconds or 0.0
    skew = settings.max_clock_skew_seconds if 0 < promised < COARSE else promised
    spare = max(SECOND, 2 * terms.time_resolution_seconds)
    return Times(ttl=settings.lease_ttl_seconds, skew=skew, spare=spare)


def rested(settings: Settings, terms: Terms, attempt: int) -> float:
    """Return after how long a job that was released is available by any clock, with some time to spare."""
    rest, span = settings.retry.backoff_seconds(attempt) if terms.back_off else 0.0, times(settings, terms)
    return rest + 2 * span.skew + span.spare


def scenario(settings: Settings, *parts: Steps, faults: Faults = NO_FAULTS) -> Scenario:
    """Return a scenario of these parts, in this order."""
    return Scenario(settings=settings, steps=tuple(step for part in parts for step in part), faults=faults)


def backlog(*jobs: str) -> Steps:
    """Return what prepares a queue in which these jobs wait."""
    return tuple(enqueue(SETUP_WORKER, job) for job in jobs)


def held(job: str, *, then: float = 0.0) -> Steps:
    """Return what prepares a queue in which a job is leased to a worker that died so many seconds ago."""
    steps = (enqueue(SETUP_WORKER, job), claim(SETUP_WORKER, "dead worker's"), crash(SETUP_WORKER))
    return (*steps, *((later(SETUP_WORKER, then),) if then else ()))


def enqueue(worker: str, job: str, payload: str | None = None) -> Step:
    """Return a step that adds a job; without a payload it gets one that no other enqueue has."""
    told = f"{job} from {worker}" if payload is None else payload
    return Step(do=StepKind.ENQUEUE, worker=worker, job=job, payload=told)


def claim(worker: str, name: str) -> Step:
    """Return a step that takes a job, which later steps know by this name."""
    return Step(do=StepKind.CLAIM, worker=worker, claim=name)


def ack(worker: str, name: str) -> Step:
    """Return a step that finishes a claim."""
    return Step(do=StepKind.ACK, worker=worker, claim=name)


def many(step: Step, count: int) -> Step:
    """Return a step that does with so many jobs in one call what the given one does with one."""
    return replace(step, many=count)


def handles_many(worker: str, name: str, count: int, *, for_seconds: float = 0.0) -> Steps:
    """Return what a worker does that takes some jobs at once, works for so long, and finishes all of them."""
    work = (later(worker, for_seconds),) if for_seconds else ()
    return (many(claim(worker, name), count), *work, many(ack(worker, name), count))


def release(worker: str, name: str) -> Step:
    """Return a step that gives a claim back."""
    return Step(do=StepKind.RELEASE, worker=worker, claim=name)


def extend(worker: str, name: str) -> Step:
    """Return a step that starts a lease anew."""
    return Step(do=StepKind.EXTEND, worker=worker, claim=name)


def use(do: StepKind, worker: str, name: str) -> Step:
    """Return an ack, release or extend."""
    return Step(do=do, worker=worker, claim=name)


def requeue(worker: str, job: str) -> Step:
    """Return a step that gives a dead job a new incarnation."""
    return Step(do=StepKind.REQUEUE, worker=worker, job=job)


def later(worker: str, seconds: float) -> Step:
    """Return a step in which a worker does nothing for so long, while others may."""
    return Step(do=StepKind.ADVANCE, worker=worker, seconds=seconds)


def clock(
    worker: str, seconds: float = 0.0, *, rate: float = 1.0, zone: str = "", strobe: float = 0.0
) -> Step:
    """Return a step that sets a worker's clock."""
    return Step(do=StepKind.CLOCK, worker=worker, seconds=seconds, rate=rate, zone=zone, strobe=strobe)


def reopen(worker: str) -> Step:
    """Return a step that opens a handle; a worker that begins with it is fresh."""
    return Step(do=StepKind.OPEN, worker=worker)


def begins_at(worker: str, offset: float) -> Steps:
    """Return the steps of a worker whose clock was wrong by so much before it opened the queue."""
    return (clock(worker, offset), reopen(worker)) if offset else ()


def fork(worker: str) -> Step:
    """Return a step with which a worker begins as a child of `setup`, with a copy of its handle."""
    return Step(do=StepKind.FORK, worker=worker)


def crash(worker: str) -> Step:
    """Return a step in which a worker dies between two operations."""
    return Step(do=StepKind.CRASH, worker=worker)


def handles(worker: str, name: str, *, for_seconds: float = 0.0) -> Steps:
    """Return what a worker does that takes a job, works on it for so long, and finishes it."""
    work = (later(worker, for_seconds),) if for_seconds else ()
    return (claim(worker, name), *work, ack(worker, name))


def polls(worker: str, *, every: float, count: int, name: str) -> Iterator[Step]:
    """Yield polls at regular intervals, the first of them after one; what is found is handled at once."""
    for number in range(1, count + 1):
        yield later(worker, every)
        yield from handles(worker, f"{name} {number}")


def polls_at(worker: str, moments: Iterable[float], *, since: float = 0.0) -> Iterator[Step]:
    """Yield polls at these moments, counted as `since` is; what is found is handled at once."""
    now = since
    for number, moment in enumerate(moments):
        yield later(worker, moment - now)
        yield from handles(worker, f"poll {number}")
        now = moment
