"""What if the workers' clocks are not right? They differ by up to E, drift, jump, or are in other zones."""

from collections.abc import Iterator, Mapping

from ssq_verify.history import Terms
from ssq_verify.scenario import Scenario, Settings, Step
from ssq_verify.sightings import Sighting
from ssq_verify.simulation.scenarios.named import named
from ssq_verify.simulation.scenarios.needs import Need
from ssq_verify.simulation.scenarios.parts import (
    EAST,
    SECOND,
    TICK,
    WEST,
    Scenarios,
    Steps,
    Times,
    ack,
    backlog,
    begins_at,
    claim,
    clock,
    extend,
    handles,
    later,
    polls_at,
    reopen,
    scenario,
    times,
)

EVENTS = 20
"""More than there are between a claim and a poll that comes a lease later, each a microsecond."""


@named(
    "The clocks of a holder and of who waits for its job differ by E either way; polls around a lease's end.",
    Sighting.CLOCK_AT,
    needs=(Need.LEASE, Need.SKEW),
)
def _clocks_differ_by_e(settings: Settings, terms: Terms) -> Scenarios:
    span = times(settings, terms)
    return tuple(_differing(settings, span, *offsets) for offsets in _within(span.skew))


@named(
    "The two clocks differ by half of E, or by all of it but a microsecond.",
    Sighting.CLOCK_WITHIN,
    needs=(Need.LEASE, Need.SKEW),
)
def _clocks_differ_by_less_than_e(settings: Settings, terms: Terms) -> Scenarios:
    span = times(settings, terms)
    return tuple(_differing(settings, span, *pair) for pair in _apart(span.skew / 2, span.skew - TICK))


@named(
    "Beyond E a job may be given to two, but nothing is lost, and only the current holder's ack counts.",
    Sighting.CLOCK_BEYOND,
    needs=(Need.LEASE, Need.WORKERS_CLOCK),
)
def _clocks_differ_by_more_than_e(settings: Settings, terms: Terms) -> Scenarios:
    span = times(settings, terms)
    return tuple(
        _differing(settings, span, *pair, worked=span.ttl - SECOND)
        for pair in _apart(span.skew + TICK, span.skew + span.ttl / 2)
    )


@named(
    "A clock jumps while its worker holds a job, and before it polls; the leases hold on.",
    Sighting.CLOCK_OF_HOLDER,
    needs=(Need.LEASE, Need.SKEW),
)
def _clocks_jump(settings: Settings, terms: Terms) -> Scenarios:
    span = times(settings, terms)
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
    needs=(Need.LEASE, Need.SKEW),
)
def _clocks_drift(settings: Settings, terms: Terms) -> Scenarios:
    span = times(settings, terms)
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
    "A clock jumps to and fro from one look to another, and no two clocks are ever further apart than E.",
    Sighting.CLOCK_STROBES,
    Sighting.RECLAIM,
    needs=(Need.LEASE, Need.SKEW),
)
def _clocks_strobe(settings: Settings, terms: Terms) -> Scenarios:
    half = times(settings, terms).skew / 2
    # One that jumps between the right time and E ahead, or behind; or both around the right time.
    kinds = (
        ({"w1": half}, half),
        ({"w1": -half}, -half),
        ({"w2": half}, -half),
        ({"w2": -half}, half),
        ({"w1": 0.0, "w2": 0.0}, -half),
    )
    return tuple(_strobing(settings, terms, offsets, strobe) for offsets, strobe in kinds)


@named(
    "Two workers live in time zones far from each other; a lease is as long in both.",
    Sighting.OTHER_ZONE,
    Sighting.RECLAIM,
    needs=(Need.LEASE,),
)
def _time_zones(settings: Settings, terms: Terms) -> Scenarios:
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


def _apart(*differences: float) -> Iterator[tuple[float, float]]:
    """Yield the offsets of two clocks that differ by so much, the claimer's ahead or the holder's behind."""
    for off in differences:
        yield from ((0.0, off), (-off, 0.0))


def _differing(
    settings: Settings, span: Times, holder: float, other: float, *, worked: float | None = None
) -> Scenario:
    """Return a scenario of two clocks; the holder acks after it has worked for so long, else very late."""
    for_seconds = 3 * span.overdue if worked is None else worked
    held = (*begins_at("w1", holder), *handles("w1", "held", for_seconds=for_seconds))
    return scenario(settings, backlog("j1"), held, (*begins_at("w2", other), *_around(span, 0.0)))


def _strobing(settings: Settings, terms: Terms, offsets: Mapping[str, float], strobe: float) -> Scenario:
    span = times(settings, terms)
    holder, other = (
        (clock(name, offsets[name], strobe=strobe), reopen(name)) if name in offsets else ()
        for name in ("w1", "w2")
    )
    beat: Steps = (extend("w1", "held"),) if terms.extend else ()
    held = (claim("w1", "held"), *beat, later("w1", 3 * span.overdue), ack("w1", "held"))
    return scenario(settings, backlog("j1"), (*holder, *held), (*other, *_around(span, 0.0)))


def _around(span: Times, waited: float) -> Iterator[Step]:
    """Return the polls of w2 around the end of a lease that began so long ago, by any clock within E."""
    moments = (
        span.ttl / 2,
        span.ttl * 3 / 4,
        span.ttl - EVENTS * TICK,
        span.ttl + TICK,
        span.takeover,
        span.overdue,
    )
    return polls_at("w2", sorted(set(moments)), since=waited)


SCENARIOS = (
    _clocks_differ_by_e,
    _clocks_differ_by_less_than_e,
    _clocks_differ_by_more_than_e,
    _clocks_jump,
    _clocks_drift,
    _clocks_strobe,
    _time_zones,
)
