"""Who starts the workers, notices that one died, and replaces it? Nobody is lost: whatever ends us ends them.

Workers come from a fork server that has the subject loaded. Each is the head of a process group, so that what
a subject starts is struck and ended with it, and dies with the fork server, which dies with this process.
"""

import errno
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import multiprocess
import multiprocess.connection

from ssq_stress.nemesis import kill
from ssq_stress.processes.assignment import SUBJECT_FAILED, Assignment, Role
from ssq_stress.processes.board import Board, Field, Head, Slot, Stage
from ssq_stress.processes.log import MONOTONIC_NS, EventLog, events
from ssq_stress.worker import work
from ssq_verify.children import uninterrupted
from ssq_verify.subject import SubjectFailed

JOIN_SECONDS_MAX = 10.0
BY_ITSELF = "exit"
"""How the event of a death begins that no fault caused."""
CONTEXT = multiprocess.get_context("forkserver")
OURS = ("draining", "fetching", "looking")


class WorkerFailed(Exception):  # noqa: N818 - it names what failed
    """A worker process ended by an error of the harness; the message is that error, a note its traceback."""


def preload(*modules: str) -> None:
    """Let the fork server load these modules once, for all the workers that it will make."""
    # Each worker runs our main program's first lines again; loading what `ssq` imports took it 0.2 s.
    program = {"ssq_stress.cli"} & sys.modules.keys()
    ours = (f"ssq_stress.processes.{name}" for name in OURS)
    CONTEXT.set_forkserver_preload(["__main__", *ours, *program, *modules])


def started(function: Callable[..., None], *arguments: Any) -> Any:
    """Start a process that does this, and return it."""
    process = CONTEXT.Process(target=function, args=arguments, daemon=False)
    # An interruption between the start and its note would lose the child.
    with uninterrupted():
        process.start()
    return process


def ended(process: Any, *, seconds_max: float) -> bool:
    """Wait for a process, and kill it if that takes too long; return whether it ended by itself."""
    process.join(seconds_max)
    if process.exitcode is not None:
        return True
    _signal(process.pid, signal.SIGKILL)
    process.join(JOIN_SECONDS_MAX)
    return False


@dataclass(kw_only=True, slots=True)
class Child:
    """A worker's name with its present process."""

    assignment: Assignment
    process: Any
    is_done: bool = False
    continue_ns: int = 0
    """When it is to be continued, if it was stopped from outside; else 0."""


