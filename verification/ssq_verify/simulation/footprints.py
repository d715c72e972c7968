"""What did each step of a run touch? Follows a world from one choice to the next.

A step is what a worker does from one point to the next: the operation that it stood at, and the code after
it. That code may record events, ask for the time, close a file and so free a lock, end a transaction: what it
did is told by what has changed. Not seen are memory that workers share, as processes share none, rows of a
SELECT that are left unread over other points, and file times to the microsecond.
"""

import os
import sqlite3
from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from ssq_verify.simulation.clock import EVENT_NS
from ssq_verify.simulation.point import (
    ANSWERS,
    CALL,
    ENTRY,
    LOOKS,
    RETURN,
    SYNCS,
    Footprint,
    Point,
    footprint,
)
from ssq_verify.simulation.worker import State, Worker
from ssq_verify.simulation.world import ERRORS, KILL, World

TIME = "time"
"""Each event takes a microsecond, which who asks for the time can tell."""
JOURNAL = "journal"
"""The order of all changes of the disk: a loss of power may keep those before one, and no others."""
MEMORY = "memory"
"""What an operation that passes no point must have worked on."""
WORKERS = "workers"
"""Who was added: a new process's chance depends on how many there were."""

NOTHING = Footprint()
EVERYTHING = Footprint(is_all=True)
EVENT = frozenset((ANSWERS, TIME))
LOCAL_FAULTS = frozenset((KILL, *ERRORS))
"""Those that befall one worker, and let no time pass."""
RESERVES = ("BEGIN IMMEDIATE", "BEGIN EXCLUSIVE")
WITHIN_TRANSACTIONS = frozenset(("SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE"))
MAY_REPLACE = frozenset(("os.rename", "os.replace"))


class Step(NamedTuple):
    """What a step touched."""

    own: Footprint
    with_faults: Footprint
    """The same, and what a fault would that can strike only now, as the worker arrives at its next point."""
    may_crash: bool = False
    """Whether a crash can strike the worker where it has arrived."""

    @property
    def is_silent(self) -> bool:
        """Whether a crash before it and one after it, which can strike, too, leave the same."""
        own = self.own
        return self.may_crash and not (own.is_all or own.changes or own.writes or TIME in own.reads)


class _Before(NamedTuple):
    """What was so when a worker began its step."""

    worker: Worker
    at: Point | None
    """Where it stood, or waits since."""
    is_anew: bool
    """Whether it stands there, and has not waited."""
    touched: Footprint
    events: int
    now_ns: int
    looks: int
    workers: int
    held: frozenset[str]


