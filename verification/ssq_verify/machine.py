"""What do workers do to a queue? A Hypothesis state machine that finds out by trying, over any subject.

`machine_for("their_queue.py:open_queue").TestCase` is a test for anybody's pytest. Each example is one
scenario: its rules are steps, done to the real queue in lockstep with the model, by which the generator knows
which moments matter. Hypothesis switches a random part of the rules off for each example (swarm testing:
Groce et al., ISSTA 2012). At the end of an example the queue is drained and the history judged.
"""

import sys
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar, NamedTuple

import msgspec
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from ssq_verify import subject as subject_module
from ssq_verify.execution import TICK_NS, Execution, scratch
from ssq_verify.failing import raise_violated
from ssq_verify.history import OPERATIONS, Event, History, Terms, paired
from ssq_verify.lockstep import Lockstep
from ssq_verify.model import SECOND_NS, Phase
from ssq_verify.scenario import Scenario, Settings, Step, StepKind, parts
from ssq_verify.subject import Subject

SETTINGS = Settings(
    lease_ttl_seconds=60.0,
    max_attempts=3,
    backoff_base_seconds=5.0,
    backoff_max_seconds=30.0,
    max_clock_skew_seconds=2.0,
)

NAMES_MAX = 3
"""Of workers and of jobs: defects of the field show with two or three."""
MANY = (0, 2, 0, 3, 0)
"""How many jobs a call is about, in turn: mostly one."""


class Moment(StrEnum):
    """Instants at which queues go wrong, for the next operation."""

    HALF_LEASE = "half a lease later"
    TWO_LEASES = "two leases later"
    BEFORE_EXPIRY = "just before a lease ends"
    AT_EXPIRY = "as a lease ends"
    AFTER_EXPIRY = "just after a lease ended"
    BEFORE_TAKEOVER = "just before a right clock allows a takeover"
    AT_TAKEOVER = "as the lease has ended for E"
    AFTER_TAKEOVER = "just after a right clock allows a takeover"
    AFTER_BOUND = "when the takeover is due by any clock"
    BEFORE_REST_END = "just before a back-off ends"
    AT_REST_END = "as a back-off ends"
    AFTER_REST_END = "just after a back-off ended"
    AFTER_REST_BOUND = "when a back-off is over by any clock"


MILLISECOND_TICKS = 1_000
"""What no queue is reproached with that keeps its times to the millisecond."""

AROUND_LEASE_END: dict[Moment, tuple[int, int]] = {
    Moment.BEFORE_EXPIRY: (0, -1),
    Moment.AT_EXPIRY: (0, 0),
    Moment.AFTER_EXPIRY: (0, 1),
    Moment.BEFORE_TAKEOVER: (1, -1),
    Moment.AT_TAKEOVER: (1, 0),
    Moment.AFTER_TAKEOVER: (1, 1),
    Moment.AFTER_BOUND: (2, 2 + MILLISECOND_TICKS),
}
"""How many E, and how many ticks, after the end of a lease."""

