"""What does a worker have before it? A handle on the queue that records and can be struck; and the board."""

import time
from collections.abc import Callable
from functools import partial
from random import Random
from typing import Any

from ssq_core.queue import LeasesLost, utc_now
from ssq_stress.faults import Fault, Order, Phase
from ssq_stress.nemesis import Victim, connection_cut, disk_full, io_error, kill, pause, server, skew
from ssq_stress.processes import host, libc_time
from ssq_stress.processes.assignment import Assignment
from ssq_stress.processes.board import Board, Field, Head
from ssq_stress.processes.log import MONOTONIC_NS, EventLog
from ssq_stress.processes.points import Striker, Watched
from ssq_verify.history import EventType, Terms
from ssq_verify.opening import opened, policy
from ssq_verify.recording import RecordingQueue
from ssq_verify.subject import Policy, SubjectFailed, takes_payload, terms

BY_FAULT: dict[Fault, Callable[[Victim, Order, str], None]] = {
    Fault.KILL: kill.from_inside,
    Fault.PAUSE: pause.from_inside,
    Fault.SKEW: skew.from_inside,
    Fault.IO_ERROR: io_error.from_inside,
    Fault.DISK_FULL: disk_full.from_inside,
    Fault.SERVER_KILL: server.from_inside,
    Fault.SERVER_PAUSE: server.from_inside,
    Fault.CONNECTION_CUT: connection_cut.from_inside,
}


RETRY_SECONDS = 0.004
OPENING_SECONDS_MAX = 15.0
"""A worker that can not open the queue, while others are being struck, tries again for so long."""
UNSUPERVISED_NS = 30_000_000_000


class Desk:
    """What every kind of worker has: the board, its clock, its log, its handle on the queue."""

    def __init__(self, assignment: Assignment, *, is_struck: bool = True) -> None:
        self._is_struck = is_struck
        self.board = Board(assignment.folders.board)
        self.slot = self.board.slot(assignment.number)
        self.clock = skew.WorkerClock(self.slot, base_ns=assignment.base_ns)
        self.log = EventLog(assignment.path)
        self.rng = Random(f"{assignment.seed}/{assignment.name}/{assignment.generation}")  # noqa: S311 - a workload, no secret
        self._assignment = assignment
        self._subject = assignment.load()
        self.terms: Terms
        self.striker = Striker(self.board, self.slot, recovers=assignment.generation > 0)
        self._libc_time: libc_time.LibcTime | None = None
        self._keep_time()
        if is_struck:
            self._expose()
        self.queue = self._opened()

    def ask(self, f: str, *args: Any, jobs: int = 1, **kwargs: Any) -> tuple[bool, Any]:
        """Do one call; return whether it came back, and its answer. What it raised is in the history.

        One that is about several jobs counts as so many operations.
        """
        self._show_time()
        self.slot.add(Field.OPERATIONS, jobs)
        try:
            return True, getattr(self.queue, f)(*args, **kwargs)
        except SubjectFailed:
            raise
        except Exception:  # noqa: BLE001 - anybody's code
            return False, None

    def ack_many(self, claims: list[Any]) -> tuple[bool, int]:
        """Ack jobs in one call; return whether it came back without complaint, and how many it acked."""
        self._show_time()
        self.slot.add(Field.OPERATIONS, len(claims))
        try:
            self.queue.ack_many(claims=claims)
        except SubjectFailed:
            raise
        except LeasesLost as lost:
            return False, len(claims) - len(lost.claims)
        except Exception:  # noqa: BLE001 - anybody's code
            return False, 0
        return True, len(claims)

    def wait(self, seconds: float) -> bool:
        """Wait for a job as the queue does; False if it can not, or fails at it: nothing is lost by that."""
        wait = getattr(self.queue.inner, "wait", None)
        if not callable(wait):
            return False
        self._show_time()
        try:
            wait(seconds=seconds)
        except SubjectFailed:
            raise
        except Exception:  # noqa: BLE001 - anybody's code
            return False
        return True

    def sweep(self) -> None:
        """Do a round of what the queue leaves to its sweeper; what it leaves undone shows in the jobs."""
        name = self._assignment.name
        self.log.record(name, EventType.INFO, "sweep", clock=self.clock)
        try:
            self.queue.inner.sweep()
        except SubjectFailed:
            raise
        except Exception as error:  # noqa: BLE001 - anybody's code
            told = self.log.error_text(error)
            self.log.record(name, EventType.INFO, "swept", clock=self.clock, value=told)
        else:
            self.log.record(name, EventType.INFO, "swept", clock=self.clock)

    @property
    def is_supervised(self) -> bool:
        """Whether somebody would notice if this process were left."""
        return MONOTONIC_NS() - self.board.head(Head.ALIVE_NS) < UNSUPERVISED_NS

    def _expose(self) -> None:
        victim = Victim(
            name=self._assignment.name,
            slot=self.slot,
            log=self.log,
            clock_limit_ns=self._assignment.clock_limit_ns,
            disk=self._assignment.folders.disk,
            failing=self.striker.fail,
        )

        def act(order: Order, where: str) -> None:
            BY_FAULT[order.fault](victim, order, where)
            self._show_time()

        self.striker.act = act
        self.striker.cutting = partial(connection_cut.around, victim)
        self.striker.install()

    def _keep_time(self) -> None:
        """Let whoever asks the system for the time in this process be told by the worker's clock."""
        if self._subject.clock == "system":
            host.keep_time(self.clock)
        elif self._subject.clock == "libc" and libc_time.unavailable(self._subject) is None:
            self._libc_time = libc_time.LibcTime(self.clock, self._assignment.time_file)

    def _show_time(self) -> None:
        if self._libc_time is not None:
            self._libc_time.show()

    def _opened(self) -> RecordingQueue:
        settings, name = self._assignment.settings, self._assignment.name
        asked = policy(
            settings,
            clock=self.clock if self._subject.clock == "policy" else utc_now,
            # Who drains alone has nobody beside it.
            has_sweeper=self._is_struck,
        )
        queue = self._opened_in_time(asked)
        self.terms = terms(self._subject.promises, asked, queue)
        watched = RecordingQueue(Watched(queue, self.striker), self.log, name, clock=self.clock)
        assert watched.takes_payload == takes_payload(queue)
        self.log.record(name, EventType.INFO, "open", clock=self.clock)
        return watched

    def _opened_in_time(self, asked: Policy) -> Any:
        folders, until_ns = self._assignment.folders, MONOTONIC_NS() + round(OPENING_SECONDS_MAX * 1e9)
        while True:
            try:
                with self.striker.inside(Phase.RECOVERY, "opening"):
                    return opened(self._subject, folders.queue, asked, name=self._assignment.name)
            except (SubjectFailed, OSError):
                if MONOTONIC_NS() > until_ns:
                    raise
                time.sleep(RETRY_SECONDS)
