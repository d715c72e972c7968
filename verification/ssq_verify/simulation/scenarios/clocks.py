"""What if the workers' clocks are not right? They differ by up to E, drift, jump, or are in other zones."""

from collections.abc import Iterator

from ssq_verify.history import Terms
from ssq_verify.scenario import Scenario, Settings, Step
from ssq_verify.sightings import Sighting
from ssq_verify.simulation.scenarios.named import named
from ssq_verify.simulation.scenarios.parts import (
    EAST,
    SECOND,
    TICK,
    WEST,
    Steps,
    Times,
    ack,
    backlog,
    claim,
    clock,
    extend,
    handles,
    later,
    reopen,
    scenario,
    times,
)

Scenarios = tuple[Scenario, ...]
EVENTS = 20
"""More than there are between a claim and a poll that comes a lease later, each a microsecond."""


@named(
    "The clocks of a holder and of who waits for its job differ by E either way; polls around a lease's end.",
    Sighting.CLOCK_AT,
)
def _clocks_differ_by_e(settings: Settings, terms: Terms) -> Scenarios:
    span = times(settings, terms)
    if not terms.lease or not span.skew:
        return ()
    return tuple(_differing(settings, span, *offsets) for offsets in _within(span.skew))


@named("The two clocks differ by half of E, or by all of it but a microsecond.", Sighting.CLOCK_WITHIN)
def _clocks_differ_by_less_than_e(settings: Settings, terms: Terms) -> Scenarios:
    span = times(settings, terms)
    if not terms.lease or not span.skew:
        return ()
    offsets = (span.skew / 2, span.skew - TICK)
    return tuple(_differing(settings, span, *pair) for off in offsets for pair in ((0.0, off), (-off, 0.0)))


@named(
    "Beyond E a job may be given to two, but nothing is lost, and only the current holder's ack counts.",
    Sighting.CLOCK_BEYOND,
)
def _clocks_differ_by_more_than_e(settings: Settings, terms: Terms) -> Scenarios:
    span = times(settings, terms)
    if not terms.lease or terms.max_clock_skew_seconds is None:
        return ()
    offsets = (span.skew + TICK, span.skew + span.ttl / 2)
    return tuple(
        _differing(settings, span, *pair, worked=span.ttl - SECOND)
        for off in offsets
        for pair in ((0.0, off), (-off, 0.0))
    )


@named(
    "A clock jumps while its worker holds a job, and before it polls; the leases hold on.",
    Sighting.CLOCK_OF_HOLDER,
)
def _clocks_jump(settings: Settings, terms: Terms) -> Scenarios:
    span = times(settings, terms)
    if not terms.lease or not span.skew:
        return ()
    beats: Steps = (later("w1", span.ttl / 4), extend("w1", "held")) if terms.extend else ()
    polls: Steps = (later("w2", SECOND), claim("w2", "first"))
    return tuple(
        scenario(
            settings,
            backlog("j1"),
            (claim("w1", "held"), clock("w1", off), *beats, later("w1", span.ttl / 4), ack("w1", "held")),
            (
                *polls,
                clock("w2", other),
                *handles("w2", "next"),
                later("w2", span.ttl),
                *handles("w2", "last"),
            ),
        )
        for off, other in _within(span.skew)
    )


@named(
    "One clock goes too fast, or too slow, and is never wrong by more than E.",
    Sighting.CLOCK_AT,
    Sighting.RECLAIM,
)
def _clocks_drift(settings: Settings, terms: Terms) -> Scenarios:
    span = times(settings, terms)
    if not terms.lease or not span.skew:
        return ()
    holder: Steps = (claim("w1", "held"), later("w1", 2 * span.overdue))
    other: Steps = (*_around(span, 0.0), later("w2", span.ttl / 2), *handles("w2", "again"))
    # It is E off at the beginning and right at the end, when all of the waiting is done, even one by one.
    drift = span.skew / (sum(step.seconds for step in (*holder, *other)) + 10 * SECOND)
    slow, fast = (span.skew, 1 - drift), (-span.skew, 1 + drift)
    return tuple(
        scenario(settings, backlog("j1"), (clock(worker, offset, rate=rate),), holder, other)
        for offset, rate in (slow, fast)
        for worker in ("w1", "w2")
    )


@named(
    "Two workers live in time zones far from each other; a lease is as long in both.",
    Sighting.OTHER_ZONE,
    Sighting.RECLAIM,
)
def _time_zones(settings: Settings, terms: Terms) -> Scenarios:
    if not terms.lease:
        return ()
    span = times(settings, terms)
    return tuple(
        scenario(
            settings,
            backlog("j1", "j2"),
            (clock("w1", zone=here), claim("w1", "held"), later("w1", 2 * span.overdue)),
            (clock("w2", zone=there), later("w2", SECOND), *handles("w2", "other"), *_around(span, SECOND)),
        )
        for here, there in ((EAST, WEST), (WEST, EAST), ("UTC", EAST))
    )


def _within(skew: float) -> Iterator[tuple[float, float]]:
    """Yield the offsets of two clocks that differ by E."""
    yield from ((0.0, skew), (0.0, -skew), (skew, 0.0), (-skew, 0.0), (-skew / 2, skew / 2))


def _differing(
    settings: Settings, span: Times, holder: float, other: float, *, worked: float | None = None
) -> Scenario:
    """Return a scenario of two clocks; the holder acks after it has worked for so long, else very late."""
    for_seconds = 3 * span.overdue if worked is None else worked
    held = (*_set("w1", holder), *handles("w1", "held", for_seconds=for_seconds))
    return scenario(settings, backlog("j1"), held, (*_set("w2", other), *_around(span, 0.0)))


def _set(worker: str, offset: float) -> Steps:
    """Return the steps of a worker whose clock was wrong before it opened the queue."""
    return (clock(worker, offset), reopen(worker)) if offset else ()


def _around(span: Times, waited: float) -> Iterator[Step]:
    """Yield the polls of w2 around the end of a lease that was claimed so long ago, by any clock within E."""
    moments = (
        span.ttl / 2,
        span.ttl * 3 / 4,
        span.ttl - EVENTS * TICK,
        span.ttl + TICK,
        span.takeover,
        span.overdue,
    )
    now = waited
    for number, moment in enumerate(sorted(set(moments))):
        yield later("w2", moment - now)
        yield from handles("w2", f"poll {number}")
        now = moment


SCENARIOS = (
    _clocks_differ_by_e,
    _clocks_differ_by_less_than_e,
    _clocks_differ_by_more_than_e,
    _clocks_jump,
    _clocks_drift,
    _time_zones,
)
