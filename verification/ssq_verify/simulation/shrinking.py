"""What is the plainest run with the same failure? Steps, faults and schedule are made smaller together.

Each cell of a tape belongs to the step that was at work: a step that is dropped takes its cells along, so
that the rest still fits. Where nothing smaller fails that way, a step is dropped and the schedules of what is
left are searched anew, with no more deviations than there are now.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from typing import NamedTuple

from msgspec.structs import replace

from ssq_verify.execution import scratch
from ssq_verify.history import joined
from ssq_verify.judge import violations
from ssq_verify.scenario import NO_FAULTS, Faults, Scenario
from ssq_verify.shrink import BATCH, claims_renumbered, simpler_steps
from ssq_verify.simulation.run import Simulated, simulate
from ssq_verify.simulation.strategies import Exhaustive
from ssq_verify.simulation.tape import Replay, Strategy
from ssq_verify.simulation.world import ERRORS, KILL, PAUSE, POWER_LOSS
from ssq_verify.subject import Subject

SEARCHED_MAX = 200
"""Schedules that are tried anew where a step is dropped."""


class Candidate(NamedTuple):
    """A run that may fail: its scenario, and its tape with the step that each cell belongs to."""

    scenario: Scenario
    cells: tuple[int, ...]
    owners: tuple[int, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Shrunk:
    """What is left."""

    scenario: Scenario
    run: Simulated
    is_minimal: bool
    """Whether nothing can be dropped; False if the tries ran out first."""


def shrink_simulated(
    scenario: Scenario, tape: Sequence[int], subject: Subject, invariant: str, *, tries_max: int
) -> Shrunk:
    """Return the plainest run that still breaks the invariant, a local minimum unless the tries ran out.

    Raises `ValueError` if the tape does not break it.
    """
    search = _Search(subject, invariant, tries_max)
    found = search.first(iter([(scenario, Replay(tape))]))
    if found is None:
        raise ValueError(f"this tape does not break {invariant}")
    while True:
        smaller = search.first(_smaller(found)) or search.first(_searched_anew(found))
        if smaller is None:
            return _in_plain_names(found, search)
        found = smaller


def _in_plain_names(found: "Shrunk", search: "_Search") -> Shrunk:
    steps = claims_renumbered(found.scenario.steps)
    renamed = replace(found.scenario, steps=steps)
    same = search.first(iter([(renamed, Replay(found.run.tape))]))
    plain = same or found
    return Shrunk(scenario=plain.scenario, run=plain.run, is_minimal=search.tries < search.tries_max)


class _Search:
    """Tries candidates in batches: a judgement of one costs nearly what one of many does."""

    def __init__(self, subject: Subject, invariant: str, tries_max: int) -> None:
        self._subject = subject
        self._invariant = invariant
        self.tries = 0
        self.tries_max = tries_max
        self._tried: set[tuple[Scenario, tuple[int, ...]]] = set()

    def first(self, candidates: Iterator[tuple[Scenario, Strategy]]) -> Shrunk | None:
        """Return the first candidate that fails."""
        # One at a time: a search is asked for its next schedule only when the last is over.
        runs = ((each[0], self._simulated(*each)) for each in candidates if self._is_fresh(*each))
        while self.tries < self.tries_max and (batch := list(islice(runs, BATCH))):
            self.tries += len(batch)
            history = joined([run.history for _, run in batch])
            failed = {violation.run for violation in violations(history, self._invariant)}
            if failed:
                scenario, run = batch[min(failed)]
                return Shrunk(scenario=scenario, run=run, is_minimal=False)
        return None

    def _is_fresh(self, scenario: Scenario, strategy: Strategy) -> bool:
        """Whether this was not tried before."""
        if not isinstance(strategy, Replay):
            return True
        key = (scenario, tuple(strategy.cells))
        is_fresh = key not in self._tried
        self._tried.add(key)
        return is_fresh

    def _simulated(self, scenario: Scenario, strategy: Strategy) -> Simulated:
        with scratch() as workdir:
            return simulate(scenario, self._subject, strategy, workdir)


def _smaller(found: Shrunk) -> Iterator[tuple[Scenario, Strategy]]:
    """Yield runs that are smaller in one respect: fewer steps, deviations and faults, plainer words."""
    now = Candidate(found.scenario, found.run.tape, found.run.owners)
    for candidate in (
        *_fewer_faults(found),
        *_fewer_steps(now),
        *_fewer_deviations(now),
        *_plainer_deviations(now),
        *_plainer_steps(now),
    ):
        yield candidate.scenario, Replay(candidate.cells)


def _fewer_faults(found: Shrunk) -> Iterator[Candidate]:
    """Allow only the faults that struck."""
    kinds = [struck.fault for struck in found.run.faults]
    pauses = tuple(
        float(kind.removeprefix(PAUSE).removesuffix(" s")) for kind in kinds if kind.startswith(PAUSE)
    )
    struck = Faults(
        kills=kinds.count(KILL),
        errors=sum(kind in ERRORS for kind in kinds),
        pauses=len(pauses),
        pause_seconds=tuple(sorted(set(pauses))),
        power_losses=kinds.count(POWER_LOSS),
        disk=found.scenario.faults.disk if POWER_LOSS in kinds else "ordered",
    )
    struck = struck if kinds else NO_FAULTS
    if struck != found.scenario.faults:
        yield Candidate(replace(found.scenario, faults=struck), found.run.tape, found.run.owners)


def _fewer_steps(now: Candidate) -> Iterator[Candidate]:
    count = len(now.scenario.steps)
    size = count // 2
    while size >= 1:
        for start in range(count - size, -1, -1):
            yield _without(now, range(start, start + size))
        size //= 2
    for pair in combinations(range(count), 2):
        yield _without(now, pair)


def _without(now: Candidate, dropped: Sequence[int]) -> Candidate:
    kept = [place for place in range(len(now.scenario.steps)) if place not in dropped]
    places = {old: new for new, old in enumerate(kept)} | {-1: -1}
    cells = [
        (cell, places[owner]) for cell, owner in zip(now.cells, now.owners, strict=True) if owner in places
    ]
    return Candidate(
        replace(now.scenario, steps=tuple(now.scenario.steps[place] for place in kept)),
        tuple(cell for cell, _ in cells),
        tuple(owner for _, owner in cells),
    )


def _fewer_deviations(now: Candidate) -> Iterator[Candidate]:
    places = [place for place, cell in enumerate(now.cells) if cell]
    for kept in range(len(places)):
        yield now._replace(cells=now.cells[: places[kept]])
    for dropped in (*combinations(places, 1), *combinations(places, 2)):
        yield _with(now, dict.fromkeys(dropped, 0))


def _plainer_deviations(now: Candidate) -> Iterator[Candidate]:
    for place, cell in enumerate(now.cells):
        for lower in range(1, cell):
            yield _with(now, {place: lower})


def _with(now: Candidate, changed: dict[int, int]) -> Candidate:
    return now._replace(cells=tuple(changed.get(place, cell) for place, cell in enumerate(now.cells)))


def _plainer_steps(now: Candidate) -> Iterator[Candidate]:
    for steps in simpler_steps(now.scenario.steps, now.scenario.settings):
        yield now._replace(scenario=replace(now.scenario, steps=steps))


def _searched_anew(found: Shrunk) -> Iterator[tuple[Scenario, Strategy]]:
    """Yield schedules of the scenario without one of its steps."""
    now = Candidate(found.scenario, found.run.tape, found.run.owners)
    deviations = sum(cell > 0 for cell in now.cells)
    for place in range(len(now.scenario.steps)):
        scenario = _without(now, (place,)).scenario
        search = Exhaustive(deviations_max=deviations)
        for strategy in islice(search.runs(), SEARCHED_MAX):
            yield scenario, strategy
