"""What can a process have known and done when the power failed? The history of a loss is made of that."""

from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter
from random import Random

from msgspec.structs import replace

from ssq_verify.execution import DRAIN_WORKER
from ssq_verify.history import Event, EventType, History

POWER = "power"
"""In place of a worker: what failed."""
USED_ANEW = 20
"""How many ids, at most."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outage:
    """Between which two instants the power failed."""

    begun_ns: int
    ended_ns: int


def told(log: list[Event], outage: Outage) -> Iterator[Event]:
    """Yield what a process did that can have mattered, and what it was told before the power failed.

    An answer that came later is of an operation that may have happened or not, whatever it says.
    """
    open_call: Event | None = None
    for event in log:
        if event.type is EventType.INVOKE:
            open_call = event if event.time_ns <= outage.ended_ns else None
            if open_call is not None:
                yield event
        elif event.time_ns < outage.begun_ns:
            yield event
        elif open_call is not None:
            yield replace(
                open_call,
                type=EventType.INFO,
                time_ns=min(event.time_ns, outage.ended_ns),
                value="the power was failing",
            )
            open_call = None


def in_order(logs: list[list[Event]]) -> list[Event]:
    """Return what several processes did, in the order of the one clock."""
    return sorted((event for log in logs for event in log), key=attrgetter("time_ns"))


def loss(outage: Outage) -> Event:
    """Return the loss, after all that anybody can have done before it."""
    return Event(index=0, time_ns=outage.ended_ns, worker=POWER, type=EventType.INFO, f="power-loss")


def free_ids(lost: History, chance: Random) -> tuple[str, ...]:
    """Return some of the ids that were used and must be free now, as if they never had been.

    An enqueue of unknown outcome may be finished by the next one, in its old place; where a loss may undo one
    that returned, any may, unless the job was acked after it.
    """
    enqueues = [each for each in lost.operations if each.f == "enqueue"]
    unknown = {each.job_id for each in enqueues if each.outcome is EventType.INFO}
    acked = {each.job_id for each in lost.operations if each.f == "ack" and each.worker == DRAIN_WORKER}
    dead = {event.job_id for event in lost.events if event.f == "dead"}
    sure = {each.job_id for each in enqueues} - unknown if lost.terms.durability == "power-loss" else acked
    free = sorted(job_id for job_id in sure - dead if job_id is not None)
    return tuple(chance.sample(free, k=min(USED_ANEW, len(free))))


def about(jobs: tuple[str, ...], log: list[Event]) -> list[Event]:
    """Leave out what a process saw of jobs of another run."""
    return [event for event in log if event.f not in {"dead", "present"} or event.job_id in jobs]
