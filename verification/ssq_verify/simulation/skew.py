"""At which difference of two clocks does one job get two holders? Raised step by step, then narrowed down.

While a lease runs another worker polls, the last time just before its end: whoever takes an expired job too
early takes it by then. Histories are judged as if any difference were within the promise. How long a holder
may stand still is measured likewise; its lease runs on meanwhile, so another may have the job after it.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import cache
from itertools import count, takewhile

import msgspec

from ssq_verify.execution import scratch
from ssq_verify.history import EventType, History, Terms, joined
from ssq_verify.judge import evidence, violations
from ssq_verify.scenario import SETUP_WORKER, Faults, Scenario, Settings
from ssq_verify.simulation.campaign import probe
from ssq_verify.simulation.point import NotSimulatable
from ssq_verify.simulation.pool import Pool
from ssq_verify.simulation.run import simulate
from ssq_verify.simulation.scenarios.parts import (
    SECOND,
    TICK,
    Steps,
    ack,
    backlog,
    begins_at,
    claim,
    extend,
    handles,
    later,
    polls_at,
    scenario,
)
from ssq_verify.simulation.strategies import AtRandom, StrikeAt
from ssq_verify.simulation.tape import Replay, Strategy
from ssq_verify.simulation.world import PAUSE
from ssq_verify.skew import ClockLimit, Limit, PauseLimit, SkewReport
from ssq_verify.subject import Subject, SubjectFailed

RESOLUTION_SECONDS = 0.001
MARGIN_SECONDS = 50 * TICK
"""How long before a lease's end the last poll is called: it has to return before it."""
SCHEDULES = 200
"""At each difference that holds with the plainest schedule."""
SECONDS_MAX = 900.0
"""For one measurement, of a minute at most where nothing is out of the ordinary."""
HOLDER_BEHIND, CLAIMER_AHEAD = "the holder's clock behind", "the claimer's clock ahead"
SINGLE_CLAIMER = "single-claimer"
ALWAYS = ("fencing", "no-lost-job", "bounded-retries", "integrity")
"""What has to hold however wrong the clocks are."""

Offsets = Callable[[float], tuple[float, float]]
DIRECTIONS: dict[str, Offsets] = {
    HOLDER_BEHIND: lambda seconds: (-seconds, 0.0),
    CLAIMER_AHEAD: lambda seconds: (0.0, seconds),
}


def measure(
    pool: Pool,
    subject: Subject,
    settings: Settings,
    *,
    seed: int,
    tell: Callable[[int, int], None] = lambda _done, _total: None,
) -> SkewReport:
    """Measure how wrong clocks may be, and how long a holder may stand still. Raises `SubjectFailed`.

    `tell` is told how many of how many measurements are done.
    """
    known = pool.begin(probe, settings).result(SECONDS_MAX)
    report = SkewReport(
        subject=subject.reference,
        lease_ttl_seconds=settings.lease_ttl_seconds,
        asked_seconds=settings.max_clock_skew_seconds,
        promised_seconds=known.terms.max_clock_skew_seconds,
        tried_seconds=2 * settings.lease_ttl_seconds,
    )
    if (why := _not_measurable(subject, known.terms, known.not_simulatable)) is not None:
        return msgspec.structs.replace(report, not_measured=why)
    seeds = range(seed, seed + SCHEDULES)
    begun = [pool.begin(clock_limit, settings, known.terms, direction, seeds) for direction in DIRECTIONS]
    pause = pool.begin(pause_limit, settings, known.terms)
    clocks: list[ClockLimit] = []
    for each in begun:
        tell(len(clocks), len(begun) + 1)
        clocks.append(each.result(SECONDS_MAX))
    tell(len(clocks), len(begun) + 1)
    return msgspec.structs.replace(report, clocks=tuple(clocks), pause=pause.result(SECONDS_MAX))


