"""What may a reclaim meet? Another's claim or ack that is under way, another reclaim, no work, or much."""

import math

from ssq_verify.history import Terms
from ssq_verify.scenario import SETUP_WORKER, Faults, Settings, StepKind
from ssq_verify.sightings import Sighting
from ssq_verify.simulation.scenarios.named import Named, Takes, named
from ssq_verify.simulation.scenarios.needs import Need, to_use
from ssq_verify.simulation.scenarios.parts import (
    SECOND,
    TICK,
    Scenarios,
    Steps,
    ack,
    backlog,
    claim,
    crash,
    enqueue,
    extend,
    handles,
    held,
    later,
    polls,
    release,
    rested,
    scenario,
    times,
    use,
)

HEARTBEATS = 4
ROUNDS = 8
"""Of arrivals: more than there are workers, so that an order that is kept only roughly is no excuse."""


@named(
    "One worker takes a job whose lease has ended while another claims one that waits.",
    Sighting.RECLAIM,
    Sighting.RECLAIM_IN_CLAIM,
    takes=Takes.PREEMPTION,
    needs=(Need.LEASE,),
)
def _reclaim_inside_claim(settings: Settings, terms: Terms) -> Scenarios:
    dead = held("j1", then=times(settings, terms).overdue)
    waiting = (enqueue(SETUP_WORKER, "j2"),)
    return (scenario(settings, dead, waiting, handles("w1", "one"), handles("w2", "other")),)


def _inside(do: StepKind, seen: Sighting) -> Named:
    def make(settings: Settings, terms: Terms) -> Scenarios:
        overdue = times(settings, terms).overdue
        # Both wake at the same instant, and who slept last goes first.
        waits = (later("w1", overdue - SECOND), later("w1", SECOND))
        holder = (claim("w1", "held"), *waits, use(do, "w1", "held"))
        other = (later("w2", overdue), *handles("w2", "next"))
        return (scenario(settings, backlog("j1"), holder, other),)

    sentence = f"A reclaim comes while the job's late holder is in the middle of its {do}."
    return Named(
        name=f"reclaim-inside-{do}",
        sentence=sentence,
        make=make,
        shows=(seen,),
        takes=Takes.PREEMPTION,
        needs=(Need.LEASE, *to_use(do)),
    )


@named(
    "Two workers come at once for a job whose lease has ended.",
    Sighting.RECLAIM,
    Sighting.TWO_CLAIMS,
    takes=Takes.PREEMPTION,
    needs=(Need.LEASE,),
)
def _two_reclaims(settings: Settings, terms: Terms) -> Scenarios:
    dead = held("j1", then=times(settings, terms).overdue)
    return (scenario(settings, dead, handles("w1", "one"), handles("w2", "other")),)


@named(
    "Each of two workers takes a job whose lease has ended, at the same time.",
    Sighting.TWO_RECLAIMS,
    takes=Takes.PREEMPTION,
    needs=(Need.LEASE,),
)
def _two_reclaims_of_two_jobs(settings: Settings, terms: Terms) -> Scenarios:
    second = (enqueue(SETUP_WORKER, "j2"), claim(SETUP_WORKER, "second"), crash(SETUP_WORKER))
    dead = (*held("j1"), *second, later(SETUP_WORKER, times(settings, terms).overdue))
    return (scenario(settings, dead, handles("w1", "one"), handles("w2", "other")),)


@named(
    "While one worker is in the middle of a claim, another claims, fails and claims again (ABA).",
    Sighting.OVERTAKEN,
    takes=Takes.PREEMPTION,
    needs=(Need.RELEASE,),
)
def _claim_and_release_overtake_a_claim(settings: Settings, terms: Terms) -> Scenarios:
    longest = times(settings, terms).overdue
    rest = rested(settings, terms, 1)
    slow = handles("w1", "slow")
    quick: Steps = (claim("w2", "first"), release("w2", "first"), later("w2", rest), *handles("w2", "again"))
    faults = Faults(pauses=1, pause_seconds=(rest, longest) if terms.lease else (rest,))
    return (
        scenario(settings, backlog("j1"), slow, quick, faults=faults),
        scenario(settings, backlog("j1", "j2"), slow, quick, faults=faults),
    )


