"""Which schedules are run? Each search is plain data, so that another process can carry it out."""

from collections.abc import Iterator
from dataclasses import dataclass

from msgspec import structs

from ssq_verify.scenario import Faults, Scenario
from ssq_verify.simulation.covered import Covered
from ssq_verify.simulation.strategies import AtRandom, ByPriority, Exhaustive, StrikeAt
from ssq_verify.simulation.tape import Strategy

Runs = Iterator[tuple[Scenario, Strategy]]


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
    """All schedules of one scenario with at most so many deviations from the plainest."""

    scope: str
    scenario: Scenario
    deviations_max: int
    count: int = 0

    def runs(self) -> Runs:
        """Yield each schedule once."""
        for strategy in Exhaustive(deviations_max=self.deviations_max).runs():
            self.count += 1
            yield self.scenario, strategy

    def covered(self) -> Covered:
        """Return how many schedules there are."""
        return Covered(scope=self.scope, schedules=self.count)


@dataclass(kw_only=True, slots=True)
class Chosen:
    """Schedules that a seed chooses, of each scenario in turn."""

    scope: str
    scenarios: tuple[Scenario, ...]
    seeds: range

    def runs(self) -> Runs:
        """Yield a random schedule for each seed."""
        for seed in self.seeds:
            yield self.scenarios[seed % len(self.scenarios)], AtRandom(seed)

    def covered(self) -> Covered:
        """Return how many schedules there were."""
        return Covered(scope=self.scope, schedules=len(self.seeds))


@dataclass(kw_only=True, slots=True)
class Prioritised:
    """Schedules by random priorities (PCT)."""

    scope: str
    scenarios: tuple[Scenario, ...]
    seeds: range
    depth: int
    points: int

    def runs(self) -> Runs:
        """Yield a schedule for each seed."""
        for seed in self.seeds:
            strategy = ByPriority(seed, depth=self.depth, points=self.points)
            yield self.scenarios[seed % len(self.scenarios)], strategy

    def covered(self) -> Covered:
        """Return how many schedules there were."""
        return Covered(scope=self.scope, schedules=len(self.seeds))
