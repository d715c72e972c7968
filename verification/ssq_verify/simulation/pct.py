"""How likely do random priorities find a bug? At least as likely as Burckhardt et al. have shown.

Burckhardt, Kothari, Musuvathi, Nagarakatte: A Randomized Scheduler with Probabilistic Guarantees of Finding
Bugs (ASPLOS 2010). A bug has depth d if d ordering constraints between steps suffice to meet it. One schedule
of n workers and at most k steps meets it with a probability of at least 1 / (n * k^(d-1)).

Where this differs from the paper: the passing of time, while somebody could run, is a worker of its own, and
counted as one where it can happen. A fault is one more event, at a step and of a kind drawn at random, so
that each that a bug needs costs a factor of k times the number of kinds. Listings are sorted, and of a loss
of power nothing is lost that could have survived: bugs that need those are not meant.
"""

# ruff: noqa: S311 - schedules are drawn from a seed, not from secrets

import math
from collections.abc import Sequence
from random import Random

import msgspec

from ssq_verify.simulation.options import RUN, TIME, faults_of

CONFIDENCE = 0.99


class ByPriority:
    """One schedule: the worker of the highest priority runs, and d - 1 times the one that ran is put last."""

    def __init__(self, seed: int, *, depth: int, points: int, faults: int = 0) -> None:
        self._random = Random(seed)
        self._changes = [self._random.randint(1, max(1, points)) for _ in range(depth - 1)]
        """After which step a priority changes; not in order, as in the paper: the i-th changes to d - i."""
        self._faults = {self._random.randint(1, max(1, points)) for _ in range(faults)}
        self._depth = depth
        self._priorities: dict[str, float] = {}
        self._last: str | None = None
        self.passed = 0
        """The steps so far."""
        self.movers: set[str] = set()
        """Who could have moved at some time."""

    def choose(self, kind: str, options: Sequence[str]) -> int:
        """Return the option of the highest priority."""
        if kind != "next":
            return 0
        self._change()
        self.passed += 1
        struck = faults_of(options)
        if struck and self.passed in self._faults:
            return self._random.choice(struck)
        movers = [place for place, option in enumerate(options) if option.startswith(RUN) or option == TIME]
        chosen = max(movers, key=lambda place: self._priority(options[place]))
        self._last = options[chosen]
        return chosen

    def _change(self) -> None:
        for number, step in enumerate(self._changes, start=1):
            if step == self.passed and self._last is not None:
                self._priorities[self._last] = self._depth - number

    def _priority(self, option: str) -> float:
        """Return a priority; before any change all are higher than those after one, in random order."""
        self.movers.add(option)
        return self._priorities.setdefault(option, self._depth + self._random.random())


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """What schedules by priority are sure to find."""

    workers: int
    """The passing of time among them, where it can pass while somebody could run."""
    points: int
    """The steps of a schedule at most."""
    depth: int
    faults: int = 0
    """That strike in each schedule."""
    kinds: int = 1
    """Of faults to choose from."""

    @property
    def chance(self) -> float:
        """How likely one schedule meets a given bug, at least."""
        steps = math.pow(self.points, self.depth - 1) * math.pow(self.points * self.kinds, self.faults)
        return 1 / (self.workers * steps)

    def runs_needed(self, confidence: float = CONFIDENCE) -> int:
        """Return how many schedules meet a given bug with that probability, at least."""
        return math.ceil(math.log(1 - confidence) / math.log1p(-self.chance)) if self.chance < 1 else 1

    def confidence(self, runs: int) -> float:
        """Return with what probability so many schedules meet a given bug, at least."""
        return 1 - (1 - self.chance) ** runs

    def sentence(self, runs: int, *, longest: int) -> str:
        """Return what so many schedules were sure to find, the longest of them of so many steps."""
        within = f" within the first {self.points}" if longest > self.points else ""
        with_faults = (
            "" if not self.faults else " and one fault" if self.faults == 1 else f" and {self.faults} faults"
        )
        return (
            f"PCT d = {self.depth}: {runs:,} schedules of at most {max(longest, self.points)} points find any"
            f" bug of depth {self.depth}{with_faults}{within}, with sorted listings, with a probability of at"
            f" least {_percent(self.confidence(runs))}"
        )


def pct_runs_needed(workers: int, points: int, depth: int, confidence: float = CONFIDENCE) -> int:
    """Return how many schedules by priority find a bug of that depth with that probability, at least."""
    return Bound(workers=workers, points=points, depth=depth).runs_needed(confidence)


def _percent(share: float) -> str:
    """Return a probability, never rounded up."""
    return f"{math.floor(share * 1000) / 10:g} %"
