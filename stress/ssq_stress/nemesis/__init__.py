"""What strikes, and when? One file a fault; here, what they have in common: the arena, and the timetable.

A fault is done from outside at a moment of the supervisor's, or ordered: the worker does it to itself at an
exact point inside an operation. Which, when, to whom and where comes from the seed alone.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random
from typing import Protocol

from ssq_stress.faults import INSIDE, SERVER, STORAGE, Fault, Order, Phase, Strike
from ssq_stress.processes.board import Slot
from ssq_stress.processes.log import EventLog
from ssq_verify.history import Terms

PER_SECOND = {
    Fault.KILL: 15.0,
    Fault.PAUSE: 4.0,
    Fault.SKEW: 6.0,
    Fault.IO_ERROR: 7.0,
    Fault.DISK_FULL: 5.0,
    Fault.SERVER_KILL: 0.6,
    Fault.SERVER_PAUSE: 0.6,
    Fault.CONNECTION_CUT: 5.0,
}
"""How often each strikes. Kills are to come to ten in a second; more of all would leave nobody at work."""

RANDOM_SHARE = {Fault.KILL: 0.5, Fault.PAUSE: 0.3, Fault.SERVER_KILL: 0.3, Fault.SERVER_PAUSE: 0.3}
"""How many strikes come from outside, wherever the worker then is; of the other faults none do."""

PAUSES = ((0.05, 0.3), (0.05, 0.3), (0.8, 1.8))
"""For how much of a lease a worker stands still: more often short, or nobody would be left to work."""

SERVER_PAUSES = ((0.02, 0.1), (0.02, 0.1), (0.02, 0.1), (0.8, 1.4))
SERVER_DOWN = (0.0, 0.15)
"""The same of a server: while it does not answer, nothing else can be seen to strike."""

ANY_SKEW_SECONDS = 7_200.0
"""How far clocks are apart where the queue bears any difference: an hour ahead, an hour behind."""

POINTS = (1, 1, 2, 2, 3, 3, 4, 5, 6, 8, 11)
"""Before the how-many-th step of an operation; one that has fewer is struck at its last, or on its return."""
CUTS = (1, 2, 3, 1, 2, 3, 1, 2, 3, 4, 5, 6)
"""The same of a connection: three ways to lose a request, mostly the first, for few operations make two."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Victim:
    """A worker, to the fault that it does to itself."""

    name: str
    slot: Slot
    log: EventLog
    clock_limit_ns: int
    disk: Path | None
    """The small file system that the queue lies on."""
    failing: Callable[[], None]
    """Lets the storage of the operation under way fail from here on, where no Python call can be made to."""


class Arena(Protocol):
    """What the supervisor lets a fault do from outside."""

    def slot(self, worker: int) -> Slot:
        """Return a worker's part of the board."""
        ...

    def kill(self, worker: int) -> None:
        """End a worker's process group with SIGKILL."""
        ...

    def stop(self, worker: int, *, seconds: float) -> None:
        """Stop a worker's process group with SIGSTOP, and continue it so much later."""
        ...


def phases(fault: Fault, terms: Terms, *, chosen: Iterable[Fault]) -> tuple[Phase, ...]:
    """Return the phases in which a fault can strike this queue's workers, with these faults about."""
    lacking = {
        Phase.RELEASE: terms.release,
        Phase.EXTEND: terms.extend,
        Phase.RECLAIM: terms.lease,
        # Only a killed worker has a replacement.
        Phase.RECOVERY: Fault.KILL in set(chosen),
        Phase.SWEEP: terms.sweeps,
    }
    offered = [phase for phase in Phase if lacking.get(phase, True)]
    return tuple(phase for phase in offered if fault not in STORAGE or phase in INSIDE)


def timetable(
    seed: str, cells: Iterable[tuple[Fault, Phase]], *, terms: Terms, workers: int
) -> Iterator[Strike]:
    """Yield strikes in these cells without end, in their order; worker numbers are below `workers`."""
    places: dict[Fault, list[Phase]] = {}
    for fault, phase in cells:
        places.setdefault(fault, []).append(phase)
    return heapq.merge(
        *(
            _strikes(_chance(seed, fault), fault, tuple(places[fault]), terms, workers)
            for fault in sorted(places)
        ),
        key=lambda strike: strike.at_seconds,
    )


def _strikes(
    rng: Random, fault: Fault, places: tuple[Phase, ...], terms: Terms, workers: int
) -> Iterator[Strike]:
    at_seconds = 0.0
    for phase in _in_turn(rng, places):
        at_seconds += rng.expovariate(PER_SECOND[fault])
        yield Strike(
            at_seconds=at_seconds,
            worker=rng.randrange(workers),
            order=_order(rng, fault, phase, terms),
            is_random=rng.random() < RANDOM_SHARE.get(fault, 0.0),
        )


def _chance(seed: str, fault: Fault) -> Random:
    return Random(f"{seed}/{fault}")  # noqa: S311 - a timetable, no secret


def _in_turn(rng: Random, places: tuple[Phase, ...]) -> Iterator[Phase]:
    """Yield all places, in another order each time: none is forgotten however short the round is."""
    for _ in count():
        yield from rng.sample(places, k=len(places))


def _order(rng: Random, fault: Fault, phase: Phase, terms: Terms) -> Order:
    seconds, rate = 0.0, 0.0
    if fault is Fault.PAUSE:
        seconds = rng.uniform(*rng.choice(PAUSES)) * terms.lease_ttl_seconds
    elif fault in SERVER:
        lasts = rng.choice(SERVER_PAUSES) if fault is Fault.SERVER_PAUSE else SERVER_DOWN
        seconds = rng.uniform(*lasts) * terms.lease_ttl_seconds
    elif fault is Fault.SKEW:
        half = (
            ANY_SKEW_SECONDS if terms.max_clock_skew_seconds is None else terms.max_clock_skew_seconds
        ) / 2
        # More often than not as far as may be: two clocks that are both somewhere between tell little.
        seconds = rng.choice((-half, half, rng.uniform(-half, half)))
        rate = rng.choice((0.0, 0.0, 0.05, -0.05))
    points = CUTS if fault is Fault.CONNECTION_CUT else POINTS
    return Order(fault=fault, phase=phase, point=rng.choice(points), seconds=seconds, rate=rate)
