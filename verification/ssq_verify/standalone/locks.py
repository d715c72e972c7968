"""How does a worker wait for a lock that a stopped one holds? It tries, and lets the others go on."""

import fcntl
import threading
from contextlib import suppress
from typing import Any

from ssq_verify.standalone.turns import Worker, deaths, point, rest

real_flock = fcntl.flock


def flock(file: Any, operation: int) -> None:
    """Lock as `fcntl.flock` does, without waiting in the kernel."""
    me, fd = threading.current_thread(), file if isinstance(file, int) else file.fileno()
    point("fcntl.flock")
    while True:
        try:
            real_flock(fd, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            if operation & fcntl.LOCK_NB or not isinstance(me, Worker):
                raise
            rest()
            continue
        if isinstance(me, Worker):
            me.owned.append(fd)
        return


def free_locks(worker: Worker) -> None:
    """Free what a process held when it ended."""
    for fd in worker.owned:
        with suppress(OSError, TypeError):
            real_flock(fd, fcntl.LOCK_UN)


def stop_at_locks() -> None:
    """Put the stand-in in its place."""
    fcntl.flock = flock
    deaths.append(free_locks)
