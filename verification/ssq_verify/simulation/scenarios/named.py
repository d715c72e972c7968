"""What is known of a scenario beside its steps? Its name, what it is for, and what a history of it shows."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from ssq_verify.history import Terms
from ssq_verify.scenario import Scenario, Settings
from ssq_verify.sightings import Sighting

Maker = Callable[[Settings, Terms], tuple[Scenario, ...]]


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
    """Returns nothing if the queue does not offer what the scenario needs."""
    shows: tuple[Sighting, ...] = ()
    takes: Takes = Takes.NOTHING

    def __call__(self, settings: Settings, terms: Terms) -> tuple[Scenario, ...]:
        """Return the scenarios for a queue that is opened so and promises that."""
        return self.make(settings, terms)


def named(sentence: str, *shows: Sighting, takes: Takes = Takes.NOTHING) -> Callable[[Maker], Named]:
    """Make a scenario of the catalogue of a function, by whose name it goes."""

    def entry(make: Maker) -> Named:
        name = make.__name__.strip("_").replace("_", "-")
        return Named(name=name, sentence=sentence, make=make, shows=shows, takes=takes)

    return entry
