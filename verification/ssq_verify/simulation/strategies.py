"""How are schedules searched? At random, by priorities, at every point in turn, or all of them.

A strategy answers `choose(kind, options)` (see `tape`). The options of a "next" choice are, in this order:
the running worker, the other workers that could run, the passing of time, the faults that could strike.
"""

# ruff: noqa: S311 - schedules are drawn from a seed, not from secrets

from collections.abc import Sequence
from random import Random

from ssq_verify.simulation.exhaustive import Exhaustive
from ssq_verify.simulation.options import RUN, TIME
from ssq_verify.simulation.sweep import StrikeAt

__all__ = ["RUN", "TIME", "AtRandom", "ByPriority", "Exhaustive", "StrikeAt"]


class AtRandom:
    """Preempts at each point with one probability, and strikes with another."""

    def __init__(self, seed: int, *, preempt: float = 0.15, strike: float = 0.02) -> None:
        self._random = Random(seed)
        self._preempt = preempt
        self._strike = strike

    def choose(self, kind: str, options: Sequence[str]) -> int:
        """Return one of the options."""
        if kind != "next":
            return self._random.randrange(len(options)) if self._random.random() < self._preempt else 0
        moves = len(options)
        while not options[moves - 1].startswith(RUN) and options[moves - 1] != TIME:
            moves -= 1
        faults = range(moves, len(options))
        if faults and self._random.random() < self._strike:
            return self._random.choice(faults)
        return self._random.randrange(moves) if self._random.random() < self._preempt else 0


class ByPriority:
    """PCT: finds a bug of depth d with a probability of at least 1 / (n * k^(d-1)); n workers, k points.

    Burckhardt, Kothari, Musuvathi, Nagarakatte: A Randomized Scheduler with Probabilistic Guarantees of
    Finding Bugs (ASPLOS 2010). Deviations: a fault is one more event at a random point; time passes only
    when nobody can run, or at a change point.
    """

    def __init__(self, seed: int, *, depth: int, points: int, faults: int = 0) -> None:
        self._random = Random(seed)
        self._changes = {self._random.randrange(max(1, points)) for _ in range(depth - 1)}
        self._faults = {self._random.randrange(max(1, points)) for _ in range(faults)}
        self._priorities: dict[str, float] = {}
        self._lowest = 0.0
        self._passed = 0

    def choose(self, kind: str, options: Sequence[str]) -> int:
        """Return the runnable worker of the highest priority."""
        if kind != "next":
            return 0
        self._passed += 1
        struck = [
            index for index, option in enumerate(options) if not option.startswith(RUN) and option != TIME
        ]
        if struck and self._passed in self._faults:
            return self._random.choice(struck)
        if self._passed in self._changes:
            self._lowest -= 1.0
            self._priorities[options[0]] = self._lowest
            if TIME in options and self._random.random() < 0.5:  # noqa: PLR2004 - a fair coin
                return options.index(TIME)
        running = [index for index, option in enumerate(options) if option.startswith(RUN)]
        return max(running, key=lambda index: self._priority(options[index]), default=0)

    def _priority(self, worker: str) -> float:
        return self._priorities.setdefault(worker, self._random.random())
