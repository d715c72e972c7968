"""What may go wrong with one job among many? Each is taken, left, lost or spent by itself."""

from ssq_verify.history import Terms
from ssq_verify.scenario import SETUP_WORKER, Faults, Settings
from ssq_verify.sightings import Sighting
from ssq_verify.simulation.scenarios.named import Takes, named
from ssq_verify.simulation.scenarios.needs import Need
from ssq_verify.simulation.scenarios.parts import (
    SECOND,
    Scenarios,
    ack,
    backlog,
    claim,
    crash,
    enqueue,
    handles,
    handles_many,
    later,
    many,
    scenario,
    times,
)


@named(
    "Two workers want many jobs at once; each gets some, and none the other's.",
    Sighting.TWO_CLAIMS,
    takes=Takes.PREEMPTION,
    needs=(Need.BATCHES,),
)
def _two_workers_want_many(settings: Settings, _terms: Terms) -> Scenarios:
    ready = backlog("j1", "j2", "j3")
    both = scenario(settings, ready, handles_many("w1", "one", 2), handles_many("w2", "other", 2))
    single = scenario(settings, ready, handles_many("w1", "one", 2), handles("w2", "other"))
    return (both, single)


@named(
    "Of three jobs that a worker holds, another has got the oldest by the time that all are acked at once.",
    Sighting.ACK_SUPERSEDED,
    needs=(Need.BATCHES, Need.LEASE, Need.FENCING),
)
def _one_of_many_acks_is_late(settings: Settings, terms: Terms) -> Scenarios:
    overdue = times(settings, terms).overdue
    holder = handles_many("w1", "held", 3, for_seconds=overdue + SECOND)
    other = (later("w2", overdue), *handles("w2", "next", for_seconds=3))
    third = (later("w3", overdue + 2), claim("w3", "third"))
    return (scenario(settings, backlog("j1", "j2", "j3"), holder, other, third),)


@named(
    "A worker dies holding two jobs of three, again and again: all are spent but the last, which is there.",
    Sighting.EVERY_HOLDER_DIED,
    Sighting.RECLAIM,
    needs=(Need.BATCHES, Need.LEASE, Need.BOUND),
)
def _many_left_by_the_dead(settings: Settings, terms: Terms) -> Scenarios:
    overdue = times(settings, terms).overdue
    dying = tuple(
        step
        for attempt in range(1, (terms.max_attempts or 0) + 1)
        for step in (many(claim("w1", f"attempt {attempt}"), 2), crash("w1"), later("w1", overdue))
    )
    after = (*handles_many("w1", "last", 2), later("w1", overdue), claim("w1", "none"))
    return (scenario(settings, backlog("j1", "j2", "j3"), dying, after),)


@named(
    "Two producers enqueue many jobs at once, some of them the same; none is lost, and none there twice.",
    Sighting.TWO_ENQUEUES,
    takes=Takes.PREEMPTION,
    needs=(Need.BATCHES,),
)
def _two_producers_of_many(settings: Settings, terms: Terms) -> Scenarios:
    second = "j1" if terms.idempotent_enqueue else "j2"
    producers = ((many(enqueue("w1", "j1"), 2),), (many(enqueue("w2", second), 3),))
    consumer = (later("w3", SECOND), *handles_many("w3", "first", 4), *handles_many("w3", "second", 4))
    return (scenario(settings, *producers, consumer),)


@named(
    "A worker dies inside a call with many jobs: each is taken, acked, or neither, and none is lost.",
    Sighting.HOLDER_DIED,
    takes=Takes.FAULT,
    needs=(Need.BATCHES, Need.LEASE),
)
def _a_death_among_many(settings: Settings, terms: Terms) -> Scenarios:
    overdue = times(settings, terms).overdue
    dying = (many(claim("w1", "held"), 2), many(enqueue("w1", "j4"), 2), many(ack("w1", "held"), 2))
    heir = (later("w2", overdue), *handles_many("w2", "left", 3))
    ready = (many(enqueue(SETUP_WORKER, "j1"), 3),)
    return (scenario(settings, ready, dying, heir, faults=Faults(kills=1)),)


SCENARIOS = (
    _two_workers_want_many,
    _one_of_many_acks_is_late,
    _many_left_by_the_dead,
    _two_producers_of_many,
    _a_death_among_many,
)
