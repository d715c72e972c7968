"""What is asked of a stress run? Who works, how long, under which faults, how often each must strike."""

from dataclasses import dataclass
from math import ceil

from ssq_stress.conductor import Crew
from ssq_stress.coverage import NEEDED
from ssq_stress.faults import REMOTE, Fault
from ssq_stress.nemesis.skew import WrongClock
from ssq_stress.power import powerless
from ssq_stress.processes.assignment import PAYLOAD_BYTES_MAX
from ssq_verify.scenario import Settings

SETTINGS = Settings(
    lease_ttl_seconds=1.0,
    max_attempts=3,
    backoff_base_seconds=0.3,
    backoff_max_seconds=1.0,
    max_clock_skew_seconds=0.2,
)
"""Short, so that many leases end in a minute; a rest is longer than clocks may differ, so that it shows."""
MIXES: tuple[frozenset[Fault], ...] = (
    frozenset(Fault),
    frozenset({Fault.PAUSE}),
    frozenset({Fault.KILL, Fault.SKEW, Fault.PAUSE}),
    frozenset({Fault.KILL, Fault.IO_ERROR, Fault.DISK_FULL, *REMOTE}),
)
"""All together first; then fewer, so that more can be decided."""
LOSSES_SHARE_MAX = 0.25
"""Of the time that was asked for, kept for losses of power."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is asked of a stress run."""

    seconds: float = 60.0
    consumers: int = 8
    producers: int = 2
    faults: frozenset[Fault] = frozenset(Fault)
    rate: float | None = None
    jobs: int | None = None
    """Go on until so many are enqueued, and done with, in whatever time."""
    seed: int = 0
    profile: str = "ci"
    strikes: int | None = None
    """End the faults of each round after so many, in whatever time."""
    takes_power: bool = False
    """Let the power fail, too, after the rounds."""
    clocks: tuple[WrongClock, ...] = ()
    """Those of the first consumers, while faults strike; `skew` then strikes nobody."""
    is_served: bool = False
    """By a server that somebody gave, and that is not to be struck."""
    settings: Settings = SETTINGS
    payload_bytes_max: int = PAYLOAD_BYTES_MAX
    watches: int = 1
    """Of how many runs this is one: it strikes only its share of what the profile asks for."""

    @property
    def crew(self) -> Crew:
        """Who works."""
        return Crew(
            consumers=self.consumers,
            producers=self.producers,
            rate=self.rate,
            clocks=self.clocks,
            payload_bytes_max=self.payload_bytes_max,
        )

    @property
    def needed(self) -> int:
        """How often each fault must strike wherever it can."""
        return ceil(NEEDED[self.profile] / self.watches)

    @property
    def losses(self) -> int:
        """How often the power is to fail."""
        return ceil(powerless.COUNTS[self.profile] / self.watches) if self.takes_power else 0

    @property
    def losses_seconds(self) -> float:
        """How much of the time is kept for that."""
        return min(self.losses * powerless.LOSS_SECONDS, LOSSES_SHARE_MAX * self.seconds)


def kinds_of(faults: frozenset[Fault]) -> list[frozenset[Fault]]:
    """Return what the rounds have in turn: all the faults that were chosen, then fewer."""
    return list(dict.fromkeys(mix & faults for mix in MIXES if mix & faults)) or [faults]
