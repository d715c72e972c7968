"""What does one simulated worker do? It opens the queue and performs its steps as a process would."""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Never

import msgspec

from ssq_verify.batches import call_with_many
from ssq_verify.history import INHERITED, EventType, Terms
from ssq_verify.live import LiveJobs
from ssq_verify.opening import opened, policy
from ssq_verify.recording import CanonicalRecorder, RecordingQueue
from ssq_verify.scenario import MANY, Settings, Step, StepKind, one_by_one
from ssq_verify.simulation.point import CALL, RETURN, Killed, NotSimulatable, Point
from ssq_verify.simulation.world import State, Worker, World
from ssq_verify.subject import Subject, SubjectFailed, terms

EMPTY_POLLS_AT_END = 3
"""The first after the last job, and two more, each after all leases and back-offs have had their time."""
ZONES_APART_SECONDS = 26 * 3_600.0
"""How much two local times may differ at one instant."""
DRAIN_POLLS_MAX = 60

Steps = tuple[tuple[int, Step], ...]
"""Each with its place in the scenario."""


class Parent(NamedTuple):
    """Who prepared the queue, as its children come by it in a fork."""

    queue: RecordingQueue
    worker: Worker
    keeps_files: bool
    """Whether its handle has files or connections open, which both sides of a fork would share."""


@dataclass(kw_only=True, slots=True)
class Shared:
    """What the workers of one run have in common."""

    world: World
    subject: Subject
    settings: Settings
    workdir: Path
    recorder: CanonicalRecorder
    has_struck: Callable[[str], bool]
    """Whether a fault befell this worker."""
    is_concurrent: bool = False
    terms: Terms | None = None
    parent: Parent | None = None
    acting: dict[str, str] = field(default_factory=dict)
    """The operation that each worker is in."""
    claims: dict[str, Any] = field(default_factory=dict)
    """By the names that the scenario gives them."""
    live: LiveJobs = field(default_factory=LiveJobs)
    offset_max: float = 0.0
    """How wrong a clock ever was, in seconds, a clock that shows local time included."""


