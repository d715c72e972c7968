"""Who moves in a simulated world? A worker: a greenlet that runs a program as a process would.

Before anything that another worker or a crash could observe, it stops at a `Point` until its world lets it
go on. Once it is dead nothing of it runs again.
"""

import os
from collections.abc import Callable
from enum import StrEnum
from functools import cached_property
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

import greenlet

from ssq_verify.simulation.clock import WorkerClock
from ssq_verify.simulation.point import Killed, Point
from ssq_verify.simulation.surroundings import Surroundings

if TYPE_CHECKING:
    from ssq_verify.simulation.filetimes import OpenFile
    from ssq_verify.simulation.world import World


class State(StrEnum):
    """Whether a worker could move."""

    READY = "ready"
    WAITING = "waiting"
    DONE = "done"
    DEAD = "dead"


READY, DEAD = State.READY, State.DEAD


class Wait(NamedTuple):
    """What a worker waits for: something to become free, an instant, or whichever comes first."""

    free: Callable[[], bool]
    until_ns: int | None


class Passed(NamedTuple):
    """A point that a worker passed."""

    worker: str
    point: Point
    event: int
    """How many events the history had by then."""
    cell: int
    """How many cells the tape had, the last of them let the worker go on; 0 if what is done alone."""
    time_ns: int


class Worker(greenlet.greenlet):
    """A simulated process: a program, a clock, a pid, its open files and its locks."""

    def __init__(self, world: "World", name: str, number: int, program: Callable[["Worker"], None]) -> None:
        super().__init__(self._main, world.hub)
        self.world = world
        self.name = name
        self.pid = 1000 + number
        self.clock = WorkerClock(world.time)
        self._number = number
        self.state = State.READY
        self.wait_for: Wait | None = None
        self.point: Point | None = None
        self.inside = 0
        """How deep in a real call: what that call does itself is no point of its own."""
        self.files: dict[int, OpenFile] = {}
        """Its open files within the working folder, by descriptor."""
        self.own: dict[Any, Any] = {}
        """What else a process has for itself, by what keeps it there."""
        self.surroundings = Surroundings()
        self.option = f"run {name}"
        """What the tape is offered for its turn."""
        self.step = -1
        """Which step of the scenario it is at."""
        self.connections: list[Any] = []
        """Its SQLite connections; a dead process's transaction is rolled back."""
        self.failure: Exception | None = None
        self._program = program

    @cached_property
    def random(self) -> Random:
        """Its host's randomness, from the seed, so that a run repeats."""
        return Random(f"{self.world.seed}/{self.name}/{self._number}")  # noqa: S311 - as it says

    def _main(self, _first: OSError | None) -> None:
        try:
            self._program(self)
        except Killed:
            return
        except SystemExit:
            self.state = State.DONE
            return
        except Exception as error:  # noqa: BLE001 - whoever made the world tells whose failure it is
            # What it made of a refusal is no more than that.
            self.failure = self.failure or error
        self.state = State.DONE

    def reach(self, point: Point) -> None:
        """Stop at a point until it is this worker's turn. Raises the OSError that the world injects."""
        world = self.world
        if world.is_alone and world.may_pass(self):
            # As it would be let after a stop.
            world.trace.append(Passed(self.name, point, world.events(), 0, world.time.now_ns))
            return
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
        if self.state is DEAD:
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

    def closed(self, fd: int) -> None:
        """Note that a file is closed: the kernel frees its locks."""
        opened = self.files.pop(fd)
        if not self.world.locks.are_held:
            return
        is_last = all(other is not opened for other in self.files.values())
        self.world.locks.closed(self, opened, is_last=is_last)


def current() -> Worker | None:
    """Return the worker whose code is running, None outside of any."""
    try:
        running = greenlet.getcurrent()
    except RuntimeError:
        # The interpreter is on its way out.
        return None
    return running if isinstance(running, Worker) else None
