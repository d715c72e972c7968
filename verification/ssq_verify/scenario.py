"""What is to happen in a run, as pure data: workers, operations, time and faults, JSON both ways.

A step that refers to a claim names the earlier step that made it, so that any step can be dropped and the
rest still runs: a step whose claim was never made does nothing.
"""

from enum import StrEnum
from typing import Literal

import msgspec

from ssq_core.queue import RetryPolicy

SEED = 0
"""Where none is given: the same runs for everybody, every time."""


ONLY_WORKER = "w1"
"""Who does everything with a queue that promises itself to one process at a time."""
SETUP_WORKER = "setup"
"""Who prepares a simulated run, and has ended before the others begin."""


class StepKind(StrEnum):
    """What one step does."""

    ENQUEUE = "enqueue"
    CLAIM = "claim"
    ACK = "ack"
    RELEASE = "release"
    EXTEND = "extend"
    REQUEUE = "requeue"
    """Give a dead job a new incarnation."""
    ADVANCE = "advance"
    """Let time pass for everybody."""
    CLOCK = "clock"
    """Set one worker's clock to an offset from the true time."""
    OPEN = "open"
    """The worker opens a new handle on the queue; in a simulation it meets what others are doing."""
    FORK = "fork"
    """The worker goes on with a copy of what `setup` had opened, as its child; in turns it opens anew."""
    CRASH = "crash"
    """The worker dies between two operations; its claims stay. The next step in its name is a new process."""


MANY = frozenset({StepKind.ENQUEUE, StepKind.CLAIM, StepKind.ACK})
"""What can be done to many jobs in one call."""


class Step(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One step of a scenario; fields that do not apply are absent."""

    do: StepKind
    worker: str = "w1"
    job: str | None = None
    """enqueue, requeue: which job."""
    claim: str | None = None
    """claim: the name that later steps use for what it returned. ack, release, extend: which claim."""
    seconds: float = 0.0
    """advance: how long. clock: the offset."""
    rate: float = 1.0
    """clock, in a simulation: how fast it goes."""
    zone: str = ""
    """clock, in a simulation: the worker's time zone, as TZ names it."""
    strobe: float = 0.0
    """clock, in a simulation: how far it jumps around its offset at looks; below 0: back first."""
    payload: str = ""
    """enqueue: the payload's text."""
    many: int = 0
    """enqueue, claim, ack: so many jobs in one call, 0 for a call with one. Job, claim and payload are those
    of the first; of the second they are `j1.2`, `claim1.2`, and so on: see `part`."""


def part(name: str, number: int) -> str:
    """Return the name of a job, claim or payload in a call with many: the first has the plain one."""
    return name if number == 1 or not name else f"{name}.{number}"


def parts(name: str | None, many: int) -> tuple[str, ...]:
    """Return all names that a step stands for."""
    return () if name is None else tuple(part(name, number) for number in range(1, max(many, 1) + 1))


def jobs_of(step: Step) -> list[tuple[str, bytes]]:
    """Return the jobs that a step enqueues, with their payloads."""
    payloads = (part(step.payload, number).encode() for number in range(1, max(step.many, 1) + 1))
    return list(zip(parts(step.job, step.many), payloads, strict=False))


def one_by_one(step: Step) -> tuple[Step, ...]:
    """Return the steps that do the same, with one job a call: for a queue that takes no more."""
    if not step.many or step.do not in MANY:
        return (step,)
    return tuple(
        msgspec.structs.replace(
            step,
            job=None if step.job is None else part(step.job, number),
            claim=None if step.claim is None else part(step.claim, number),
            payload=part(step.payload, number),
            many=0,
        )
        for number in range(1, step.many + 1)
    )


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The policy that a scenario's queues are opened with, without the clock."""

    lease_ttl_seconds: float = 60.0
    max_attempts: int = 3
    backoff_base_seconds: float = 0.0
    backoff_max_seconds: float = 30.0
    max_clock_skew_seconds: float = 0.0

    @property
    def retry(self) -> RetryPolicy:
        """The same as the queue's own type."""
        return RetryPolicy(
            max_attempts=self.max_attempts,
            backoff_base_seconds=self.backoff_base_seconds,
            backoff_max_seconds=self.backoff_max_seconds,
        )


class Faults(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How many faults may strike in a simulated run; where they do is the schedule's choice."""

    kills: int = 0
    """A worker dies inside an operation."""
    errors: int = 0
    """A system call fails: no space, an input/output error, too many open files."""
    pauses: int = 0
    """A worker stands still inside an operation while time goes on."""
    pause_seconds: tuple[float, ...] = ()
    """For how long, at choice."""
    power_losses: int = 0
    """All workers die, and of what was not synced a legal part is undone."""
    disk: Literal["ordered", "posix"] = "ordered"
    """What the file system keeps: see `simulation.surviving`."""


NO_FAULTS = Faults()


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run but for the queue; after the last step, faults stop and the queue is drained."""

    settings: Settings = Settings()
    steps: tuple[Step, ...] = ()
    faults: Faults = NO_FAULTS
    """In a simulation; workers one after the other have only the faults that are steps."""


def in_one_process(scenario: Scenario) -> Scenario:
    """Return the scenario with all its workers as one; what `setup` prepares, it prepares before.

    Such a queue is opened anew only when the process before has ended.
    """
    opened_anew = {StepKind.OPEN: StepKind.CRASH, StepKind.FORK: StepKind.CRASH}
    steps = (
        step
        if step.worker == SETUP_WORKER
        else msgspec.structs.replace(step, worker=ONLY_WORKER, do=opened_anew.get(step.do, step.do))
        for step in scenario.steps
    )
    return msgspec.structs.replace(scenario, steps=tuple(steps))
