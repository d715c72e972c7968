"""How hard is a subject tried in simulation? A profile names the searches, and they run side by side."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec

from ssq_verify.execution import scratch
from ssq_verify.history import Terms
from ssq_verify.scenario import NO_FAULTS, SETUP_WORKER, Faults, Scenario, Settings, Step, StepKind
from ssq_verify.simulation.covered import merged
from ssq_verify.simulation.exhaustive import Bounds
from ssq_verify.simulation.exploring import Explored, Found, Search, explore
from ssq_verify.simulation.pct import Bound, ByPriority
from ssq_verify.simulation.point import NotSimulatable
from ssq_verify.simulation.pool import Pending, Pool
from ssq_verify.simulation.run import simulate
from ssq_verify.simulation.scenarios import offered
from ssq_verify.simulation.searches import All, Alone, Composed, CrashPairs, Prioritised, Sweep
from ssq_verify.simulation.tape import Replay
from ssq_verify.simulation.world import ERRORS, POWER_LOSS
from ssq_verify.subject import Subject
from ssq_verify.verdict import together

LEFT_TO_SQLITE = "kills were simulated; what a loss of power leaves is SQLite's own promise"
HANG_SECONDS = 60.0
"""How long after its time a search may take to come back: one schedule is a matter of milliseconds."""
PER_SWEEP = 12
"""Scenarios in one sweep."""
DISKS: tuple[Literal["ordered", "posix"], ...] = ("ordered", "posix")
DEPTH = 3
CRASHED_PREEMPTIONS = 2
"""In the searches of all schedules that have crashes, waits or reversed listings, too."""
PROBES = 20
"""Schedules by priority that measure how many points there are, before a bound rests on that."""
PROBED_POINTS = 40
POINTS_SPARE = 8
"""An eighth more than was seen: of thousands of schedules some are longer than all of a few."""
CHUNK = 500
"""Random schedules in one task."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Effort:
    """How much of each search."""

    preemptions: int | None
    """Up to so many preemptions, or any number, all schedules of the smallest race are tried."""
    crashed: bool
    """Whether all schedules of small races are also tried with one crash anywhere, and out of order."""
    crash_scenarios: int = 1_000
    """In so many of the catalogue, all by default, each point has a crash, or a worker out of turn."""
    pairs: int = 0
    """In each of the smallest races so many pairs of crashes are tried."""
    power_scenarios: int
    """In so many scenarios the power fails at each point."""
    confidence: float
    """With this probability PCT finds a bug of depth 3 in the smallest race; 0 for no such search."""
    random: int
    """Programs and schedules by chance, in each round."""
    seconds_max: float
    """No schedule is begun after this; the counts above are meant to end a run."""


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """What has to be known of a subject before its searches are chosen."""

    terms: Terms = Terms()
    uses_database: bool = False
    """SQLite's own files are not followed: what a loss of power leaves of them, stress shows."""
    points: int = 0
    """Choices in the concurrent phase of two workers and one job: the most that were seen, and some more."""
    movers: int = 2
    """Who moves in it: two workers, and time where it can pass while one of them could run."""
    not_simulatable: str | None = None


