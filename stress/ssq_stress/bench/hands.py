"""What do the timed processes do? Some fill the queue; then some claim and ack, all from the same instant."""

import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from random import Random
from typing import Any

from ssq_stress.bench.load import Load
from ssq_stress.bench.times import Effort, Filled, Sheet, write
from ssq_stress.processes import host
from ssq_stress.processes.assignment import Folders, reporting
from ssq_stress.processes.log import MONOTONIC_NS
from ssq_verify.opening import opened, policy
from ssq_verify.scenario import Settings
from ssq_verify.subject import Subject, SubjectFailed, offers_batches, takes_payload

SETTINGS = Settings()
"""As a queue is used: a lease of a minute, three attempts, no rest."""
FILL_BATCH = 500
GATE_SECONDS_MAX = 120.0
EMPTY_SECONDS = 0.001
"""How long a worker waits after a claim that found nothing."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """All that a timed process is given."""

    load_subject: Callable[[], Subject]
    load: Load
    folders: Folders
    number: int

    @property
    def name(self) -> str:
        """Of the worker."""
        return f"w{self.number + 1}"

    @property
    def path(self) -> Path:
        """What it did."""
        return self.folders.events / f"{self.name}.times"

    @property
    def failure(self) -> Path:
        """Why it could not."""
        return self.folders.events / f"{self.name}.failed"

    @property
    def filled(self) -> Path:
        """What it enqueued."""
        return self.folders.events / f"{self.name}.filled"

    @property
    def left(self) -> Path:
        """How many jobs the queue still had afterwards."""
        return self.folders.events / "left.json"

    def open(self) -> Any:
        """Open the queue. Raises `SubjectFailed`."""
        asked = policy(
            SETTINGS,
            # Nobody dies here: a claim is timed alone, without the sweep that it would otherwise begin with.
            has_sweeper=True,
        )
        return opened(self.load_subject(), self.folders.queue, asked, name=self.name)


def fill(task: Task, gate: Any) -> None:
    """Be a process that enqueues its share of the jobs."""
    host.settle()
    with reporting(task.failure):
        queue = task.open()
        gate.wait(GATE_SECONDS_MAX)
        with _blaming(task):
            filled = list(_filled(queue, task))
        write(task.filled, filled)


def work(task: Task, gate: Any, left: Any) -> None:
    """Be a process that claims and acks: warmed up, then from the common instant until nothing is left."""
    host.settle()
    with reporting(task.failure):
        queue, sheet = task.open(), Sheet(task.name)
        with _blaming(task):
            _warmed_up(queue, task)
        gate.wait(GATE_SECONDS_MAX)
        before, begun_ns = time.process_time(), MONOTONIC_NS()
        until_ns = begun_ns + round(task.load.seconds_max * 1e9)
        turns, batch = _allotted(left, task.load.block, until_ns), _batch(queue, task.load)
        due = _timetable(task, begun_ns, batch)
        with _blaming(task):
            _worked(queue, turns, sheet, due, until_ns, batch=batch)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        effort = Effort(time.process_time() - before, peak, tuple(sheet.empty_ns))
        write(task.path, sheet.pairs(), effort)


def count_left(task: Task) -> None:
    """Be the process that finds out how many jobs are left: asks the queue if it can count, else claims."""
    host.settle()
    with reporting(task.failure):
        queue = task.open()
        counted = getattr(queue, "stats", None)
        with _blaming(task):
            left = _claimed(queue, task) if counted is None else _total(counted())
        task.left.write_text("null" if left is None else str(left))


@contextmanager
def _blaming(task: Task) -> Iterator[None]:
    """Take what is raised for the queue's: nothing else is called meanwhile. Raises `SubjectFailed`."""
    try:
        yield
    except Exception as error:
        told = " ".join(f"{type(error).__name__}: {error}".split())
        subject = task.load_subject().reference
        raise SubjectFailed(f"{subject}: while {task.name} was timed it raised {told}") from error


def _total(stats: Any) -> int | None:
    try:
        return int(stats.queued + stats.delayed + stats.claimed + stats.expired + stats.dead)
    except AttributeError:  # somebody else's word
        return None


