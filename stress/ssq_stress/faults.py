"""What can be done to a worker, and where in its work? The words that the nemesis uses."""

from dataclasses import dataclass
from enum import StrEnum

ALL = "all"
"""In place of their names: those that can strike where the queue lives."""
OPERATION_PHASES = ("enqueue", "claim", "ack", "release", "extend", "sweep")

POWER_LOSS = "power-loss"
"""Strikes all workers at once, whatever they do: chosen with the others, and no row of the matrix."""


class Fault(StrEnum):
    """What strikes."""

    KILL = "kill"
    PAUSE = "pause"
    SKEW = "skew"
    IO_ERROR = "io-error"
    DISK_FULL = "disk-full"
    SERVER_KILL = "server-kill"
    SERVER_PAUSE = "server-pause"
    CONNECTION_CUT = "connection-cut"


class Phase(StrEnum):
    """What a worker is in the middle of."""

    IDLE = "idle"
    ENQUEUE = "enqueue"
    CLAIM = "claim"
    BEFORE_EFFECT = "before effect"
    """It holds a job and has not begun on it."""
    HOLDING = "effect to ack"
    """It has begun on its job, and not given it back."""
    ACK = "ack"
    RELEASE = "release"
    EXTEND = "extend"
    RECLAIM = "reclaim"
    """Inside a claim, while a job whose lease has ended waits to be taken."""
    RECOVERY = "recovery"
    """A replacement of a killed worker opens the queue, or is inside its first operation."""
    SWEEP = "sweep"
    """A queue's own sweeper is at work: it brings back what is due."""


INSIDE = frozenset({
    Phase.ENQUEUE,
    Phase.CLAIM,
    Phase.ACK,
    Phase.RELEASE,
    Phase.EXTEND,
    Phase.RECLAIM,
    Phase.RECOVERY,
    Phase.SWEEP,
})  # fmt: skip
"""The phases in which the queue's own code runs: the only ones that its storage can fail."""

STORAGE = frozenset({Fault.IO_ERROR, Fault.DISK_FULL})
SERVER = frozenset({Fault.SERVER_KILL, Fault.SERVER_PAUSE})
"""What strikes the server, and so all workers at once; the name of each is also that of its event."""

REMOTE = SERVER | {Fault.CONNECTION_CUT}
"""What there is to strike only where a queue lives in a server."""


def elsewhere(server: str | None) -> frozenset[Fault]:
    """Return the faults that miss a queue on that server, or on none.

    A worker's disk has nothing of what a server keeps.
    """
    return REMOTE if server is None else STORAGE


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """A fault that a worker is to do to itself when it comes to the place."""

    fault: Fault
    phase: Phase
    point: int = 1
    """Before the how-many-th step (a write, sync, rename, statement, …) since the operation began."""
    seconds: float = 0.0
    """pause: how long. skew: to which offset from the true time."""
    rate: float = 0.0
    """skew: how many seconds the clock then gains in one."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Strike:
    """One line of the timetable."""

    at_seconds: float
    """Since the faults began."""
    worker: int
    """Which one, counted from 0 among all that may be struck so."""
    order: Order
    is_random: bool = False
    """From outside, wherever the worker then is."""
