"""How are schedules searched? At random, by priorities, at every point in turn, or all of them.

A strategy answers `choose(kind, options)` (see `tape`). The options of a "next" choice are, in this order:
the running worker, the other workers that could run, the passing of time, the faults that could strike.
"""

# ruff: noqa: S311 - schedules are drawn from a seed, not from secrets

from collections.abc import Sequence
from random import Random

from ssq_verify.simulation.exhaustive import Exhaustive
from ssq_verify.simulation.options import RUN, TIME
from ssq_verify.simulation.pct import ByPriority
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
