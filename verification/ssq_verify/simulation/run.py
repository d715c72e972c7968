"""What happens when workers do a scenario's steps at the same time? One simulated run, tape to history.

First `setup` prepares the queue alone; then all other workers do their own steps concurrently, as the tape
lets them; then the faults end, and a fresh worker drains the queue (safety phase, then liveness).
"""

from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from ssq_verify.execution import DRAIN_WORKER
from ssq_verify.history import EventType, Header, History, Terms
from ssq_verify.recording import CanonicalRecorder, RecordingQueue
from ssq_verify.scenario import Scenario, Step, StepKind
from ssq_verify.simulation import interposition
from ssq_verify.simulation.point import NotSimulatable, Point
from ssq_verify.simulation.tape import Strategy, Tape
from ssq_verify.simulation.world import NO_FAULTS, Budget, Worker, World
from ssq_verify.subject import Policy, Subject, SubjectFailed, terms

SETUP_WORKER = "setup"
EMPTY_POLLS_AT_END = 2
DRAIN_POLLS_MAX = 50


class Simulated(msgspec.Struct, frozen=True, kw_only=True):
    """What one run gave."""

    history: History
    tape: tuple[int, ...]
    trace: tuple[tuple[str, Point], ...]
    faults: tuple[tuple[str, str, str, str], ...]
    """Fault, worker, the operation that it was in, the point it stood at."""


def simulate(
    scenario: Scenario,
    subject: Subject,
    strategy: Strategy,
    workdir: Path,
    *,
    budget: Budget = NO_FAULTS,
    run: int = 0,
) -> Simulated:
    """Run the scenario on the subject's unmodified code. Raises `SubjectFailed`, `NotSimulatable`."""
    interposition.install()
    return _Simulation(scenario, subject, strategy, workdir, budget, run).run()


