"""Which schedules are run? Each search is plain data, so that another process can carry it out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil, log
from random import Random
from typing import Literal

from msgspec import structs

from ssq_verify.history import Terms
from ssq_verify.scenario import Faults, Scenario, Settings
from ssq_verify.simulation.composition import from_seed
from ssq_verify.simulation.covered import Covered
from ssq_verify.simulation.exhaustive import Bounds, Exhaustive
from ssq_verify.simulation.scope import clocks_of, scope_of
from ssq_verify.simulation.strategies import AtRandom, ByPriority, StrikeAt
from ssq_verify.simulation.tape import Strategy
from ssq_verify.simulation.world import POWER_LOSS

Runs = Iterator[tuple[Scenario, Strategy]]
EXTENTS = 3
"""Of what was not synced all survives, nothing, or a part."""


@dataclass(kw_only=True, slots=True)
class Sweep:
    """One fault at the first point at which it can strike, at the second, and so on, in each scenario."""

    scope: str
    scenarios: tuple[Scenario, ...]
    faults: Faults
    fault: str
    struck: int = 0

    def runs(self) -> Runs:
        """Yield a strategy for each point, for as long as the last one struck."""
        for scenario in self.scenarios:
            number, strategy = 0, StrikeAt(self.fault, 0)
            while number == 0 or strategy.has_struck:
                number += 1
                strategy = StrikeAt(self.fault, number)
                yield structs.replace(scenario, faults=self.faults), strategy
                self.struck += strategy.has_struck

    def covered(self) -> Covered:
        """Return at how many points the fault struck."""
        return Covered(scope=self.scope, points=self.struck, scenarios=len(self.scenarios))


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
class PowerSweep:
    """A loss of power at each point in turn, which leaves all, what was synced, or a part of the rest."""

    scope: str
    scenarios: tuple[Scenario, ...]
    disk: Literal["ordered", "posix"]
    struck: int = 0

    def runs(self) -> Runs:
        """Yield a strategy for each point and extent, for as long as the last one struck."""
        faults = Faults(power_losses=1, disk=self.disk)
        for scenario in self.scenarios:
            number, has_struck = 0, True
            while has_struck:
                number += 1
                for extent in range(EXTENTS):
                    strategy = LosePowerAt(number, extent)
                    yield structs.replace(scenario, faults=faults), strategy
                has_struck = strategy.has_struck
                self.struck += has_struck

    def covered(self) -> Covered:
        """Return at how many points the power failed."""
        return Covered(scope=self.scope, points=self.struck, scenarios=len(self.scenarios))


class LosePowerAt(StrikeAt):
    """Lets the power fail at the n-th point, and so much of what was not synced be lost."""

    def __init__(self, number: int, extent: int) -> None:
        super().__init__(POWER_LOSS, number)
        self._extent = extent
        self._chance = Random(number)  # noqa: S311 - from the point, so that a sweep repeats

    def choose(self, kind: str, options: Sequence[str]) -> int:
        """Return the extent where that is asked, and a part by chance where a part is to survive."""
        if kind == "power loss":
            return min(self._extent, len(options) - 1)
        if kind in {"next", "order"}:
            return super().choose(kind, options)
        return self._chance.randrange(len(options))


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
    depth: int
    points: int
    count: int = 0

    def runs(self) -> Runs:
        """Yield a schedule for each seed."""
        for seed in self.seeds:
            self.count += 1
            yield self.scenario, ByPriority(seed, depth=self.depth, points=self.points)

    def covered(self) -> Covered:
        """Return how many schedules there were."""
        return Covered(scope=self.scope, schedules=self.count)


def schedules_needed(*, workers: int, points: int, depth: int, confidence: float) -> int:
    """Return how many schedules by priority find a bug of that depth with that probability.

    One finds it with at least 1 / (workers * points^(depth - 1)): Burckhardt et al., ASPLOS 2010.
    """
    chance = 1 / (workers * points ** (depth - 1))
    return ceil(log(1 - confidence) / log(1 - chance))
