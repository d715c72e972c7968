"""Which worker moves next, and what befalls it? The scheduler of a simulated world.

Each worker is a greenlet that runs ordinary, unmodified code. Before anything that another worker or a
crash could observe, it stops at a `Point`, and the world chooses: it goes on, another one runs, time passes,
it dies, its call fails. A kill is a greenlet that is never resumed: no `finally`, no buffered write.
"""

import errno
import os
from collections.abc import Callable
from enum import StrEnum
from random import Random
from typing import Any, NamedTuple

import greenlet

from ssq_verify.simulation.clock import VirtualTime, WorkerClock
from ssq_verify.simulation.locks import LockTable
from ssq_verify.simulation.point import Killed, Point
from ssq_verify.simulation.tape import Tape

POINTS_MAX = 20_000
"""A run that passes more points than this does not end by itself."""

ERRORS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "EMFILE": errno.EMFILE}


class State(StrEnum):
    """Whether a worker could move."""

    READY = "ready"
    WAITING = "waiting"
    DONE = "done"
    DEAD = "dead"


class Wait(NamedTuple):
    """What a worker waits for: something to become free, an instant, or whichever comes first."""

    free: Callable[[], bool]
    until_ns: int | None


class Budget(NamedTuple):
    """How many faults may still strike in a run."""

    kills: int = 0
    errors: int = 0


NO_FAULTS = Budget()


class Worker(greenlet.greenlet):
    """A simulated process: a program, a clock, a pid, its open files and its locks."""

    def __init__(self, world: "World", name: str, number: int, program: Callable[["Worker"], None]) -> None:
        super().__init__(self._main, world.hub)
        self.world = world
        self.name = name
        self.pid = 1000 + number
        self.clock = WorkerClock(world.time)
        self.random = Random(f"{world.seed}/{name}")  # noqa: S311 - from the seed, so that a run repeats
        self.state = State.READY
        self.wait_for: Wait | None = None
        self.point: Point | None = None
        self.inside = 0
        """How deep in a real call: what that call does itself is no point of its own."""
        self.files: dict[int, tuple[int, str]] = {}
        """Its open files within the working folder: descriptor -> inode and path."""
        self.connections: list[Any] = []
        """Its SQLite connections; a dead process's transaction is rolled back."""
        self.failure: Exception | None = None
        self._program = program

    def _main(self, _first: OSError | None) -> None:
        try:
            self._program(self)
        except Killed:
            return
        except Exception as error:  # noqa: BLE001 - whoever made the world tells whose failure it is
            self.failure = error
        self.state = State.DONE

    def reach(self, point: Point) -> None:
        """Stop at a point until it is this worker's turn. Raises the OSError that the world injects."""
        self.point = point
        try:
            self._yield()
        finally:
            self.point = None

    def wait(self, free: Callable[[], bool], until_ns: int | None = None) -> bool:
        """Be not runnable until `free()` or the instant, whichever comes first; return whether it is free."""
        self.wait_for = Wait(free, until_ns)
        self.state = State.WAITING
        self._yield()
        self.wait_for = None
        return free()

    def sleep(self, seconds: float) -> None:
        """Do nothing until that much virtual time has passed."""
        self.wait(lambda: False, self.world.time.now_ns + max(0, round(seconds * 1e9)))

    def _yield(self) -> None:
        self.check_alive()
        assert self.parent is not None
        error = self.parent.switch()
        self.check_alive()
        if error is not None:
            raise error

    def check_alive(self) -> None:
        """Raise `Killed` in a dead worker whose frames are being torn down: nothing of it may run again."""
        if self.state is State.DEAD:
            raise Killed

    def die(self) -> None:
        """End this process where it stands."""
        self.state, self.wait_for = State.DEAD, None
        self.leave()

    def leave(self) -> None:
        """Close the files of a process that has ended, and free its locks, as the kernel does."""
        self.world.locks.died(self)
        for fd in list(self.files):
            os.close(fd)
        self.files.clear()
        for connection in self.connections:
            connection.close()
        self.connections.clear()

    def opened(self, fd: int, path: str) -> None:
        """Note an open file."""
        self.files[fd] = os.fstat(fd).st_ino, path

    def closed(self, fd: int) -> None:
        """Note that a file is closed: the kernel frees its locks."""
        inode, _ = self.files.pop(fd)
        self.world.locks.closed(self, fd, inode)


