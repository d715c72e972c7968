"""How do processes that read the system's own clock run one at a time? Simulated, each alone until it rests.

The sequential way of making histories needs a clock that it can move. A queue that takes its time from
`policy.clock` runs as it is; one that asks the system runs here, where time, file times, pids and random
bytes are the simulator's. No choice is left to a schedule: an operation ends before the next one begins.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Any, TypeVar

from ssq_core.queue import Clock
from ssq_verify.simulation import interposition
from ssq_verify.simulation.tape import Untold
from ssq_verify.simulation.world import Endless, Worker, World

T = TypeVar("T")


class NeverReturned(Exception):  # noqa: N818 - it names what happened
    """An operation that waits for what no other process will ever free, or that goes on for ever."""


class Host:
    """Simulated processes by name, of which one moves at a time, and the time that they share."""

    def __init__(self, root: str) -> None:
        interposition.install()
        self._world = World(Untold(), root)
        self._processes: dict[str, _Process] = {}
        self._offsets: dict[str, float] = {}

    @property
    def now_ns(self) -> int:
        """The true virtual time."""
        return self._world.time.now_ns

    def tick(self) -> int:
        """Let one event's time pass and return the instant."""
        return self._world.time.tick()

    def advance(self, nanoseconds: int) -> None:
        """Let time pass for all."""
        self._world.time.move_to(self.now_ns + nanoseconds)

    def clock(self, name: str) -> Clock:
        """Return a process's own clock."""

        def read() -> datetime:
            return self._process(name).worker.clock()

        return read

    def set_offsets(self, offsets: dict[str, float]) -> None:
        """Say how far each process's clock is from the true time, in seconds; those not named are right."""
        self._offsets = dict(offsets)
        for name, process in self._processes.items():
            process.worker.clock.offset_seconds = offsets.get(name, 0.0)

    def perform(self, name: str, operation: Callable[[], T]) -> T:
        """Let a process do something. Raises what that raises, and `NeverReturned`.

        Raises `NotSimulatable` even if the operation caught that, or made something else of it.
        """
        process = self._process(name)
        process.operation, process.outcome = operation, None
        endless = self._moved()
        if process.worker.failure is not None:
            raise process.worker.failure
        if process.outcome is None:
            self.end(name)
            raise NeverReturned(endless or f"{name} waits for what nobody will free")
        answer, error = process.outcome
        if error is not None:
            raise error
        return answer

    def end(self, name: str) -> None:
        """Let a process die: what it holds is freed as the kernel would."""
        if name in self._processes:
            self._processes.pop(name).worker.die()

    def close(self) -> None:
        """Tear all processes down."""
        self._world.close()
        self._processes.clear()

    def _moved(self) -> str | None:
        """Let whoever has something to do do it; return why that was broken off, if it was."""
        try:
            self._world.run()
        except Endless as limit:
            return str(limit)
        finally:
            self._world.trace.clear()
        return None

    def _process(self, name: str) -> "_Process":
        if name not in self._processes:
            self._processes[name] = _Process(self._world, name)
            self._processes[name].worker.clock.offset_seconds = self._offsets.get(name, 0.0)
        return self._processes[name]


class _Process:
    """Waits for something to do, does it, and waits again."""

    def __init__(self, world: World, name: str) -> None:
        self.operation: Callable[[], Any] | None = None
        self.outcome: tuple[Any, Exception | None] | None = None
        self.worker = world.add(name, self._serve)

    def _serve(self, worker: Worker) -> None:
        while True:
            worker.wait(lambda: self.operation is not None)
            operation, self.operation = self.operation, None
            assert operation is not None
            try:
                self.outcome = operation(), None
            except Exception as error:  # noqa: BLE001 - whoever asked for it gets it
                self.outcome = None, error
