"""What may jobs and handles come into the middle of? Claims, acks, each other, live leases, old backlogs."""

from ssq_verify.history import Terms
from ssq_verify.scenario import SETUP_WORKER, Settings
from ssq_verify.sightings import Sighting
from ssq_verify.simulation.scenarios.named import Takes, named
from ssq_verify.simulation.scenarios.needs import Need
from ssq_verify.simulation.scenarios.parts import (
    SECOND,
    TICK,
    Scenarios,
    ack,
    backlog,
    claim,
    crash,
    enqueue,
    fork,
    handles,
    held,
    later,
    release,
    reopen,
    rested,
    scenario,
    times,
)

LONG = "a payload that is longer than the other one by so much that what two writers mix up can be told apart"


@named("A claim comes while a job is being enqueued.", Sighting.ENQUEUE_BESIDE_CLAIM, takes=Takes.PREEMPTION)
def _enqueue_races_claim(settings: Settings, _terms: Terms) -> Scenarios:
    again = (later("w2", SECOND), *handles("w2", "second"))
    return (scenario(settings, (enqueue("w1", "j1"),), handles("w2", "first"), again),)


@named(
    "Two producers enqueue at once, and each job must come out with its own payload, byte for byte.",
    Sighting.TWO_ENQUEUES,
    takes=Takes.PREEMPTION,
)
def _two_producers(settings: Settings, _terms: Terms) -> Scenarios:
    producers = ((enqueue("w1", "j1", "short"), enqueue("w1", "j3", "x")), (enqueue("w2", "j2", LONG),))
    consumer = (later("w3", SECOND), *(step for n in "123" for step in handles("w3", n)))
    return (scenario(settings, *producers, consumer),)


@named(
    "Two producers are children of one that had the queue open; each job has its own payload, byte for byte.",
    Sighting.TWO_ENQUEUES,
    Sighting.FORKED,
    takes=Takes.PREEMPTION,
    needs=(Need.FORKS,),
)
def _two_producers_of_one_parent(settings: Settings, _terms: Terms) -> Scenarios:
    first = (fork("w1"), enqueue("w1", "j1", "short"), enqueue("w1", "j3", "x"))
    second = (fork("w2"), enqueue("w2", "j2", LONG), enqueue("w2", "j4", "y"))
    consumer = (later("w3", SECOND), *(step for n in "12345" for step in handles("w3", n)))
    return (scenario(settings, backlog("j0"), first, second, consumer),)


@named(
    "Two producers enqueue the same job id at once; there is one job, and its payload is one of the two.",
    Sighting.TWO_OF_ONE_JOB,
    takes=Takes.PREEMPTION,
    needs=(Need.IDEMPOTENT_ENQUEUE,),
)
def _two_producers_of_one_job(settings: Settings, _terms: Terms) -> Scenarios:
    producers = ((enqueue("w1", "j1", "short"),), (enqueue("w2", "j1", LONG),))
    consumer = (later("w3", SECOND), claim("w3", "first"), claim("w3", "none"), ack("w3", "first"))
    return (scenario(settings, *producers, (*consumer, claim("w3", "none either"))),)


@named(
    "A job is enqueued that is being worked on: nothing changes, and nobody else gets it.",
    Sighting.ENQUEUE_OF_HELD,
    needs=(Need.IDEMPOTENT_ENQUEUE,),
)
def _enqueue_of_a_held_job(settings: Settings, _terms: Terms) -> Scenarios:
    other = (later("w2", SECOND), enqueue("w2", "j1"), claim("w2", "none"))
    return (scenario(settings, backlog("j1"), handles("w1", "held", for_seconds=2 * SECOND), other),)


@named(
    "A job is enqueued while its last incarnation is being acked: it is new, or changes nothing.",
    Sighting.ENQUEUE_BESIDE_ACK,
    takes=Takes.PREEMPTION,
    needs=(Need.IDEMPOTENT_ENQUEUE,),
)
def _enqueue_of_a_job_being_acked(settings: Settings, _terms: Terms) -> Scenarios:
    held_first = claim(SETUP_WORKER, "held")
    new = enqueue("w2", "j1", "new")
    others = (
        (new, later("w2", SECOND), *handles("w2", "next")),
        (new, *handles("w2", "next", for_seconds=SECOND)),
    )
    return tuple(
        scenario(settings, backlog("j1"), (held_first,), (ack("w1", "held"),), other) for other in others
    )


