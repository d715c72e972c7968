"""When is a call about many jobs, and about how many? By chance, where a queue takes many."""

from random import Random

SHARE = 0.2
COUNT_MIN, COUNT_MAX = 2, 5


class Many:
    """A worker's dice; not thrown for a queue that takes one job a call, whose seeds mean the same so."""

    def __init__(self, rng: Random, *, is_offered: bool) -> None:
        self._rng = rng
        self._is_offered = is_offered

    def is_due(self) -> bool:
        """Whether the next call is about many jobs."""
        return self._is_offered and self._rng.random() < SHARE

    def count(self) -> int:
        """Return how many jobs it is about."""
        return self._rng.randint(COUNT_MIN, COUNT_MAX)
