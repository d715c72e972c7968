"""What have real queues failed on? The catalogue of scenarios, each by its name.

A scenario says what workers do and when; which of the possible schedules happens is for a strategy to choose.
Between workers it is time that orders things: with the plainest schedule each does what it can until it
sleeps, and who wakes first goes on.
"""

from collections.abc import Iterator, Mapping

from ssq_verify.history import Terms
from ssq_verify.scenario import Scenario, Settings
from ssq_verify.simulation.scenarios import arrivals, batches, clocks, deaths, reclaims, small, stale
from ssq_verify.simulation.scenarios.named import Named, Takes

__all__ = ["CATALOGUE", "Named", "Takes", "offered"]

CATALOGUE: Mapping[str, Named] = {
    named.name: named
    for part in (small, stale, reclaims, deaths, arrivals, clocks, batches)
    for named in part.SCENARIOS
}


def offered(settings: Settings, terms: Terms) -> Iterator[tuple[Named, Scenario]]:
    """Yield each scenario that a queue offers what it takes for, under its name."""
    for named in CATALOGUE.values():
        for scenario in named(settings, terms):
            yield named, scenario