AROUND_REST_END: dict[Moment, tuple[int, int]] = {
    Moment.BEFORE_REST_END: (1, -1),
    Moment.AT_REST_END: (1, 0),
    Moment.AFTER_REST_END: (1, 1),
    Moment.AFTER_REST_BOUND: (2, 1 + MILLISECOND_TICKS),
}
"""The same for the end of a rest as the model knows it, which is E before a right clock's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Example:
    """One finished run of the machine."""

    scenario: Scenario
    history: History
    tally: Counter[str]


class _Held(NamedTuple):
    """What a claim may have given."""

    worker: str
    claim: str
    many: int
    """How many were asked for in the same call, 0 in one for a single job."""

    @property
    def is_first(self) -> bool:
        """Whether a call with many has its name."""
        return "." not in self.claim


Finish = Callable[[Example], None]


def machine_for(
    subject: Subject | str, *, settings: Settings = SETTINGS, finish: Finish | None = None
) -> "type[QueueMachine]":
    """Return the machine for a subject, or for what a reference names. Raises `UnknownSubject`.

    At the end of each example `finish` is called; the default raises `InvariantViolated`.
    """
    loaded = subject_module.load(subject) if isinstance(subject, str) else subject
    # Hypothesis knows a machine by its name when it keeps and finds failing examples.
    name = "".join(letter if letter.isalnum() else "_" for letter in f"machine_{loaded.reference}")
    members: dict[str, object] = {"subject": loaded, "policy": settings}
    if finish is not None:
        members["hand_over"] = lambda _, example: finish(example)
    return type(name, (QueueMachine,), members)


class QueueMachine(RuleBasedStateMachine):
    """Workers w1 to w3, jobs j1 to j3, all operations, time, clocks and deaths between operations."""

    subject: ClassVar[Subject]
    policy: ClassVar[Settings]
    runs: ClassVar[int] = 0
    """How many examples were begun."""

    def __init__(self) -> None:
        super().__init__()
        type(self).runs += 1
        self._cleanup = ExitStack()
        workdir = self._cleanup.enter_context(scratch())
        self._execution = Execution(self.subject, self.policy, workdir, run=self.runs - 1)
        self._cleanup.callback(self._execution.close)
        self._steps: list[Step] = []
        self._held: list[_Held] = []
        self._seen_events = 0
        self._workers = self._jobs = 1
        self._offsets: tuple[float, ...] = (0.0,)
        self._lockstep: Lockstep | None = None

    @initialize(
        workers=st.integers(1, NAMES_MAX),
        jobs=st.integers(1, NAMES_MAX),
        clocks=st.integers(0, 7),
        backlog=st.integers(0, NAMES_MAX),
        held=st.integers(0, 2),
    )
    def start(self, workers: int, jobs: int, clocks: int, backlog: int, held: int) -> None:
        """Choose how many workers and jobs there are, how wrong clocks may be, what waits and is held."""
        self._workers, self._jobs = workers, jobs
        self._execution.open("w1")
        self._lockstep = Lockstep(self.terms)
        self._offsets = _offset_choices(self.policy, self.terms)[clocks]
        for job in range(min(backlog, jobs)):
            self.enqueue(worker=0, job=job)
        for worker in range(min(held, backlog)):
            self.claim(worker=worker)

    @property
    def terms(self) -> Terms:
        """What the queue is held to."""
        return self._execution.terms

    @property
    def lockstep(self) -> Lockstep:
        """The model beside the queue."""
        assert self._lockstep is not None, "start comes first"
        return self._lockstep

    @rule(worker=st.integers(0, NAMES_MAX - 1), job=st.integers(0, NAMES_MAX - 1))
    def enqueue(self, worker: int, job: int) -> None:
        """Add a job, with a payload that no other enqueue has; or some in one call."""
        many = self._many()
        step = Step(do=StepKind.ENQUEUE, worker=self._worker(worker), job=self._job(job), many=many)
        payload = f"p{len(self._steps)}" if self.terms.payload else ""
        self._perform(msgspec.structs.replace(step, payload=payload))

    @rule(worker=st.integers(0, NAMES_MAX - 1))
    def claim(self, worker: int) -> None:
        """Take a job, if there is one; or some in one call."""
        name, holder, many = f"claim{len(self._held) + 1}", self._worker(worker), self._many()
        self._held += [_Held(holder, each, many) for each in parts(name, many)]
        self._perform(Step(do=StepKind.CLAIM, worker=holder, claim=name, many=many))

    @precondition(lambda self: self._held)
    @rule(age=st.integers(0, 5))
    def ack(self, age: int) -> None:
        """Finish the job of any claim ever made, current or stale; age 0 is the latest.

        By the first of many that were claimed at once all are finished, in one call.
        """
        self._use_claim(StepKind.ACK, age)

    @precondition(lambda self: self._held)
    @rule(age=st.integers(0, 5))
    def release(self, age: int) -> None:
        """Give the job of any claim back."""
        self._use_claim(StepKind.RELEASE, age)

    @precondition(lambda self: self._held and self.terms.extend)
    @rule(age=st.integers(0, 5))
    def extend(self, age: int) -> None:
        """Start the lease of any claim anew."""
        self._use_claim(StepKind.EXTEND, age)

    @precondition(lambda self: self.terms.dead_letters and self.lockstep.dead())
    @rule(worker=st.integers(0, NAMES_MAX - 1))
    def requeue(self, worker: int) -> None:
        """Give a dead job a new incarnation."""
        job = self.lockstep.dead()[0]
        self._perform(Step(do=StepKind.REQUEUE, worker=self._worker(worker), job=job))

    @rule(to=st.sampled_from(list(Moment)), which=st.integers(0, NAMES_MAX - 1))
    def advance(self, to: Moment, which: int) -> None:
        """Let time pass, so that the next operation falls on a moment that matters."""
        seconds = self._seconds_until(to, which)
        if seconds:
            self._perform(Step(do=StepKind.ADVANCE, seconds=seconds))

    @precondition(lambda self: self.lockstep.lease_ends_ns())
    @rule(
        worker=st.integers(0, NAMES_MAX - 1),
        to=st.sampled_from(list(AROUND_LEASE_END)),
        which=st.integers(0, NAMES_MAX - 1),
    )
    def take_over(self, worker: int, to: Moment, which: int) -> None:
        """Poll around the end of a lease: two steps at once, so that stale claims are not rare."""
        self.advance(to=to, which=which)
        self.claim(worker=worker)

    @precondition(lambda self: self.lockstep.lease_ends_ns())
    @rule(worker=st.integers(0, NAMES_MAX - 1), job=st.integers(0, NAMES_MAX - 1))
    def arrive(self, worker: int, job: int) -> None:
        """Add a job when all leases are over by any clock, and poll: whose turn is it?"""
        ends = self.lockstep.lease_ends_ns()
        self.advance(to=Moment.AFTER_BOUND, which=ends.index(max(ends)))
        numbers = [(job + more) % self._jobs for more in range(self._jobs)]
        fresh = [number for number in numbers if self.lockstep.state(self._job(number)).phase is Phase.ABSENT]
        self.enqueue(worker=worker, job=(fresh or numbers)[0])
        self.claim(worker=worker)

    @rule(worker=st.integers(0, NAMES_MAX - 1))
    def fail(self, worker: int) -> None:
        """Claim when back-offs are over, and give back: at once, so that last attempts are not rare."""
        self.advance(to=Moment.AFTER_REST_BOUND, which=0)
        self.claim(worker=worker)
        self._use_claim(StepKind.RELEASE, 0)

    @precondition(lambda self: len(self._offsets) > 1)
    @rule(worker=st.integers(0, NAMES_MAX - 1), offset=st.integers(0, 2))
    def clock(self, worker: int, offset: int) -> None:
        """Set a worker's clock."""
        seconds = self._offsets[offset % len(self._offsets)]
        self._perform(Step(do=StepKind.CLOCK, worker=self._worker(worker), seconds=seconds))

    @rule(worker=st.integers(0, NAMES_MAX - 1))
    def crash(self, worker: int) -> None:
        """Let a worker die between two operations."""
        self._perform(Step(do=StepKind.CRASH, worker=self._worker(worker)))

    def teardown(self) -> None:
        """Drain the queue and hand the example over; not if the example was broken off."""
        with self._cleanup:
            if sys.exc_info()[0] is not None or self._lockstep is None:
                return
            history = self._execution.finish()
            self._observe()
        scenario = Scenario(settings=self.policy, steps=tuple(self._steps))
        self.hand_over(Example(scenario=scenario, history=history, tally=self.lockstep.tally))

    def hand_over(self, example: Example) -> None:
        """Judge a finished example. Raises `InvariantViolated`, its repro written."""
        raise_violated(self.subject, example.scenario, example.history)

    def _perform(self, step: Step) -> None:
        self._steps.append(step)
        self._execution.perform(step)
        self._observe()

    def _use_claim(self, do: StepKind, age: int) -> None:
        held = self._held[-1 - age % len(self._held)]
        many = held.many if do is StepKind.ACK and held.is_first else 0
        self._perform(Step(do=do, worker=held.worker, claim=held.claim, many=many))

    def _many(self) -> int:
        """Return how many jobs the next step is about, where a queue takes many in one call.

        That is not drawn: a seed shall mean the same for queues that take one at a time.
        """
        return MANY[len(self._steps) % len(MANY)] if self.terms.batches else 0

    def _observe(self) -> None:
        if self._lockstep is None:
            return
        fresh = self._execution.events[self._seen_events :]
        self._seen_events += len(fresh)
        for operation in paired(_renumbered([event for event in fresh if event.f in OPERATIONS])):
            self._lockstep.observe(operation)
        for event in fresh:
            if event.f == "crash":
                self._lockstep.tally["crashes"] += 1
            elif event.f == "clock" and event.value != "0.0":
                self._lockstep.tally["wrong clocks"] += 1

    def _seconds_until(self, to: Moment, which: int) -> float:
        """Return how long to wait so that the next operation is called at that moment."""
        ttl = self.policy.lease_ttl_seconds
        if to in {Moment.HALF_LEASE, Moment.TWO_LEASES}:
            return ttl / 2 if to is Moment.HALF_LEASE else 2 * ttl
        around, ends = AROUND_LEASE_END, self.lockstep.lease_ends_ns()
        if to in AROUND_REST_END:
            around, ends = AROUND_REST_END, self.lockstep.rest_ends_ns()
        if not ends:
            return 0.0
        skews, ticks = around[to]
        end_ns = ends[which % len(ends)] + skews * round(self.policy.max_clock_skew_seconds * SECOND_NS)
        wait_ns = end_ns + (ticks - 1) * TICK_NS - self._execution.now_ns
        return max(0, wait_ns) / SECOND_NS

    def _worker(self, number: int) -> str:
        return f"w{number % self._workers + 1}"

    def _job(self, number: int) -> str:
        return f"j{number % self._jobs + 1}"


def _offset_choices(policy: Settings, terms: Terms) -> list[tuple[float, ...]]:
    """Return what clocks may be set to in an example, most of them within E, the last two beyond it."""
    skew, ttl = policy.max_clock_skew_seconds, policy.lease_ttl_seconds
    right = (0.0,)
    within: list[tuple[float, ...]] = [
        right,
        right,
        right,
        (0.0, skew),
        (0.0, -skew),
        (0.0, skew / 2, -skew / 2),
    ]
    beyond: list[tuple[float, ...]] = [(0.0, skew, -skew), (0.0, ttl + skew, -ttl)]
    if terms.max_clock_skew_seconds is None:
        # The server keeps the time: any clock is within.
        return beyond * 4
    return within + beyond


def _renumbered(events: list[Event]) -> list[Event]:
    return [msgspec.structs.replace(event, index=index) for index, event in enumerate(events)]
