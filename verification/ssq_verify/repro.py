"""How is a failure shown again, on another day and with another Hypothesis? By a file that holds all of it.

A repro names its subject as the command line did, so it is replayed from the folder where it was found. With
a tape it is a simulated run, replayed in a process of its own; without one, its workers take turns.
"""

import dataclasses
import hashlib
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import msgspec

from ssq_verify import subject as subject_module
from ssq_verify.execution import execute, scratch
from ssq_verify.history import History
from ssq_verify.judge import IDS, violations
from ssq_verify.report.racing import REVERSED, WAITS, Raced, Stop
from ssq_verify.report.story import rows
from ssq_verify.scenario import Scenario, StepKind
from ssq_verify.simulation import causes
from ssq_verify.simulation.nearby import nearby
from ssq_verify.simulation.point import NotSimulatable
from ssq_verify.simulation.pool import pool
from ssq_verify.simulation.run import Simulated, simulate
from ssq_verify.simulation.shrinking import shrink_simulated
from ssq_verify.simulation.strategies import RUN, TIME
from ssq_verify.simulation.tape import Deviation, Replay
from ssq_verify.simulation.world import KILL, PAUSE, POWER_LOSS
from ssq_verify.subject import Subject, SubjectFailed
from ssq_verify.verdict import Violation
from ssq_verify.whole import write_json

REPRO_VERSION = 2


Cell = Annotated[int, msgspec.Meta(ge=0)]


class Versions(msgspec.Struct, frozen=True, kw_only=True):
    """What found it."""

    ssq: str
    python: str


class Repro(msgspec.Struct, frozen=True, kw_only=True):
    """A scenario that breaks an invariant of a subject."""

    ssq_repro: int = REPRO_VERSION
    subject: str
    """The reference, as `subject.load` takes it; a file's path is relative to where ssq runs."""
    invariant: str
    sentence: str
    """What happened, in plain words."""
    scenario: Scenario
    tape: tuple[Cell, ...] | None = None
    """The schedule, if workers raced."""
    taken: tuple[Deviation, ...] = ()
    """The schedule in words: where it was not the plainest."""
    steps: tuple[str, ...] = ()
    """What happened, in order, for who reads the file; a replay does not need it."""
    digest: str
    """Of the history that it gave: see `digest`."""
    versions: Versions


class Result(StrEnum):
    """What a repro came to when it was run again."""

    STILL_FAILS = "still fails"
    NEARBY = "still fails nearby"
    """The code changed, and another schedule close to this one fails."""
    FIXED = "fixed"
    DIVERGED = "diverged"
    """The code changed so that the schedule no longer fits, and the search near it was cut by its limit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Replayed:
    """What a repro did when it was run again."""

    result: Result
    history: History
    violation: Violation | None
    is_same_history: bool
    """Whether the history was the recorded one, byte for byte."""
    run: Simulated | None = None
    """The simulated run, if workers raced."""
    repro: Repro
    """The one that fails now: with another schedule, if only that still does."""
    tried: int = 0
    """How many schedules near it were tried."""
    passing: History | None = None
    """The same run without its last deviation, if that holds."""

    @property
    def raced(self) -> Raced | None:
        """What the story of a simulated run needs besides the history."""
        return None if self.run is None else _raced_as(self.run, self.passing)

    @property
    def still_fails(self) -> bool:
        """Whether the invariant is broken."""
        return self.violation is not None


class InvalidRepro(Exception):  # noqa: N818 - it names what is invalid
    """A file that is no repro of this version; the message says what to do."""


def repro(
    subject: Subject,
    scenario: Scenario,
    violation: Violation,
    history: History,
    *,
    run: Simulated | None = None,
) -> Repro:
    """Return the repro of a violation that the scenario's history shows; of a simulated run, give the run."""
    return _described(subject.reference, scenario, violation, history, run)


def _described(
    reference: str, scenario: Scenario, violation: Violation, history: History, run: Simulated | None
) -> Repro:
    raced = None if run is None else _raced_as(run)
    return Repro(
        subject=reference,
        invariant=violation.invariant,
        sentence=violation.sentence,
        scenario=scenario,
        tape=None if run is None else run.tape,
        taken=() if run is None else run.deviations,
        steps=tuple(f"{row.worker}: {row.text}" for row in rows(history, violation, raced=raced)),
        digest=digest(history),
        versions=Versions(ssq=version("ssq"), python=platform.python_version()),
    )


def smallest(
    subject: Subject,
    scenario: Scenario,
    tape: tuple[int, ...],
    invariant: str,
    *,
    tries_max: int,
    loses_unsynced: bool = False,
) -> tuple[Repro, History]:
    """Return the repro, and the history, of the plainest run that breaks the invariant as this one does.

    If that `loses_unsynced`, it is not made as plain as a crash, which loses nothing.
    """
    wanted = causes.loses_unsynced if loses_unsynced else lambda _run: True
    shrunk = shrink_simulated(scenario, tape, subject, invariant, tries_max=tries_max, wanted=wanted)
    violation = _shortest(violations(shrunk.run.history, invariant))
    assert violation is not None
    history = shrunk.run.history
    return repro(subject, shrunk.scenario, violation, history, run=shrunk.run), history


def digest(history: History) -> str:
    """Return the SHA-256 of the history as JSON Lines, in hexadecimal."""
    encoder = msgspec.json.Encoder()
    lines = (encoder.encode(part) + b"\n" for part in (history.header, *history.events))
    return hashlib.sha256(b"".join(lines)).hexdigest()


