"""What do the processes do that a loss of power ends, and those that come after it?

Each writes down what it does as it does it, on a file system that is not lost. The workers enqueue, claim,
ack, release and extend without end; the drain takes all that is left, and tells of it; a third kind takes ids
that were used before the loss, to see that they can be used anew.
"""

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

from ssq_core.queue import utc_now
from ssq_stress.nemesis.power_loss import Disk
from ssq_stress.processes import host
from ssq_stress.processes.log import EventLog
from ssq_verify.execution import DRAIN_WORKER, EMPTY_POLLS_AT_END
from ssq_verify.history import EventType, Terms
from ssq_verify.opening import policy
from ssq_verify.recording import RecordingQueue
from ssq_verify.scenario import Settings
from ssq_verify.subject import load, terms

ENQUEUE_SHARES = 0.05, 0.5, 0.95
"""Of all that is done, for a while: what one operation forgets to sync, another kind soon does for it."""
STRETCH = 12
"""Operations in a while."""
AGAIN_SHARE = 0.15
"""How often an id is enqueued again: of a live one that changes nothing, of a done one it is a new job."""
FATES = {"ack": 75.0, "extend": 8.0, "release": 7.0, "leave": 10.0}
"""What becomes of a claim; one that is extended is then acked."""
PAYLOAD_BYTES_MAX = 6_000
"""More than a page of memory: a record may reach the disk in part."""
DRAIN_SECONDS_MAX = 60.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Assignment:
    """All that a process is given."""

    reference: str
    """Of the subject: a factory can't be handed from process to process, its name can."""
    settings: Settings
    disk: Disk
    workdir: Path
    """On the disk; given to the subject's factory."""
    name: str
    log: Path
    """Elsewhere."""
    seed: str
    environment: Mapping[str, str]
    """What says where the server is that lives on the disk, if one does."""
    jobs: tuple[str, ...] = ()
    """Ids to be used anew."""


def work(assignment: Assignment, answers: Connection) -> None:
    """Be a worker until the end."""
    handle = _Handle(assignment)
    if handle.opened(answers):
        program = _Program(handle, Random(assignment.seed))  # noqa: S311 - drawn from a seed, not a secret
        while True:
            # What was raised is in the log; what is in the queue then, the next call shows.
            with suppress(Exception):
                program.step()


def drain(assignment: Assignment, answers: Connection) -> None:
    """Claim and ack all that is left, and say what is there then."""
    handle = _Handle(assignment)
    handle.note("heal")
    if handle.opened(answers):
        handle.drain()
    else:
        handle.note("drain-cut", value="the queue can not be opened")


def use_anew(assignment: Assignment, answers: Connection) -> None:
    """Enqueue jobs, and then as `drain`."""
    handle = _Handle(assignment)
    handle.note("heal")
    if handle.opened(answers):
        for job_id in assignment.jobs:
            with suppress(Exception):  # it is in the log
                handle.queue.enqueue(job_id, payload=_payload(job_id))
        handle.drain()