@named(
    "While a worker acks, others enqueue, claim and finish jobs that have nothing to do with it.",
    Sighting.OTHERS_IN_ACK,
    takes=Takes.PREEMPTION,
)
def _others_inside_an_ack(settings: Settings, terms: Terms) -> Scenarios:
    rest = rested(settings, terms, 1)
    acking = (claim(SETUP_WORKER, "held"),)
    busy = (claim("w2", "second"), ack("w2", "second"), enqueue("w2", "j3"))
    failing = (claim("w3", "third"), release("w3", "third"), later("w3", rest), *handles("w3", "again"))
    few = scenario(settings, backlog("j1", "j2"), acking, (ack("w1", "held"),), busy)
    more = scenario(settings, backlog("j1", "j2", "j4"), acking, (ack("w1", "held"),), busy, failing)
    return (few, more) if terms.release else (few,)


@named(
    "A job that was given back rests for as long as it should, then is there; the next rest is longer.",
    Sighting.RESTED,
    Sighting.POLL_IN_REST,
    needs=(Need.BACK_OFF, Need.RELEASE),
)
def _back_off_ends(settings: Settings, terms: Terms) -> Scenarios:
    retry, skew = settings.retry, times(settings, terms).skew
    first, second = retry.backoff_seconds(1), retry.backoff_seconds(2)
    if first <= 2 * skew:
        return ()
    failing = [claim("w1", "first"), release("w1", "first")]
    early = [later("w1", first - skew - 4 * TICK), claim("w1", "early")]
    due = [later("w1", 2 * skew + SECOND), claim("w1", "second"), release("w1", "second")]
    early += [ack("w1", "early"), *due, later("w1", second - skew - 4 * TICK), claim("w1", "early again")]
    last = [ack("w1", "early again"), later("w1", 2 * skew + SECOND), *handles("w1", "third")]
    other = (later("w2", first / 2), claim("w2", "none"), ack("w2", "none"))
    return (scenario(settings, backlog("j1"), (*failing, *early, *last), other),)


@named(
    "A worker opens a handle, its first or another, in the middle of another's lease, and polls.",
    Sighting.OPEN_OVER_LEASES,
    needs=(Need.LEASE,),
)
def _new_handle_over_live_leases(settings: Settings, _terms: Terms) -> Scenarios:
    holder = handles("w1", "held", for_seconds=3 * SECOND)
    fresh = (reopen("w2"), later("w2", SECOND), reopen("w2"), *handles("w2", "next"))
    restarted = (crash("w2"), later("w2", SECOND), reopen("w2"), *handles("w2", "next"))
    own = (claim("w1", "held"), later("w1", SECOND), reopen("w1"), later("w1", 2 * SECOND), ack("w1", "held"))
    polls = (later("w2", 2 * SECOND), *handles("w2", "next"))
    return (
        scenario(settings, backlog("j1"), holder, fresh),
        scenario(settings, backlog("j1", "j2"), holder, restarted),
        scenario(settings, backlog("j1"), own, polls),
    )


@named(
    "All workers are gone for a long time; new ones come to what waits and to what was held.",
    Sighting.OPEN_OVER_BACKLOG,
    Sighting.AGED,
)
def _restart_over_an_old_backlog(settings: Settings, terms: Terms) -> Scenarios:
    span = times(settings, terms)
    left = (*backlog("j2", "j3"), later(SETUP_WORKER, 10 * span.overdue))
    before = (*held("j1"), *left) if terms.lease else (*backlog("j1"), *left)
    workers = (
        (reopen(name), *(step for n in "12" for step in handles(name, f"{name} {n}")))
        for name in ("w1", "w2")
    )
    return (scenario(settings, before, *workers),)


SCENARIOS = (
    _enqueue_races_claim,
    _two_producers,
    _two_producers_of_one_parent,
    _two_producers_of_one_job,
    _enqueue_of_a_held_job,
    _enqueue_of_a_job_being_acked,
    _others_inside_an_ack,
    _back_off_ends,
    _new_handle_over_live_leases,
    _restart_over_an_old_backlog,
)