class _Simulation:
    def __init__(  # noqa: PLR0917 - what `simulate` was given
        self,
        scenario: Scenario,
        subject: Subject,
        strategy: Strategy,
        workdir: Path,
        budget: Budget,
        run: int,
    ) -> None:
        self._scenario = scenario
        self._subject = subject
        self._workdir = workdir
        self._budget = budget
        self._tape = Tape(strategy)
        self._world = World(self._tape, str(workdir))
        self._world.on_fault = self._struck
        self._recorder = CanonicalRecorder(true_time_ns=self._world.time.tick, workdir=str(workdir), run=run)
        self._claims: dict[str, Any] = {}
        self._handles: dict[str, RecordingQueue] = {}
        self._acting: dict[str, str] = {}
        self._faults: list[tuple[str, str, str, str]] = []
        self._terms: Terms | None = None

    def run(self) -> Simulated:
        try:
            return self._run()
        finally:
            self._world.close()

    def _run(self) -> Simulated:
        self._phase([SETUP_WORKER], NO_FAULTS)
        workers = list(
            dict.fromkeys(step.worker for step in self._scenario.steps if step.worker != SETUP_WORKER)
        )
        self._phase(workers, self._budget)
        self._world.budget = NO_FAULTS
        self._drain()
        header = Header(subject=self._subject.reference, terms=self._terms or Terms())
        return Simulated(
            history=History(header=header, events=tuple(self._recorder.events)),
            tape=tuple(self._tape.cells),
            trace=tuple(self._world.trace),
            faults=tuple(self._faults),
        )

    def _phase(self, workers: list[str], budget: Budget) -> None:
        for name in workers:
            steps = [step for step in self._scenario.steps if step.worker == name]
            self._world.add(name, partial(self._work, steps))
        self._world.budget = budget
        self._run_world()

    def _run_world(self) -> None:
        self._world.run()
        for worker in self._world.workers:
            if worker.failure is not None:
                raise worker.failure

    def _work(self, steps: list[Step], worker: Worker) -> None:
        try:
            queue = self._opened(worker)
        except SubjectFailed:
            # A process that could not start because of what struck it is one of the world's, no bad subject.
            if any(struck == worker.name for _, struck, _, _ in self._faults):
                return
            raise
        for step in steps:
            self._perform(worker, queue, step)

    def _perform(self, worker: Worker, queue: RecordingQueue, step: Step) -> None:
        if step.do is StepKind.ADVANCE:
            worker.sleep(step.seconds)
        elif step.do is StepKind.CLOCK:
            worker.clock.offset_seconds = step.seconds
            self._recorder.record(
                worker.name, EventType.INFO, "clock", clock=worker.clock, value=repr(step.seconds)
            )
        elif step.do is StepKind.ENQUEUE:
            self._ask(worker, queue, "enqueue", step.job, payload=step.payload.encode())
        elif step.do is StepKind.CLAIM:
            claim = self._ask(worker, queue, "claim", worker_id=worker.name)
            if claim is not None and step.claim is not None:
                self._claims[step.claim] = claim
        elif (claim := self._claims.get(step.claim or "")) is not None:
            self._ask(worker, queue, step.do.value, claim=claim)

    def _ask(self, worker: Worker, queue: RecordingQueue, operation: str, *args: Any, **kwargs: Any) -> Any:
        self._acting[worker.name] = operation
        try:
            return getattr(queue, operation)(*args, **kwargs)
        except (SubjectFailed, NotSimulatable):
            raise
        except Exception:  # noqa: BLE001 - anybody's code; what it raised is in the history
            return None
        finally:
            self._acting.pop(worker.name, None)

    def _opened(self, worker: Worker) -> RecordingQueue:
        settings = self._scenario.settings
        policy = Policy(
            lease_ttl_seconds=settings.lease_ttl_seconds,
            retry=settings.retry,
            max_clock_skew_seconds=settings.max_clock_skew_seconds,
            clock=worker.clock,
        )
        try:
            queue = self._subject.factory(self._workdir, policy)
        except NotSimulatable:
            raise
        except Exception as error:
            raise SubjectFailed(
                f"{self._subject.reference}: opening it raised {type(error).__name__}: {error}"
            ) from error
        self._terms = self._terms or terms(self._subject.promises, policy, queue)
        self._recorder.record(worker.name, EventType.INFO, "open", clock=worker.clock)
        return RecordingQueue(queue, self._recorder, worker.name, clock=worker.clock)

    def _struck(self, fault: str, worker: Worker) -> None:
        point = worker.point
        assert point is not None
        self._faults.append(
            (fault, worker.name, self._acting.get(worker.name, ""), f"{point.call} {point.detail}")
        )
        if fault == "kill":
            self._recorder.record(worker.name, EventType.INFO, "crash", value=f"{point.call} {point.detail}")
        else:
            self._recorder.record(worker.name, EventType.INFO, "io-error", value=fault)

    def _drain(self) -> None:
        self._recorder.record(DRAIN_WORKER, EventType.INFO, "heal")
        self._world.add(DRAIN_WORKER, self._drain_all)
        self._run_world()

    def _drain_all(self, worker: Worker) -> None:
        settings = self._scenario.settings
        patience = (
            max(settings.lease_ttl_seconds, settings.backoff_max_seconds)
            + 2 * settings.max_clock_skew_seconds
            + 1
        )
        queue = self._opened(worker)
        empty = 0
        for _ in range(DRAIN_POLLS_MAX):
            claim = self._ask(worker, queue, "claim", worker_id=worker.name)
            if claim is not None:
                self._ask(worker, queue, "ack", claim=claim)
                empty = 0
            elif empty == EMPTY_POLLS_AT_END:
                break
            else:
                empty += 1
                worker.sleep(patience)
        dead = queue.inner.dead() if self._terms is not None and self._terms.dead_letters else []
        for job in dead:
            self._recorder.record(
                worker.name, EventType.INFO, "dead", job_id=job.job_id, attempt=job.attempts
            )
        f, value = (
            ("drained", None) if empty == EMPTY_POLLS_AT_END else ("drain-cut", f"{DRAIN_POLLS_MAX} polls")
        )
        self._recorder.record(worker.name, EventType.INFO, f, value=value)
