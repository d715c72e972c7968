"""How is a queue timed once? Filled; its workers warmed up and let go at one instant; judged afterwards."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from ssq_stress.bench import judging
from ssq_stress.bench.figures import Figures, figures
from ssq_stress.bench.hands import SETTINGS, Task, count_left, fill, work
from ssq_stress.bench.load import Load
from ssq_stress.bench.times import read_filled, read_pairs
from ssq_stress.processes.assignment import Folders
from ssq_stress.processes.fetching import loader
from ssq_stress.processes.looking import held_to
from ssq_stress.supervisor import CONTEXT, ended, raise_if_reported, started
from ssq_verify.history import Terms
from ssq_verify.subject import Subject

FILL_SECONDS_MAX = 3_600.0
END_SECONDS_MAX = 60.0
"""Beyond the time that a load may take: for a claim that hangs."""


class BenchFailed(Exception):  # noqa: N818 - it names what failed
    """A timed process did not end; the message says which."""


def measure(subject: Subject, load: Load, *, where: Path) -> Figures:
    """Time a subject under a load once, on a fresh queue in `where`, and return the figures.

    Raises `SubjectFailed`, `BenchFailed`, `WorkerFailed`.
    """
    with _folders(where) as folders:
        fetch = loader(subject)
        tasks = [
            Task(load_subject=fetch, load=load, folders=folders, number=number)
            for number in range(load.workers)
        ]
        terms = held_to(fetch, folders, SETTINGS)
        _all_at_once(fill, tasks, seconds_max=FILL_SECONDS_MAX)
        left = CONTEXT.Value("q", load.claims)
        _all_at_once(work, tasks, left, seconds_max=load.seconds_max + END_SECONDS_MAX)
        _alone(count_left, tasks[0])
        found = _judged(subject, terms, tasks)
        return msgspec.structs.replace(found, batch=load.batch if terms.batches else 1)


def _judged(subject: Subject, terms: Terms, tasks: list[Task]) -> Figures:
    filled = [each for task in tasks for each in read_filled(task.filled)]
    worked = [read_pairs(task.path) for task in tasks]
    pairs = [pair for its, _ in worked for pair in its]
    found = figures(pairs, [effort for _, effort in worked], filled)
    left = msgspec.json.decode(tasks[0].left.read_bytes(), type=int | None)
    warmed = sum(task.load.warm_up for task in tasks)
    names = judging.broken(subject.reference, terms, filled, pairs, None if left is None else left + warmed)
    return msgspec.structs.replace(found, broken=names)


def _all_at_once(do: Callable[..., None], tasks: list[Task], *more: Any, seconds_max: float) -> None:
    """Let processes do something from a common instant on, and wait until all have ended."""
    gate = CONTEXT.Barrier(len(tasks))
    processes: list[Any] = []
    try:
        processes += (started(do, task, gate, *more) for task in tasks)
        for process, task in zip(processes, tasks, strict=True):
            _wait_for(process, task, seconds_max)
    finally:
        for process in processes:
            ended(process, seconds_max=0.0)


def _alone(do: Callable[..., None], task: Task) -> None:
    process = started(do, task)
    try:
        _wait_for(process, task, END_SECONDS_MAX)
    finally:
        ended(process, seconds_max=0.0)


def _wait_for(process: Any, task: Task, seconds_max: float) -> None:
    process.join(seconds_max)
    raise_if_reported(task.failure)
    if process.exitcode is None:
        raise BenchFailed(f"{task.name} did not end within {seconds_max:.0f} s")
    if process.exitcode != 0:
        raise BenchFailed(f"{task.name} ended with {process.exitcode}")


@contextmanager
def _folders(where: Path) -> Iterator[Folders]:
    where.mkdir(parents=True, exist_ok=True)
    round_ = Path(tempfile.mkdtemp(dir=where, prefix="queue-"))
    folders = Folders(round=round_, queue=round_ / "queue")
    try:
        folders.queue.mkdir()
        folders.events.mkdir()
        yield folders
    finally:
        with suppress(OSError):
            shutil.rmtree(round_)