@named(
    "A holder extends its lease for a while and dies; others poll all the time and measure the reclaim.",
    Sighting.RECLAIM,
    Sighting.RECLAIM_SOON,
    Sighting.RECLAIM_OF_HEARTBEAT,
    needs=(Need.LEASE, Need.EXTEND),
)
def _heartbeats_then_death(settings: Settings, terms: Terms) -> Scenarios:
    span = times(settings, terms)
    beat, step = span.ttl / 2, span.skew or SECOND
    alive = (each for _ in range(HEARTBEATS) for each in (later("w1", beat), extend("w1", "held")))
    holder = (claim("w1", "held"), *alive, crash("w1"))
    # Now and then while the holder lives, and closely from when its lease ends.
    before = polls("w2", every=beat, count=HEARTBEATS + 1, name="early")
    after = polls("w2", every=step, count=math.ceil(2 * span.skew / step) + 2, name="poll")
    return (scenario(settings, backlog("j1"), holder, (*before, later("w2", beat - step), *after)),)


@named(
    "A holder dies; nothing else is there and nothing comes, and one poll must find the job.",
    Sighting.RECLAIM,
    Sighting.HOLDER_DIED,
    needs=(Need.LEASE,),
)
def _reclaim_on_an_idle_queue(settings: Settings, terms: Terms) -> Scenarios:
    overdue = times(settings, terms).overdue
    holder = (claim("w1", "held"), crash("w1"))
    return (
        scenario(settings, backlog("j1"), holder, (later("w2", overdue), *handles("w2", "next"))),
        # The same by a worker that died and came back.
        scenario(settings, backlog("j1"), holder, (later("w1", overdue), *handles("w1", "next"))),
    )


@named(
    "A holder dies; jobs keep coming, and workers keep polling, before and after its lease has ended.",
    Sighting.RECLAIM,
    Sighting.HOLDER_DIED,
    needs=(Need.LEASE,),
)
def _reclaim_under_arrivals(settings: Settings, terms: Terms) -> Scenarios:
    every = times(settings, terms).overdue / 4
    holder = (claim("w1", "held"), crash("w1"))
    numbers = range(2, ROUNDS + 2)
    producer = tuple(step for n in numbers for step in (enqueue("w2", f"j{n}"), later("w2", every)))
    consumer = (later("w3", SECOND), *polls("w3", every=every, count=ROUNDS, name="poll"))
    return (scenario(settings, backlog("j1"), holder, producer, consumer),)


@named(
    "Polls just before, at and after the end of a lease, and the moment from which another may have the job.",
    Sighting.RECLAIM,
    Sighting.RECLAIM_AT_ONCE,
    needs=(Need.LEASE,),
)
def _reclaim_at_its_first_moment(settings: Settings, terms: Terms) -> Scenarios:
    span = times(settings, terms)
    # The claim's return, and the call of the poll, are one event each.
    moments = [span.ttl - 2 * TICK, span.takeover - 2 * TICK]
    offsets = [moment + step * TICK for moment in dict.fromkeys(moments) for step in (-2, -1, 0, 1)]
    return tuple(
        scenario(
            settings,
            backlog("j1"),
            (claim("w1", "held"), later("w1", span.ttl / 2)),
            (later("w2", offset), claim("w2", "next"), later("w2", SECOND), ack("w2", "next")),
        )
        for offset in offsets
    )


SCENARIOS = (
    _reclaim_inside_claim,
    _inside(StepKind.ACK, Sighting.RECLAIM_IN_ACK),
    _inside(StepKind.RELEASE, Sighting.RECLAIM_IN_RELEASE),
    _inside(StepKind.EXTEND, Sighting.RECLAIM_IN_EXTEND),
    _two_reclaims,
    _two_reclaims_of_two_jobs,
    _claim_and_release_overtake_a_claim,
    _heartbeats_then_death,
    _reclaim_on_an_idle_queue,
    _reclaim_under_arrivals,
    _reclaim_at_its_first_moment,
)
