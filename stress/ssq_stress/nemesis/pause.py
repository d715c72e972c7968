"""A worker stands still while time goes on, for about as long as a lease: as a frozen host does."""

import os
import signal

from ssq_stress.faults import Order
from ssq_stress.nemesis import Arena, Victim
from ssq_stress.processes.board import Field
from ssq_stress.processes.log import MONOTONIC_NS


def unavailable() -> str | None:
    """Return why this machine can not do it: it always can."""
    return None


def from_outside(arena: Arena, worker: int, order: Order) -> None:
    """Stop a worker wherever it is."""
    arena.stop(worker, seconds=order.seconds)


def from_inside(victim: Victim, order: Order, where: str) -> None:
    """Stop here; the supervisor continues us when the time has come."""
    victim.log.single(victim.name, "pause", value=f"{order.seconds:.3f} s|{where}" if where else None)
    victim.slot.set(Field.STOPPED_UNTIL_NS, MONOTONIC_NS() + round(order.seconds * 1e9))
    os.killpg(os.getpid(), signal.SIGSTOP)
