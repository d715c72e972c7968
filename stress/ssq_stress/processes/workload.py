"""What do workers do with their jobs, how often, and how many jobs are there? The two ways of a round.

`hard` looks for what breaks: jobs are held, given back, left, enqueued again while they are held. `heavy`
puts through as many jobs as it can, and does of everything else just enough to be seen.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

BACKLOG = 200
HEAVY_BACKLOG = 1_000
"""So many that a producer that dies is missed by nobody until its replacement is at work."""
LATE_WEIGHT, LATE_WEIGHT_IN_PEACE = 1.5, 30.0
"""Where workers are killed, few live as long as a lease; so elsewhere more must, or nobody would be late."""
LEAVE_WEIGHT, LEAVE_WEIGHT_IN_SEARCH = 1.0, 12.0
"""In a round that strikes only here and there, more jobs must be left for others to take over."""


class Fate(StrEnum):
    """What a consumer does with a job."""

    ACK = "ack"
    RELEASE = "release"
    EXTEND = "extend, then ack"
    LATE = "hold it for about as long as the lease"
    LEAVE = "leave it"
    AGAIN = "enqueue it while it is held, then ack"
    """What a cautious producer does; it must change nothing, or the job is done twice at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Workload:
    """What a round's workers do: pure data."""

    fates: Mapping[Fate, float]
    fates_again: Mapping[Fate, float]
    """What failed once fails again more often, or no job would ever use up its attempts."""
    work_seconds: tuple[float, ...]
    """How long a job takes: none as long as a lease, some long enough to be caught at it twice."""
    again_share: float
    """How often a producer enqueues an id again: of a live one nothing changes, a done one is a new job."""
    backlog: int
    """Up to how many jobs wait."""
    jobs: int | None = None
    """How many are enqueued; None: as many as the time allows."""
    pace: float = 1.0
    """How many times as often as its timetable says each fault strikes."""


HARD = Workload(
    fates={Fate.ACK: 76.0, Fate.RELEASE: 8.0, Fate.EXTEND: 4.0, Fate.AGAIN: 3.0},
    fates_again={Fate.ACK: 65.0, Fate.RELEASE: 25.0, Fate.EXTEND: 4.0},
    work_seconds=(0.0, 0.0, 0.0, 0.002, 0.02),
    again_share=0.08,
    backlog=BACKLOG,
)
HEAVY = Workload(
    fates={
        Fate.ACK: 1_000.0,
        Fate.RELEASE: 4.0,
        Fate.EXTEND: 4.0,
        Fate.AGAIN: 1.0,
        Fate.LATE: 0.2,
        Fate.LEAVE: 1.0,
    },
    fates_again={Fate.ACK: 60.0, Fate.RELEASE: 20.0, Fate.EXTEND: 4.0, Fate.LATE: 0.2, Fate.LEAVE: 1.0},
    work_seconds=(0.0,),
    again_share=0.0,
    backlog=HEAVY_BACKLOG,
    pace=0.15,
)


def hard(*, is_deadly: bool, is_search: bool) -> Workload:
    """Return what is done where workers are killed or are not, or only what was not struck yet is."""
    late = LATE_WEIGHT if is_deadly else LATE_WEIGHT_IN_PEACE
    leave = LEAVE_WEIGHT_IN_SEARCH if is_search else LEAVE_WEIGHT
    held = {Fate.LATE: late, Fate.LEAVE: leave}
    return replace(HARD, fates={**HARD.fates, **held}, fates_again={**HARD.fates_again, **held})


def heavy(jobs: int) -> Workload:
    """Return what is done where so many jobs are put through."""
    return replace(HEAVY, jobs=jobs)
