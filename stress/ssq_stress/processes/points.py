"""Before which step of an operation does a fault strike? The steps are counted in the worker itself.

A step is what the kernel or a database can be seen to be asked for: calls that raise an audit event (open,
rename, link, remove, flock, …), writes and syncs, which raise none and are wrapped, and each SQL statement,
told of by SQLite's own trace. Nothing is counted unless an order is out, and nothing of the harness's own.
"""

import functools
import os
import sqlite3
import sqlite3.dbapi2
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from ssq_stress.faults import OPERATION_PHASES, REMOTE, SERVER, STORAGE, Order, Phase
from ssq_stress.nemesis import io_error
from ssq_stress.processes.board import Board, Head, Slot
from ssq_stress.processes.log import MONOTONIC_NS

AUDITED = frozenset({
    "open", "os.rename", "os.remove", "os.link", "os.symlink", "os.mkdir", "os.rmdir", "os.listdir",
    "os.scandir", "os.truncate", "fcntl.flock", "fcntl.lockf",
    "socket.connect", "socket.sendto", "socket.sendmsg",
})  # fmt: skip
WRAPPED = ("write", "pwrite", "writev", "fsync", "fdatasync")
RETURN = "return"
"""Where an operation is done, and its answer is not given yet."""

Act = Callable[[Order, str], None]
Cutting = Callable[[Order, str], AbstractContextManager[None]]


class Striker:
    """Carries out the orders on the board at the places that they name."""

    def __init__(self, board: Board, slot: Slot, *, recovers: bool) -> None:
        self.act: Act = _nothing
        """Told of the place in the words of a history: `os.rename (step 2 of claim)`; empty between two."""
        self.cutting: Cutting = _uncut
        """Surrounds an operation whose connection is to break, and says itself whether it did."""
        self._board = board
        self._slot = slot
        self._armed: Order | None = None
        self._steps = 0
        self._operation = ""
        self._is_failing = False
        self._recovers = recovers
        """Whether this worker replaces a dead one, and has not finished its first operation."""

    def install(self) -> None:
        """Count this process's steps from now on."""
        sys.addaudithook(self._audited)
        for name in WRAPPED:
            _wrap(name, self._step)
        _trace_statements(lambda: self._step(io_error.STATEMENT))

    def arrive(self, phase: Phase) -> None:
        """Be struck between two operations."""
        order = self._slot.order
        if order is not None and order.phase is phase:
            self._slot.withdraw()
            self.act(order, "")

    @contextmanager
    def inside(self, phase: Phase, operation: str) -> Iterator[None]:
        """Be struck inside an operation, or on its return if it has fewer steps."""
        order = self._slot.order
        if order is None or not self._is_at(order, phase):
            yield
            self._recovers = self._recovers and phase is Phase.RECOVERY
            return
        if order.fault in REMOTE:
            # Its steps are in another process; the blow falls while the operation is under way.
            if order.fault in SERVER:
                self._strike(order, operation)
            with self.cutting(order, operation) if order.fault not in SERVER else nullcontext():
                yield
            self._recovers = self._recovers and phase is Phase.RECOVERY
            return
        self._armed, self._steps, self._operation = order, 0, operation
        try:
            yield
            self._returned()
        finally:
            self._armed = None
            if self._is_failing:
                self._is_failing = False
                io_error.allow_writes()
            self._recovers = self._recovers and phase is Phase.RECOVERY

    def fail(self) -> None:
        """Let every write fail until the operation is over."""
        self._is_failing = True
        io_error.refuse_writes()

    def _is_at(self, order: Order, phase: Phase) -> bool:
        if order.phase is Phase.RECOVERY:
            return self._recovers
        if order.phase is Phase.RECLAIM:
            return phase is Phase.CLAIM and 0 < self._board.head(Head.ORPHANED_NS) < MONOTONIC_NS()
        return order.phase is phase

    def _step(self, name: str) -> None:
        order = self._armed
        if order is None:
            return
        self._steps += 1
        if self._steps >= order.point:
            self._strike(order, f"{name} (step {self._steps} of {self._operation})")

    def _returned(self) -> None:
        order = self._armed
        if order is None:
            return
        if order.fault not in STORAGE:
            self._strike(order, RETURN)
        elif self._steps:
            # It has fewer steps than that: the next time its last one is struck.
            self._slot.aim(self._steps)

    def _strike(self, order: Order, where: str) -> None:
        self._armed = None
        self._slot.withdraw()
        self.act(order, where)

    def _audited(self, event: str, _arguments: tuple[Any, ...]) -> None:
        if self._armed is not None and event in AUDITED:
            self._step(event)


class Watched:
    """Any queue, whose operations can be struck inside."""

    def __init__(self, queue: Any, striker: Striker) -> None:
        self._queue = queue
        self._striker = striker

    def __getattr__(self, name: str) -> Any:
        """Return what the queue has under that name; an operation with the striker around it."""
        found = getattr(self._queue, name)
        phase = name.removesuffix("_many")
        return self._watched(name, Phase(phase), found) if phase in OPERATION_PHASES else found

    def _watched(self, name: str, phase: Phase, operation: Callable[..., Any]) -> Callable[..., Any]:
        # What asks whether an operation takes a payload sees the signature of the queue's own.
        @functools.wraps(operation)
        def watched(*args: Any, **kwargs: Any) -> Any:
            with self._striker.inside(phase, name):
                return operation(*args, **kwargs)

        self.__dict__[name] = watched
        return watched


def _wrap(name: str, step: Callable[[str], None]) -> None:
    original = getattr(os, name)

    @functools.wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        step(f"os.{name}")
        return original(*args, **kwargs)

    setattr(os, name, wrapped)


def _trace_statements(step: Callable[[], None]) -> None:
    """Count each SQL statement. SQLite takes no exception from its trace: an error has to be caused."""
    connect: Callable[..., sqlite3.Connection] = sqlite3.connect

    @functools.wraps(connect)
    def traced(*args: Any, **kwargs: Any) -> sqlite3.Connection:
        connection = connect(*args, **kwargs)
        connection.set_trace_callback(lambda _: step())
        return connection

    for module in (sqlite3, sqlite3.dbapi2):
        setattr(module, "connect", traced)  # noqa: B010 - its type is overloaded


def _nothing(_order: Order, _where: str) -> None:
    pass


def _uncut(_order: Order, _where: str) -> AbstractContextManager[None]:
    return nullcontext()
