"""What happens when a scenario's steps are done to a real queue, one after the other, in virtual time?

One step is one whole operation, so this way of making histories sees no race and no crash inside an
operation; simulation and stress do. After the steps the faults end and a fresh worker drains the queue. A
queue that reads the system's own clock does its steps in simulated processes, one at a time (`Host`).
"""

import os
import random
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, TypeVar, assert_never

import msgspec

from ssq_core.queue import Clock
from ssq_verify.batches import call_with_many
from ssq_verify.history import EventType, Header, History, Terms
from ssq_verify.live import LiveJobs
from ssq_verify.opening import opened, policy
from ssq_verify.recording import CanonicalRecorder, RecordingQueue
from ssq_verify.scenario import MANY, ONLY_WORKER, Scenario, Settings, Step, StepKind, one_by_one
from ssq_verify.simulation.host import Host, NeverReturned
from ssq_verify.simulation.point import NotSimulatable
from ssq_verify.subject import Subject, SubjectFailed, terms

T = TypeVar("T")

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
"""What a right clock shows when the virtual time is 0."""

TICK_NS = 1_000
"""Each event is this much later than the one before: times are distinct, and clocks show microseconds."""

DRAIN_WORKER = "drain"
SERVER = "server"
"""Whose clock is always right."""
DRAIN_POLLS_MAX = 200
EMPTY_POLLS_AT_END = 3
"""The first after the last job, and two more, each after all leases and back-offs have had their time."""


def execute(scenario: Scenario, subject: Subject, workdir: Path, *, run: int = 0) -> History:
    """Do the scenario's steps to the subject's queue in `workdir`, a folder of its own, and drain it.

    The same scenario gives the same history, byte for byte, on a subject that is itself deterministic but
    for what it draws from `os.urandom`, which is given. Raises `SubjectFailed` if no queue can be opened.
    """
    execution = Execution(subject, scenario.settings, workdir, run=run)
    try:
        for step in scenario.steps:
            execution.perform(step)
        return execution.finish()
    finally:
        execution.close()


@contextmanager
def scratch() -> Iterator[Path]:
    """Give a new folder, in memory where the host has such a place, and remove it afterwards."""
    memory = Path("/dev/shm")  # noqa: S108 - a new private folder is made inside
    with tempfile.TemporaryDirectory(prefix="ssq-", dir=memory if memory.is_dir() else None) as folder:
        yield Path(folder)


