"""How are schedules searched? At random, by priorities, at every point in turn, or all of them.

A strategy answers `choose(kind, options)` (see `tape`). The options of a "next" choice are, in this order:
the running worker, the other workers that could run, the passing of time, the faults that could strike.
"""

# ruff: noqa: S311 - schedules are drawn from a seed, not from secrets

from collections.abc import Iterator, Sequence
from random import Random

RUN = "run "
TIME = "let time pass"


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


class StrikeAt:
    """Sweeps: lets one fault strike at the n-th choice that offers it, and is plain otherwise."""

    def __init__(self, fault: str, number: int) -> None:
        self._fault = fault
        self._left = number
        self.has_struck = False

    def choose(self, kind: str, options: Sequence[str]) -> int:
        """Return the fault when its time has come."""
        if kind != "next" or self._fault not in options:
            return 0
        self._left -= 1
        if self._left != 0:
            return 0
        self.has_struck = True
        return options.index(self._fault)


class Exhaustive:
    """Enumerates all tapes, depth first, with at most so many answers that are not the plainest.

    Each preemption, each wait and each fault costs one (Musuvathi, Qadeer: Iterative context bounding,
    PLDI 2007); a switch when the running worker can't go on is free.
    """

    def __init__(self, *, deviations_max: int) -> None:
        self._deviations_max = deviations_max
        self._prefix: list[int] = []
        self._widths: list[int] = []
        self._position = 0

    def runs(self) -> Iterator["Exhaustive"]:
        """Yield itself once for each schedule; run one to its end before asking for the next."""
        while True:
            self._position = 0
            yield self
            if not self._advance():
                return

    def choose(self, _kind: str, options: Sequence[str]) -> int:
        """Return the next answer of the present schedule."""
        if self._position == len(self._prefix):
            self._prefix.append(0)
            self._widths.append(len(options))
        answer = self._prefix[self._position]
        self._position += 1
        return answer

    def _advance(self) -> bool:
        del self._prefix[self._position :], self._widths[self._position :]
        while self._prefix:
            spent = sum(answer > 0 for answer in self._prefix[:-1])
            if self._prefix[-1] + 1 < self._widths[-1] and spent < self._deviations_max:
                self._prefix[-1] += 1
                return True
            self._prefix.pop()
            self._widths.pop()
        return False
