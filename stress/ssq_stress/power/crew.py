"""Who starts the processes that a loss of power ends, and sees that none of them lives on?"""

import os
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection

import msgspec

from ssq_stress.power.losing import Assignment, work
from ssq_stress.supervisor import WorkerFailed
from ssq_verify.history import Terms
from ssq_verify.subject import SubjectFailed

OPENED_SECONDS_MAX = 60.0
DRAINED_SECONDS_MAX = 120.0
CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload(["ssq_stress.power.disk_states", "ssq_core.file", "ssq_core.sqlite"])


class Broken(msgspec.Struct, frozen=True, kw_only=True):
    """What a process answers that could not do its part, for a reason of the harness."""

    traceback: str


class _Process:
    """A process that does what it is assigned."""

    def __init__(self, what: Callable[[Assignment, Connection], None], assignment: Assignment) -> None:
        self._assignment = assignment
        self._answers, line = CONTEXT.Pipe(duplex=False)
        self._process = CONTEXT.Process(target=_carried_out, args=(what, assignment, line))
        self._process.start()
        line.close()

    def answer(self) -> Terms:
        """Wait until it has opened the queue, and return what that is held to.

        Raises `SubjectFailed` for what the subject raised, `WorkerFailed` for what the harness did.
        """
        if not self._answers.poll(OPENED_SECONDS_MAX):
            raise self._refused(f"it took more than {OPENED_SECONDS_MAX:.0f} s")
        found = self._answer()
        if isinstance(found, Terms):
            return found
        raise WorkerFailed(f"{self._assignment.name} ended before it had opened the queue")

    def join(self) -> None:
        """Wait until it has ended by itself, but not for ever. Raises `WorkerFailed`."""
        self._process.join(DRAINED_SECONDS_MAX)
        while self._answers.poll() and self._answer(refuses=False) is not None:
            pass

    def _answer(self, *, refuses: bool = True) -> Terms | str | None:
        """Return its next answer, or None if there comes no more."""
        try:
            found: Terms | str | Broken = self._answers.recv()
        except EOFError:
            return None
        if isinstance(found, Broken):
            raise WorkerFailed(found.traceback)
        if isinstance(found, str) and refuses:
            raise self._refused(found)
        return found

    def _refused(self, why: str) -> SubjectFailed:
        return SubjectFailed(f"{self._assignment.reference}: opening it for {self._assignment.name}: {why}")

    def strike(self) -> None:
        """Kill it, and what it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid or 0, signal.SIGKILL)
        self._process.kill()  # before its first line it heads no group yet

    def kill(self) -> None:
        """Kill it and wait until it has ended and its files are closed."""
        self.strike()
        self._process.join()
        self._answers.close()


def _carried_out(
    what: Callable[[Assignment, Connection], None], assignment: Assignment, answers: Connection
) -> None:
    """Do it; nobody would read the traceback of what the harness could not do."""
    try:
        what(assignment, answers)
    except Exception:  # noqa: BLE001 - as above
        answers.send(Broken(traceback=traceback.format_exc()))


def do(what: Callable[[Assignment, Connection], None], assignment: Assignment) -> None:
    """Let a process do something to its end; of a queue that can't be opened or emptied its log says so."""
    process = _Process(what, assignment)
    try:
        process.join()
    finally:
        process.kill()


@contextmanager
def crewed(assignments: list[Assignment]) -> Iterator[Terms]:
    """Let workers work, once all have opened the queue, until the body ends; then kill all at once."""
    crew = [_Process(work, assignment) for assignment in assignments]
    try:
        terms = [process.answer() for process in crew]
        yield terms[0]
    finally:
        for process in crew:
            process.strike()
        for process in crew:
            process.kill()
