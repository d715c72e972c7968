"""How many schedules a second does one core simulate? And how much dearer is that than no simulation?

    python benchmarks/simulation.py --json

A schedule: two workers claim and ack one of two jobs each, in random turns; set-up, drain, history and all
checks are part of it. Beside it, in the same run and turn by turn, the same operations are called directly,
one after the other, in a process in which nothing is replaced. Both queues are correct, so any accusation
ends the program with 1. CPU time is given beside wall time, which other work on the machine lengthens.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from ssq_verify.execution import EPOCH, scratch
from ssq_verify.machine import SETTINGS
from ssq_verify.scenario import Scenario, StepKind
from ssq_verify.simulation import interposition
from ssq_verify.simulation.campaign import small
from ssq_verify.simulation.exploring import explore
from ssq_verify.simulation.process import EMPTY_POLLS_AT_END
from ssq_verify.simulation.strategies import AtRandom
from ssq_verify.simulation.tape import Strategy
from ssq_verify.subject import Policy, load

AIMS = {"file": 3_000, "sqlite": 5_000}
RACE = small(SETTINGS, workers=2, jobs=2)
PATIENCE = timedelta(seconds=SETTINGS.lease_ttl_seconds + 2 * SETTINGS.max_clock_skew_seconds + 1.0)

Seconds = tuple[float, float]
"""Of CPU time and of wall time, for one run."""


@dataclass(frozen=True)
class Random:
    """The same race in the order that each seed gives."""

    seeds: range
    scope = "benchmark"

    def runs(self) -> Iterator[tuple[Scenario, Strategy]]:
        """Yield a schedule for each seed."""
        return ((RACE, AtRandom(seed)) for seed in self.seeds)

    def covered(self) -> None:
        """State nothing."""


def measured(name: str, *, rounds: int, schedules: int) -> dict[str, Any]:
    """Measure a subject both ways, in turn, each in a process of its own."""
    turns: list[tuple[Seconds, Seconds]] = []
    with _process() as plain, _process() as simulated:
        for number in range(rounds + 1):  # the first warms up
            direct = plain.submit(directly, name, schedules).result()
            first = number * schedules
            turns.append((direct, simulated.submit(in_simulation, name, first, schedules).result()))
    del turns[0]
    return {
        "subject": name,
        "aim": AIMS[name],
        "schedules_per_cpu_second": _rate([simulation[0] for _, simulation in turns]),
        "schedules_per_second": _rate([simulation[1] for _, simulation in turns]),
        "direct_runs_per_cpu_second": _rate([direct[0] for direct, _ in turns]),
        "times_direct": round(
            statistics.median(simulation[0] / direct[0] for direct, simulation in turns), 1
        ),
    }


def in_simulation(name: str, first: int, schedules: int) -> Seconds:
    """Search so many schedules as a verification does."""
    interposition.install()
    subject = load(name)
    search = Random(range(first, first + schedules))

    def searched() -> None:
        explored = explore(subject, search, only=None)
        accused = [each for each in explored.evidence if each.violation is not None]
        assert explored.tally["schedules"] == schedules, explored
        assert not accused, accused

    return _timed(searched, schedules)


def directly(name: str, schedules: int) -> Seconds:
    """Call the same operations as often, without any simulation."""
    subject = load(name)

    def called() -> None:
        for _ in range(schedules):
            with scratch() as workdir:
                _run_plainly(subject.factory, workdir)

    return _timed(called, schedules)


def _run_plainly(factory: Callable[[Path, Policy], Any], workdir: Path) -> None:
    now = EPOCH
    policy = Policy(
        lease_ttl_seconds=SETTINGS.lease_ttl_seconds,
        retry=SETTINGS.retry,
        max_clock_skew_seconds=SETTINGS.max_clock_skew_seconds,
        clock=lambda: now,
    )
    workers = dict.fromkeys(step.worker for step in RACE.steps)
    handles = {worker: factory(workdir, policy) for worker in workers}
    for step in RACE.steps:
        now += timedelta(microseconds=2)
        if step.do is StepKind.ENQUEUE:
            handles[step.worker].enqueue(step.job, payload=step.payload.encode())
        elif step.do is StepKind.CLAIM:
            claim = handles[step.worker].claim(worker_id=step.worker)
        else:
            handles[step.worker].ack(claim=claim)
    drain = factory(workdir, policy)
    for _ in range(EMPTY_POLLS_AT_END):
        assert drain.claim(worker_id="drain") is None
        now += PATIENCE
    assert not drain.dead()
    for handle in (*handles.values(), drain):
        getattr(handle, "close", lambda: None)()


def _process() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))


def _timed(work: Callable[[], None], runs: int) -> Seconds:
    begin_cpu, begin = time.process_time(), time.perf_counter()
    work()
    return (time.process_time() - begin_cpu) / runs, (time.perf_counter() - begin) / runs


def _rate(seconds: list[float]) -> int:
    return round(1 / statistics.median(seconds))


def main() -> None:
    """Measure both queues and print what came out."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--schedules", type=int, default=1_200, help="in a round")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    load_average = round(os.getloadavg()[0], 1)
    runs = [measured(name, rounds=asked.rounds, schedules=asked.schedules) for name in AIMS]
    if asked.json:
        print(json.dumps({"load_average": load_average, "rounds": asked.rounds, "runs": runs}))
        return
    for run in runs:
        print(", ".join(f"{key.replace('_', ' ')} {value}" for key, value in run.items()))


if __name__ == "__main__":
    sys.exit(main())
