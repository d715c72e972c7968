"""How often does it break again? A round of real processes that broke something is repeated, in short form.

No two such rounds are alike, so what is said is a rate: with the same seed, and so the same timetable, in so
many of so many repetitions. A file holds all that it takes to ask again, on another day.
"""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path

import msgspec

from ssq_stress.back_to_simulation import SAME
from ssq_stress.conductor import Crew, Round
from ssq_stress.judging import Judged, judge_round
from ssq_stress.processes import libc_time
from ssq_stress.processes.fetching import loader
from ssq_stress.record import recorded
from ssq_stress.rounds import Ring, Seen
from ssq_stress.runner import Progress, Tell
from ssq_stress.servers import Server
from ssq_verify.history import Header
from ssq_verify.scenario import Settings
from ssq_verify.subject import Subject
from ssq_verify.whole import write_json

REPETITIONS_MAX = 20
SECONDS_MAX = 90.0
FAULT_SECONDS_MAX = 3.0
JOBS_MAX = 2_000
"""Faults last no longer in a repetition: twenty short ones say more than three long ones."""


class Repetition(msgspec.Struct, frozen=True, kw_only=True, tag_field="way", tag="stress"):
    """A round in which something broke, and all that it takes to have the like of it again."""

    subject: str
    skew_seconds: float | None = None
    """How far clocks may be apart, if that was asked for or promised in seconds."""
    round: Round
    crew: Crew
    settings: Settings

    @property
    def short(self) -> Round:
        """The round in short form; where faults end by their number that is the form already."""
        if self.round.strikes is not None:
            return self.round
        seconds = min(self.round.seconds, FAULT_SECONDS_MAX)
        jobs = None if self.round.jobs is None else min(self.round.jobs, JOBS_MAX)
        return replace(self.round, seconds=seconds, jobs=jobs, is_full=False)


class Rate(msgspec.Struct, frozen=True, kw_only=True):
    """In how many repetitions what was violated."""

    of: int
    broken: dict[str, int]

    def told(self, invariant: str) -> str:
        """Return it in words."""
        return f"{self.broken.get(invariant, 0)} of {self.of} repetitions"


def repeat(
    subject: Subject,
    repetition: Repetition,
    *,
    out: Path,
    server: Server | None = None,
    tell: Tell = lambda _: None,
    times: int | None = None,
    seconds_max: float = SECONDS_MAX,
) -> Rate:
    """Repeat a round, so many times or until the time is up, at least once, and count what breaks.

    Raises as `runner.observe` does.
    """
    until = time.monotonic() + seconds_max
    times = REPETITIONS_MAX if times is None else times
    broken, load = Counter[str](), loader(subject)
    with libc_time.preloaded(subject, out):
        for number in range(times):
            if number and time.monotonic() > until:
                return Rate(of=number, broken=dict(broken))
            told = partial(_told, tell, f"repetition {number + 1} of {times}")
            ring = _ring(repetition, out / "rounds" / f"again-{number:02d}", load, server, told)
            broken.update(_broken(_judged(ring, repetition.subject)))
    return Rate(of=times, broken=dict(broken))


def save(repetition: Repetition, path: Path) -> None:
    """Write it down, to be read by `decoded`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(repetition, path)


def decoded(content: bytes) -> Repetition | None:
    """Return what was written down, or None if that is something else. Raises `msgspec.ValidationError`."""
    try:
        if msgspec.json.decode(content, type=_Kind).way != "stress":
            return None
    except msgspec.DecodeError:
        return None
    return msgspec.json.decode(content, type=Repetition)


class _Kind(msgspec.Struct):
    way: str = ""


def _ring(
    repetition: Repetition,
    folder: Path,
    load: Callable[[], Subject],
    server: Server | None,
    tell: Callable[[Seen], None],
) -> Ring:
    return Ring(
        plan=repetition.short,
        crew=repetition.crew,
        settings=repetition.settings,
        folder=folder,
        load=load,
        tell=tell,
        server=server,
    )


def _judged(ring: Ring, subject: str) -> Judged:
    """Run a round, and judge it here: there is no other to be run meanwhile."""
    try:
        with ring.run() as (folders, terms):
            judged, _ = judge_round(folders, Header(subject=subject, terms=terms), 0, folders.round, 80)
            return judged
    finally:
        shutil.rmtree(ring.folder, ignore_errors=True)


def _broken(judged: Judged) -> Iterable[str]:
    broken = recorded([judged], {}).broken
    return broken | {SAME[each] for each in broken & set(SAME)}


def _told(tell: Tell, watch: str, seen: Seen) -> None:
    tell(Progress(round=1, rounds=1, seen=seen, watch=watch))