class _Handle:
    """One process's handle on the queue, with its log."""

    def __init__(self, assignment: Assignment) -> None:
        host.settle()
        assignment.disk.enter()
        os.environ.update(assignment.environment)
        self.assignment = assignment
        self.terms = Terms()
        self._log = EventLog(assignment.log)
        self._queue: RecordingQueue | None = None

    @property
    def queue(self) -> RecordingQueue:
        """The queue, when it is open."""
        assert self._queue is not None
        return self._queue

    def note(self, f: str, **fields: Any) -> None:
        """Write down an observation."""
        self._log.record(self.assignment.name, EventType.INFO, f, clock=utc_now, **fields)

    def opened(self, answers: Connection) -> bool:
        """Open the queue and answer what it is held to, or why that failed."""
        settings = self.assignment.settings
        asked = policy(settings)
        try:
            subject = load(self.assignment.reference)
            queue = subject.factory(self.assignment.workdir, asked)
            self.terms = terms(subject.promises, asked, queue)
        except Exception as error:  # noqa: BLE001 - anybody's code
            answers.send(" ".join(f"{type(error).__name__}: {error}".split()))
            return False
        self._queue = RecordingQueue(queue, self._log, self.assignment.name)
        self.note("open")
        answers.send(self.terms)
        return True

    def drain(self) -> None:
        """Handle all jobs, and write down what is there then."""
        limit = self._emptied()
        try:
            dead, there = self._listed()
        except Exception as error:  # noqa: BLE001 - anybody's code
            dead, there, limit = [], [], f"listing its jobs raised {type(error).__name__}: {error}"
        self.note("drained" if limit is None else "drain-cut", value=limit)
        for job in dead:
            self.note("dead", job_id=job.job_id, attempt=getattr(job, "attempts", None))
        for job_id in there:
            self.note("present", job_id=job_id)

    def _emptied(self) -> str | None:
        """Claim and ack until nothing comes any more, and return None, or the limit that was reached."""
        settings, empty = self.assignment.settings, 0
        longest = max(settings.lease_ttl_seconds, settings.backoff_max_seconds)
        patience = longest + 2 * settings.max_clock_skew_seconds
        until = time.monotonic() + DRAIN_SECONDS_MAX
        while time.monotonic() < until:
            try:
                claim = self.queue.claim(worker_id=DRAIN_WORKER)
                if claim is not None:
                    self.queue.ack(claim=claim)
            except Exception:  # noqa: BLE001 - anybody's code; it is in the log
                empty = 0
                continue
            empty = 0 if claim is not None else empty + 1
            if empty == EMPTY_POLLS_AT_END:
                return None
            if claim is None:
                time.sleep(patience / (EMPTY_POLLS_AT_END - 1))
        return f"{DRAIN_SECONDS_MAX:.0f} s"

    def _listed(self) -> tuple[list[Any], list[str]]:
        """Return the dead jobs, and the ids of all that are there, as far as the queue tells."""
        dead = list(self.queue.inner.dead()) if self.terms.dead_letters else []
        return dead, list(self.queue.inner.job_ids()) if self.terms.lists_jobs else []


class _Program:
    """What a worker does, one step after another, drawn from its seed."""

    def __init__(self, handle: _Handle, chance: Random) -> None:
        self._queue, self._terms = handle.queue, handle.terms
        self._name, self._chance = handle.assignment.name, chance
        self._jobs = self._steps = 0
        self._enqueue_share = 0.0
        offered = {"extend": self._terms.extend, "release": self._terms.release}
        self._fates = {fate: weight for fate, weight in FATES.items() if offered.get(fate, True)}

    def step(self) -> None:
        """Do one thing."""
        if self._steps % STRETCH == 0:
            self._enqueue_share = self._chance.choice(ENQUEUE_SHARES)
        self._steps += 1
        if self._chance.random() < self._enqueue_share:
            self._enqueue()
        else:
            self._handle()

    def _enqueue(self) -> None:
        number = self._jobs
        if number and self._terms.idempotent_enqueue and self._chance.random() < AGAIN_SHARE:
            number = self._chance.randrange(number)
        else:
            self._jobs += 1
        job_id = f"{self._name}-{number}"
        self._queue.enqueue(job_id, payload=_payload(job_id))

    def _handle(self) -> None:
        claim = self._queue.claim(worker_id=self._name)
        if claim is None:
            return
        (fate,) = self._chance.choices(list(self._fates), weights=list(self._fates.values()))
        if fate == "extend":
            claim = self._queue.extend(claim=claim)
        if fate == "release":
            self._queue.release(claim=claim)
        elif fate != "leave":
            self._queue.ack(claim=claim)


def _payload(job_id: str) -> bytes:
    """Return the same for the same id: whichever enqueue a claim stems from, it can be compared."""
    chance = Random(job_id)  # noqa: S311 - drawn from a seed, not a secret
    return chance.randbytes(chance.randrange(PAYLOAD_BYTES_MAX))