class Process:
    """One worker's life, to its end or to its death between two operations."""

    def __init__(self, shared: Shared, name: str, steps: Steps = ()) -> None:
        self._shared = shared
        self._name = name
        self._steps = steps
        self._queue: RecordingQueue | None = None

    def prepare(self, worker: Worker) -> None:
        """Do the steps alone, before the others begin."""
        self._perform_all(worker)
        if self._queue is not None:
            self._shared.parent = Parent(self._queue, worker, bool(worker.files or worker.connections))

    def work(self, worker: Worker) -> None:
        """Open the queue before the others begin, unless the first step is to open it among them."""
        if self._steps[0][1].do not in {StepKind.OPEN, StepKind.FORK}:
            self._open(worker)
        worker.wait(lambda: self._shared.is_concurrent)
        self._perform_all(worker)

    def restart(self, worker: Worker) -> None:
        """Go on as a new process on the same host."""
        self._perform_all(worker)

    def drain(self, worker: Worker) -> None:
        """Handle all there is until nothing comes any more."""
        if not self._open(worker):
            return
        limit = self._emptied(worker)
        try:
            dead = self._opened.inner.dead() if self._terms.dead_letters else []
            there = list(self._opened.inner.job_ids()) if self._terms.lists_jobs else []
        except Exception as error:  # noqa: BLE001 - anybody's code
            told = self._shared.recorder.error_text(error)
            dead, there, limit = [], [], f"listing its jobs raised {told}"
        self._record(worker, "drained" if limit is None else "drain-cut", value=limit)
        for job in dead:
            attempts = getattr(job, "attempts", None)
            self._record(worker, "dead", job_id=job.job_id, attempt=attempts)
        for job_id in there:
            self._record(worker, "present", job_id=job_id)

    @property
    def _opened(self) -> RecordingQueue:
        assert self._queue is not None
        return self._queue

    @property
    def _terms(self) -> Terms:
        assert self._shared.terms is not None
        return self._shared.terms

    def _perform_all(self, worker: Worker) -> None:
        for number, (place, step) in enumerate(self._steps):
            worker.step = self._shared.world.tape.owner = place
            if step.do is StepKind.CRASH:
                self._crash(worker, self._steps[number + 1 :])
            elif step.do is StepKind.OPEN:
                self._queue = None
                self._open(worker)
            elif step.do is StepKind.FORK:
                self._inherit(worker)
            elif step.do is StepKind.ADVANCE:
                worker.sleep(step.seconds)
            elif step.do is StepKind.CLOCK:
                self._set_clock(worker, step)
            elif self._queue is not None or self._open(worker):
                for each in (step,) if self._terms.batches else one_by_one(step):
                    worker.reach(Point(CALL, each.do))
                    self._operate(worker, each)

    def _crash(self, worker: Worker, rest: Steps) -> Never:
        self._record(worker, "crash")
        worker.die()
        if rest:
            successor = self._shared.world.add(self._name, Process(self._shared, self._name, rest).restart)
            successor.clock = worker.clock
        raise Killed

    def _set_clock(self, worker: Worker, step: Step) -> None:
        worker.clock.offset_seconds, worker.clock.rate = step.seconds, step.rate
        worker.clock.strobe_seconds = step.strobe
        if step.zone != worker.clock.zone:
            self._record(worker, "zone", value=step.zone or "the host's")
        worker.clock.zone = step.zone
        wrong = abs(step.seconds) + abs(step.strobe) + (ZONES_APART_SECONDS if step.zone else 0.0)
        self._shared.offset_max = max(self._shared.offset_max, wrong)
        if step.strobe:
            self._record(worker, "strobe", value=repr(abs(step.strobe)))
        if step.seconds or step.strobe or step.rate != 1.0 or not step.zone:
            # Of one that jumps to and fro, both extremes: they say how far clocks were apart.
            for offset in sorted({step.seconds - step.strobe, step.seconds + step.strobe}):
                self._record(worker, "clock", value=repr(offset))

    def _operate(self, worker: Worker, step: Step) -> None:
        claim = self._shared.claims.get(step.claim or "")
        if step.many and step.do in MANY:
            self._operate_many(worker, step)
        elif step.do is StepKind.ENQUEUE:
            self._enqueue(worker, step)
        elif step.do is StepKind.REQUEUE:
            if callable(getattr(self._opened.inner, "requeue_dead", None)):
                self._ask(worker, "requeue_dead", step.job)
        elif step.do is StepKind.CLAIM:
            claim = self._ask(worker, "claim", worker_id=self._name)
            if claim is not None and step.claim is not None:
                self._shared.claims[step.claim] = claim
                self._shared.live.claimed(step.claim, claim.job_id)
        elif claim is not None and (step.do is not StepKind.EXTEND or self._terms.extend):
            self._use(worker, step, claim)

    def _operate_many(self, worker: Worker, step: Step) -> None:
        def ask(operation: str, *args: Any, **kwargs: Any) -> Any:
            return self._ask(worker, operation, *args, **kwargs)

        shared = self._shared
        call_with_many(
            msgspec.structs.replace(step, worker=self._name),
            ask,
            claims=shared.claims,
            live=shared.live,
            terms=self._terms,
            events=shared.recorder.events,
        )

    def _enqueue(self, worker: Worker, step: Step) -> None:
        assert step.job is not None
        if self._terms.idempotent_enqueue or step.job not in self._shared.live:
            self._shared.live.enqueued(step.job)
            self._ask(worker, "enqueue", step.job, payload=step.payload.encode())

    def _use(self, worker: Worker, step: Step, claim: Any) -> None:
        answer = self._ask(worker, step.do.value, claim=claim)
        if step.do is StepKind.EXTEND and answer is not None and step.claim is not None:
            self._shared.claims[step.claim] = answer
        elif step.do is StepKind.ACK and self._shared.recorder.events[-1].type is EventType.OK:
            self._shared.live.acked(step.claim or "", claim.job_id)

    def _ask(self, worker: Worker, operation: str, *args: Any, **kwargs: Any) -> Any:
        acting = self._shared.acting
        acting[self._name] = operation.removesuffix("_many")
        try:
            return getattr(self._opened, operation)(*args, **kwargs)
        except (SubjectFailed, NotSimulatable):
            raise
        except Exception:  # noqa: BLE001 - anybody's code; what it raised is in the history
            return None
        finally:
            if worker.state is not State.DEAD:
                acting.pop(self._name, None)

    def _open(self, worker: Worker) -> bool:
        """Open the queue; False if that failed because of a fault, which is no fault of the subject's."""
        shared, settings = self._shared, self._shared.settings
        asked = policy(settings, clock=worker.clock)
        try:
            queue = opened(shared.subject, shared.workdir, asked, name=self._name)
        except SubjectFailed:
            if shared.has_struck(self._name):
                return False
            raise
        shared.terms = shared.terms or terms(shared.subject.promises, asked, queue)
        self._record(worker, "open")
        self._queue = self._recording(queue, worker)
        return True

    def _inherit(self, worker: Worker) -> None:
        """Go on with a copy of the parent's handle, as memory is copied by a fork.

        Where it keeps the parent's clock, the copy has the child's. What no copy can be had of is refused: to
        share it would make threads of processes, and to open another handle would try nothing.
        """
        parent = self._shared.parent
        if parent is None:
            self._open(worker)
            return
        reason = "keeps files open" if parent.keeps_files else None
        try:
            queue = copy.deepcopy(parent.queue.inner, {id(parent.worker.clock): worker.clock})
        except Exception as error:  # noqa: BLE001 - anybody's object
            reason = f"can not be copied ({type(error).__name__}: {' '.join(str(error).split())})"
        if reason is not None:
            told = f"its handle {reason}, and only real processes can fork it; leave `forks` out"
            raise SubjectFailed(f"{self._shared.subject.reference}: {told}")
        self._record(worker, "open", value=INHERITED)
        self._queue = self._recording(queue, worker)

    def _recording(self, queue: Any, worker: Worker) -> RecordingQueue:
        return RecordingQueue(
            queue,
            self._shared.recorder,
            self._name,
            clock=worker.clock.shown,
            on_return=lambda operation: worker.reach(Point(RETURN, operation)),
        )

    def _emptied(self, worker: Worker) -> str | None:
        """Claim and ack until polls find nothing, and return None, or the limit that was reached."""
        settings = self._shared.settings
        longest = max(settings.lease_ttl_seconds, settings.backoff_max_seconds)
        patience = longest + 2 * settings.max_clock_skew_seconds + self._shared.offset_max + 1.0
        empty = 0
        for _ in range(DRAIN_POLLS_MAX):
            claim = self._ask(worker, "claim", worker_id=self._name)
            if claim is not None:
                self._ask(worker, "ack", claim=claim)
                empty = 0
                continue
            empty = empty + 1 if self._shared.recorder.events[-1].type is EventType.OK else 0
            if empty == EMPTY_POLLS_AT_END:
                return None
            worker.sleep(patience)
        return f"{DRAIN_POLLS_MAX} polls"

    def _record(self, worker: Worker, f: str, **fields: Any) -> None:
        self._shared.recorder.record(self._name, EventType.INFO, f, clock=worker.clock.shown, **fields)
