"""What real processes broke once: can simulated workers break it, each time alike?

The searches of a quick verification are tried for the same invariants, those first whose fault struck whoever
was about the job. What they find is shrunk and saved, as `ssq verify` does it. Who finds nothing says so.
"""

import time
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import msgspec

from ssq_stress.processes.effects import PROMISE
from ssq_stress.report import Report
from ssq_verify import failures
from ssq_verify.machine import SETTINGS
from ssq_verify.profiles import PROFILES
from ssq_verify.repro import Repro, save, smallest
from ssq_verify.simulation import campaign
from ssq_verify.simulation.causes import UNSYNCED
from ssq_verify.simulation.exploring import Explored, Found, Search, explore
from ssq_verify.simulation.pool import Pending, Pool, pool
from ssq_verify.simulation.searches import Alone, Sweep
from ssq_verify.simulation.world import ERRORS, KILL
from ssq_verify.subject import Subject, SubjectFailed
from ssq_verify.verdict import Finding, Verdict

SECONDS_MAX = 20.0
"""No schedule is begun after this."""
TRIES_MAX = 500
"""In shrinking: stress is waited for, and has a story of its own."""
IN_FLIGHT = 2
"""Searches for each process: more would keep the shrinking waiting."""
SAME = {PROMISE: "single-claimer"}
"""What no simulated worker leaves in the world, and the invariant that breaks with it."""


class Sought(msgspec.Struct, frozen=True, kw_only=True):
    """What a search for what stress had found came to."""

    repros: dict[str, str] = {}
    """By the invariant, the file that replays it."""
    missing: tuple[str, ...] = ()
    """Invariants that stress saw broken, and simulation did not."""
    schedules: int = 0
    reason: str | None = None
    """Why nothing could be searched."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Search:
    """One search for some invariants."""

    workers: Pool
    wanted: frozenset[str]
    struck: frozenset[str]
    seed: int
    until: float
    in_flight: int

    def parts(self) -> Iterator[Explored]:
        """Yield what each search came to, the nearest first, until all is found."""
        known = self.workers.begin(campaign.probe, SETTINGS).result(campaign.HANG_SECONDS)
        if known.not_simulatable is not None:
            yield Explored(not_simulatable=known.not_simulatable)
            return
        effort = PROFILES["quick"].simulation
        left = set(self.wanted)
        begun = self._begun(
            nearest_first(campaign.planned(known, SETTINGS, effort, seed=self.seed), self.struck)
        )
        pending = deque(islice(begun, self.in_flight))
        while pending and left:
            part = pending.popleft().result(self._patience())
            yield part
            left -= {found.invariant for found in part.found}
            pending.extend(islice(begun, 1))

    def _begun(self, searches: Iterable[Search]) -> Iterator[Pending[Explored]]:
        for each in searches:
            if time.monotonic() > self.until:
                return
            yield self.workers.begin(explore, each, only=self.wanted, deadline=self.until)

    def _patience(self) -> float:
        return max(0.0, self.until - time.monotonic()) + campaign.HANG_SECONDS


def seek(
    subject: Subject,
    report: Report,
    *,
    out: Path,
    processes: int,
    wanted: frozenset[str],
    seconds_max: float = SECONDS_MAX,
) -> Sought:
    """Search the simulator for what a stress run saw broken, and save a repro of each that is found."""
    struck = frozenset(chain.from_iterable(report.struck.values()))
    try:
        with pool(subject, processes=processes) as workers:
            search = _Search(
                workers=workers,
                wanted=wanted,
                struck=struck,
                seed=report.seed,
                until=time.monotonic() + seconds_max,
                in_flight=max(1, IN_FLIGHT * processes),
            )
            explored = campaign.summed(list(search.parts()))
            repros = list(_shrunk(workers, explored.found))
    except SubjectFailed as error:
        return Sought(missing=tuple(sorted(wanted)), reason=str(error))
    saved = _saved(repros, out / "repros")
    failures.keep(subject, saved.values())
    return Sought(
        repros={name: str(path) for name, path in saved.items()},
        missing=tuple(sorted(wanted - set(saved))),
        schedules=explored.tally.get("schedules", 0),
        reason=explored.not_simulatable,
    )


def wanted(report: Report) -> frozenset[str]:
    """Return the invariants to look for; of side effects only what a second worker left."""
    broken = {each.invariant for each in report.verdicts if each.verdict is Finding.VIOLATED}
    twice = any(len(clash.executions) > 1 for clash in report.clashes)
    return frozenset(broken - set(SAME) | ({SAME[PROMISE]} if twice else set()))


def with_repros(verdicts: Sequence[Verdict], repros: Mapping[str, str]) -> tuple[Verdict, ...]:
    """Return the verdicts, each that was found again with the file that replays it."""
    return tuple(
        msgspec.structs.replace(each, repro=repros.get(SAME.get(each.invariant, each.invariant)))
        if each.verdict is Finding.VIOLATED
        else each
        for each in verdicts
    )


def nearest_first(searches: Iterable[Search], struck: Collection[str]) -> list[Search]:
    """Return the searches in their order, but first those whose fault is one that struck."""
    return sorted(searches, key=lambda each: not _resembles(each, struck))


def _resembles(search: Search, struck: Collection[str]) -> bool:
    if isinstance(search, Alone):
        # Who stands still while others go on is what a stopped process is.
        return "pause" in struck
    if not isinstance(search, Sweep):
        return False
    return (search.fault == KILL and "crash" in struck) or (search.fault in ERRORS and "io-error" in struck)


def _shrunk(workers: Pool, found: Iterable[Found]) -> Iterator[Repro]:
    """Yield the plainest repro of each invariant."""
    plainest: dict[str, Found] = {}
    for each in sorted(found, key=lambda each: each.size):
        plainest.setdefault(each.invariant, each)
    shrinking = [
        workers.begin(
            smallest,
            each.scenario,
            each.tape,
            each.invariant,
            tries_max=TRIES_MAX,
            loses_unsynced=UNSYNCED in each.cause.faults,
        )
        for each in plainest.values()
    ]
    for pending in shrinking:
        repro, _ = pending.result()
        yield repro


def _saved(repros: Iterable[Repro], folder: Path) -> dict[str, Path]:
    saved = {each.invariant: folder / f"{each.invariant}.json" for each in repros}
    for each in repros:
        save(each, saved[each.invariant])
    return saved