class Here:
    """The present process, as the host of a queue that takes its time from `policy.clock`."""

    def __init__(self) -> None:
        self.now_ns = 0
        self._offsets: dict[str, float] = {}
        self._chance = Random(0)  # noqa: S311 - to have the same again

    def tick(self) -> int:
        """Let one event's time pass and return the instant."""
        self.now_ns += TICK_NS
        return self.now_ns

    def advance(self, nanoseconds: int) -> None:
        """Let time pass for all."""
        self.now_ns += nanoseconds

    def clock(self, name: str) -> Clock:
        """Return a worker's own clock."""
        return lambda: (
            EPOCH + timedelta(microseconds=self.now_ns // TICK_NS, seconds=self._offsets.get(name, 0.0))
        )

    def set_offsets(self, offsets: dict[str, float]) -> None:
        """Say how far each worker's clock is from the true time, in seconds; those not named are right."""
        self._offsets = dict(offsets)

    def perform(self, _name: str, operation: Callable[[], T]) -> T:
        """Do it; what it draws at random, such as claim ids, is the same in each run.

        A queue that sorts by such ids would else do otherwise when a run that broke something is repeated.
        """
        real, real_of_random = os.urandom, vars(random)["_urandom"]
        os.urandom = vars(random)["_urandom"] = self._chance.randbytes
        try:
            return operation()
        finally:
            os.urandom, vars(random)["_urandom"] = real, real_of_random

    def end(self, name: str) -> None:
        """Do nothing: what a dead worker held goes with its handle."""

    def close(self) -> None:
        """Do nothing."""


class Execution:
    """A run in progress: the virtual clock, a handle for each living worker, and the claims made so far."""

    def __init__(self, subject: Subject, settings: Settings, workdir: Path, *, run: int = 0) -> None:
        workdir.mkdir(parents=True, exist_ok=True)
        self._host = Host(str(workdir)) if subject.asks_system else Here()
        self._subject = subject
        self._settings = settings
        self._workdir = workdir
        self._recorder = CanonicalRecorder(true_time_ns=self._host.tick, workdir=str(workdir), run=run)
        self._offsets: dict[str, float] = {}
        self._offset_max = 0.0
        self._handles: dict[str, RecordingQueue] = {}
        self._claims: dict[str, Any] = {}
        self._live = LiveJobs()
        self._terms: Terms | None = None

    @property
    def now_ns(self) -> int:
        """The true virtual time."""
        return self._host.now_ns

    @property
    def terms(self) -> Terms:
        """What the queue is held to, known as soon as a handle was opened."""
        assert self._terms is not None, "open a handle first"
        return self._terms

    @property
    def events(self) -> list[Any]:
        """The events so far."""
        return self._recorder.events

    def offset(self, worker: str) -> float:
        """Return how far a worker's clock is from the true time, in seconds."""
        return self._offsets.get(worker, 0.0)

    def perform(self, step: Step) -> None:
        """Do one step; one that can not apply (no such claim, no such operation) does nothing."""
        if self._is_of_one_process:
            step = msgspec.structs.replace(step, worker=ONLY_WORKER)
        if not step.many or step.do not in MANY:
            self._do(step)
            return
        self.open(step.worker)
        if self.terms.batches:
            self._do_many(step)
            return
        for each in one_by_one(step):
            self._do(each)

    def _do(self, step: Step) -> None:
        match step.do:
            case StepKind.ADVANCE:
                self._advance(step.seconds)
            case StepKind.CLOCK:
                self._set_clock(step.worker, step.seconds)
            case StepKind.OPEN | StepKind.FORK:
                self._drop(step.worker)
                self.open(step.worker)
            case StepKind.CRASH:
                self._crash(step.worker)
            case StepKind.ENQUEUE | StepKind.REQUEUE:
                self._enqueue(step)
            case StepKind.CLAIM:
                claim = self._ask(step.worker, "claim", worker_id=step.worker)
                if claim is not None and step.claim is not None:
                    self._claims[step.claim] = claim
                    self._live.claimed(step.claim, claim.job_id)
            case StepKind.ACK | StepKind.RELEASE | StepKind.EXTEND:
                self._use_claim(step)
            case _:
                assert_never(step.do)

    def _do_many(self, step: Step) -> None:
        def ask(operation: str, *args: Any, **kwargs: Any) -> Any:
            return self._ask(step.worker, operation, *args, **kwargs)

        call_with_many(step, ask, claims=self._claims, live=self._live, terms=self.terms, events=self.events)

    def open(self, worker: str) -> RecordingQueue:
        """Return the worker's handle, opened on first use and again after a crash. Raises `SubjectFailed`."""
        if worker not in self._handles:
            clock = self._host.clock(worker)
            queue = self._host.perform(worker, lambda: self._opened(worker, clock))
            self._handles[worker] = RecordingQueue(queue, self._recorder, worker, clock=clock)
            self._recorder.record(worker, EventType.INFO, "open", clock=clock)
        return self._handles[worker]

    def finish(self) -> History:
        """Let all faults end, drain the queue, close the handles, and return the history."""
        self._offsets.clear()
        self._host.set_offsets({})
        self._recorder.record(DRAIN_WORKER, EventType.INFO, "heal")
        if self._is_of_one_process:
            self._crash(ONLY_WORKER)
        queue = self.open(DRAIN_WORKER)
        limit = self._drain()
        try:
            dead = self._host.perform(DRAIN_WORKER, queue.inner.dead) if self.terms.dead_letters else []
            there = (
                self._host.perform(DRAIN_WORKER, lambda: list(queue.inner.job_ids()))
                if self.terms.lists_jobs
                else []
            )
        except NotSimulatable:
            raise
        except Exception as error:  # noqa: BLE001 - anybody's code
            dead, there, limit = [], [], f"listing its jobs raised {self._recorder.error_text(error)}"
        self._record_end(limit)
        for job in dead:
            attempts = getattr(job, "attempts", None)
            self._recorder.record(DRAIN_WORKER, EventType.INFO, "dead", job_id=job.job_id, attempt=attempts)
        for job_id in there:
            self._recorder.record(DRAIN_WORKER, EventType.INFO, "present", job_id=job_id)
        self._close()
        header = Header(subject=self._subject.reference, terms=self.terms)
        return History(header=header, events=tuple(self._recorder.events))

    def close(self) -> None:
        """End what still runs, of a run that was broken off, too."""
        self._host.close()

    @property
    def _is_of_one_process(self) -> bool:
        return self._subject.promises.processes == "one"

    def _advance(self, seconds: float) -> None:
        self._host.advance(max(0, round(seconds * 1e6)) * TICK_NS)

    def _opened(self, worker: str, clock: Clock) -> Any:
        asked = policy(self._settings, clock=clock, server_time=self._host.clock(SERVER))
        queue = opened(self._subject, self._workdir, asked, name=worker)
        self._terms = self._terms or terms(self._subject.promises, asked, queue)
        return queue

    def _set_clock(self, worker: str, seconds: float) -> None:
        self._offsets[worker] = seconds
        self._host.set_offsets(self._offsets)
        self._offset_max = max(self._offset_max, abs(seconds))
        clock = self._host.clock(worker)
        self._recorder.record(worker, EventType.INFO, "clock", clock=clock, value=repr(seconds))

    def _crash(self, worker: str) -> None:
        # The handle is dropped, not closed: a dead process releases nothing by itself, and the host takes
        # back its open files, as Python does here.
        if self._drop(worker):
            self._recorder.record(worker, EventType.INFO, "crash")

    def _drop(self, worker: str) -> bool:
        self._host.end(worker)
        with _unclosed_allowed():
            return self._handles.pop(worker, None) is not None

    def _enqueue(self, step: Step) -> None:
        queue = self.open(step.worker)
        if step.job is None:
            return
        if step.do is StepKind.REQUEUE:
            if callable(getattr(queue.inner, "requeue_dead", None)):
                self._ask(step.worker, "requeue_dead", step.job)
        elif self.terms.idempotent_enqueue or step.job not in self._live:
            self._live.enqueued(step.job)
            self._ask(step.worker, "enqueue", step.job, payload=step.payload.encode())

    def _use_claim(self, step: Step) -> None:
        claim = self._claims.get(step.claim or "")
        if claim is None or (step.do is StepKind.EXTEND and not self.terms.extend):
            return
        answer = self._ask(step.worker, step.do.value, claim=claim)
        if step.do is StepKind.EXTEND and answer is not None:
            assert step.claim is not None
            self._claims[step.claim] = answer
        elif step.do is StepKind.ACK and self.events[-1].type is EventType.OK:
            self._live.acked(step.claim or "", claim.job_id)

    def _ask(self, worker: str, operation: str, *args: Any, **kwargs: Any) -> Any:
        queue = self.open(worker)
        # What the subject raises is in the history by now; whether it was right to is for the judge.
        try:
            return self._host.perform(worker, lambda: getattr(queue, operation)(*args, **kwargs))
        except (SubjectFailed, NotSimulatable):
            raise
        except NeverReturned:
            self._crash(worker)
            return None
        except Exception:  # noqa: BLE001 - anybody's code
            return None

    def _drain(self) -> str | None:
        # A worker whose clock was ahead may have left a lease or a rest that ends as much later.
        longest = max(self._settings.lease_ttl_seconds, self._settings.backoff_max_seconds)
        patience = longest + 2 * self._settings.max_clock_skew_seconds + self._offset_max + 1.0
        empty = 0
        for _ in range(DRAIN_POLLS_MAX):
            claim = self._ask(DRAIN_WORKER, "claim", worker_id=DRAIN_WORKER)
            if claim is not None:
                self._ask(DRAIN_WORKER, "ack", claim=claim)
                empty = 0
                continue
            empty = empty + 1 if self.events[-1].type is EventType.OK else 0
            if empty == EMPTY_POLLS_AT_END:
                return None
            self._advance(patience)
        return f"{DRAIN_POLLS_MAX} polls"

    def _record_end(self, limit: str | None) -> None:
        self._recorder.record(
            DRAIN_WORKER, EventType.INFO, "drained" if limit is None else "drain-cut", value=limit
        )

    def _close(self) -> None:
        for worker, handle in self._handles.items():
            close = getattr(handle.inner, "close", None)
            if callable(close):
                self._host.perform(worker, close)
        with _unclosed_allowed():
            self._handles.clear()


@contextmanager
def _unclosed_allowed() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield
