"""What is a night made of? Watches: short runs in turn, each with another seed and under other conditions.

Which faults strike together changes from round to round in each of them; what changes from watch to watch is
who works, how fast, with what, and how long leases and rests are.
"""

from dataclasses import dataclass, replace
from random import Random

from msgspec import structs

from ssq_stress.plan import SETTINGS, Plan
from ssq_stress.processes.assignment import PAYLOAD_BYTES_MAX
from ssq_verify.scenario import Settings

WATCH_SECONDS = 300.0
WORKERS_MAX = 64
SEEDS = 1 << 32
SURE_SHARE = 0.75
"""Of the watches that fit into a night, so many come for certain: each takes longer than it is to."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Conditions:
    """Under which a watch stresses a queue."""

    name: str
    crew: float = 1.0
    """How many work, for each that was asked for."""
    settings: Settings = SETTINGS
    payload_bytes_max: int = PAYLOAD_BYTES_MAX
    rate: float | None = None
    """Jobs a second, if none was asked for."""


CONDITIONS = (
    Conditions(name="as asked"),
    Conditions(name="few workers", crew=0.25),
    Conditions(
        name="short leases",
        settings=structs.replace(
            SETTINGS, lease_ttl_seconds=0.6, backoff_base_seconds=0.25, backoff_max_seconds=0.5
        ),
    ),
    Conditions(name="many workers", crew=2.0),
    Conditions(name="large payloads", payload_bytes_max=20_000),
    Conditions(name="long leases", settings=structs.replace(SETTINGS, lease_ttl_seconds=2.5, max_attempts=5)),
    Conditions(name="few jobs", rate=40.0),
    Conditions(
        name="no rests",
        settings=structs.replace(SETTINGS, max_attempts=2, backoff_base_seconds=0.0, backoff_max_seconds=0.0),
    ),
)


def count(plan: Plan) -> int:
    """Return about how many watches fit into the time."""
    return max(1, round(plan.seconds / WATCH_SECONDS))


def seconds(plan: Plan) -> float:
    """Return how long each is to last."""
    return plan.seconds / count(plan)


def conditions(number: int) -> Conditions:
    """Return those of a watch, counted from 1: all in turn, the plainest first."""
    return CONDITIONS[(number - 1) % len(CONDITIONS)]


def watch(plan: Plan, number: int) -> Plan:
    """Return what is asked of a watch of the night."""
    its = conditions(number)
    return replace(
        plan,
        seconds=seconds(plan),
        seed=seed(plan.seed, number),
        consumers=_scaled(plan.consumers, its.crew),
        producers=_scaled(plan.producers, its.crew),
        rate=its.rate if plan.rate is None else plan.rate,
        settings=its.settings,
        payload_bytes_max=its.payload_bytes_max,
        watches=max(1, int(SURE_SHARE * count(plan))),
    )


def seed(night: int, number: int) -> int:
    """Return a watch's own seed, which no watch of the next night has."""
    return Random(f"{night}/{number}").randrange(SEEDS)  # noqa: S311 - a seed from a seed, no secret


def _scaled(workers: int, by: float) -> int:
    return min(WORKERS_MAX, max(1, round(workers * by)))
