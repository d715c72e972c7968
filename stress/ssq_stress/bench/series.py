"""How do queues compare? Each is timed under each load, in turn, several times, in one run.

In turn, so that what else the machine does strikes all of them alike; ratios are taken turn by turn.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from ssq_stress.bench.environment import Environment, environment
from ssq_stress.bench.figures import Figures, middle, ratio
from ssq_stress.bench.load import Load
from ssq_stress.bench.measuring import measure
from ssq_stress.serving import served
from ssq_verify.subject import Subject


class Series(msgspec.Struct, frozen=True, kw_only=True):
    """One subject under one load, timed again and again."""

    subject: str
    backlog: int
    workers: int
    payload_bytes: int
    rate: float | None
    runs: tuple[Figures, ...]
    times_first: float
    """How many times as fast as the first subject under this load."""
    batch: int = 1
    """How many jobs a call was to be about."""

    @property
    def median(self) -> Figures:
        """The run in the middle."""
        return middle(self.runs)

    @property
    def slowest_jobs_min(self) -> float:
        """The least throughput of all runs."""
        return min(run.jobs_min for run in self.runs)

    @property
    def fastest_jobs_min(self) -> float:
        """The most."""
        return max(run.jobs_min for run in self.runs)

    @property
    def broken(self) -> tuple[str, ...]:
        """What was broken in any of the runs."""
        return tuple(sorted({name for run in self.runs for name in run.broken}))


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """All that a run of benchmarks says: the document that `--json` prints and `--compare` reads."""

    environment: Environment
    repeat: int
    series: tuple[Series, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """Where a run stands."""

    subject: str
    load: Load
    turn: int
    done: int
    total: int


def timed(
    subjects: Sequence[Subject],
    loads: Sequence[Load],
    *,
    repeat: int,
    where: Path,
    tell: Callable[[Step], None] = lambda _: None,
) -> Results:
    """Time all subjects under all loads, so many times. Raises as `measure` does, and `BadInput`."""
    place = environment(where)
    series: list[Series] = []
    total = len(subjects) * len(loads) * repeat
    for number, load in enumerate(loads):
        runs: dict[str, list[Figures]] = {subject.reference: [] for subject in subjects}
        for turn in range(repeat):
            for position, subject in enumerate(subjects):
                done = (number * repeat + turn) * len(subjects) + position
                tell(Step(subject=subject.reference, load=load, turn=turn, done=done, total=total))
                runs[subject.reference].append(_measured(subject, load, where))
        series += _series(runs, load)
    return Results(environment=place, repeat=repeat, series=tuple(series))


def _measured(subject: Subject, load: Load, where: Path) -> Figures:
    with served(subject.reference, subject, in_turns=False):
        return measure(subject, load, where=where)


def _series(runs: dict[str, list[Figures]], load: Load) -> list[Series]:
    first = next(iter(runs.values()))
    return [
        Series(
            subject=reference,
            backlog=load.backlog,
            workers=load.workers,
            payload_bytes=load.payload_bytes,
            rate=load.rate,
            runs=tuple(its),
            batch=load.batch,
            times_first=round(ratio(its, first), 4),
        )
        for reference, its in runs.items()
    ]
