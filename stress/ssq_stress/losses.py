"""Is what a queue had acknowledged still there after real losses of power? Each gives two runs of a history.

Processes work on a queue that lies on a disk of its own; at a moment drawn from the seed the power of the
disk fails; everybody who lives on it is killed; it is mounted again, and a fresh process drains the queue.
What they had been told before that moment is in the history as it was told. What they were told while the
power was failing counts as unknown, since nobody can say which came first. In a run of its own, another
process then enqueues some of the same ids and drains the queue once more: a loss must leave none unusable.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from operator import attrgetter
from pathlib import Path
from random import Random
from typing import Protocol

from msgspec.structs import replace

from ssq_stress.log import MONOTONIC_NS, events
from ssq_stress.losing import Assignment, drain, use_anew, work
from ssq_stress.nemesis.power_loss import Disk, losable_disk
from ssq_verify import invariants
from ssq_verify.execution import DRAIN_WORKER
from ssq_verify.history import Event, EventType, Header, History, Terms, joined
from ssq_verify.scenario import SEED, Settings
from ssq_verify.subject import Subject, SubjectFailed
from ssq_verify.verdict import Violation

SETTINGS = Settings(lease_ttl_seconds=0.2, backoff_max_seconds=0.0)
"""A lease that is soon over: the drain waits for its end."""
WORKING_SECONDS = 0.02, 0.2
"""How long there is work before the power fails: at least, at most."""
SYNC_SHARE = 0.5
"""How often the kernel brings all to the disk at some moment before, as it does every few seconds."""
USED_ANEW = 20
"""How many ids, at most."""
OPENED_SECONDS_MAX = 60.0
DRAINED_SECONDS_MAX = 120.0
POWER, USER = "power", "again"
"""In place of a worker: what failed; and who uses old ids anew."""
CONTEXT = get_context("forkserver")
CONTEXT.set_forkserver_preload(["ssq_stress.disk_states", "ssq_core.file", "ssq_core.sqlite"])


@dataclass(frozen=True, kw_only=True, slots=True)
class Losses:
    """How many losses, and of what."""

    count: int
    seed: int = SEED
    workers: int = 2
    settings: Settings = SETTINGS


class Resident(Protocol):
    """What else lives on the disk, and dies with its power: a server, whose data are in the given folder."""

    def start(self, folder: Path) -> None:
        """Start it, after a loss from what is left, so that the subject's factory can reach it."""
        ...

    def stop(self) -> None:
        """Kill all of its processes, and wait until they have ended."""
        ...


class Nobody:
    """Of a queue that lies in files, nothing runs on the disk."""

    def start(self, folder: Path) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""


def lose_power(subject: Subject, losses: Losses, folder: Path, resident: Resident | None = None) -> History:
    """Return the history of a queue whose disk loses its power so many times.

    The processes load the subject by its reference. Logs are left in the folder. Raises `NotAvailable`,
    `SubjectFailed`.
    """
    with losable_disk(folder / "disk") as disk:
        campaign = _Campaign(subject, losses, disk, folder, resident or Nobody())
        return joined([each for number in range(losses.count) for each in campaign.runs(number)])


def undone(history: History, *, limit: int) -> tuple[Violation, ...]:
    """Return what had been acknowledged and was lost, whether or not the queue promised to keep it."""
    return invariants.violations(held_to_power_loss(history), "durable", limit=limit)


def held_to_power_loss(history: History) -> History:
    """Return a history as that of a queue which promises to survive a loss of power."""
    terms = replace(history.terms, durability="power-loss")
    return History(header=replace(history.header, terms=terms), events=history.events)


@dataclass(frozen=True, kw_only=True, slots=True)
class Outage:
    """Between which two instants the power failed."""

    begun_ns: int
    ended_ns: int


def told(log: list[Event], outage: Outage) -> Iterator[Event]:
    """Yield what a process did that can have mattered, and what it was told before the power failed.

    An answer that came later is of an operation that may have happened or not, whatever it says.
    """
    open_call: Event | None = None
    for event in log:
        if event.type is EventType.INVOKE:
            open_call = event if event.time_ns <= outage.ended_ns else None
            if open_call is not None:
                yield event
        elif event.time_ns < outage.begun_ns:
            yield event
        elif open_call is not None:
            yield replace(
                open_call,
                type=EventType.INFO,
                time_ns=min(event.time_ns, outage.ended_ns),
                value="the power was failing",
            )
            open_call = None


