"""Which worker moves next, and what befalls it? The scheduler of a simulated world.

Each worker is a greenlet that runs ordinary, unmodified code. Before anything that another worker or a
crash could observe, it stops at a `Point`, and the world chooses: it goes on, another one runs, time passes,
it dies, its call fails. A kill is a greenlet that is never resumed: no `finally`, no buffered write.
"""

import errno
import os
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import greenlet
from msgspec.structs import replace

from ssq_verify.scenario import NO_FAULTS
from ssq_verify.simulation.clock import VirtualTime
from ssq_verify.simulation.disk import Disk
from ssq_verify.simulation.filetimes import FileTimes
from ssq_verify.simulation.locks import LockTable
from ssq_verify.simulation.point import RETURN, Killed, Point
from ssq_verify.simulation.surviving import Model
from ssq_verify.simulation.tape import Tape, Untold
from ssq_verify.simulation.worker import DEAD, READY, Passed, State, Wait, Worker, current

__all__ = [
    "DEAD", "ERRORS", "KILL", "NO_FAULTS", "PAUSE", "POINTS_MAX", "POWER_LOSS", "READY", "RESUME",
    "Endless", "Passed", "State", "Wait", "Worker", "World", "current",
]  # fmt: skip

POINTS_MAX = 20_000
"""A run that passes more points than this does not end by itself."""

ERRORS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "EMFILE": errno.EMFILE}


KILL, POWER_LOSS, PAUSE, RESUME = "kill", "power loss", "pause ", "resume"


class Endless(Exception):  # noqa: N818 - it names what the run is
    """A run does not end by itself."""


OPENS = frozenset({"os.open", "open", "os.listdir", "os.scandir"})
SYNCS = frozenset({"os.fsync", "os.fdatasync"})


