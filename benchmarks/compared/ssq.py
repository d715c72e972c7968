"""How soon does ssq come upon each bug? The searches of `ssq verify`, in one process, to a failure."""

import time
from collections.abc import Iterator

from bugs import FOUND, NOT_FOUND, Bug, report

from ssq_verify.execution import scratch
from ssq_verify.machine import SETTINGS
from ssq_verify.scenario import Faults
from ssq_verify.simulation import interposition
from ssq_verify.simulation.campaign import probe
from ssq_verify.simulation.exploring import Found, Search, explore
from ssq_verify.simulation.run import simulate
from ssq_verify.simulation.scenarios import offered
from ssq_verify.simulation.searches import Alone, Composed, Sweep
from ssq_verify.simulation.tape import Replay
from ssq_verify.subject import Subject, load

SCHEDULES = 50
"""That are judged together, so that the first failure is told soon."""


def searched(bug: Bug, seed: int, limit: float) -> str:
    """Search until the bug is found."""
    begin = time.perf_counter()
    interposition.install()
    subject = load("naive-file")
    invariant = "fencing" if bug is Bug.SUPERSEDED else "no-lost-job"
    for search in _searches(subject, bug, seed):
        explored = explore(subject, search, only={invariant})
        if any(_is_it(subject, bug, found) for found in explored.found):
            return FOUND
        if time.perf_counter() - begin > limit:
            break
    return NOT_FOUND


def _searches(subject: Subject, bug: Bug, seed: int) -> Iterator[Search]:
    terms = probe(subject, SETTINGS).terms
    for _, scenario in offered(SETTINGS, terms):
        if bug is Bug.KILLED:
            yield Sweep(scope="one crash", scenarios=(scenario,), faults=Faults(kills=1), fault="kill")
        else:
            yield Alone(scope="one worker out of turn", scenarios=(scenario,))
    first = seed * 1_000_000
    while True:
        seeds = range(first, first := first + SCHEDULES)
        yield Composed(scope="at random", settings=SETTINGS, terms=terms, seeds=seeds, size=1)


def _is_it(subject: Subject, bug: Bug, found: Found) -> bool:
    if bug is Bug.SUPERSEDED:
        return True
    with scratch() as workdir:
        struck = simulate(found.scenario, subject, Replay(found.tape), workdir).faults
    if bug is Bug.KILLED:
        return [(each.fault, each.operation) for each in struck] == [("kill", "claim")]
    return not struck


if __name__ == "__main__":
    report(searched)