def _claimed(queue: Any, task: Task) -> int | None:
    """Return how many jobs could be claimed; None if that would take too long."""
    until_ns = MONOTONIC_NS() + round(task.load.seconds_max * 1e9)
    for number in count():
        if MONOTONIC_NS() > until_ns:
            return None
        if queue.claim(worker_id=task.name) is None:
            return number
    return None


def _warmed_up(queue: Any, task: Task) -> None:
    until_ns = MONOTONIC_NS() + round(task.load.seconds_max * 1e9)
    turns = iter(range(task.load.warm_up))
    _worked(queue, turns, Sheet(task.name), MONOTONIC_NS, until_ns, batch=_batch(queue, task.load))


def _batch(queue: Any, load: Load) -> int:
    """Return how many jobs a call is about: one, if the queue takes no more."""
    return load.batch if load.batch > 1 and offers_batches(queue) else 1


def _worked(
    queue: Any, turns: Iterator[int], sheet: Sheet, due: Callable[[], int], until_ns: int, *, batch: int = 1
) -> None:
    if batch > 1:
        while taken := len(list(islice(turns, batch))):
            if not _worked_many(queue, taken, sheet, due(), until_ns):
                return
        return
    claim_of, ack, clock, name = queue.claim, queue.ack, MONOTONIC_NS, sheet.worker
    for _ in turns:
        due_ns = due()
        while True:
            asked = clock()
            claim = claim_of(worker_id=name)
            claimed = clock()
            if claim is not None:
                break
            sheet.empty_ns.append(claimed - asked)
            if claimed > until_ns:
                return
            time.sleep(EMPTY_SECONDS)
        ack(claim=claim)
        sheet.note(claim, due_ns, asked, claimed, clock())


def _worked_many(queue: Any, wanted: int, sheet: Sheet, due_ns: int, until_ns: int) -> bool:
    """Claim and ack so many jobs together, or some and then the rest; False when time is up."""
    clock = MONOTONIC_NS
    while wanted:
        asked = clock()
        claims = queue.claim_many(wanted, worker_id=sheet.worker)
        claimed = clock()
        if claims:
            queue.ack_many(claims=claims)
            acked = clock()
            for claim in claims:
                sheet.note(claim, due_ns, asked, claimed, acked)
            wanted -= len(claims)
            continue
        sheet.empty_ns.append(claimed - asked)
        if claimed > until_ns:
            return False
        time.sleep(EMPTY_SECONDS)
    return True


def _allotted(left: Any, block: int, until_ns: int) -> Iterator[int]:
    """Yield a turn for each claim that falls to this worker, a block at a time."""
    while True:
        with left.get_lock():
            share = min(block, left.value)
            left.value -= share
        for turn in range(share):
            if MONOTONIC_NS() > until_ns:
                return
            yield turn
        if share == 0:
            return


def _timetable(task: Task, begun_ns: int, batch: int = 1) -> Callable[[], int]:
    """Return what waits for the instant at which the next call is due, and gives it."""
    if task.load.rate is None:
        return MONOTONIC_NS
    step = task.load.workers / task.load.rate * 1e9 * batch
    dues = (begun_ns + round(step * (turn + task.number / task.load.workers)) for turn in count())

    def due() -> int:
        due_ns = next(dues)
        time.sleep(max(0.0, (due_ns - MONOTONIC_NS()) / 1e9))
        return due_ns

    return due


def _filled(queue: Any, task: Task) -> Iterator[Filled]:
    """Enqueue this process's share, many at a time where the queue can."""
    load, name = task.load, task.name
    mine = [f"{name}-{number:07d}" for number in range(task.number, load.jobs, load.workers)]
    payload = payload_of(load)
    is_given = takes_payload(queue)
    many = getattr(queue, "enqueue_many", None)
    size = 1 if many is None else FILL_BATCH if load.batch == 1 else load.batch
    for start in range(0, len(mine), size):
        batch = mine[start : start + size]
        asked = MONOTONIC_NS()
        if many is not None:
            many([(job_id, payload) for job_id in batch])
        elif is_given:
            queue.enqueue(batch[0], payload=payload)
        else:
            queue.enqueue(batch[0])
        done = MONOTONIC_NS()
        yield from (Filled(job_id, name, asked, done) for job_id in batch)


def payload_of(load: Load) -> bytes:
    """Return what each job carries: bytes that do not compress."""
    return Random(0).randbytes(load.payload_bytes)  # noqa: S311 - a workload, no secret
