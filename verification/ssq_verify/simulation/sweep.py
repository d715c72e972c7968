"""Where can a fault strike? At the first point that offers it, at the second, and so on, until none is left.

A sweep knows no number of points beforehand: it ends when a fault no longer finds a chance to strike. A loss
of power is swept with what it takes of what was not synced, a fault during the recovery from one in pairs.
"""

from collections.abc import Iterator, Sequence
from itertools import count

from ssq_verify.simulation.world import POWER_LOSS

ALL_SURVIVES, ONLY_SYNCED, A_PART = range(3)
"""What a loss of power may leave, as the disk offers it."""


class StrikeAt:
    """Lets a fault strike at the n-th choice that offers it, and again at the m-th after that; else plain."""

    def __init__(self, fault: str, *numbers: int, lost: Sequence[int] = ()) -> None:
        self._fault = fault
        self._numbers = numbers
        self._lost = lost
        self._left = numbers[0]
        self.struck = 0
        """How often it has."""
        self.widths: list[int] = []
        """How many answers there were to each choice of what a disk loses."""

    @property
    def has_struck(self) -> bool:
        """Whether it has as often as it was to."""
        return self.struck == len(self._numbers)

    def choose(self, kind: str, options: Sequence[str]) -> int:
        """Return the fault when its time has come, and what is lost where that is asked."""
        if kind != "next":
            return 0 if kind == "order" else self._part(options)
        if self.has_struck or self._fault not in options:
            return 0
        self._left -= 1
        if self._left != 0:
            return 0
        self.struck += 1
        if not self.has_struck:
            self._left = self._numbers[self.struck]
        return options.index(self._fault)

    def _part(self, options: Sequence[str]) -> int:
        place = len(self.widths)
        self.widths.append(len(options))
        return min(self._lost[place], len(options) - 1) if place < len(self._lost) else 0


class Singles:
    """Sweeps one fault; a loss of power takes nothing, all, and each single part of what was not synced."""

    def __init__(self, fault: str, *, parts_max: int = 8) -> None:
        self._fault = fault
        self._parts_max = parts_max
        """At one point so many losses of a single part are tried."""
        self.points = 0
        """At which the fault struck."""
        self.parts_left_out = 0

    def runs(self) -> Iterator[StrikeAt]:
        """Yield a strategy for each; run one to its end before asking for the next."""
        for number in count(1):
            strategy = StrikeAt(self._fault, number, lost=(A_PART,))
            yield strategy
            if not strategy.has_struck:
                return
            self.points += 1
            if self._fault == POWER_LOSS and strategy.widths:
                yield StrikeAt(self._fault, number, lost=(ONLY_SYNCED,))
                yield from self._parts(number, strategy.widths[1:])

    def _parts(self, number: int, widths: Sequence[int]) -> Iterator[StrikeAt]:
        single = [
            (A_PART, *[0] * place, answer) for place, width in enumerate(widths) for answer in range(1, width)
        ]
        self.parts_left_out += max(0, len(single) - self._parts_max)
        for lost in _spread(single, self._parts_max):
            yield StrikeAt(self._fault, number, lost=lost)


class Pairs:
    """Sweeps a fault that strikes twice: again at the first point after it, at the second, and so on.

    All first points come with the next point after them before any comes with the one after that: where the
    number of pairs is limited, it is those soonest after the first fault that are tried.
    """

    def __init__(self, fault: str, *, pairs_max: int) -> None:
        self._fault = fault
        self._pairs_max = pairs_max
        self.pairs = 0
        self.is_complete = False

    def runs(self) -> Iterator[StrikeAt]:
        """Yield a strategy for each pair; run one to its end before asking for the next."""
        firsts: Iterator[int] = count(1)
        for second in count(1):
            found: list[int] = []
            for first in firsts:
                if self.pairs >= self._pairs_max:
                    return
                strategy = StrikeAt(self._fault, first, second)
                yield strategy
                if strategy.struck == 0:
                    break
                if strategy.has_struck:
                    self.pairs += 1
                    found.append(first)
            if not found:
                self.is_complete = True
                return
            firsts = iter(found)


def _spread(items: list[tuple[int, ...]], limit: int) -> list[tuple[int, ...]]:
    """Return at most so many items, from all places of the list."""
    if len(items) <= limit:
        return items
    return [items[place * len(items) // limit] for place in range(limit)]
