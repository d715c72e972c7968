"""What is known of a scenario beside its steps? Its name, what it is for, and what a history of it shows."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from ssq_verify.history import Terms
from ssq_verify.scenario import Settings
from ssq_verify.sightings import Sighting
from ssq_verify.simulation.scenarios.needs import OFFERED, Need
from ssq_verify.simulation.scenarios.parts import Scenarios

Maker = Callable[[Settings, Terms], Scenarios]


class Takes(StrEnum):
    """What a schedule needs, to bring about what a scenario is for."""

    NOTHING = "nothing"
    """Time decides: the plainest schedule shows it."""
    PREEMPTION = "a preemption"
    FAULT = "a fault"
    """One that the scenario allows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Named:
    """One scenario of the catalogue, or a few of a kind."""

    name: str
    sentence: str
    make: Maker
    """Is only asked where the queue offers what the scenario needs."""
    shows: tuple[Sighting, ...] = ()
    takes: Takes = Takes.NOTHING
    needs: tuple[Need, ...] = ()

    def __call__(self, settings: Settings, terms: Terms) -> Scenarios:
        """Return the scenarios for a queue that is opened so and promises that: none if it offers less."""
        offered = all(OFFERED[need](settings, terms) for need in self.needs)
        return self.make(settings, terms) if offered else ()


def named(
    sentence: str, *shows: Sighting, takes: Takes = Takes.NOTHING, needs: tuple[Need, ...] = ()
) -> Callable[[Maker], Named]:
    """Make a scenario of the catalogue of a function, by whose name it goes."""

    def entry(make: Maker) -> Named:
        name = make.__name__.strip("_").replace("_", "-")
        return Named(name=name, sentence=sentence, make=make, shows=shows, takes=takes, needs=needs)

    return entry
