"""Which schedules are run? Each search is plain data, so that another process can carry it out."""

from collections.abc import Iterator
from dataclasses import dataclass

from msgspec import structs

from ssq_verify.history import Terms
from ssq_verify.scenario import Faults, Scenario, Settings
from ssq_verify.simulation.composition import from_seed
from ssq_verify.simulation.covered import Covered, counted
from ssq_verify.simulation.exhaustive import Bounds, Exhaustive
from ssq_verify.simulation.pct import Bound, ByPriority
from ssq_verify.simulation.scope import clocks_of, scope_of
from ssq_verify.simulation.strategies import AtRandom
from ssq_verify.simulation.sweep import Pairs, Singles
from ssq_verify.simulation.tape import Strategy
from ssq_verify.simulation.world import KILL

Runs = Iterator[tuple[Scenario, Strategy]]
PARTS_MAX = 8
"""Of what was not synced at one point so many parts are lost, one at a time, beside all of it and nothing."""


@dataclass(kw_only=True, slots=True)
class Sweep:
    """One fault at the first point at which it can strike, at the second, and so on, in each scenario."""

    scope: str
    scenarios: tuple[Scenario, ...]
    faults: Faults
    fault: str
    parts_max: int = PARTS_MAX
    struck: int = 0
    left_out: int = 0

    def runs(self) -> Runs:
        """Yield a strategy for each point; of a loss of power, for each part that it may take."""
        for scenario in self.scenarios:
            sweep, struck = Singles(self.fault, parts_max=self.parts_max), self.struck
            for strategy in sweep.runs():
                yield structs.replace(scenario, faults=self.faults), strategy
                self.struck = struck + sweep.points
            self.struck = struck + sweep.points
            self.left_out += sweep.parts_left_out

    def covered(self) -> Covered:
        """Return at how many points the fault struck."""
        return Covered(
            scope=self.scope,
            points=self.struck,
            scenarios=len(self.scenarios),
            is_complete=not self.left_out,
            cut_by=f"a limit of {counted(self.parts_max, 'lost part')} a point",
        )


@dataclass(kw_only=True, slots=True)
class CrashPairs:
    """A crash, and another one at the first point after it, the second, and so on, in each scenario."""

    scope: str
    scenarios: tuple[Scenario, ...]
    pairs_max: int
    """In each scenario."""
    struck: int = 0
    is_complete: bool = True

    def runs(self) -> Runs:
        """Yield a strategy for each pair of points."""
        for scenario in self.scenarios:
            sweep, struck = Pairs(KILL, pairs_max=self.pairs_max), self.struck
            for strategy in sweep.runs():
                yield structs.replace(scenario, faults=Faults(kills=2)), strategy
                self.struck = struck + sweep.pairs
            self.struck = struck + sweep.pairs
            self.is_complete &= sweep.is_complete

    def covered(self) -> Covered:
        """Return at how many pairs of points two crashes struck."""
        return Covered(
            scope=self.scope,
            points=self.struck,
            unit="pair",
            scenarios=len(self.scenarios),
            is_complete=self.is_complete,
            cut_by=f"a limit of {counted(self.pairs_max, 'pair')}",
        )


@dataclass(kw_only=True, slots=True)
class Alone:
    """At each point, one at a time, another worker runs than the one whose turn it is, in each scenario."""

    scope: str
    scenarios: tuple[Scenario, ...]
    schedules: int = 0

    def runs(self) -> Runs:
        """Yield each schedule once; where a scenario allows faults, one comes in its place."""
        for scenario in self.scenarios:
            tried = Exhaustive(Bounds(deviations=1))
            for strategy in tried.runs():
                yield scenario, strategy
            self.schedules += tried.schedules

    def covered(self) -> Covered:
        """Return how many schedules there are."""
        return Covered(scope=self.scope, schedules=self.schedules, scenarios=len(self.scenarios))


@dataclass(kw_only=True, slots=True)
class All:
    """All schedules of one scenario within bounds."""

    scenario: Scenario
    bounds: Bounds
    tried: Exhaustive | None = None

    @property
    def scope(self) -> str:
        """What may happen, in words."""
        return scope_of(self.scenario, self.bounds)

    def runs(self) -> Runs:
        """Yield each schedule once."""
        self.tried = Exhaustive(self.bounds)
        for strategy in self.tried.runs():
            yield self.scenario, strategy

    def covered(self) -> Covered:
        """Return how many schedules there are."""
        tried = self.tried or Exhaustive(self.bounds)
        return Covered(
            scope=self.scope,
            schedules=tried.schedules,
            redundant=tried.pruned,
            crash_points=len(tried.struck),
            clocks=clocks_of(self.scenario),
            deepest=tried.deepest,
        )


@dataclass(kw_only=True, slots=True)
class Composed:
    """Random schedules of random programs, one for each seed."""

    scope: str
    settings: Settings
    terms: Terms
    seeds: range
    size: int
    count: int = 0

    def runs(self) -> Runs:
        """Yield a program and a schedule for each seed."""
        for seed in self.seeds:
            self.count += 1
            yield from_seed(seed, self.settings, self.terms, size=self.size), AtRandom(seed)

    def covered(self) -> Covered:
        """Return how many programs there were."""
        return Covered(scope=self.scope, schedules=self.count)


@dataclass(kw_only=True, slots=True)
class Prioritised:
    """Schedules of one scenario by random priorities (PCT)."""

    scope: str
    scenario: Scenario
    seeds: range
    bound: Bound
    count: int = 0
    longest: int = 0

    def runs(self) -> Runs:
        """Yield a schedule for each seed."""
        for seed in self.seeds:
            strategy = ByPriority(seed, depth=self.bound.depth, points=self.bound.points)
            yield self.scenario, strategy
            self.count += 1
            self.longest = max(self.longest, strategy.passed)

    def covered(self) -> Covered:
        """Return what these schedules were sure to find."""
        return Covered(scope=self.scope, schedules=self.count, deepest=self.longest, bound=self.bound)
