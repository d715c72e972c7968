"""Which streams are the command's own, whatever a subject prints, and whatever the shell has closed?"""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout, suppress
from contextvars import ContextVar
from typing import TextIO

STANDARD = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))
"""By their numbers: 0, 1, 2."""

_results: ContextVar[TextIO | None] = ContextVar("results", default=None)
_errors: ContextVar[TextIO | None] = ContextVar("errors", default=None)


def results_stream() -> TextIO:
    """Return where results go."""
    return _results.get() or sys.stdout


def errors_stream() -> TextIO:
    """Return where progress and errors go."""
    return _errors.get() or sys.stderr


@contextmanager
def subject_unheard() -> Iterator[None]:
    """Let nothing that a subject prints, here or in a program that it starts, get between the results."""
    with ExitStack() as stack:
        nowhere = stack.enter_context(open(os.devnull, "w"))  # noqa: PTH123 - a device, not a path of ours
        ours = stack.enter_context(_apart(nowhere))
        for variable, stream in ((_results, ours), (_errors, sys.stderr)):
            stack.callback(variable.reset, variable.set(stream))
        stack.enter_context(redirect_stdout(nowhere))
        stack.enter_context(redirect_stderr(nowhere))
        yield


@contextmanager
def _apart(nowhere: TextIO) -> Iterator[TextIO]:
    """Give standard output under another number; under its own whatever is written is lost."""
    standard: TextIO = sys.stdout
    if standard is not sys.__stdout__:
        yield standard
        return
    standard.flush()
    kept = os.dup(1)
    ours = open(os.dup(1), "w", encoding=standard.encoding, errors="backslashreplace")  # noqa: PTH123, SIM115 - a number, closed below
    os.dup2(nowhere.fileno(), 1)
    try:
        yield ours
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        # Each line was flushed as it was said, and what could not be written was told then.
        with suppress(OSError):
            ours.close()


def open_what_is_closed() -> None:
    """Let a standard stream that the shell closed lead nowhere, before another file comes by its number."""
    for number, (name, mode) in enumerate(STANDARD):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free is this one, and children are to have it, too.
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115 - a device; open to the end
            os.set_inheritable(number, True)
