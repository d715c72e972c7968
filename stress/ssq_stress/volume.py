"""How are so many jobs put through? In rounds, each judged, and let go of, while the next one runs."""

from collections.abc import Callable, Iterator, Sequence
from itertools import count

from ssq_stress.conductor import Round
from ssq_stress.faults import Fault

JOBS_PER_ROUND = 25_000
"""Three operations a job, and some: the last round is judged within the seconds that a verdict may take."""
ROUND_SECONDS_MAX = 900.0


def rounds_of(
    jobs: int, kinds: Sequence[frozenset[Fault]], *, seed: int, enqueued: Callable[[], int]
) -> Iterator[Round]:
    """Yield rounds until so many jobs are enqueued, or one enqueues nothing; all of about the same size."""
    before = -1
    for number in count():
        left = jobs - enqueued()
        if left <= 0 or enqueued() == before:
            return
        before = enqueued()
        yield Round(
            number=number,
            faults=kinds[number % len(kinds)],
            seconds=ROUND_SECONDS_MAX,
            seed=f"{seed}/{number}",
            jobs=round(left / -(-left // JOBS_PER_ROUND)),
        )
