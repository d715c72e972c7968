"""The storage refuses a step of an operation: input/output error, or no room.

A Python call raises the error itself. What SQLite does in C no Python call does: from the given statement on,
the process may then write no byte more to any file (`RLIMIT_FSIZE`), and its writes really fail.
"""

import errno
import os
import resource

from ssq_stress.faults import Order
from ssq_stress.nemesis import Victim

ERRORS = (errno.EIO, errno.ENOSPC)
STATEMENT = "statement"


def unavailable() -> str | None:
    """Return why this machine can not do it: it always can."""
    return None


def from_inside(victim: Victim, order: Order, where: str) -> None:
    """Let the step fail. Raises `OSError`, unless the step is a statement."""
    number = ERRORS[order.point % len(ERRORS)]
    victim.log.single(victim.name, "io-error", value=f"{errno.errorcode[number]}|{where}")
    if STATEMENT in where:
        victim.failing()
        return
    raise OSError(number, os.strerror(number))


def refuse_writes() -> None:
    """Let no file grow any more; Python has long told the kernel not to end us for trying."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))


def allow_writes() -> None:
    """Lift the limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
