"""How hard is a queue tried? Three profiles: in seconds, in a minute, for a night."""

from dataclasses import dataclass

from ssq_verify.generation import Effort
from ssq_verify.simulation import campaign


@dataclass(frozen=True, kw_only=True, slots=True)
class Profile:
    """How hard to try."""

    effort: Effort
    """Of workers that take turns."""
    simulation: campaign.Effort
    tries_max: int
    """In shrinking each violation."""


PROFILES = {
    "quick": Profile(
        effort=Effort(examples=250, steps=20, seconds_max=30.0),
        simulation=campaign.Effort(
            preemptions=2, crashed=False, power_scenarios=1, confidence=0.0, random=1_000, seconds_max=60.0
        ),
        tries_max=2_000,
    ),
    "ci": Profile(
        effort=Effort(examples=800, steps=30, seconds_max=90.0),
        simulation=campaign.Effort(
            preemptions=3,
            crashed=True,
            pairs=500,
            power_scenarios=20,
            confidence=0.99,
            random=6_000,
            seconds_max=180.0,
        ),
        tries_max=4_000,
    ),
    "nightly": Profile(
        effort=Effort(examples=50_000, steps=50, seconds_max=3_600.0),
        simulation=campaign.Effort(
            preemptions=None,
            crashed=True,
            pairs=5_000,
            power_scenarios=100,
            confidence=0.999,
            random=20_000,
            seconds_max=28_800.0,
        ),
        tries_max=10_000,
    ),
}
"""On two idle cores `quick` takes about 10 s and `ci` about 60 s.

The counts end a run, so that a seed gives the same runs on every machine; the seconds are for a machine or a
queue that is out of the ordinary, and a run that they cut short says so.
"""
