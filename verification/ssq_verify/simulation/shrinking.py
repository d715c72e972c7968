"""What is the plainest run with the same failure? Steps, faults and schedule are made smaller together.

Each cell of a tape belongs to the step that was at work: a step that is dropped takes its cells along, so
that the rest still fits. Where nothing smaller fails that way, a step or a worker is dropped and the
schedules of what is left are searched anew, with no more deviations than there are now.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import combinations, islice
from typing import NamedTuple

from msgspec.structs import replace

from ssq_verify.execution import scratch
from ssq_verify.history import History, joined
from ssq_verify.judge import violations
from ssq_verify.scenario import NO_FAULTS, Faults, Scenario
from ssq_verify.shrink import BATCH, claims_renumbered, merged, simpler_steps, swapped
from ssq_verify.simulation.causes import loses_unsynced
from ssq_verify.simulation.point import CALL, RETURN, NotSimulatable
from ssq_verify.simulation.run import Simulated, simulate
from ssq_verify.simulation.strategies import Exhaustive
from ssq_verify.simulation.tape import Deviation, Redundant, Replay, Strategy
from ssq_verify.simulation.world import ERRORS, KILL, PAUSE, POWER_LOSS
from ssq_verify.subject import Subject, SubjectFailed

SEARCHED_MAX = 200
"""Schedules that are tried anew where a step or a worker is dropped."""

POINTS_MAX = 24
"""How far within its operation a stop is moved on, at most."""

UNUSABLE = (Redundant, SubjectFailed, NotSimulatable)
"""How a candidate ends that comes to no history."""

Candidates = Iterator[tuple[Scenario, Strategy]]
Key = tuple[Scenario, tuple[int, ...] | None]


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
    scenario: Scenario,
    tape: Sequence[int],
    subject: Subject,
    invariant: str,
    *,
    tries_max: int,
    wanted: Callable[[Simulated], bool] = lambda _run: True,
) -> Shrunk:
    """Return the plainest run that still breaks the invariant, a local minimum unless the tries ran out.

    Only runs that are `wanted` are taken: those that fail for the same reason.
    Raises `ValueError` if the tape does not break it.
    """
    search = _Search(subject, invariant, tries_max, wanted)
    found = search.first(iter([(scenario, Replay(tape))]))
    if found is None:
        raise ValueError(f"this tape does not break {invariant}")
    while True:
        smaller = search.first(_smaller(found)) or search.first(_searched_anew(found))
        if smaller is None:
            return _made_readable(found, search)
        found = smaller


def _made_readable(found: Shrunk, search: "_Search") -> Shrunk:
    """Give claims plain names, and let each worker come as far as it can before it is stopped or struck.

    What it was about to do is then what would have kept the promise.
    """
    is_minimal = search.tries < search.tries_max
    renamed = replace(found.scenario, steps=claims_renumbered(found.scenario.steps))
    search.tries_max += 1 + POINTS_MAX * len(found.run.deviations)
    found = search.first(iter([(renamed, Replay(found.run.tape))])) or found
    for number, stop in enumerate(found.run.deviations):
        if stop.chosen == POWER_LOSS and loses_unsynced(found.run):
            continue
        same = [
            each
            for each in search.failing((found.scenario, Replay(tape)) for tape in _later(found, number))
            if _is_same_stop(each.run, number, stop)
        ]
        found = same[-1] if same else found
    return Shrunk(scenario=found.scenario, run=found.run, is_minimal=is_minimal)


def _later(found: Shrunk, number: int) -> Iterator[tuple[int, ...]]:
    """Yield tapes with one deviation moved on by one point, by two, and so on."""
    tape = (*found.run.tape, *[0] * POINTS_MAX)
    places = [deviation.cell for deviation in found.run.deviations]
    place, until = places[number], (*places[number + 1 :], len(tape))[0]
    for later in range(place + 1, min(until, place + POINTS_MAX)):
        moved = {place: 0, later: tape[place]}
        yield tuple(moved.get(cell, answer) for cell, answer in enumerate(tape))


def _is_same_stop(run: Simulated, number: int, before: Deviation) -> bool:
    """Whether the same is done to the same worker in the same operation, before what others can see."""
    if number >= len(run.deviations):
        return False
    now = run.deviations[number]
    is_same = (now.chosen, now.worker, now.event) == (before.chosen, before.worker, before.event)
    return is_same and _is_at_effect(run, now)


def _is_at_effect(run: Simulated, stop: Deviation) -> bool:
    later = (each.point for each in run.trace if each.worker == stop.worker and each.cell > stop.cell)
    point = next(later, None)
    # Who never went on was killed, and that is offered at effects, and before an answer, alone.
    return not stop.at.startswith(RETURN) if point is None else bool(point.writes)


class _Search:
    """Tries candidates in batches: a judgement of one costs nearly what one of many does."""

    def __init__(
        self, subject: Subject, invariant: str, tries_max: int, wanted: Callable[[Simulated], bool]
    ) -> None:
        self._subject = subject
        self._wanted = wanted
        self._invariant = invariant
        self.tries = 0
        self.tries_max = tries_max
        self._tried: set[Key] = set()
        self._held: set[History] = set()

    def first(self, candidates: Candidates) -> Shrunk | None:
        """Return the first candidate that fails."""
        return next(self._failing(candidates), None)

    def failing(self, candidates: Candidates) -> list[Shrunk]:
        """Return all candidates that fail."""
        return list(self._failing(candidates))

    def _failing(self, candidates: Candidates) -> Iterator[Shrunk]:
        runs = self._runs(candidates)
        while batch := list(islice(runs, BATCH)):
            history = joined([run.history for _, _, run in batch])
            failed = {violation.run for violation in violations(history, self._invariant)}
            self._held.update(run.history for place, (_, _, run) in enumerate(batch) if place not in failed)
            # Those that fail may be tried again; that others did, too, is no reason to pass them over.
            self._tried.difference_update(_key(*batch[place][:2]) for place in failed)
            for place in sorted(failed):
                scenario, _, run = batch[place]
                yield Shrunk(scenario=scenario, run=run, is_minimal=False)

    def _runs(self, candidates: Candidates) -> Iterator[tuple[Scenario, Strategy, Simulated]]:
        """Run one after the other: a search is asked for its next schedule only when the last is over."""
        for scenario, strategy in candidates:
            if self.tries >= self.tries_max:
                return
            if _key(scenario, strategy) in self._tried:
                continue
            self.tries += 1
            if isinstance(strategy, Replay):
                self._tried.add(_key(scenario, strategy))
            run = self._simulated(scenario, strategy)
            # What was seen to hold need not be judged again.
            if run is not None and run.history not in self._held and self._wanted(run):
                yield scenario, strategy, run

    def _simulated(self, scenario: Scenario, strategy: Strategy) -> Simulated | None:
        with scratch() as workdir, suppress(*UNUSABLE):
            return simulate(scenario, self._subject, strategy, workdir)
        return None


def _key(scenario: Scenario, strategy: Strategy) -> Key:
    """Return what tells candidates apart; a search gives another schedule each time."""
    return scenario, tuple(strategy.cells) if isinstance(strategy, Replay) else None


def _smaller(found: Shrunk) -> Candidates:
    """Yield runs that are smaller in one respect: fewer steps, deviations and faults, plainer words."""
    now = Candidate(found.scenario, found.run.tape, found.run.owners)
    for ways in (
        _fewer_faults(found),
        _fewer_steps(now),
        _fewer_deviations(now),
        _plainer_deviations(now),
        _between_operations(found),
        _sooner_losses(found),
        _plainer_steps(now),
    ):
        for candidate in ways:
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
    places = _deviations(now)
    for kept in range(len(places)):
        yield now._replace(cells=now.cells[: places[kept]])
    for dropped in (*combinations(places, 1), *combinations(places, 2)):
        yield _with(now, dict.fromkeys(dropped, 0))


def _plainer_deviations(now: Candidate) -> Iterator[Candidate]:
    for place, cell in enumerate(now.cells):
        for lower in range(1, cell):
            yield _with(now, {place: lower})


def _between_operations(found: Shrunk) -> Iterator[Candidate]:
    """Stop a worker before it calls an operation rather than inside it."""
    now = Candidate(found.scenario, found.run.tape, found.run.owners)
    calls = [passed for passed in found.run.trace if passed.point.call == CALL and passed.cell]
    for stop in found.run.deviations:
        for passed in calls:
            if (
                passed.worker == stop.worker
                and passed.cell - 1 < stop.cell
                and not now.cells[passed.cell - 1]
            ):
                yield _with(now, {passed.cell - 1: now.cells[stop.cell], stop.cell: 0})


def _sooner_losses(found: Shrunk) -> Iterator[Candidate]:
    """Lose what was not synced sooner: it is lost at any later time, too."""
    if not loses_unsynced(found.run):
        return
    place = next(each.cell for each in found.run.deviations if each.chosen == POWER_LOSS)
    earlier = max((each.cell for each in found.run.deviations if each.cell < place), default=-1)
    cells, owners = found.run.tape, found.run.owners
    for sooner in range(earlier + 1, place):
        yield Candidate(found.scenario, cells[:sooner] + cells[place:], owners[:sooner] + owners[place:])


def _deviations(now: Candidate) -> list[int]:
    return [place for place, cell in enumerate(now.cells) if cell]


def _with(now: Candidate, changed: dict[int, int]) -> Candidate:
    return now._replace(cells=tuple(changed.get(place, cell) for place, cell in enumerate(now.cells)))


def _plainer_steps(now: Candidate) -> Iterator[Candidate]:
    for steps in simpler_steps(now.scenario.steps, now.scenario.settings):
        yield now._replace(scenario=replace(now.scenario, steps=steps))


def _searched_anew(found: Shrunk) -> Candidates:
    """Yield schedules of the scenario without a step, with fewer workers, and in another order."""
    now, steps = Candidate(found.scenario, found.run.tape, found.run.owners), found.scenario.steps
    fewer = [steps[:place] + steps[place + 1 :] for place in range(len(steps))]
    deviations = len(_deviations(now))
    for variant in (*fewer, *merged(steps), *(each for few in fewer for each in swapped(few))):
        yield from _schedules(replace(now.scenario, steps=variant), deviations)
    if deviations:
        for variant in swapped(steps):
            yield from _schedules(replace(now.scenario, steps=variant), deviations - 1)


def _schedules(scenario: Scenario, deviations: int) -> Candidates:
    search = Exhaustive(deviations_max=deviations)
    for strategy in islice(search.runs(), SEARCHED_MAX):
        yield scenario, strategy
