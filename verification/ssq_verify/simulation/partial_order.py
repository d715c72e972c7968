"""Which partial order of steps has a run made so far? Two prefixes of runs that are the same one end alike.

Each step gets a number that stands for it and all that it may depend on: the worker's step before it, and of
what it touches all that was done there before, unless the two commute. The last number of each worker then
stands for the prefix, whatever the order of steps that commute.
"""

from enum import IntEnum

from ssq_verify.simulation.point import Footprint

MASK = (1 << 64) - 1


class Phase(IntEnum):
    """What steps do in a row at one place; within reads, and within changes, their order can't be told."""

    READ = 0
    CHANGE = 1
    WRITE = 2


class PartialOrder:
    """The partial order of the steps so far, as numbers."""

    def __init__(self) -> None:
        self._everything = 0
        """All before the last step that may have to do with anything."""
        self._last: dict[str, int] = {}
        """The last step of each worker."""
        self._places: dict[str, tuple[int, Phase, int]] = {}
        """By name: all before the present phase, the phase, and its steps."""

    def key(self) -> int:
        """Return a number for the order so far."""
        return hash((self._everything, frozenset(self._last.items())))

    def add(self, worker: str, choice: tuple[object, ...], touched: Footprint) -> None:
        """Add a worker's step, in which these choices were made."""
        if touched.is_all:
            self._everything = hash((worker, choice, self.key()))
            self._last.clear()
            self._places.clear()
            return
        phases = _phases(touched)
        before = sorted(self._enter(place, phase) for place, phase in phases.items())
        step = hash((worker, choice, self._everything, self._last.get(worker), tuple(before)))
        self._last[worker] = step
        for place in phases:
            known, phase, steps = self._places[place]
            self._places[place] = known, phase, (steps + step) & MASK

    def _enter(self, place: str, phase: Phase) -> int:
        """Return what a step of this phase comes after at a place."""
        before, present, steps = self._places.get(place, (0, phase, 0))
        if present is not phase or (phase is Phase.WRITE and steps):
            before, steps = hash((before, present, steps)), 0
        self._places[place] = before, phase, steps
        return before


def _phases(touched: Footprint) -> dict[str, Phase]:
    phases = dict.fromkeys(touched.reads, Phase.READ)
    for place in touched.changes:
        # Who adds and looks is in order with all others.
        phases[place] = Phase.WRITE if place in phases else Phase.CHANGE
    return phases | dict.fromkeys(touched.writes, Phase.WRITE)