def save(repro: Repro, path: Path) -> None:
    """Write a repro as JSON that a person can read and edit; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(repro, path)


def load(path: Path) -> Repro:
    """Read a repro. Raises `InvalidRepro`; `OSError` if the file can not be read."""
    content = path.read_bytes()
    try:
        found = msgspec.json.decode(content, type=_Version).ssq_repro
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidRepro(f"{path}: not a repro ({error}); give a file that `ssq verify` wrote") from None
    if found != REPRO_VERSION:
        raise InvalidRepro(
            f"{path}: repro version {found}, this ssq replays {REPRO_VERSION}; use the ssq that wrote it"
        )
    try:
        loaded = msgspec.json.decode(content, type=Repro)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidRepro(f"{path}: damaged repro ({error}); run `ssq verify` again") from None
    if loaded.invariant not in IDS:
        raise InvalidRepro(f"{path}: no such invariant ({loaded.invariant}); `ssq explain` lists them")
    for place, step in enumerate(loaded.scenario.steps):
        if step.do in {StepKind.ENQUEUE, StepKind.REQUEUE} and step.job is None:
            raise InvalidRepro(f"{path}: step {place} ({step.do}) names no job; give it one")
    return loaded


def replay(repro: Repro, *, processes: int = 0) -> Replayed:
    """Run a repro again on its subject as it is now; a simulated one in another process, or here with none.

    Raises `UnknownSubject`, `SubjectFailed`.
    """
    subject = subject_module.load(repro.subject)
    if repro.tape is None:
        return _in_turns(subject, repro)
    with pool(subject, processes=processes) as workers:
        return workers.begin(raced, repro).result()


def _in_turns(subject: Subject, repro: Repro) -> Replayed:
    try:
        with scratch() as workdir:
            history = execute(repro.scenario, subject, workdir)
    except NotSimulatable as limit:
        raise SubjectFailed(f"{subject.reference}: {limit}") from None
    return _replayed(repro, history, None, Result.FIXED)


def raced(subject: Subject, repro: Repro) -> Replayed:
    """Replay a simulated run, and if its schedule no longer fits, search near it. Raises `SubjectFailed`."""
    try:
        return _raced(subject, repro)
    except NotSimulatable as limit:
        raise SubjectFailed(f"{subject.reference}: {limit}") from None


def _raced(subject: Subject, repro: Repro) -> Replayed:
    assert repro.tape is not None
    with scratch() as workdir:
        run = simulate(repro.scenario, subject, Replay(repro.tape), workdir)
    outcome = _replayed(repro, run.history, run, Result.FIXED)
    if outcome.still_fails:
        return dataclasses.replace(outcome, passing=_without_last_deviation(subject, repro, run))
    if run.deviations == repro.taken:
        return outcome
    near = nearby(repro.scenario, repro.tape, subject, repro.invariant)
    if near.run is None:
        limit = Result.FIXED if near.is_complete else Result.DIVERGED
        return _replayed(repro, run.history, run, limit, tried=near.tried)
    moved = _replayed(repro, near.run.history, near.run, Result.FIXED, tried=near.tried)
    return dataclasses.replace(moved, passing=_without_last_deviation(subject, repro, near.run))


def _without_last_deviation(subject: Subject, repro: Repro, run: Simulated) -> History | None:
    """Return the history of the plainer run, if it holds: a shrunk tape has no deviation in vain."""
    turns = [each for each in run.deviations if each.kind == "next"]
    if not turns:
        return None
    with scratch() as workdir:
        plainer = simulate(repro.scenario, subject, Replay(run.tape[: turns[-1].cell]), workdir)
    return None if violations(plainer.history, repro.invariant) else plainer.history


def _replayed(
    repro: Repro, history: History, run: Simulated | None, otherwise: Result, *, tried: int = 0
) -> Replayed:
    violation = _shortest(violations(history, repro.invariant))
    fails = Result.NEARBY if tried else Result.STILL_FAILS
    now = repro
    if violation is not None and tried and run is not None:
        now = _described(repro.subject, repro.scenario, violation, history, run)
    return Replayed(
        result=otherwise if violation is None else fails,
        history=history,
        violation=violation,
        is_same_history=digest(history) == repro.digest,
        run=run,
        repro=now,
        tried=tried,
    )


def _shortest(found: Sequence[Violation]) -> Violation | None:
    return min(found, key=lambda violation: len(violation.witness), default=None)


def _raced_as(run: Simulated, passing: History | None = None) -> Raced:
    taken = run.deviations
    kept = [each.chosen for each in taken if each.kind not in {"next", "order"}]
    turns = [each.chosen for each in taken if each.kind == "next"]
    stops = tuple(stop for each in taken if (stop := _stop(run, each)) is not None)
    last = _noun(turns[-1]) if turns else ""
    return Raced(stops=stops, survives="; ".join(kept), passing=passing, last=last)


def _stop(run: Simulated, taken: Deviation) -> Stop | None:
    """Return what is told of a deviation that left no event of its own."""
    if taken.kind == "order":
        listed = next((each for each in run.trace if each.cell == taken.cell), None)
        if listed is None:
            return None
        at = f"{listed.point.call} {listed.point.detail}"
        return Stop(listed.event, listed.worker, at, REVERSED)
    if taken.chosen.startswith(RUN):
        return Stop(taken.event, taken.worker, taken.at)
    return Stop(taken.event, taken.worker, taken.at, WAITS) if taken.chosen == TIME else None


def _noun(chosen: str) -> str:
    """Return what a deviation was, in a word or two."""
    if chosen.startswith(RUN):
        return "the stop"
    known = {KILL: "the kill", POWER_LOSS: "the loss of power", TIME: "the wait"}
    return known.get(chosen, "the pause" if chosen.startswith(PAUSE) else f"the {chosen}")


class _Version(msgspec.Struct):
    ssq_repro: int
