"""What may a holder still do whose lease has ended? Each operation, at each of three moments."""

from collections.abc import Callable, Iterator
from functools import partial

from ssq_verify.history import Terms
from ssq_verify.scenario import Settings, StepKind
from ssq_verify.sightings import LATE, Sighting
from ssq_verify.simulation.scenarios.named import Named, named
from ssq_verify.simulation.scenarios.needs import Need, to_use
from ssq_verify.simulation.scenarios.parts import (
    TICK,
    Scenarios,
    Steps,
    ack,
    backlog,
    claim,
    enqueue,
    handles,
    later,
    scenario,
    times,
    use,
)

USES = {StepKind.ACK: "acks", StepKind.RELEASE: "releases", StepKind.EXTEND: "extends"}
FENCED = (Need.LEASE, Need.FENCING)


@named(
    "A job waits for two leases before it is claimed; its holder still has a whole one.",
    Sighting.AGED,
    needs=(Need.LEASE,),
)
def _aged_in_queue(settings: Settings, terms: Terms) -> Scenarios:
    ttl = times(settings, terms).ttl
    waited = (*backlog("j1"), later("setup", 2 * ttl))
    holder = handles("w1", "old", for_seconds=ttl - TICK)
    others = (claim("w2", "at once"), later("w2", ttl / 2), claim("w2", "inside"))
    return (scenario(settings, waited, holder, others),)


def _late(do: StepKind, settings: Settings, terms: Terms) -> Scenarios:
    overdue = times(settings, terms).overdue
    holder = (claim("w1", "held"), later("w1", overdue), use(do, "w1", "held"))
    other = (later("w2", overdue + 1), claim("w2", "next"))
    return (scenario(settings, backlog("j1"), holder, other),)


def _after_next_claim(do: StepKind, settings: Settings, terms: Terms) -> Scenarios:
    overdue = times(settings, terms).overdue
    stale = (claim("w1", "held"), later("w1", overdue + 1), use(do, "w1", "held"))
    next_ = (later("w2", overdue), *handles("w2", "next", for_seconds=3))
    third = (later("w3", overdue + 2), claim("w3", "third"))
    return (scenario(settings, backlog("j1"), stale, next_, third),)


def _after_next_ack(do: StepKind, settings: Settings, terms: Terms) -> Scenarios:
    overdue = times(settings, terms).overdue
    stale = (claim("w1", "held"), later("w1", overdue + 2), use(do, "w1", "held"))
    next_: Steps = (later("w2", overdue), *handles("w2", "next"))
    gone = (later("w3", overdue + 3), claim("w3", "third"))
    anew = (later("w3", overdue + 1), enqueue("w3", "j1", "new"))
    again = (*anew, later("w3", 2), *handles("w3", "third"))
    held_again = (*anew, claim("w3", "third"), later("w3", 2), ack("w3", "third"))
    return tuple(scenario(settings, backlog("j1"), stale, next_, last) for last in (gone, again, held_again))


def _stale(
    moment: str,
    sentence: str,
    make: Callable[[StepKind, Settings, Terms], Scenarios],
    *,
    number: int,
    needs: tuple[Need, ...],
) -> Iterator[Named]:
    """Yield a scenario for each operation on claims; the moment has this number in `LATE`."""
    for do, does in USES.items():
        yield Named(
            name=f"{do}-{moment}",
            sentence=f"A holder {does} {sentence}",
            make=partial(make, do),
            shows=(LATE[do][number],),
            needs=(*needs, *to_use(do)),
        )


SCENARIOS = (
    _aged_in_queue,
    *_stale(
        "after-expiry",
        "after its lease has ended, and before anyone else has the job.",
        _late,
        number=0,
        needs=(Need.LEASE,),
    ),
    *_stale(
        "after-the-next-claim",
        "after another worker has claimed its job.",
        _after_next_claim,
        number=1,
        needs=FENCED,
    ),
    *_stale(
        "after-the-next-ack",
        "after the next one's ack: the job is gone, or enqueued anew, or held anew.",
        _after_next_ack,
        number=2,
        needs=FENCED,
    ),
)
