"""What happens when workers do a scenario's steps at the same time? One simulated run, tape to history.

First `setup` prepares the queue alone, and the other workers open it, one after the other; then these do
their steps concurrently, as the tape lets them; then the faults end, and a fresh worker drains the queue
(safety phase, then liveness).
"""

from pathlib import Path
from typing import NamedTuple

import msgspec

from ssq_verify.execution import DRAIN_WORKER
from ssq_verify.history import EventType, Header, History, Terms
from ssq_verify.recording import CanonicalRecorder, plain
from ssq_verify.scenario import NO_FAULTS, SETUP_WORKER, Scenario, in_one_process
from ssq_verify.simulation import interposition
from ssq_verify.simulation.disk import Disk
from ssq_verify.simulation.point import Point
from ssq_verify.simulation.process import Process, Shared
from ssq_verify.simulation.surviving import Model
from ssq_verify.simulation.tape import Deviation, Strategy, Tape, Untold
from ssq_verify.simulation.world import KILL, PAUSE, POWER_LOSS, RESUME, Endless, Passed, State, Worker, World
from ssq_verify.subject import Subject


class Struck(NamedTuple):
    """A fault that struck, and where."""

    fault: str
    worker: str
    operation: str
    """The operation that the worker was in, "" between two."""
    point: Point
    cell: int
    """How many cells the tape had: the last of them chose the fault."""


class Simulated(msgspec.Struct, frozen=True, kw_only=True):
    """What one run gave."""

    history: History
    tape: tuple[int, ...]
    """All choices of the concurrent phase; what comes after the last that is not 0 is left out."""
    owners: tuple[int, ...]
    """For each cell the step of the scenario that was at work, -1 for none."""
    deviations: tuple[Deviation, ...]
    trace: tuple[Passed, ...]
    faults: tuple[Struck, ...]
    deadlocked: tuple[str, ...]
    """Workers that waited for each other when nothing could move."""


def simulate(
    scenario: Scenario, subject: Subject, strategy: Strategy, workdir: Path, *, run: int = 0
) -> Simulated:
    """Run the scenario on unmodified code. Raises `SubjectFailed`, `NotSimulatable`, `Redundant`.

    A strategy with a method `attend(world)` is told of the world before its first choice, to look at it only.
    """
    interposition.install()
    return _Simulation(scenario, subject, strategy, workdir, run).run()


class _Simulation:
    def __init__(
        self, scenario: Scenario, subject: Subject, strategy: Strategy, workdir: Path, run: int
    ) -> None:
        self._is_of_one_process = subject.promises.processes == "one"
        self._scenario = in_one_process(scenario) if self._is_of_one_process else scenario
        self._strategy, self._tape = strategy, Tape(strategy)
        self._world = World(Untold(), str(workdir))
        self._world.on_fault = self._struck
        recorder = CanonicalRecorder(true_time_ns=self._world.time.tick, workdir=str(workdir), run=run)
        self._world.events = recorder.events.__len__
        self._shared = Shared(
            world=self._world,
            subject=subject,
            settings=scenario.settings,
            workdir=workdir,
            recorder=recorder,
            has_struck=lambda worker: any(fault.worker == worker for fault in self._faults),
        )
        self._faults: list[Struck] = []

    def run(self) -> Simulated:
        try:
            return self._run()
        finally:
            self._world.close()
            if self._world.disk is not None:
                self._world.disk.close()

    def _run(self) -> Simulated:
        world, shared = self._world, self._shared
        if self._scenario.faults.power_losses:
            world.power_model = Model(self._scenario.faults.disk)
            world.disk = Disk(shared.workdir)
        self._begin()
        shared.is_concurrent = True
        world.begin_anew()
        world.tape, world.faults = self._tape, self._scenario.faults
        if (attend := getattr(self._strategy, "attend", None)) is not None:
            attend(world)
        try:
            deadlocked = self._run_world()
            self._drain()
        except Endless as limit:
            deadlocked = ()
            shared.recorder.record(DRAIN_WORKER, EventType.INFO, "drain-cut", value=str(limit))
        return self._outcome(deadlocked)

    def _drain(self) -> None:
        """Let a fresh worker empty the queue, undisturbed."""
        world, shared = self._world, self._shared
        world.tape, world.faults = Untold(), NO_FAULTS
        shared.recorder.record(DRAIN_WORKER, EventType.INFO, "heal")
        if self._is_of_one_process:
            # It ends before another opens the queue, and gives nothing back as it ends.
            for worker in world.workers:
                if worker.state is not State.DEAD:
                    shared.recorder.record(worker.name, EventType.INFO, "crash")
        drain = world.add(DRAIN_WORKER, Process(shared, DRAIN_WORKER).drain)
        self._run_world()
        if drain.state is State.WAITING:
            waits = f"{DRAIN_WORKER} waits for a lock that nobody will free"
            shared.recorder.record(DRAIN_WORKER, EventType.INFO, "drain-cut", value=waits)

    def _outcome(self, deadlocked: tuple[str, ...]) -> Simulated:
        shared, tape = self._shared, self._tape
        header = Header(subject=shared.subject.reference, terms=shared.terms or Terms())
        length = tape.deviations[-1].cell + 1 if tape.deviations else 0
        return Simulated(
            history=History(header=header, events=tuple(shared.recorder.events)),
            tape=tuple(tape.cells[:length]),
            owners=tuple(tape.owners[:length]),
            deviations=tuple(tape.deviations),
            trace=tuple(self._world.trace),
            faults=tuple(self._faults),
            deadlocked=deadlocked,
        )

    def _begin(self) -> None:
        """Let `setup` do its steps, then each of the others open the queue, one after the other."""
        numbered = list(enumerate(self._scenario.steps))
        names = {step.worker for _, step in numbered}
        for name in sorted(names, key=lambda name: (name != SETUP_WORKER, name)):
            steps = tuple((place, step) for place, step in numbered if step.worker == name)
            process = Process(self._shared, name, steps)
            self._world.add(name, process.prepare if name == SETUP_WORKER else process.work)
            self._run_world()

    def _run_world(self) -> tuple[str, ...]:
        """Let the workers run until nothing moves; return who waits for what will never come."""
        try:
            self._world.run()
        finally:
            # Before what it led to: who goes on for ever after it was refused a thread is no endless run.
            for worker in self._world.workers:
                if worker.failure is not None:
                    raise worker.failure
        return tuple(worker.name for worker in self._world.deadlocked)

    def _struck(self, fault: str, worker: Worker) -> None:
        point, shared = worker.point, self._shared
        assert point is not None
        if fault == RESUME:
            shared.recorder.record(worker.name, EventType.INFO, "resume")
            return
        operation = shared.acting.get(worker.name, "")
        self._faults.append(Struck(fault, worker.name, operation, point, len(self._tape.cells)))
        at = plain(f"{point.call} {point.detail}")
        if fault in {KILL, POWER_LOSS}:
            f, value = ("crash" if fault == KILL else "power-loss"), at
        elif fault.startswith(PAUSE):
            f, value = "pause", f"{fault.removeprefix(PAUSE)}|{at}"
        else:
            f, value = "io-error", f"{fault}|{at}"
        shared.recorder.record(worker.name, EventType.INFO, f, value=value)
