"""Do real losses of power leave what the simulation's models of a disk say that they may leave?

A scenario is simulated as ever, but its files lie on a real disk that can lose its power, where each write
and fsync is a real one. At a point drawn from the seed the power fails; the process tells what its model of
the disk had seen by then, and ends. What is there after the recovery must be a state that the model allows.
Now and then before, data or the journal are brought to the disk as the kernel does by itself, so that what is
left is not only what had been synced.
"""

import os
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import NamedTuple

from msgspec.structs import replace

from ssq_core.queue import utc_now
from ssq_stress.nemesis.power_loss import AT_ONCE, HELD_BACK, Disk, losable_disk
from ssq_stress.power.crew import CONTEXT
from ssq_stress.processes import host
from ssq_verify.history import Terms
from ssq_verify.machine import SETTINGS
from ssq_verify.scenario import SEED, Faults
from ssq_verify.simulation.composition import from_seed
from ssq_verify.simulation.run import simulate
from ssq_verify.simulation.states import Found, allows, found, left
from ssq_verify.simulation.strategies import AtRandom
from ssq_verify.simulation.surviving import Model, Past, surviving
from ssq_verify.simulation.world import POWER_LOSS, World
from ssq_verify.subject import Policy, Subject, load, terms

LOSS_SHARE = 0.01, 0.3
WRITEBACK_SHARE = 0.15
SIZE_MAX = 3
OPTIONS = HELD_BACK, f"{HELD_BACK},{AT_ONCE}"
"""Of the disk, in turn: the kernel gives new data their place later, or at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """One real loss, beside what the models say."""

    seed: int
    point: str
    """Where the power failed."""
    state: Found
    past: Past
    """What the models go by."""

    def is_allowed(self, model: Model) -> bool:
        """Whether it is a state that the model knows; in posix that takes long if little was synced."""
        return allows(self.past, model, self.state)

    @property
    def is_whole(self) -> bool:
        """Whether nothing was lost."""
        return self.state == left(surviving(self.past, Model.ORDERED, lambda _kind, _options: 0))

    @property
    def is_barest(self) -> bool:
        """Whether only what was synced is left, as a journal has it."""
        barest = surviving(self.past, Model.ORDERED, lambda _kind, options: len(options) - 1)
        return self.state == left(barest)


def compare(subject: Subject, folder: Path, *, count: int, seed: int = SEED) -> Iterator[Compared]:
    """Yield so many real losses of power of a subject that can be simulated. Raises `NotAvailable`."""
    held_to = _terms(subject, folder / "first")
    with losable_disk(folder / "disk") as disk:
        while count:
            case = _Case(reference=subject.reference, terms=held_to, disk=disk, seed=seed)
            struck = _struck(case)
            if struck is not None:
                yield struck
                count -= 1
            seed += 1


class _Told(NamedTuple):
    """What the process that lost its power had to say."""

    point: str
    past: Past


@dataclass(frozen=True, kw_only=True, slots=True)
class _Case:
    """One scenario on a disk."""

    reference: str
    terms: Terms
    disk: Disk
    seed: int

    @property
    def workdir(self) -> Path:
        """Where its files lie."""
        return self.disk.folder / f"seed-{self.seed}"


def _terms(subject: Subject, folder: Path) -> Terms:
    folder.mkdir()
    policy = Policy(
        lease_ttl_seconds=SETTINGS.lease_ttl_seconds,
        retry=SETTINGS.retry,
        max_clock_skew_seconds=SETTINGS.max_clock_skew_seconds,
        clock=utc_now,
    )
    return terms(subject.promises, policy, subject.factory(folder, policy))


def _struck(case: _Case) -> Compared | None:
    """Let the power fail in a scenario; None if that came to its end before."""
    case.workdir.mkdir()
    case.disk.sync()
    told = _told(case)
    if told is None:
        return None
    case.disk.recover(OPTIONS[case.seed % len(OPTIONS)])
    return Compared(seed=case.seed, point=told.point, state=found(case.workdir), past=told.past)


def _told(case: _Case) -> _Told | None:
    answers, line = CONTEXT.Pipe(duplex=False)
    process = CONTEXT.Process(target=_run, args=(case, line))
    process.start()
    line.close()
    try:
        with answers:
            told: _Told | None = answers.recv()
            return told
    finally:
        process.join()


def _run(case: _Case, line: Connection) -> None:
    """Simulate a scenario, on the disk."""
    host.settle()
    case.disk.enter()
    chance = Random(case.seed)  # noqa: S311 - drawn from a seed, not a secret
    scenario = from_seed(case.seed, SETTINGS, case.terms, size=chance.randint(1, SIZE_MAX))
    faulty = replace(scenario, faults=Faults(power_losses=1))
    simulate(faulty, load(case.reference), _Losing(case, chance, line), case.workdir)
    line.send(None)


class _Losing:
    """Chooses at random, until it lets the power fail for real and ends the process."""

    def __init__(self, case: _Case, chance: Random, line: Connection) -> None:
        self._chance, self._disk, self._workdir, self._line = chance, case.disk, case.workdir, line
        self._inner = AtRandom(chance.randrange(2**32))
        least, most = LOSS_SHARE
        self._share = least * (most / least) ** chance.random()
        self._world: World | None = None
        self._elsewhere = os.open(case.disk.folder / "elsewhere", os.O_WRONLY | os.O_CREAT, 0o600)

    def attend(self, world: World) -> None:
        """Look at where workers stand, and at the model of the disk."""
        self._world = world
        self._inner.attend(world)

    def choose(self, kind: str, options: Sequence[str]) -> int:
        """Return one of the options that are left when the power does not fail."""
        if kind == "next" and POWER_LOSS in options:
            if self._chance.random() < self._share:
                self._lose(options[0])
            if self._chance.random() < WRITEBACK_SHARE:
                self._write_back()
            options = [option for option in options if option != POWER_LOSS]
        return self._inner.choose(kind, options)

    def _lose(self, running: str) -> None:
        assert self._world is not None
        assert self._world.disk is not None
        points = [worker.point for worker in self._world.workers if worker.option == running]
        before = next((f"{point.call} {point.detail}" for point in points if point is not None), "")
        self._line.send(_Told(point=before, past=self._world.disk.past()))
        self._disk.lose()
        os.kill(os.getpid(), signal.SIGKILL)

    def _write_back(self) -> None:
        """Do what the kernel does by itself: begin to write a file's data, or commit the journal."""
        path = self._chance.choice([*sorted(self._workdir.rglob("*")), None])
        if path is not None and path.is_file():
            fd = os.open(path, os.O_RDONLY)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)
        else:
            os.write(self._elsewhere, b".")
            os.fsync(self._elsewhere)