class _Campaign:
    """One disk, and what lives on it."""

    def __init__(
        self, subject: Subject, losses: Losses, disk: Disk, folder: Path, resident: Resident
    ) -> None:
        self._subject, self._losses = subject, losses
        self._disk, self._folder, self._resident = disk, folder, resident

    def runs(self, number: int) -> tuple[History, History]:
        """Let the power fail once; return what came of it, and how the queue could be used after it."""
        chance = Random(f"{self._losses.seed}/{number}")  # noqa: S311 - drawn from a seed, not a secret
        names = [f"w{worker}" for worker in range(1, self._losses.workers + 1)]
        crew = [self._assignment(name, number) for name in names]
        crew[0].workdir.mkdir()
        with self._living(), _crew(crew) as terms:
            self._disk.sync()
            self._let_work(chance)
            outage = self._lose()
        self._disk.recover()
        logs = [list(told(events(worker.log), outage)) for worker in crew]
        header = Header(subject=self._subject.reference, terms=terms)
        drainer = self._assignment(DRAIN_WORKER, number)
        with self._living():
            _do(drain, drainer)
            seen = [*_in_order(logs), _loss(outage), *events(drainer.log)]
            lost = History(header=header, events=_numbered(seen))
            user = self._assignment(USER, number, jobs=_free(lost, chance))
            _do(use_anew, user)
        return lost, History(header=header, events=_numbered(_about(user.jobs, events(user.log))))

    @contextmanager
    def _living(self) -> Iterator[None]:
        self._resident.start(self._disk.folder)
        try:
            yield
        finally:
            self._resident.stop()

    def _assignment(self, name: str, number: int, *, jobs: tuple[str, ...] = ()) -> Assignment:
        return Assignment(
            reference=self._subject.reference,
            settings=self._losses.settings,
            disk=self._disk,
            workdir=self._disk.folder / f"run-{number}",
            name=name,
            log=self._folder / f"{number:04d}.{name}.jsonl",
            seed=f"{self._losses.seed}/{number}/{name}",
            jobs=jobs,
        )

    def _let_work(self, chance: Random) -> None:
        seconds = chance.uniform(*WORKING_SECONDS)
        if chance.random() < SYNC_SHARE:
            before = chance.uniform(0.0, seconds)
            time.sleep(before)
            self._disk.sync()
            seconds -= before
        time.sleep(seconds)

    def _lose(self) -> Outage:
        begun_ns = MONOTONIC_NS()
        self._disk.lose()
        return Outage(begun_ns=begun_ns, ended_ns=MONOTONIC_NS())


def _in_order(logs: list[list[Event]]) -> list[Event]:
    return sorted((event for log in logs for event in log), key=attrgetter("time_ns"))


def _loss(outage: Outage) -> Event:
    """Return the loss, after all that anybody can have done before it."""
    return Event(index=0, time_ns=outage.ended_ns, worker=POWER, type=EventType.INFO, f="power-loss")


def _numbered(log: list[Event]) -> tuple[Event, ...]:
    return tuple(replace(event, index=index) for index, event in enumerate(log))


def _free(lost: History, chance: Random) -> tuple[str, ...]:
    """Return some of the ids that were used and must be free now, as if they never had been.

    An enqueue of unknown outcome may be finished by the next one, in its old place; where a loss may undo one
    that returned, any may, unless the job was acked after it.
    """
    enqueues = [each for each in lost.operations if each.f == "enqueue"]
    unknown = {each.job_id for each in enqueues if each.outcome is EventType.INFO}
    acked = {each.job_id for each in lost.operations if each.f == "ack" and each.worker == DRAIN_WORKER}
    dead = {event.job_id for event in lost.events if event.f == "dead"}
    sure = {each.job_id for each in enqueues} - unknown if lost.terms.durability == "power-loss" else acked
    free = sorted(job_id for job_id in sure - dead if job_id is not None)
    return tuple(chance.sample(free, k=min(USED_ANEW, len(free))))


def _about(jobs: tuple[str, ...], log: list[Event]) -> list[Event]:
    """Leave out what a process saw of jobs of another run."""
    return [event for event in log if event.f not in {"dead", "present"} or event.job_id in jobs]


class _Process:
    """A process that does what it is assigned."""

    def __init__(self, what: Callable[[Assignment, Connection], None], assignment: Assignment) -> None:
        self._assignment = assignment
        self._answers, line = CONTEXT.Pipe(duplex=False)
        self._process = CONTEXT.Process(target=what, args=(assignment, line))
        self._process.start()
        line.close()

    def answer(self) -> Terms:
        """Wait until it has opened the queue, and return what that is held to. Raises `SubjectFailed`."""
        try:
            found = self._answers.recv() if self._answers.poll(OPENED_SECONDS_MAX) else "it took too long"
        except EOFError:
            found = "the process ended"
        if isinstance(found, Terms):
            return found
        reference, name = self._assignment.reference, self._assignment.name
        raise SubjectFailed(f"{reference}: opening it for {name}: {found}")

    def join(self) -> None:
        """Wait until it has ended by itself, but not for ever."""
        self._process.join(DRAINED_SECONDS_MAX)

    def strike(self) -> None:
        """Kill it, and what it has started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid or 0, signal.SIGKILL)
        self._process.kill()  # before its first line it heads no group yet

    def kill(self) -> None:
        """Kill it and wait until it has ended and its files are closed."""
        self.strike()
        self._process.join()
        self._answers.close()


def _do(what: Callable[[Assignment, Connection], None], assignment: Assignment) -> None:
    """Let a process do something to its end; of a queue that can't be opened or emptied its log says so."""
    process = _Process(what, assignment)
    try:
        process.join()
    finally:
        process.kill()


@contextmanager
def _crew(assignments: list[Assignment]) -> Iterator[Terms]:
    """Let workers work, once all have opened the queue, until the body ends; then kill all at once."""
    crew = [_Process(work, assignment) for assignment in assignments]
    try:
        terms = [process.answer() for process in crew]
        yield terms[0]
    finally:
        for process in crew:
            process.strike()
        for process in crew:
            process.kill()
