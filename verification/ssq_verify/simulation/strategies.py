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
from ssq_verify.simulation.point import RETURN
from ssq_verify.simulation.sweep import StrikeAt
from ssq_verify.simulation.world import World

__all__ = ["RUN", "TIME", "AtRandom", "ByPriority", "Exhaustive", "StrikeAt"]


PREEMPT = 0.02, 0.5
STRIKE = 0.005, 0.1
BIAS_MAX = 4.0
"""From which each schedule draws its own habits: what one of them never meets, another soon does.

Groce, Zhang, Eide, Chen, Regehr: Swarm Testing (ISSTA 2012).
"""


class AtRandom:
    """Preempts and strikes with probabilities of its own, and rather before an effect than elsewhere.

    Where both are given they are the same at each point.
    """

    def __init__(self, seed: int, *, preempt: float | None = None, strike: float | None = None) -> None:
        self._random = Random(seed)
        self._world: World | None = None
        drawn = _between(self._random, *PREEMPT), _between(self._random, *STRIKE)
        self._bias = _between(self._random, 1.0, BIAS_MAX) if preempt is None and strike is None else 1.0
        self._preempt = drawn[0] if preempt is None else preempt
        self._strike = drawn[1] if strike is None else strike

    def attend(self, world: World) -> None:
        """Look at where workers stand."""
        self._world = world

    def choose(self, kind: str, options: Sequence[str]) -> int:
        """Return one of the options."""
        chance = self._random
        if kind != "next":
            return chance.randrange(len(options)) if chance.random() < self._preempt else 0
        moves = len(options)
        while not options[moves - 1].startswith(RUN) and options[moves - 1] != TIME:
            moves -= 1
        weight = self._weight(options[0])
        faults = range(moves, len(options))
        if faults and chance.random() < self._strike * weight:
            return chance.choice(faults)
        return chance.randrange(moves) if chance.random() < self._preempt * weight else 0

    def _weight(self, running: str) -> float:
        """Return how much rather than elsewhere something happens here."""
        if self._world is None:
            return 1.0
        for worker in self._world.workers:
            if worker.option == running and worker.point is not None:
                is_before_effect = worker.point.writes or worker.point.call == RETURN
                return self._bias if is_before_effect else 1 / self._bias
        return 1.0


def _between(chance: Random, least: float, most: float) -> float:
    """Return a number, each order of magnitude as likely as the others."""
    return float(least * (most / least) ** chance.random())
