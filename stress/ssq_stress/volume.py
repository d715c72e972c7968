"""How are so many jobs put through? In rounds, each judged, and let go of, while the next one runs."""

from collections.abc import Callable, Iterator, Sequence
from itertools import count

from ssq_stress.conductor import Round
from ssq_stress.faults import Fault

JOBS_PER_ROUND = 25_000
JOBS_IN_THE_END = 4_000
"""The last rounds are ever shorter, so that little is left to judge when the last one is over."""


def rounds_of(
    jobs: int, kinds: Sequence[frozenset[Fault]], *, seed: int, enqueued: Callable[[], int]
) -> Iterator[Round]:
    """Yield rounds until so many jobs are enqueued, or one enqueues nothing."""
    before = -1
    for number in count():
        left = jobs - enqueued()
        if left <= 0 or enqueued() == before:
            return
        before = enqueued()
        yield Round(
            number=number,
            faults=kinds[number % len(kinds)],
            seconds=0.0,
            seed=f"{seed}/{number}",
            jobs=share(left),
        )


def share(left: int) -> int:
    """Return how many of the jobs that are left the next round has."""
    if left <= JOBS_IN_THE_END:
        return left
    return min(JOBS_PER_ROUND, max(left // 2, JOBS_IN_THE_END))
