"""What do many schedules show? Runs a piece of search, judges it, and keeps the plainest failures."""

import math
import time
from collections import Counter
from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import Protocol

import msgspec

from ssq_verify.execution import scratch
from ssq_verify.history import History, joined
from ssq_verify.judge import evidence, violations
from ssq_verify.scenario import Scenario
from ssq_verify.sightings import sightings
from ssq_verify.simulation.causes import Cause, cause_of, kinds_of
from ssq_verify.simulation.covered import Covered
from ssq_verify.simulation.point import NotSimulatable
from ssq_verify.simulation.run import Simulated, simulate
from ssq_verify.simulation.tape import Redundant, Strategy
from ssq_verify.subject import Subject
from ssq_verify.verdict import Evidence, together

BATCH = 600
"""Different histories that are judged together: a judgement of few costs nearly what one of many does."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A simulated run that breaks an invariant."""

    invariant: str
    scenario: Scenario
    tape: tuple[int, ...]
    cause: Cause
    size: tuple[int, ...]
    """How far it is from plain: faults, deviations, steps, cells."""


class Explored(msgspec.Struct, frozen=True, kw_only=True):
    """What a piece of search came to."""

    evidence: tuple[Evidence, ...] = ()
    found: tuple[Found, ...] = ()
    tally: dict[str, int] = {}
    covered: tuple[Covered, ...] = ()
    not_simulatable: str | None = None
    """What the subject does that no simulation controls, and where."""
    left_to_stress: dict[str, str] = {}
    """Invariants that take real processes to show, each with the reason."""


class Search(Protocol):
    """A way through the schedules of one scenario, or of many."""

    @property
    def scope(self) -> str:
        """Return what is searched, in words."""
        ...

    def runs(self) -> Iterator[tuple[Scenario, Strategy]]:
        """Yield what to run next, until all is done; the run is over before the next is asked for."""
        ...

    def covered(self) -> Covered | None:
        """Return what was covered, if that can be stated."""
        ...


def explore(
    subject: Subject, search: Search, *, only: Collection[str] | None, deadline: float = math.inf
) -> Explored:
    """Run a search to its end, or until `time.monotonic()` is past the deadline. Raises `SubjectFailed`."""
    collector = Collector(only)
    try:
        for scenario, strategy in search.runs():
            if time.monotonic() > deadline:
                return collector.explored(search.covered(), is_complete=False)
            with scratch() as workdir, suppress(Redundant):
                collector.add(scenario, simulate(scenario, subject, strategy, workdir))
    except NotSimulatable as limit:
        return Explored(not_simulatable=f"{limit.what} at {limit.where}")
    return collector.explored(search.covered(), is_complete=True)


class Collector:
    """Judges runs batch by batch, each history once."""

    def __init__(self, only: Collection[str] | None) -> None:
        self._only = only
        self._seen: set[int] = set()
        self._batch: list[tuple[Scenario, Simulated]] = []
        self._evidence: list[tuple[Evidence, ...]] = []
        self._found: dict[tuple[str, Cause], Found] = {}
        self._tally: Counter[str] = Counter()

    def add(self, scenario: Scenario, run: Simulated) -> None:
        """Take a run into account."""
        self._tally["schedules"] += 1
        for struck in run.faults:
            kind = kinds_of(struck.fault)
            self._tally[f"{kind} inside {struck.operation}" if struck.operation else kind] += 1
        key = hash((scenario.settings, run.history.events))
        if key in self._seen:
            return
        self._seen.add(key)
        self._batch.append((scenario, run))
        if len(self._batch) == BATCH:
            self._judge()

    def explored(self, covered: Covered | None, *, is_complete: bool) -> Explored:
        """Return what all runs came to."""
        if self._batch:
            self._judge()
        self._tally["different histories"] = len(self._seen)
        if covered is not None and not is_complete:
            covered = msgspec.structs.replace(covered, is_complete=False, cut_by="time")
        return Explored(
            evidence=tuple(together(each) for each in zip(*self._evidence, strict=True)),
            found=tuple(self._found.values()),
            tally=dict(self._tally),
            covered=() if covered is None else (covered,),
        )

    def _judge(self) -> None:
        history = joined([run.history for _, run in self._batch])
        self._tally += sightings(history)
        weighed = evidence(history, only=self._only)
        self._evidence.append(weighed)
        for each in weighed:
            if each.violation is not None:
                self._keep(history, each.invariant)
        self._batch.clear()

    def _keep(self, history: History, invariant: str) -> None:
        """Keep the plainest run of each kind of failure."""
        for number in sorted({violation.run for violation in violations(history, invariant)}):
            scenario, run = self._batch[number]
            cause = cause_of(run)
            size = (len(run.faults), len(run.deviations), len(scenario.steps), len(run.tape))
            known = self._found.get((invariant, cause))
            if known is None or size < known.size:
                self._found[invariant, cause] = Found(
                    invariant=invariant, scenario=scenario, tape=run.tape, cause=cause, size=size
                )