class Footprints:
    """Tells what the last step of a world touched."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._has_disk = world.disk is not None
        self._before: _Before | None = None
        self._last_points: dict[Worker, Point] = {}
        self._databases: defaultdict[Worker, set[str]] = defaultdict(set)
        self._reserved: set[Worker] = set()
        """Who is in a transaction that lets nobody else write: until its end nobody sees what it does."""

    def begin(self, worker: Worker) -> None:
        """Note what is so before a worker's step."""
        at = worker.point or self._last_points.get(worker)
        if at is not None:
            self._last_points[worker] = at
        self._note(worker, at, NOTHING if at is None else self._touched_at(worker, at))

    def begin_fault(self, worker: Worker, fault: str) -> None:
        """Note what is so before a fault strikes a worker."""
        self.begin(worker)
        assert self._before is not None
        freed = Footprint(changes=EVENT, writes=self._before.held)
        touched = self._before.touched | freed if fault in LOCAL_FAULTS else EVERYTHING
        self._before = self._before._replace(touched=touched)

    def begin_wait(self) -> None:
        """Note that what comes is the passing of time."""
        self._before = None

    def ended(self) -> Step:
        """Return what the step touched that began last."""
        before, world = self._before, self._world
        if before is None:
            return Step(EVERYTHING, EVERYTHING)
        self._before = None
        events = world.events() - before.events
        self._follow_transaction(before)
        if before.touched.is_all or world.time.now_ns != before.now_ns + events * EVENT_NS:
            return Step(EVERYTHING, EVERYTHING)
        own, worker = before.touched | self._after(before, events), before.worker
        return Step(own, own | self._if_struck(worker), _may_crash(worker))

    def _note(self, worker: Worker, at: Point | None, touched: Footprint) -> None:
        world = self._world
        self._before = _Before(
            worker=worker,
            at=at,
            is_anew=worker.point is not None,
            touched=touched,
            events=world.events(),
            now_ns=world.time.now_ns,
            looks=world.time.looks,
            workers=len(world.workers),
            held=self._held(worker),
        )

    def _touched_at(self, worker: Worker, point: Point) -> Footprint:
        """Return what the operation at a point touches as things stand."""
        if point.call == "sqlite":
            return self._statement(worker, point)
        touched = footprint(point) | self._files_behind(point)
        if self._has_disk and (point.writes or point.call in SYNCS):
            touched |= Footprint(writes=frozenset((JOURNAL,)))
        return touched

    def _files_behind(self, point: Point) -> Footprint:
        """Return the files behind the names: a look tells a file's size, a removal its number of names."""
        changed = [name for name in point.writes if name.startswith(ENTRY)]
        if point.call in MAY_REPLACE:
            changed = [name for name in changed if point.detail.endswith(f" -> {name.removeprefix(ENTRY)}")]
        looked = [name for name in point.reads if name.startswith(ENTRY)] if point.call in LOOKS else []
        if not changed and not looked:
            return NOTHING
        return Footprint(reads=self._files(looked), writes=self._files(changed))

    def _files(self, entries: Iterable[str]) -> frozenset[str]:
        found = set()
        for name in entries:
            try:
                status = os.stat(f"{self._world.root}/{name.removeprefix(ENTRY)}")  # noqa: PTH116 - quick
            except OSError:
                continue
            found.add(self._world.name_of(status.st_ino))
        return frozenset(found)

    def _statement(self, worker: Worker, point: Point) -> Footprint:
        self._databases[worker] |= point.writes
        verb = point.detail.split(maxsplit=1)[0].upper() if point.detail else ""
        if worker in self._reserved and verb in WITHIN_TRANSACTIONS:
            return NOTHING
        return Footprint(reads=point.writes) if verb == "SELECT" else Footprint(writes=point.writes)

    def _follow_transaction(self, before: _Before) -> None:
        worker, at = before.worker, before.at
        if _transactions(worker) != 1:
            self._reserved.discard(worker)
        elif at is not None and at.call == "sqlite" and at.detail.upper().startswith(RESERVES):
            self._reserved.add(worker)

    def _after(self, before: _Before, events: int) -> Footprint:
        """Return what the code after the point did."""
        worker, world = before.worker, self._world
        is_call = before.is_anew and before.at is not None and before.at.call == CALL
        reads, changes, writes = set(), set(), set(before.held ^ self._held(worker))
        if events:
            changes |= {TIME, ANSWERS} if events > is_call else {TIME}
        wait = worker.wait_for
        if world.time.looks != before.looks or (wait is not None and wait.until_ns is not None):
            reads.add(TIME)
        if is_call and _is_between_operations(worker):
            writes.add(MEMORY)
        if len(world.workers) != before.workers:
            writes.add(WORKERS)
        return Footprint(frozenset(reads), frozenset(changes), frozenset(writes))

    def _if_struck(self, worker: Worker) -> Footprint:
        """Return what a fault would touch that could strike the worker where it has arrived."""
        left, point = self._world.faults, worker.point
        if point is None or worker.state is not State.READY:
            return NOTHING
        if left.pauses or (left.power_losses and _may_crash(worker)):
            return Footprint(writes=EVENT | {JOURNAL})
        may_fail = left.errors > 0 and point.may_fail
        if may_fail or (left.kills and _may_crash(worker)):
            reads = frozenset((TIME,)) if may_fail else frozenset()
            return Footprint(reads=reads, changes=EVENT, writes=self._held(worker))
        return NOTHING

    def _held(self, worker: Worker) -> frozenset[str]:
        """Return the locks and databases that a worker's end would free."""
        world = self._world
        held = {f"lock of {world.name_of(inode)}" for inode in world.locks.held_by(worker)}
        if worker.connections and _transactions(worker):
            held |= self._databases[worker]
        return frozenset(held)


def _may_crash(worker: Worker) -> bool:
    point = worker.point
    if point is None or worker.state is not State.READY:
        return False
    return bool(point.writes) or point.call == RETURN


def _is_between_operations(worker: Worker) -> bool:
    point = worker.point
    return worker.state is not State.READY or point is None or point.call in {CALL, RETURN}


def _transactions(worker: Worker) -> int:
    return sum(_is_in_transaction(connection) for connection in worker.connections)


def _is_in_transaction(connection: sqlite3.Connection) -> bool:
    try:
        return connection.in_transaction
    except sqlite3.ProgrammingError:
        return False
