"""Who starts the processes that a loss of power ends, and sees that none of them lives on?"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection

from ssq_stress.power.losing import Assignment, work
from ssq_verify.history import Terms
from ssq_verify.subject import SubjectFailed

OPENED_SECONDS_MAX = 60.0
DRAINED_SECONDS_MAX = 120.0
CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload(["ssq_stress.power.disk_states", "ssq_core.file", "ssq_core.sqlite"])


class _Process:
    """A process that does what it is assigned."""

    def __init__(self, what: Callable[[Assignment, Connection], None], assignment: Assignment) -> None:
        self._assignment = assignment
        self._answers, line = CONTEXT.Pipe(duplex=False)
        self._process = CONTEXT.Process(target=what, args=(assignment, line))
        self._process.start()
        line.close()

    def answer(self) -> Terms:
        """Wait until it has opened the queue, and return what that is held to. Raises `SubjectFailed`."""
        try:
            found = self._answers.recv() if self._answers.poll(OPENED_SECONDS_MAX) else "it took too long"
        except EOFError:
            found = "the process ended"
        if isinstance(found, Terms):
            return found
        reference, name = self._assignment.reference, self._assignment.name
        raise SubjectFailed(f"{reference}: opening it for {name}: {found}")

    def join(self) -> None:
        """Wait until it has ended by itself, but not for ever."""
        self._process.join(DRAINED_SECONDS_MAX)

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
