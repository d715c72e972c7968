"""What may a holder still do whose lease has ended? Each operation, at each of three moments."""

from ssq_verify.history import Terms
from ssq_verify.scenario import Settings, StepKind
from ssq_verify.sightings import Sighting
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

USES = (StepKind.ACK, StepKind.RELEASE, StepKind.EXTEND)
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


def _late(do: StepKind) -> Named:
    def make(settings: Settings, terms: Terms) -> Scenarios:
        overdue = times(settings, terms).overdue
        holder = (claim("w1", "held"), later("w1", overdue), use(do, "w1", "held"))
        other = (later("w2", overdue + 1), claim("w2", "next"))
        return (scenario(settings, backlog("j1"), holder, other),)

    sentence = f"A holder {_third(do)} after its lease has ended, and before anyone else has the job."
    seen = {
        StepKind.ACK: Sighting.ACK_LATE,
        StepKind.RELEASE: Sighting.RELEASE_LATE,
        StepKind.EXTEND: Sighting.EXTEND_LATE,
    }
    return Named(
        name=f"{do}-after-expiry",
        sentence=sentence,
        make=make,
        shows=(seen[do],),
        needs=(Need.LEASE, *to_use(do)),
    )


def _after_next_claim(do: StepKind) -> Named:
    def make(settings: Settings, terms: Terms) -> Scenarios:
        overdue = times(settings, terms).overdue
        stale = (claim("w1", "held"), later("w1", overdue + 1), use(do, "w1", "held"))
        next_ = (later("w2", overdue), *handles("w2", "next", for_seconds=3))
        third = (later("w3", overdue + 2), claim("w3", "third"))
        return (scenario(settings, backlog("j1"), stale, next_, third),)

    sentence = f"A holder {_third(do)} after another worker has claimed its job."
    seen = {
        StepKind.ACK: Sighting.ACK_SUPERSEDED,
        StepKind.RELEASE: Sighting.RELEASE_SUPERSEDED,
        StepKind.EXTEND: Sighting.EXTEND_SUPERSEDED,
    }
    return Named(
        name=f"{do}-after-the-next-claim",
        sentence=sentence,
        make=make,
        shows=(seen[do],),
        needs=(*FENCED, *to_use(do)),
    )


def _after_next_ack(do: StepKind) -> Named:
    def make(settings: Settings, terms: Terms) -> Scenarios:
        overdue = times(settings, terms).overdue
        stale = (claim("w1", "held"), later("w1", overdue + 2), use(do, "w1", "held"))
        next_: Steps = (later("w2", overdue), *handles("w2", "next"))
        again = (
            later("w3", overdue + 1),
            enqueue("w3", "j1", "new"),
            later("w3", 2),
            *handles("w3", "third"),
        )
        held_again = (*again[:2], claim("w3", "third"), later("w3", 2), ack("w3", "third"))
        gone = scenario(
            settings, backlog("j1"), stale, next_, (later("w3", overdue + 3), claim("w3", "third"))
        )
        return (
            gone,
            scenario(settings, backlog("j1"), stale, next_, again),
            scenario(settings, backlog("j1"), stale, next_, held_again),
        )

    sentence = (
        f"A holder {_third(do)} after the next one's ack: the job is gone, or enqueued anew, or held anew."
    )
    seen = {
        StepKind.ACK: Sighting.ACK_AFTER_ACK,
        StepKind.RELEASE: Sighting.RELEASE_AFTER_ACK,
        StepKind.EXTEND: Sighting.EXTEND_AFTER_ACK,
    }
    return Named(
        name=f"{do}-after-the-next-ack",
        sentence=sentence,
        make=make,
        shows=(seen[do],),
        needs=(*FENCED, *to_use(do)),
    )


def _third(do: StepKind) -> str:
    return {StepKind.ACK: "acks", StepKind.RELEASE: "releases", StepKind.EXTEND: "extends"}[do]


SCENARIOS = (
    _aged_in_queue,
    *(kind(do) for kind in (_late, _after_next_claim, _after_next_ack) for do in USES),
)