def probe(subject: Subject, settings: Settings) -> Probe:
    """Run a subject once, plainly, and then some more. Raises `SubjectFailed`."""
    if subject.server is not None:
        return Probe(not_simulatable=f"its state is in a server ({subject.server})")
    race = small(settings, workers=2, jobs=1)
    strategies = [ByPriority(seed, depth=1 + 2 * bool(seed), points=PROBED_POINTS) for seed in range(PROBES)]
    try:
        with scratch() as workdir:
            run = simulate(race, subject, Replay(()), workdir)
        for strategy in strategies:
            with scratch() as workdir:
                simulate(race, subject, strategy, workdir)
    except NotSimulatable as limit:
        return Probe(not_simulatable=f"{limit.what} at {limit.where}")
    longest = max(strategy.passed for strategy in strategies)
    return Probe(
        terms=run.history.terms,
        uses_database=any(passed.point.call == "sqlite" for passed in run.trace),
        points=longest + longest // POINTS_SPARE,
        movers=len(set[str]().union(*(strategy.movers for strategy in strategies))),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Begun:
    """A campaign whose searches are under way."""

    probe: Probe
    pending: Sequence[Pending[Explored]]
    deadline: float


def begin(
    pool: Pool, settings: Settings, effort: Effort, *, seed: int, only: Collection[str] | None
) -> Begun:
    """Begin all searches of an effort. Raises `SubjectFailed`."""
    deadline = time.monotonic() + effort.seconds_max
    found = pool.begin(probe, settings).result(HANG_SECONDS)
    if found.not_simulatable is not None:
        return Begun(probe=found, pending=(), deadline=deadline)
    searches = planned(found, settings, effort, seed=seed)
    pending = [pool.begin(explore, search, only=only, deadline=deadline) for search in searches]
    return Begun(probe=found, pending=pending, deadline=deadline)


def again(
    pool: Pool,
    begun: Begun,
    settings: Settings,
    effort: Effort,
    *,
    seed: int,
    size: int,
    only: Collection[str] | None,
) -> Begun:
    """Begin only what chance decides, with other seeds, on a subject that is known by now."""
    deadline = time.monotonic() + effort.seconds_max
    searches = by_chance(begun.probe, settings, effort, seed=seed, size=size)
    pending = [pool.begin(explore, search, only=only, deadline=deadline) for search in searches]
    return Begun(probe=begun.probe, pending=pending, deadline=deadline)


def finished(begun: Begun, tell: Callable[[int, int], None] = lambda _done, _total: None) -> Explored:
    """Wait for all searches, and return what they came to. Raises `SubjectFailed`."""
    parts = []
    for done, each in enumerate(begun.pending):
        tell(done, len(begun.pending))
        parts.append(each.result(max(0.0, begun.deadline - time.monotonic()) + HANG_SECONDS))
    explored = summed(parts)
    left = {"durable": LEFT_TO_SQLITE} if begun.probe.uses_database else {}
    limit = begun.probe.not_simulatable or explored.not_simulatable
    return msgspec.structs.replace(explored, not_simulatable=limit, left_to_stress=left)


def planned(found: Probe, settings: Settings, effort: Effort, *, seed: int) -> Iterator[Search]:
    """Yield the searches of an effort: those without a gap first, then what a seed decides."""
    race, pair = small(settings, workers=2, jobs=1), small(settings, workers=2, jobs=2)
    scenarios = tuple(scenario for _, scenario in offered(settings, found.terms))
    crashed = scenarios[: effort.crash_scenarios]
    for part in _parts(len(crashed), PER_SWEEP):
        yield Sweep(scope="one crash", scenarios=crashed[part], faults=Faults(kills=1), fault="kill")
    for part in _parts(len(crashed), PER_SWEEP):
        yield Alone(scope="one worker out of turn", scenarios=crashed[part])
    yield All(scenario=race, bounds=Bounds(preemptions=effort.preemptions))
    if effort.crashed:
        for scope in (race, pair):
            with_a_crash = msgspec.structs.replace(scope, faults=Faults(kills=1))
            yield All(scenario=with_a_crash, bounds=Bounds(preemptions=CRASHED_PREEMPTIONS))
        out_of_order = Bounds(preemptions=CRASHED_PREEMPTIONS, waits=1, orders=1)
        yield All(scenario=race, bounds=out_of_order)
    if effort.pairs:
        yield CrashPairs(scope="two crashes", scenarios=(race, pair), pairs_max=effort.pairs)
    yield from _storage(found, (pair, *scenarios[: effort.power_scenarios - 1]))
    if effort.confidence:
        yield from _by_priority(found, race, effort.confidence, seed)
    yield from by_chance(found, settings, effort, seed=seed)


def by_chance(
    found: Probe, settings: Settings, effort: Effort, *, seed: int, size: int = 1
) -> Iterator[Search]:
    """Yield the searches that a seed decides; programs grow with the size."""
    seeds = range(seed, seed + effort.random)
    for part in _parts(effort.random, CHUNK):
        yield Composed(
            scope="programs at random", settings=settings, terms=found.terms, seeds=seeds[part], size=size
        )


def _storage(found: Probe, scenarios: tuple[Scenario, ...]) -> Iterator[Search]:
    """Yield the searches for losses of power and for failing calls; SQLite's own files are left alone."""
    if found.uses_database:
        return
    if found.terms.durability == "power-loss":
        for disk in DISKS:
            for scenario in scenarios:
                faults = Faults(power_losses=1, disk=disk)
                scope = f"power loss, {disk}"
                yield Sweep(scope=scope, scenarios=(scenario,), faults=faults, fault=POWER_LOSS)
    for error in ERRORS:
        yield Sweep(scope=f"{error} once", scenarios=scenarios[:1], faults=Faults(errors=1), fault=error)


def _by_priority(found: Probe, race: Scenario, confidence: float, seed: int) -> Iterator[Search]:
    bound = Bound(workers=found.movers, points=found.points, depth=DEPTH)
    needed = bound.runs_needed(confidence)
    for part in _parts(needed, CHUNK):
        seeds = range(seed, seed + needed)[part]
        yield Prioritised(scope="2 workers x 1 job", scenario=race, seeds=seeds, bound=bound)


def _parts(count: int, size: int) -> Iterator[slice]:
    for first in range(0, count, size):
        yield slice(first, first + size)


def summed(parts: Sequence[Explored]) -> Explored:
    """Put what all searches came to together; of the same kind of failure the plainest is kept."""
    tally: Counter[str] = Counter()
    found: dict[tuple[object, ...], Found] = {}
    for part in parts:
        tally.update(part.tally)
        for each in part.found:
            known = found.setdefault((each.invariant, each.cause), each)
            if each.size < known.size:
                found[each.invariant, each.cause] = each
    judged = [part.evidence for part in parts if part.evidence]
    return Explored(
        evidence=tuple(together(each) for each in zip(*judged, strict=True)),
        found=tuple(found.values()),
        tally=dict(tally),
        covered=merged(scope for part in parts for scope in part.covered),
        not_simulatable=next((part.not_simulatable for part in parts if part.not_simulatable), None),
        left_to_stress={name: why for part in parts for name, why in part.left_to_stress.items()},
    )


def small(settings: Settings, *, workers: int, jobs: int, faults: Faults = NO_FAULTS) -> Scenario:
    """Return the smallest race: so many waiting jobs, and workers that claim and ack one each."""
    steps = [
        Step(do=StepKind.ENQUEUE, worker=SETUP_WORKER, job=f"j{job}", payload=f"p{job}")
        for job in range(1, jobs + 1)
    ]
    for number in range(1, workers + 1):
        worker, claim = f"w{number}", f"claim{number}"
        steps.append(Step(do=StepKind.CLAIM, worker=worker, claim=claim))
        steps.append(Step(do=StepKind.ACK, worker=worker, claim=claim))
    return Scenario(settings=settings, steps=tuple(steps), faults=faults)
