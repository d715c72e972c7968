"""What must a queue offer, for a scenario to be worth running on it?"""

from collections.abc import Callable, Mapping
from enum import StrEnum, auto

from ssq_verify.history import Terms
from ssq_verify.scenario import Settings, StepKind
from ssq_verify.simulation.scenarios.parts import times

ATTEMPTS_MAX = 10
"""A queue that allows more is given up after so many: what they cost would say nothing new."""


class Need(StrEnum):
    """Something that not every queue promises."""

    LEASE = auto()
    FENCING = auto()
    RELEASE = auto()
    EXTEND = auto()
    BACK_OFF = auto()
    BOUND = auto()
    """Of attempts, and one that is reached soon."""
    DEAD_LETTERS = auto()
    IDEMPOTENT_ENQUEUE = auto()
    WORKERS_CLOCK = auto()
    """Times that the workers' own clocks say, however far they may differ."""
    SKEW = auto()
    """Clocks of workers that may differ."""
    BATCHES = auto()
    """Calls with many jobs."""
    FORKS = auto()
    """Handles that may be used on either side of a fork."""


OFFERED: Mapping[Need, Callable[[Settings, Terms], bool]] = {
    Need.LEASE: lambda _, terms: terms.lease,
    Need.FENCING: lambda _, terms: terms.fencing,
    Need.RELEASE: lambda _, terms: terms.release,
    Need.EXTEND: lambda _, terms: terms.extend,
    Need.BACK_OFF: lambda _, terms: terms.back_off,
    Need.BOUND: lambda _, terms: 0 < (terms.max_attempts or 0) <= ATTEMPTS_MAX,
    Need.DEAD_LETTERS: lambda _, terms: terms.dead_letters,
    Need.IDEMPOTENT_ENQUEUE: lambda _, terms: terms.idempotent_enqueue,
    Need.WORKERS_CLOCK: lambda _, terms: terms.max_clock_skew_seconds is not None,
    Need.BATCHES: lambda _, terms: terms.batches,
    Need.FORKS: lambda _, terms: terms.forks,
    Need.SKEW: lambda settings, terms: times(settings, terms).skew > 0,
}
"""Whether a queue that is opened so and promises that offers what is needed."""


def to_use(do: StepKind) -> tuple[Need, ...]:
    """Return what a queue must offer for an operation on claims to be there at all."""
    return {StepKind.EXTEND: (Need.EXTEND,), StepKind.RELEASE: (Need.RELEASE,)}.get(do, ())