class World:
    """Workers, one true clock, and the tape that chooses; made in the greenlet that is the scheduler."""

    def __init__(self, tape: Tape, root: str, *, seed: int = 0) -> None:
        self.tape = tape
        self.seed = seed
        self.time = VirtualTime()
        self.hub = greenlet.getcurrent()
        self.workers: list[Worker] = []
        self.budget = NO_FAULTS
        self.trace: list[tuple[str, Point]] = []
        self.deadlocked: tuple[Worker, ...] = ()
        self.locks = LockTable()
        self.root = root
        self.on_fault: Callable[[str, Worker], None] = lambda _fault, _worker: None
        self._last: Worker | None = None
        self._inodes: dict[int, int] = {}

    def within(self, path: Any) -> str | None:
        """Return a path relative to the working folder, None if it leads elsewhere."""
        if isinstance(path, int):
            return None
        text = os.fsdecode(path)
        if not text.startswith("/"):
            text = os.path.abspath(text)  # noqa: PTH100 - links are not followed
        return text[len(self.root) + 1 :] if text.startswith(self.root + "/") else None

    def name_of(self, inode: int) -> str:
        """Return what a file is called in footprints: the same in each run that does the same."""
        return f"file:{self._inodes.setdefault(inode, len(self._inodes) + 1)}"

    def in_some_order(self, names: list[Any], key: Callable[[Any], Any] | None = None) -> list[Any]:
        """Return a listing in an order that the tape chooses: any is legal."""
        ordered = sorted(names, key=key)
        if self.tape.choose("order", ("sorted", "reversed")):
            ordered.reverse()
        return ordered

    def add(self, name: str, program: Callable[[Worker], None]) -> Worker:
        """Add a worker that has not begun."""
        worker = Worker(self, name, len(self.workers), program)
        self.workers.append(worker)
        return worker

    def run(self) -> None:
        """Let the workers run until each is done, dead or in a deadlock."""
        while ready := self._ready():
            self._move(ready)
        self.deadlocked = tuple(worker for worker in self.workers if worker.state is State.WAITING)

    def close(self) -> None:
        """Tear down who never came to an end, so that no frozen frame keeps a lock of the real process."""
        for worker in self.workers:
            if worker:
                worker.state = State.DEAD
                worker.leave()
                worker.throw(Killed)

    def _ready(self) -> list[Worker]:
        """Return who could move, the running worker first; time passes if all of them sleep."""
        ready = self._awake()
        if not ready and (wake_ns := self._next_wake()) is not None:
            self.time.move_to(wake_ns)
            ready = self._awake()
        if self._last in ready:
            ready.remove(self._last)
            ready.insert(0, self._last)
        return ready

    def _awake(self) -> list[Worker]:
        return [worker for worker in self.workers if self._is_awake(worker)]

    def _is_awake(self, worker: Worker) -> bool:
        if worker.state is not State.WAITING or worker.wait_for is None:
            return worker.state is State.READY
        free, until_ns = worker.wait_for
        return free() or (until_ns is not None and until_ns <= self.time.now_ns)

    def _next_wake(self) -> int | None:
        wakes = (worker.wait_for.until_ns for worker in self.workers if worker.wait_for is not None)
        return min((wake for wake in wakes if wake is not None and wake > self.time.now_ns), default=None)

    def _move(self, ready: list[Worker]) -> None:
        options = [f"run {worker.name}" for worker in ready]
        if self._next_wake() is not None:
            options.append("let time pass")
        options += self._faults(ready[0])
        answer = self.tape.choose("next", options)
        if answer < len(ready):
            self._resume(ready[answer], None)
        elif options[answer] == "let time pass":
            self.time.move_to(self._next_wake() or 0)
        else:
            self._strike(options[answer], ready[0])

    def _faults(self, worker: Worker) -> list[str]:
        """Return what could strike the running worker at its point."""
        if worker is not self._last or worker.point is None:
            return []
        faults = ["kill"] * (self.budget.kills > 0)
        if self.budget.errors > 0 and worker.point.may_fail:
            faults += ERRORS
        return faults

    def _strike(self, fault: str, worker: Worker) -> None:
        self.on_fault(fault, worker)
        if fault == "kill":
            self.budget = self.budget._replace(kills=self.budget.kills - 1)
            worker.die()
        else:
            self.budget = self.budget._replace(errors=self.budget.errors - 1)
            self._resume(worker, OSError(ERRORS[fault], os.strerror(ERRORS[fault])))

    def _resume(self, worker: Worker, error: OSError | None) -> None:
        if worker.point is not None:
            self.trace.append((worker.name, worker.point))
            if len(self.trace) > POINTS_MAX:
                raise RuntimeError(f"{worker.name} passed {POINTS_MAX} points; its program does not end")
        self._last = worker
        worker.state = State.READY
        worker.switch(error)
        if worker.state is State.DONE:
            worker.leave()


def current() -> Worker | None:
    """Return the worker whose code is running, None outside of any."""
    running = greenlet.getcurrent()
    return running if isinstance(running, Worker) else None