class World:
    """Workers, one true clock, and the tape that chooses; made in the greenlet that is the scheduler."""

    def __init__(self, tape: Tape | Untold, root: str, *, seed: int = 0) -> None:
        self.tape = tape
        self.power_model = Model.ORDERED
        self.seed = seed
        self.time = VirtualTime()
        self.hub = greenlet.getcurrent()
        self.workers: list[Worker] = []
        self.faults = NO_FAULTS
        """Those that may still strike."""
        self.trace: list[Passed] = []
        self.disk: Disk | None = None
        """Follows the working folder if the power may fail."""
        self.events: Callable[[], int] = lambda: 0
        self.deadlocked: tuple[Worker, ...] = ()
        self.locks = LockTable()
        self.transactions_ended: Counter[str] = Counter()
        """Of each SQLite database, by path: who waits for one looks here."""
        self.file_times = FileTimes(self.time)
        self.root = root
        self.on_fault: Callable[[str, Worker], None] = lambda _fault, _worker: None
        """Told of each fault as it strikes, and when a pause is over."""
        self.is_alone = False
        """Whether whoever runs goes on at each point: nothing is chosen, and no disk is followed."""
        self._last: Worker | None = None
        self._inodes: dict[int, int] = {}
        self._within: dict[str, str | None] = {}
        """Where absolute paths lead to, of those that were asked for."""

    def within(self, path: Any) -> str | None:
        """Return a path relative to the working folder, None if it leads elsewhere."""
        if not isinstance(path, str):
            if isinstance(path, int):
                return None
            path = os.fsdecode(path)
        if path in self._within:
            return self._within[path]
        is_absolute = path.startswith("/")
        text: str = path if is_absolute else os.path.abspath(path)  # noqa: PTH100 - links are not followed
        if "/." in text or "//" in text:
            text = os.path.normpath(text)
        inside = text == self.root or text.startswith(self.root + "/")
        found = text[len(self.root) + 1 :] if inside else None
        if is_absolute:
            self._within[path] = found
        return found

    def name_of(self, inode: int) -> str:
        """Return what a file is called in footprints: the same in each run that does the same."""
        return f"file:{self.number_of(inode)}"

    def number_of(self, inode: int) -> int:
        """Return a file's number: the same in each run that does the same."""
        return self._inodes.setdefault(inode, len(self._inodes) + 1)

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

    @staticmethod
    def running() -> AbstractContextManager[None]:
        """Return what surrounds a run; interposition puts the workers' clocks there."""
        return nullcontext()

    def begin_anew(self) -> None:
        """Let the first worker be the next to move, whoever moved last."""
        self._last = None

    def run(self) -> None:
        """Let the workers run until each is done, dead or in a deadlock."""
        self.is_alone = self.disk is None and isinstance(self.tape, Untold)
        with self.running():
            while self._move():
                pass
        self.deadlocked = tuple(worker for worker in self.workers if worker.state is State.WAITING)

    def close(self) -> None:
        """Tear down who never came to an end, so that no frozen frame keeps a lock of the real process."""
        for worker in self.workers:
            if worker:
                worker.state = State.DEAD
                worker.leave()
                worker.throw(Killed)

    def may_pass(self, worker: Worker) -> bool:
        """Whether the running worker, alone, need not even stop at a point."""
        return not (
            worker.state is DEAD
            or worker.clock.zone
            or worker.surroundings.differ
            or len(self.trace) >= POINTS_MAX
        )

    def _move(self) -> bool:
        """Let one worker move to its next point, or time pass, or a fault strike; False if nothing can."""
        ready, wake_ns = self._awake()
        if not ready and wake_ns is not None:
            self.time.move_to(wake_ns)
            ready, wake_ns = self._awake()
        if not ready:
            return False
        first = ready[0]
        options = [worker.option for worker in ready]
        if wake_ns is not None:
            options.append("let time pass")
        if self.faults is not NO_FAULTS:
            options += self._faults(first)
        answer = self.tape.choose("next", options)
        if answer and isinstance(self.tape, Tape):
            self.tape.told(first.name, first.point, self.events())
        if answer < len(ready):
            self._resume(ready[answer], None)
        elif options[answer] == "let time pass":
            self.time.move_to(wake_ns or 0)
        else:
            self._strike(options[answer], first)
        return True

    def _awake(self) -> tuple[list[Worker], int | None]:
        """Return who could move, the running worker first, and when the first of those that sleep wakes."""
        ready: list[Worker] = []
        wake_ns, now_ns = None, self.time.now_ns
        for worker in self.workers:
            if worker.wait_for is None:
                is_awake = worker.state is READY
            else:
                free, until_ns = worker.wait_for
                if until_ns is not None and until_ns > now_ns and (wake_ns is None or until_ns < wake_ns):
                    wake_ns = until_ns
                is_awake = free() or (until_ns is not None and until_ns <= now_ns)
            if is_awake and worker is self._last:
                ready.insert(0, worker)
            elif is_awake:
                ready.append(worker)
        return ready, wake_ns

    def _faults(self, worker: Worker) -> list[str]:
        """Return what could strike the running worker at its point."""
        point, left = worker.point, self.faults
        if left is NO_FAULTS or worker is not self._last or point is None:
            return []
        # What a crash leaves before an operation without effect, it leaves before the next one, too.
        is_end = bool(point.writes) or point.call == RETURN
        faults = [KILL] * (left.kills > 0 and is_end)
        faults += [POWER_LOSS] * (left.power_losses > 0 and is_end)
        if left.errors > 0 and point.may_fail:
            faults += _possible_errors(point)
        if left.pauses > 0:
            faults += [f"{PAUSE}{seconds} s" for seconds in left.pause_seconds]
        return faults

    def _strike(self, fault: str, worker: Worker) -> None:
        self.on_fault(fault, worker)
        if fault == KILL:
            self.faults = replace(self.faults, kills=self.faults.kills - 1)
            worker.die()
        elif fault == POWER_LOSS:
            self.faults = NO_FAULTS
            self._lose_power()
        elif fault in ERRORS:
            self.faults = replace(self.faults, errors=self.faults.errors - 1)
            self._resume(worker, OSError(ERRORS[fault], os.strerror(ERRORS[fault])))
        else:
            self.faults = replace(self.faults, pauses=self.faults.pauses - 1)
            self._pause(worker, float(fault.removeprefix(PAUSE).removesuffix(" s")))

    def _pause(self, worker: Worker, seconds: float) -> None:
        """Let time go on for all, and then whoever else can run before the worker that stood still."""
        self.time.move_to(self.time.now_ns + round(seconds * 1e9))
        self.on_fault(RESUME, worker)
        self._last = None
        self.workers.remove(worker)
        self.workers.append(worker)

    def _lose_power(self) -> None:
        """Let all die at once, and undo a legal part of what was not synced."""
        assert self.disk is not None
        for worker in self.workers:
            if worker.state in {State.READY, State.WAITING}:
                worker.die()
        self.disk.restore(self.disk.lose(Model(self.power_model), self.tape.choose))
        self.file_times.forget_missing(self.root)

    def _resume(self, worker: Worker, error: OSError | None) -> None:
        point = worker.point
        if point is not None:
            cells, now_ns = len(self.tape.cells), self.time.now_ns
            self.trace.append(Passed(worker.name, point, self.events(), cells, now_ns))
            if len(self.trace) > POINTS_MAX:
                raise Endless(f"{worker.name} was at work when {POINTS_MAX:,} points were passed")
        self._last = worker
        self.tape.owner = worker.step
        worker.state = State.READY
        self._switch(worker, error)
        if self.disk is not None and point is not None:
            self._follow(self.disk, point)
        if worker.state is State.DONE:
            worker.leave()

    @staticmethod
    def _switch(worker: Worker, error: OSError | None) -> None:
        surroundings, zone = worker.surroundings, worker.clock.zone
        if not zone and not surroundings.differ:
            worker.switch(error)
        else:
            surroundings.enter(zone)
            worker.switch(error)
        if zone or surroundings.differ:
            surroundings.leave()

    def _follow(self, disk: Disk, point: Point) -> None:
        """Tell the disk what was done at a point."""
        if point.call not in SYNCS:
            if point.writes:
                disk.changed()
            return
        (name,) = point.writes
        disk.synced(next(inode for inode, known in self._inodes.items() if name == f"file:{known}"))


def _possible_errors(point: Point) -> list[str]:
    """Return how a call can fail: what only reads needs no space, and what opens nothing no descriptor."""
    errors = ["EIO"]
    errors += ["ENOSPC"] * bool(point.writes)
    return errors + ["EMFILE"] * (point.call in OPENS)
