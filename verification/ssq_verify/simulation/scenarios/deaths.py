"""What becomes of jobs whose holders die, or give them back, once and again?"""

from ssq_verify.history import Terms
from ssq_verify.scenario import SETUP_WORKER, Faults, Settings
from ssq_verify.sightings import Sighting
from ssq_verify.simulation.scenarios.named import Takes, named
from ssq_verify.simulation.scenarios.needs import Need
from ssq_verify.simulation.scenarios.parts import (
    SECOND,
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
    release,
    requeue,
    rested,
    scenario,
    times,
)


@named(
    "Every holder of a job dies, up to the declared bound; then nobody may get it again, but the next job.",
    Sighting.EVERY_HOLDER_DIED,
    Sighting.DEAD_BY_EXPIRY,
    needs=(Need.LEASE, Need.BOUND),
)
def _poison_job(settings: Settings, terms: Terms) -> Scenarios:
    overdue = times(settings, terms).overdue
    killed = tuple(
        step
        for attempt in _attempts(terms)
        for step in (claim("w1", f"attempt {attempt}"), crash("w1"), later("w1", overdue))
    )
    after = (*handles("w1", "one more"), later("w1", overdue), claim("w1", "and one more"))
    return (scenario(settings, backlog("j1"), killed, after),)


@named(
    "Each of several workers dies of the same job, while other jobs wait and must be handled.",
    Sighting.EVERY_HOLDER_DIED,
    needs=(Need.LEASE, Need.BOUND),
)
def _poison_job_among_others(settings: Settings, terms: Terms) -> Scenarios:
    overdue = times(settings, terms).overdue
    bound = terms.max_attempts or 0
    dying = tuple(
        step
        for number in range(bound)
        for step in (
            later(f"w{number}", number * (overdue + SECOND)),
            claim(f"w{number}", f"attempt {number}"),
            crash(f"w{number}"),
        )
    )
    after = (
        later("worker", bound * (overdue + SECOND)),
        *(step for n in "123" for step in handles("worker", n)),
    )
    return (scenario(settings, backlog("j1", "j2", "j3"), dying, after),)


@named(
    "A job is given back at each attempt, up to the last; then it is dead, until someone requeues it.",
    Sighting.DEAD_BY_RELEASE,
    needs=(Need.BOUND, Need.RELEASE),
)
def _dead_letter_by_release(settings: Settings, terms: Terms) -> Scenarios:
    failing: list[Steps] = []
    for attempt in _attempts(terms):
        name = f"attempt {attempt}"
        failing.append(
            (claim("w1", name), release("w1", name), later("w1", rested(settings, terms, attempt)))
        )
    dead = scenario(settings, backlog("j1"), *failing, (claim("w1", "one more"),))
    if not terms.dead_letters:
        return (dead,)
    wait = sum(step.seconds for steps in failing for step in steps) + SECOND
    again = (later("w2", wait), requeue("w2", "j1"), *handles("w2", "again"))
    return (dead, scenario(settings, backlog("j1"), *failing, again))


@named(
    "No holder of a job dies, and none comes back in time; after the last lease the job is dead.",
    Sighting.DEAD_BY_EXPIRY,
    needs=(Need.LEASE, Need.BOUND),
)
def _dead_letter_by_expiry(settings: Settings, terms: Terms) -> Scenarios:
    overdue = times(settings, terms).overdue
    late = tuple(
        step
        for attempt in _attempts(terms)
        for step in (claim("w1", f"attempt {attempt}"), later("w1", overdue))
    )
    other = (later("w2", overdue * ((terms.max_attempts or 0) + 1)), claim("w2", "one more"))
    return (scenario(settings, backlog("j1"), late, other),)


@named(
    "A worker is killed, its job reclaimed, and the next holder killed as it handles it.",
    Sighting.RECLAIM,
    Sighting.SECOND_HOLDER_DIED,
    takes=Takes.FAULT,
    needs=(Need.LEASE,),
)
def _second_kill(settings: Settings, terms: Terms) -> Scenarios:
    overdue = times(settings, terms).overdue
    third = (later("w3", 2 * overdue + SECOND), *handles("w3", "third"))
    return tuple(
        scenario(
            settings,
            before,
            (later("w2", overdue), *handles("w2", "second", for_seconds=SECOND)),
            third,
            faults=Faults(kills=kills),
        )
        # A first kill between two operations leaves one to be tried at each point; then two are.
        for kills, before in ((1, held("j1")), (2, (*backlog("j1"), *handles("w1", "first"))))
    )


@named(
    "A worker does everything that a queue offers, and may die at each step of it; others go on after it.",
    Sighting.HOLDER_DIED,
    takes=Takes.FAULT,
)
def _kill_inside_each_operation(settings: Settings, terms: Terms) -> Scenarios:
    rest = rested(settings, terms, 1)
    given_back: Steps = (release("w1", "first"), later("w1", rest), *handles("w1", "again"))
    all_of_it: Steps = (
        enqueue("w1", "j1"),
        claim("w1", "first"),
        *((extend("w1", "first"),) if terms.extend else ()),
        *(given_back if terms.release else (ack("w1", "first"),)),
        *((enqueue("w1", "j1", "new"),) if terms.idempotent_enqueue else ()),
    )
    overdue = times(settings, terms).overdue if terms.lease else rest
    after = (later("w2", rest + overdue), enqueue("w2", "j2"), *handles("w2", "one"), *handles("w2", "other"))
    return (scenario(settings, all_of_it, after, faults=Faults(kills=1)),)


@named(
    "A worker buries a job, and then requeues it, and may die at each step of both.",
    Sighting.REQUEUED,
    takes=Takes.NOTHING,
    needs=(Need.BOUND, Need.DEAD_LETTERS, Need.RELEASE),
)
def _kill_inside_requeue(settings: Settings, terms: Terms) -> Scenarios:
    early: Steps = backlog("j1")
    for attempt in _attempts(terms)[:-1]:
        name = f"attempt {attempt}"
        rest = rested(settings, terms, attempt)
        early += (claim(SETUP_WORKER, name), release(SETUP_WORKER, name), later(SETUP_WORKER, rest))
    burying = (claim("w1", "last"), release("w1", "last"), requeue("w1", "j1"), *handles("w1", "again"))
    overdue = times(settings, terms).overdue
    after = (later("w2", overdue), requeue("w2", "j1"), claim("w2", "other"), ack("w2", "other"))
    return (scenario(settings, early, burying, after, faults=Faults(kills=1)),)


def _attempts(terms: Terms) -> range:
    """Return the numbers of all attempts of a job, where there is a bound of them."""
    return range(1, (terms.max_attempts or 0) + 1)


SCENARIOS = (
    _poison_job,
    _poison_job_among_others,
    _dead_letter_by_release,
    _dead_letter_by_expiry,
    _second_kill,
    _kill_inside_each_operation,
    _kill_inside_requeue,
)
