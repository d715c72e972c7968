"""What can no simulation control? In a worker it raises `NotSimulatable`, by its audit event or its name."""

import _posixsubprocess
import os
import select
import signal
from collections.abc import Callable
from multiprocessing.synchronize import SemLock
from typing import Any

from ssq_verify.simulation.replacement import Call, Handler, refuse, replace
from ssq_verify.simulation.statements import CONNECTING
from ssq_verify.simulation.world import Worker, current

FORBIDDEN = {
    "subprocess.Popen": "a subprocess",
    "os.fork": "a fork",
    "os.forkpty": "a fork",
    "os.exec": "another program",
    "os.posix_spawn": "a subprocess",
    "os.spawn": "a subprocess",
    "os.system": "a subprocess",
    "pty.spawn": "a subprocess",
    "socket.__new__": "a socket",
    "_thread.start_new_thread": "a thread",
    "_thread.start_joinable_thread": "a thread",
    "signal.pthread_kill": "a signal",
    "os.kill": "a signal",
    "time.sleep": "a real sleep",
}
"""Audit events, each with what it stands for."""


def _is_of_a_file(worker: Worker, args: tuple[Any, ...]) -> bool:
    return args[0] in worker.files


CONDITIONAL: dict[str, tuple[Callable[[Worker, tuple[Any, ...]], bool], str]] = {
    "sqlite3.connect": (
        lambda worker, _args: not worker.own.get(CONNECTING),
        "an SQLite connection that is not made by sqlite3.connect",
    ),
    "mmap.__new__": (lambda worker, args: args[0] in worker.files, "a memory map of a file"),
    "ctypes.dlopen": (lambda _worker, args: args[0] is not None, "C code through ctypes"),
    "fcntl.flock": (_is_of_a_file, "a lock by a function that was bound before"),
    "fcntl.lockf": (_is_of_a_file, "a lock by a function that was bound before"),
    "fcntl.fcntl": (_is_of_a_file, "a descriptor's control by a function that was bound before"),
    "fcntl.ioctl": (_is_of_a_file, "a descriptor's control by ioctl"),
    "os.lockf": (_is_of_a_file, "a lock by a function that was bound before"),
    "open": (
        lambda worker, args: worker.world.within(args[0]) is not None,
        "a file that is opened by neither open nor os.open",
    ),
}
"""Audit events that matter only where the condition holds."""

REFUSED = (
    (os, "mkfifo", "a named pipe"),
    (os, "mknod", "a special file"),
    (signal, "alarm", "a signal"),
    (signal, "setitimer", "a signal"),
    (signal, "pause", "a signal"),
    (signal, "sigwait", "a signal"),
    (signal, "sigwaitinfo", "a signal"),
    (signal, "sigtimedwait", "a signal"),
    (select, "poll", "a wait for descriptors"),
    (select, "epoll", "a wait for descriptors"),
    (_posixsubprocess, "fork_exec", "a subprocess"),
)
"""Functions that raise no audit event, each with what it stands for."""


def install() -> None:
    """Replace the functions that no audit event tells of."""
    for module, name, what in REFUSED:
        replace(module, name, _refusing(what))
    replace(select, "select", _select)
    SemLock.__init__ = _refusing_semaphores(SemLock.__init__)  # type: ignore[method-assign]


def audit(worker: Worker, event: str, args: tuple[Any, ...]) -> None:
    """Refuse what an event tells of. Raises `NotSimulatable`."""
    if event in FORBIDDEN:
        refuse(worker, FORBIDDEN[event])
    matters, what = CONDITIONAL[event]
    if matters(worker, args):
        refuse(worker, what)


def _refusing(what: str) -> Handler:
    def handler(worker: Worker, _real: Call, *_args: Any, **_kwargs: Any) -> None:
        refuse(worker, what)

    return handler


def _select(worker: Worker, _real: Call, *args: Any) -> Any:
    """Let a wait for nothing be a sleep, as some use it."""
    if any(args[:3]) or len(args) < len(("read", "write", "except", "seconds")):
        refuse(worker, "a wait for descriptors")
    worker.sleep(args[3])
    return [], [], []


def _refusing_semaphores(real: Callable[..., None]) -> Callable[..., None]:
    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:  # noqa: N807 - it stands for one
        if (worker := current()) is not None:
            refuse(worker, "a semaphore of multiprocessing")
        real(self, *args, **kwargs)

    return __init__
