"""Do two runs fail for one reason? A cheap guess: which faults struck, and inside which operations."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol, TypeVar

from ssq_verify.history import EventType
from ssq_verify.simulation.run import Simulated
from ssq_verify.simulation.world import KILL, PAUSE, POWER_LOSS

CAUSES_MAX = 3
"""Of one invariant so many failures are shrunk and shown."""
UNSYNCED = "losses of what was not synced"
ERROR = "I/O errors"


class Cause(NamedTuple):
    """What seems to be behind a failure."""

    faults: tuple[str, ...]
    """The kinds that struck, sorted."""
    inside: tuple[str, ...]
    """The operations in which a worker was stopped or struck, sorted."""


class HasCause(Protocol):
    """A failure that was found."""

    @property
    def invariant(self) -> str:
        """What it breaks."""
        ...

    @property
    def cause(self) -> Cause:
        """What seems to be behind it."""
        ...

    @property
    def size(self) -> tuple[int, ...]:
        """How far it is from plain."""
        ...


F = TypeVar("F", bound=HasCause)


def cause_of(run: Simulated) -> Cause:
    """Return what seems to be behind a failing run."""
    kinds = {kinds_of(struck.fault) for struck in run.faults}
    if loses_unsynced(run):
        kinds = kinds - {kinds_of(POWER_LOSS)} | {UNSYNCED}
    struck = {struck.operation for struck in run.faults}
    return Cause(tuple(sorted(kinds)), tuple(sorted(struck | _stopped_in(run) - {""})))


def loses_unsynced(run: Simulated) -> bool:
    """Whether a loss of power took something that was written."""
    return any(deviation.kind not in {"next", "order"} for deviation in run.deviations)


def kinds_of(fault: str) -> str:
    """Return what faults of this kind are called: `kills`, `power losses`, `pauses`, `I/O errors`."""
    known = {KILL: "kills", POWER_LOSS: "power losses"}
    return "pauses" if fault.startswith(PAUSE) else known.get(fault, ERROR)


def different(found: Sequence[F]) -> list[F]:
    """Return the plainest failure of each cause, of each invariant a few: first those with other faults."""
    chosen: list[F] = []
    ordered = sorted(found, key=lambda each: each.size)
    for is_new in (_has_other_faults, _is_elsewhere):
        for each in ordered:
            known = [one for one in chosen if one.invariant == each.invariant]
            if len(known) < CAUSES_MAX and all(is_new(each.cause, one.cause) for one in known):
                chosen.append(each)
    return sorted(chosen, key=_by_what_it_tells)


def _by_what_it_tells(found: HasCause) -> tuple[object, ...]:
    """Return a key: what a loss of power takes tells more than a crash, that more than a failing call."""
    faults = found.cause.faults
    return found.invariant, UNSYNCED not in faults, ERROR in faults, found.size


def _has_other_faults(one: Cause, other: Cause) -> bool:
    return one.faults != other.faults


def _is_elsewhere(one: Cause, other: Cause) -> bool:
    return one != other


def _stopped_in(run: Simulated) -> set[str]:
    """Return the operations in which a worker was stopped."""
    stops = {(deviation.worker, deviation.event) for deviation in run.deviations if deviation.kind == "next"}
    inside: set[str] = set()
    for worker, count in stops:
        before = [event for event in run.history.events[:count] if event.worker == worker]
        if before and before[-1].type is EventType.INVOKE:
            inside.add(before[-1].f)
    return inside