class Supervisor:
    """The workers of one round."""

    def __init__(
        self, assignments: Iterable[Assignment], board: Board, log: EventLog, *, lease: bool
    ) -> None:
        self.board = board
        self.crashes = 0
        self._log = log
        self._lease = lease
        self._ticked_ns = 0
        self._alive()
        self._children: list[Child] = []
        try:
            for assignment in assignments:
                self._children.append(Child(assignment=assignment, process=started(work, assignment)))
        except BaseException:
            self.close()
            raise

    def slot(self, worker: int) -> Slot:
        """Return a worker's part of the board."""
        return self.board.slot(worker)

    def is_alive(self, worker: int) -> bool:
        """Whether its process runs."""
        child = self._children[worker]
        return not child.is_done and child.process.exitcode is None

    def is_ready(self, worker: int) -> bool:
        """Whether it is at work, and not dead or only just made."""
        return self.is_alive(worker) and bool(self.slot(worker).get(Field.IS_READY))

    @property
    def are_done(self) -> bool:
        """Whether all workers have ended and none will be replaced; a sweeper ends only when it is ended."""
        return all(child.is_done or child.assignment.role is Role.SWEEPER for child in self._children)

    def tick(self, seconds: float) -> None:
        """Wait so long, or until a worker ends; continue and replace those whose turn it is.

        Raises `SubjectFailed` if a worker could not open the queue, `WorkerFailed`.
        """
        self._alive()
        sentinels = [child.process.sentinel for child in self._children if not child.is_done]
        if sentinels:
            multiprocess.connection.wait(sentinels, timeout=seconds)
        else:
            time.sleep(seconds)
        now_ns = MONOTONIC_NS()
        for child in self._children:
            if not child.is_done:
                if child.process.exitcode is not None:
                    self._ended(child)
                elif self._is_due(child, now_ns):
                    self._continue(child)

    def kill(self, worker: int) -> None:
        """End a worker's process group with SIGKILL."""
        _signal(self._children[worker].process.pid, signal.SIGKILL)

    def stop(self, worker: int, *, seconds: float) -> None:
        """Stop a worker's process group with SIGSTOP, and continue it so much later."""
        child = self._children[worker]
        if child.continue_ns == 0:
            self._log.single(child.assignment.name, "pause")
            child.continue_ns = MONOTONIC_NS() + round(seconds * 1e9)
            _signal(child.process.pid, signal.SIGSTOP)

    def heal(self) -> None:
        """Withdraw all orders, continue all who were stopped."""
        self.board.set_head(Head.RECLAIMER, 0)
        for child in self._children:
            self.slot(child.assignment.number).withdraw()
            self.slot(child.assignment.number).set(Field.STANDS, 0)
        for child in self._children:
            if not child.is_done and child.process.exitcode is None:
                self._continue(child)

    def close(self) -> None:
        """End all workers, whatever they are doing, and wait for them."""
        self.board.set_head(Head.STAGE, Stage.STOP)
        for child in self._children:
            if child.process.exitcode is None:
                self.slot(child.assignment.number).tell(kill.OUTSIDE)
                _signal(child.process.pid, signal.SIGKILL)
        for child in self._children:
            child.process.join(JOIN_SECONDS_MAX)
            # A sweeper goes on until it is ended, which is no fault of anybody's.
            is_cut_off = not child.is_done and child.assignment.role is not Role.SWEEPER
            if is_cut_off and child.process.exitcode != 0:
                self._crashed(child)
            child.is_done = True

    def _alive(self) -> None:
        self.board.set_head(Head.ALIVE_NS, MONOTONIC_NS())

    def _is_due(self, child: Child, now_ns: int) -> bool:
        stopped_ns = self.slot(child.assignment.number).get(Field.STOPPED_UNTIL_NS) or child.continue_ns
        return 0 < stopped_ns < now_ns

    def _continue(self, child: Child) -> None:
        slot = self.slot(child.assignment.number)
        was_stopped = slot.get(Field.STOPPED_UNTIL_NS) or child.continue_ns
        slot.set(Field.STOPPED_UNTIL_NS, 0)
        child.continue_ns = 0
        _signal(child.process.pid, signal.SIGCONT)
        if was_stopped:
            self._log.single(child.assignment.name, "resume")

    def _ended(self, child: Child) -> None:
        child.process.join()
        if child.assignment.failure.exists():
            raise _failed(child.assignment.failure)
        if child.process.exitcode == 0:
            child.is_done = True
            return
        self._crashed(child)
        is_over = child.assignment.role is Role.PRODUCER and self.board.stage is not Stage.FAULTS
        if is_over or self.board.stage is Stage.STOP:
            child.is_done = True
            return
        child.assignment = replace(child.assignment, generation=child.assignment.generation + 1)
        child.process = started(work, child.assignment)

    def _crashed(self, child: Child) -> None:
        slot = self.slot(child.assignment.number)
        self.crashes += 1
        child.continue_ns = 0
        slot.set(Field.STOPPED_UNTIL_NS, 0)
        slot.set(Field.IS_LATE, 0)
        slot.set(Field.IS_READY, 0)
        slot.set(Field.STANDS, 0)
        self.board.orphan(slot)
        if self.board.head(Head.RECLAIMER) == child.assignment.number + 1:
            self.board.set_head(Head.RECLAIMER, 0)
        where = slot.told() or f"{BY_ITSELF} {child.process.exitcode}"
        self._log.single(
            child.assignment.name,
            "crash",
            value=None if where == kill.OUTSIDE else where,
            time_ns=self._death_ns(child),
        )

    def _death_ns(self, child: Child) -> int:
        """Return when it died: at the latest, so that all that it did came before.

        A queue without leases may give its jobs away from then on, so there it is the earliest instant.
        """
        if self._lease:
            return MONOTONIC_NS()
        with suppress(FileNotFoundError, IndexError):
            return events(child.assignment.path)[-1].time_ns
        return MONOTONIC_NS()


def _failed(report: Path) -> Exception:
    told = report.read_text()
    if told.startswith(SUBJECT_FAILED):
        return SubjectFailed(told.removeprefix(SUBJECT_FAILED))
    number, _, place = (told or f"{errno.ENOSPC} {report.parent}").partition(" ")
    if number.isdecimal():
        return OSError(int(number), os.strerror(int(number)), place)
    failed = WorkerFailed(told.strip().rpartition("\n")[2])
    failed.add_note(told)
    return failed


def raise_if_reported(path: Path) -> None:
    """Raise what a process reported before it ended, if it did."""
    if path.exists():
        raise _failed(path)


def _signal(pid: int, number: int) -> None:
    # Before its first line a worker is not yet the head of a group; and it may be gone.
    with suppress(ProcessLookupError):
        try:
            os.killpg(pid, number)
        except ProcessLookupError:
            os.kill(pid, number)
