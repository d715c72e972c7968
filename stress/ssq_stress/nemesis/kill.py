"""A worker dies, with no chance to clean up: at any moment, or before an exact step of an operation."""

import os
import signal

from ssq_stress.faults import Order
from ssq_stress.nemesis import Arena, Victim

OUTSIDE = "-"
"""What stands on the board where the kill struck no step of an operation."""


def unavailable() -> str | None:
    """Return why this machine can not do it: it always can."""
    return None


def from_outside(arena: Arena, worker: int, _order: Order) -> None:
    """Kill a worker wherever it is."""
    arena.slot(worker).tell(OUTSIDE)
    arena.kill(worker)


def from_inside(victim: Victim, _order: Order, where: str) -> None:
    """Die here. The group goes too: what the subject started is part of its worker."""
    victim.slot.tell(where or OUTSIDE)
    os.killpg(os.getpid(), signal.SIGKILL)