def clock_limit(
    subject: Subject, settings: Settings, terms: Terms, direction: str, seeds: range
) -> ClockLimit:
    """Return how far two clocks may differ in one direction."""
    sentences: dict[float, str | None] = {}
    tried = _Tried(subject)

    def skewed(seconds: float) -> tuple[Scenario, ...]:
        return _skewed(settings, terms, *DIRECTIONS[direction](seconds))

    @cache
    def plain(seconds: float) -> list[History]:
        return tried.run(_plainly(skewed(seconds)))

    def is_held(seconds: float) -> bool:
        """Whether there is anything to be seen: a holder."""
        return all(map(_is_held, plain(seconds)))

    def holds(seconds: float) -> bool:
        found = _two_holders(plain(seconds))
        if found is None:
            found = _two_holders(tried.run(_at_random(skewed(seconds), seeds)))
        sentences[seconds] = found
        return found is None

    limit = narrowed(list(takewhile(is_held, differences(settings, terms))), holds)
    return ClockLimit(
        direction=direction,
        limit=limit,
        schedules=len(tried.histories),
        sentence=None if limit.breaks is None else sentences[limit.breaks],
        also_broken=_broken(tried.histories, ALWAYS),
    )


def pause_limit(subject: Subject, settings: Settings, terms: Terms) -> PauseLimit:
    """Return how long a holder may stand still and keep its job; try pauses inside its operations, too."""
    tried = _Tried(subject)

    def keeps(seconds: float) -> bool:
        return not any(map(_is_taken, tried.run(_plainly((_paused(settings, seconds),)))))

    steps = [seconds for seconds in differences(settings, terms) if seconds > MARGIN_SECONDS]
    limit = narrowed(steps, keeps)
    for seconds in steps:
        tried.run(_paused_inside(settings, terms, seconds))
    return PauseLimit(
        limit=limit,
        refused=sum(map(_refused, tried.histories)),
        schedules=len(tried.histories),
        broken=_broken(tried.histories, (SINGLE_CLAIMER, *ALWAYS)),
    )


def differences(settings: Settings, terms: Terms) -> list[float]:
    """Return the steps of a sweep: around E, around the promise if that is another, and around a lease."""
    ttl, asked = settings.lease_ttl_seconds, settings.max_clock_skew_seconds
    promised = asked if terms.max_clock_skew_seconds is None else terms.max_clock_skew_seconds
    around = [skew + off for skew in (asked, promised) for off in (-TICK, 0.0, TICK)]
    steps = [0.0, *around, asked / 2, 2 * asked, ttl / 2, ttl - TICK, ttl, ttl + asked, 2 * ttl]
    return sorted({round(step, 6) for step in steps if 0 <= step <= 2 * ttl})


def narrowed(steps: Sequence[float], holds: Callable[[float], bool]) -> Limit:
    """Return the limit that lies between two of the steps, to the millisecond; they are tried in order."""
    last: float | None = None
    for step in steps:
        if not holds(step):
            break
        last = step
    else:
        return Limit(holds=last, breaks=None)
    while last is not None and step - last > RESOLUTION_SECONDS:
        middle = round((last + step) / 2, 6)
        last, step = (middle, step) if holds(middle) else (last, middle)
    return Limit(holds=last, breaks=step)


