"""The code has changed and a tape no longer fits: does another schedule, close to it, still fail?

First each deviation is moved by a few points; then all schedules are tried that deviate from the plainest no
more often than the tape does. If that ends without a failure, there is none of that kind any more.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from ssq_verify.execution import scratch
from ssq_verify.history import joined
from ssq_verify.judge import violations
from ssq_verify.scenario import Scenario
from ssq_verify.shrink import BATCH
from ssq_verify.simulation.run import Simulated, simulate
from ssq_verify.simulation.strategies import Exhaustive
from ssq_verify.simulation.tape import Replay, Strategy
from ssq_verify.subject import Subject

SHIFT_MAX = 3
TRIES_MAX = 3_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Near:
    """What a search near a tape found."""

    run: Simulated | None
    """A run that fails."""
    tried: int
    is_complete: bool
    """Whether all schedules with as many deviations were tried."""


def nearby(
    scenario: Scenario, tape: Sequence[int], subject: Subject, invariant: str, *, tries_max: int | None = None
) -> Near:
    """Search for a schedule like the tape's that breaks the invariant, among at most `TRIES_MAX`."""
    tries_max = TRIES_MAX if tries_max is None else tries_max

    def simulated(strategy: Strategy) -> Simulated:
        with scratch() as workdir:
            return simulate(scenario, subject, strategy, workdir)

    # One at a time: a search is asked for its next schedule only when the last is over.
    runs = (simulated(strategy) for strategy in _strategies(tape))
    tried = 0
    while batch := list(islice(runs, min(BATCH, tries_max - tried))):
        tried += len(batch)
        failed = {each.run for each in violations(joined([run.history for run in batch]), invariant)}
        if failed:
            return Near(run=batch[min(failed)], tried=tried, is_complete=False)
        if tried >= tries_max:
            return Near(run=None, tried=tried, is_complete=False)
    return Near(run=None, tried=tried, is_complete=True)


def _strategies(tape: Sequence[int]) -> Iterator[Strategy]:
    for place, cell in enumerate(tape):
        if cell:
            yield from (Replay(_shifted(tape, place, by)) for by in _shifts(place))
    yield from Exhaustive(deviations_max=sum(cell > 0 for cell in tape)).runs()


def _shifts(place: int) -> Iterator[int]:
    for by in range(1, SHIFT_MAX + 1):
        yield by
        if by <= place:
            yield -by


def _shifted(tape: Sequence[int], place: int, by: int) -> list[int]:
    """Return the tape with one deviation, and all that come after it, so many cells later or earlier."""
    if by > 0:
        return [*tape[:place], *[0] * by, *tape[place:]]
    return [*tape[: place + by], *tape[place:]]
