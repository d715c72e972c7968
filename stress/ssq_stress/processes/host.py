"""What do our processes ask of the host? To die with their parent, to have time and mounts of their own."""

import ctypes
import logging
import os
import signal
from collections.abc import Mapping
from functools import cache
from typing import Protocol

import multiprocess.forkserver
import multiprocess.resource_tracker

from ssq_verify.children import INTERRUPTIONS
from ssq_verify.lifeline import end_with_parent

CLONE_NEWNS = 0x0002_0000
MS_REC, MS_PRIVATE = 0x4000, 0x4_0000
OUTPUTS = (1, 2)
"""By number: who started us may have closed them, and then there are no objects for them."""


class NanosecondClock(Protocol):
    """A clock that counts in nanoseconds since 1970."""

    def now_ns(self) -> int:
        """Return the present instant."""
        ...


def settle() -> None:
    """Be the head of a process group, deaf to the terminal, and end when the parent ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Held back where it was made; what a subject starts is to hear them.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPTIONS)
    end_with_parent()
    os.setpgid(0, 0)
    _let_go_of_fork_server()
    # Nothing that a subject prints or logs may get between the results.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for standard in OUTPUTS:
        os.dup2(nowhere, standard)
    logging.disable()


def _let_go_of_fork_server() -> None:
    """Close what would keep the fork server up: a process that it made may ask it for more."""
    server = multiprocess.forkserver._forkserver  # noqa: SLF001 - it has no other door
    if server._forkserver_alive_fd is not None:  # noqa: SLF001 - as above
        os.close(server._forkserver_alive_fd)  # noqa: SLF001 - as above
        server._forkserver_alive_fd = None  # noqa: SLF001 - as above


@cache
def keep_mounts() -> None:
    """Let what this process mounts be seen by it and its children alone, and vanish with the last of them.

    Raises `OSError` where that is not allowed.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    if libc.mount(b"none", b"/", None, MS_REC | MS_PRIVATE, None) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    renew_fork_server()


def renew_fork_server() -> None:
    """Let the next worker start another fork server: one that is there sees what was there then."""
    multiprocess.forkserver._forkserver._stop()  # noqa: SLF001 - it has no other door


def start_fork_server(variables: Mapping[str, str]) -> None:
    """Start the fork server with these in its environment, and so in that of all that it makes."""
    # It outlives the fork server, and would keep the variables.
    multiprocess.resource_tracker.ensure_running()
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        multiprocess.forkserver.ensure_running()
    finally:
        for name in variables:
            os.environ.pop(name)
        os.environ.update(before)


def keep_time(clock: NanosecondClock) -> None:
    """Let all code of this process that asks the system for the date be told by this clock."""
    import time_machine  # noqa: PLC0415 - only for queues that read the system's clock

    # A traveller reads its destination by this method, from time-machine 2.19 to 3.6 at least.
    time_machine.travel(0, tick=False).start().time_ns = clock.now_ns  # type: ignore[method-assign]