class _Tried:
    """Runs schedules, and keeps the histories, to be judged as if any difference of clocks were promised."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self.histories: list[History] = []

    def run(self, schedules: Iterable[tuple[Scenario, Strategy]]) -> list[History]:
        """Return the histories of these schedules."""
        made = [self._history(each, strategy) for each, strategy in schedules]
        self.histories += made
        return made

    def _history(self, each: Scenario, strategy: Strategy) -> History:
        try:
            with scratch() as workdir:
                history = simulate(each, self._subject, strategy, workdir).history
        except NotSimulatable as limit:
            raise SubjectFailed(f"{self._subject.reference}: {limit}") from limit
        terms = msgspec.structs.replace(history.terms, max_clock_skew_seconds=None)
        header = msgspec.structs.replace(history.header, terms=terms)
        return History(header=header, events=history.events)


def _two_holders(histories: Sequence[History]) -> str | None:
    """Return how one job got two holders, None if none did."""
    found = violations(joined(histories), SINGLE_CLAIMER)
    return found[0].sentence if found else None


def _broken(histories: Sequence[History], names: Collection[str]) -> tuple[str, ...]:
    """Return which of these invariants were broken."""
    weighed = evidence(joined(histories), only=names)
    return tuple(sorted(each.invariant for each in weighed if each.violation is not None))


def _not_measurable(subject: Subject, terms: Terms, not_simulatable: str | None) -> str | None:
    """Return why a subject can not be measured, None if it can."""
    if not_simulatable is not None:
        return f"it can not be simulated: {not_simulatable}"
    if not terms.lease:
        return "it has no leases that a clock could end"
    if subject.promises.processes == "one":
        return "it promises itself to one process at a time, which has one clock"
    return None


def _skewed(settings: Settings, terms: Terms, holder: float, other: float) -> tuple[Scenario, ...]:
    """Return the scenarios in which one holds a job and another polls, with clocks that are so far off."""
    ttl = settings.lease_ttl_seconds
    clocks: Steps = (*begins_at("w1", holder), *begins_at("w2", other))
    # Enqueued by the holder's clock, or it might say that the job is not there yet.
    job = (*begins_at(SETUP_WORKER, holder), *backlog("j1"))
    worked: list[tuple[Steps, float]] = [((claim("w1", "held"),), 0.0)]
    if terms.extend:
        worked.append(((claim("w1", "held"), later("w1", ttl / 2), extend("w1", "held")), ttl / 2))
    return tuple(
        scenario(
            settings,
            job,
            clocks,
            (*steps, later("w1", ttl + SECOND), ack("w1", "held")),
            tuple(polls_at("w2", (begun + end for end in ends))),
        )
        for steps, begun in worked
        # A queue may look for expired jobs only now and then: an early poll can make a late one blind.
        for ends in ((ttl - MARGIN_SECONDS,), (ttl / 2, ttl - SECOND, ttl - 0.01, ttl - MARGIN_SECONDS))
    )


def _paused(settings: Settings, seconds: float) -> Scenario:
    """Return a scenario whose holder stands still for so long, while another polls just before its end."""
    other = (later("w2", seconds - MARGIN_SECONDS), *handles("w2", "next", for_seconds=SECOND))
    return scenario(settings, backlog("j1"), handles("w1", "held", for_seconds=seconds), other)


def _paused_inside(settings: Settings, terms: Terms, seconds: float) -> Iterator[tuple[Scenario, Strategy]]:
    """Yield a schedule for each point of the operations at which a worker may stand still for so long."""
    beat = (extend("w1", "held"),) if terms.extend else ()
    other = (later("w2", max(seconds - MARGIN_SECONDS, 0.0)), *handles("w2", "next", for_seconds=SECOND))
    faults = Faults(pauses=1, pause_seconds=(seconds,))
    holder = (claim("w1", "held"), *beat, ack("w1", "held"))
    paused = scenario(settings, backlog("j1"), holder, other, faults=faults)
    for number in count(1):
        strategy = StrikeAt(f"{PAUSE}{seconds} s", number)
        yield paused, strategy
        if not strategy.has_struck:
            return


def _plainly(scenarios: Sequence[Scenario]) -> Iterator[tuple[Scenario, Strategy]]:
    for each in scenarios:
        yield each, Replay(())


def _at_random(scenarios: Sequence[Scenario], seeds: range) -> Iterator[tuple[Scenario, Strategy]]:
    for seed in seeds:
        yield scenarios[seed % len(scenarios)], AtRandom(seed)


def _is_taken(history: History) -> bool:
    """Whether another worker than the holder got the job before the holder acked."""
    for event in history.events:
        if event.worker == "w2" and event.f == "claim" and event.job_id is not None:
            return True
        if event.f == "ack" and event.type is EventType.OK:
            return False
    return False


def _is_held(history: History) -> bool:
    """Whether the holder got the job."""
    return any(
        event.worker == "w1" and event.f == "claim" and event.job_id is not None for event in history.events
    )


def _refused(history: History) -> int:
    """Return how many acks were refused."""
    return sum(event.f == "ack" and event.type is EventType.FAIL for event in history.events)
