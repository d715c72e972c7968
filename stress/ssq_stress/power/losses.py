"""Is what a queue had acknowledged still there after real losses of power? Each gives two runs of a history.

Processes work on a queue that lies on a disk of its own; at a moment drawn from the seed the power of the
disk fails; everybody who lives on it is killed; it is mounted again, and a fresh process drains the queue.
What they had been told before that moment is in the history as it was told. What they were told while the
power was failing counts as unknown, since nobody can say which came first. In a run of its own, another
process then enqueues some of the same ids and drains the queue once more: a loss must leave none unusable.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Protocol

from msgspec.structs import replace

from ssq_stress.nemesis.power_loss import Disk, losable_disk
from ssq_stress.power.crew import crewed, do
from ssq_stress.power.losing import Assignment, drain, use_anew
from ssq_stress.power.outage import Outage, about, free_ids, in_order, loss, told
from ssq_stress.processes.log import MONOTONIC_NS, events
from ssq_verify import invariants
from ssq_verify.execution import DRAIN_WORKER
from ssq_verify.history import Event, EventType, Header, History, joined
from ssq_verify.scenario import SEED, Settings
from ssq_verify.subject import Subject
from ssq_verify.verdict import Violation

SETTINGS = Settings(lease_ttl_seconds=0.2, backoff_max_seconds=0.0)
"""A lease that is soon over: the drain waits for its end."""
WORKING_SECONDS = 0.02, 0.2
"""How long there is work before the power fails: at least, at most."""
SYNC_SHARE = 0.5
"""How often the kernel brings all to the disk at some moment before, as it does every few seconds."""
ANSWER_SHARE = 0.5
"""How often the power fails just as an enqueue or an ack has returned; else most often inside a sync."""
ANSWER_SECONDS_MAX = 0.2
USER = "again"
"""Who uses old ids anew."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Losses:
    """How many losses, and of what."""

    count: int
    seed: int = SEED
    workers: int = 2
    """At most; as many as there are at one loss, one of them may have synced what another had not."""
    settings: Settings = SETTINGS


class Resident(Protocol):
    """What else lives on the disk, and dies with its power: a server, whose data are in the given folder."""

    def start(self, folder: Path) -> Mapping[str, str]:
        """Start it, after a loss on what is left.

        Returns what the environment of each process must say for the subject's factory to find it.
        """
        ...

    def stop(self) -> None:
        """Kill all of its processes, and wait until they have ended."""
        ...

    def close(self) -> None:
        """Let go of all that is left: the disk will be gone."""
        ...


class Nobody:
    """Of a queue that lies in files, nothing runs on the disk."""

    def start(self, _folder: Path) -> Mapping[str, str]:
        """Do nothing."""
        return {}

    def stop(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""


def lose_power(
    subject: Subject,
    losses: Losses,
    folder: Path,
    resident: Resident | None = None,
    *,
    tell: Callable[[int], None] = lambda _: None,
) -> History:
    """Return the history of a queue whose disk loses its power so many times; tell how often it has.

    The processes load the subject by its reference. Logs are left in the folder. Raises `NotAvailable`,
    `SubjectFailed`, `WorkerFailed`.
    """
    living = resident or Nobody()
    # Not in a folder that may lie deep: the path of a server's socket has room for 107 bytes.
    with (
        TemporaryDirectory(prefix="ssq-") as short,
        losable_disk(Path(short) / "disk") as disk,
        closing(living),
    ):
        campaign = _Campaign(subject, losses, disk, folder, living)
        runs: list[History] = []
        for number in range(losses.count):
            tell(number)
            runs += campaign.runs(number)
        return joined(runs)


def undone(history: History, *, limit: int) -> tuple[Violation, ...]:
    """Return what had been acknowledged and was lost, whether or not the queue promised to keep it."""
    return invariants.violations(held_to_power_loss(history), "durable", limit=limit)


def held_to_power_loss(history: History) -> History:
    """Return a history as that of a queue which promises to survive a loss of power."""
    terms = replace(history.terms, durability="power-loss")
    return History(header=replace(history.header, terms=terms), events=history.events)


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
        workers = chance.randint(1, self._losses.workers)
        (self._disk.folder / f"run-{number}").mkdir()
        with self._living() as environment:
            crew = [self._assignment(f"w{one}", number, environment) for one in range(1, workers + 1)]
            with crewed(crew) as terms:
                self._disk.sync()
                self._let_work(chance)
                if chance.random() < ANSWER_SHARE:
                    _await_answer([worker.log for worker in crew], chance.choice(("enqueue", "ack")))
                outage = self._lose()
        self._disk.recover()
        logs = [list(told(events(worker.log), outage)) for worker in crew]
        header = Header(subject=self._subject.reference, terms=terms)
        with self._living() as environment:
            drainer = self._assignment(DRAIN_WORKER, number, environment)
            do(drain, drainer)
            seen = [*in_order(logs), loss(outage), *events(drainer.log)]
            lost = History(header=header, events=_numbered(seen))
            user = self._assignment(USER, number, environment, jobs=free_ids(lost, chance))
            do(use_anew, user)
        return lost, History(header=header, events=_numbered(about(user.jobs, events(user.log))))

    @contextmanager
    def _living(self) -> Iterator[Mapping[str, str]]:
        """Let live on the disk what lives there; yields what processes must know of it."""
        try:
            yield self._resident.start(self._disk.folder)
        finally:
            self._resident.stop()

    def _assignment(
        self, name: str, number: int, environment: Mapping[str, str], *, jobs: tuple[str, ...] = ()
    ) -> Assignment:
        return Assignment(
            reference=self._subject.reference,
            settings=self._losses.settings,
            disk=self._disk,
            workdir=self._disk.folder / f"run-{number}",
            name=name,
            log=self._folder / f"{number:04d}.{name}.jsonl",
            seed=f"{self._losses.seed}/{number}/{name}",
            environment=environment,
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


def _numbered(log: list[Event]) -> tuple[Event, ...]:
    return tuple(replace(event, index=index) for index, event in enumerate(log))


def _await_answer(logs: list[Path], f: str) -> None:
    """Wait until some process was told that its operation succeeded, but not for long."""
    until_ns = MONOTONIC_NS() + round(ANSWER_SECONDS_MAX * 1e9)
    answer = _answer(f)
    with ExitStack() as stack:
        files = [stack.enter_context(log.open("rb")) for log in logs]
        for file in files:
            file.seek(0, os.SEEK_END)
        while MONOTONIC_NS() < until_ns and not any(answer in file.read() for file in files):
            pass


def _answer(f: str) -> bytes:
    """Return what stands in the log's line of an operation that succeeded."""
    return f'"type":"{EventType.OK}","f":"{f}"'.encode()
