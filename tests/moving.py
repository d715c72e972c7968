"""What do the suites on migration share? Jobs in each state, a destination in memory, death before a step."""

import os
import sqlite3
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from ssq_core.file import FileWorkerQueue
from ssq_core.file_migration import FileSource
from ssq_core.migration import migrate
from ssq_core.queue import RetryPolicy
from ssq_core.sqlite import SqliteWorkerQueue
from ssq_core.sqlite_migration import SqliteSource
from ssq_core.stored import Moved

NOW = datetime(2024, 5, 1, tzinfo=UTC)
LONG_AGO = NOW - timedelta(hours=2)
REST_SECONDS = 3600.0
QUEUES = {"file": FileWorkerQueue, "sqlite": SqliteWorkerQueue}
SOURCES = {"file": FileSource, "sqlite": SqliteSource}


class Killed(BaseException):
    """The process is gone: no `except Exception`, no further step."""


class Death:
    """Comes before the chosen one of the steps that pass by it, and lets nothing happen any more."""

    def __init__(self, chosen):
        self.chosen, self.steps = chosen, 0

    def pass_by(self):
        """Count a step, or die before it."""
        self.steps += 1
        if self.steps >= self.chosen:
            raise Killed

    @property
    def came(self):
        """Whether there were as many steps."""
        return self.steps >= self.chosen


class Memory:
    """A destination that keeps a piece and its note together, as a transaction does."""

    where = "memory"

    def __init__(self):
        self.jobs, self.notes, self.pieces = {}, {}, []
        self.death = Death(10**9)

    def is_empty(self):
        """Whether it has no job."""
        return not self.jobs

    def close(self):
        """Keep all."""

    def moved(self, token):
        """Return the note."""
        self.death.pass_by()
        return self.notes.get(token)

    def begin(self, token):
        """Make a note if there are no jobs."""
        self.death.pass_by()
        if not self.jobs:
            self.notes.setdefault(token, Moved())
        self.death.pass_by()
        return self.notes.get(token)

    def adopt(self, token, piece):
        """Take a piece, unless it begins elsewhere; death may come before it and after it."""
        self.death.pass_by()
        note = self.notes[token]
        if note.position != piece.after:
            return None
        self.pieces.append(piece)
        new = [job for job in piece.jobs if job.job_id not in self.jobs]
        self.jobs |= {job.job_id: job for job in new}
        dead, resting = (
            sum(job.died_at is not None for job in new),
            sum(job.available_at is not None for job in new),
        )
        self.notes[token] = replace(
            note,
            position=piece.last,
            queued=note.queued + len(new) - dead - resting,
            resting=note.resting + resting,
            dead=note.dead + dead,
            met=note.met + len(piece.jobs) - len(new),
            damaged=note.damaged + piece.damaged,
        )
        self.death.pass_by()
        return self.notes[token]


def opened(kind, place, *, now=NOW, **settings):
    """Open a queue of a kind, at a clock that stands still."""
    return QUEUES[kind](place, clock=lambda: now, **settings)


def source(kind, place, *, now=NOW, **settings):
    """Find a queue that is to move."""
    return SOURCES[kind](place, clock=lambda: now, **settings)


def moved(kind, place, destination, *, now=NOW):
    """Move as one process does, from its start to its end."""
    giving = source(kind, place, now=now)
    try:
        return migrate(giving, destination)
    finally:
        giving.close()


def filled(kind, place, *, queued=3, now=NOW):
    """Make a queue with a dead job, a resting one, one whose holder is gone, and some that wait."""
    queue = opened(kind, place, now=now, retry=RetryPolicy(max_attempts=2))
    long = RetryPolicy(max_attempts=2, backoff_base_seconds=REST_SECONDS, backoff_max_seconds=REST_SECONDS)
    resting = opened(kind, place, now=now, retry=long)
    for job_id in ("dead", "resting", "gone", *(f"j{number}" for number in range(queued))):
        queue.enqueue(job_id, payload=job_id.encode() + bytes(range(256)))
    for _ in range(2):
        queue.release(claim=queue.claim(worker_id="w"))
    resting.release(claim=resting.claim(worker_id="w"))
    assert opened(kind, place, now=now - timedelta(hours=2)).claim(worker_id="gone").job_id == "gone"
    return ["dead", "resting", "gone", *(f"j{number}" for number in range(queued))]


def dying(monkeypatch, death):
    """Let death come before any of the system calls, and any of SQLite's statements, made from now on.

    Returns the files that are open, a growing and shrinking set: the system closes them for the dead.
    """
    left_open = set()
    for name in ("open", "close", "read", "write", "fsync", "rename", "mkdir", "rmdir", "unlink", "listdir"):
        monkeypatch.setattr(os, name, _step(name, getattr(os, name), death, left_open))
    connect = sqlite3.connect

    class Connection(sqlite3.Connection):
        def execute(self, *args):
            death.pass_by()
            return super().execute(*args)

    def connect_to_step(*args, **named):
        return connect(*args, factory=Connection, **named)

    monkeypatch.setattr(sqlite3, "connect", connect_to_step)
    return left_open


def _step(name, call, death, left_open):
    def step(*args, **named):
        death.pass_by()
        result = call(*args, **named)
        if name == "open":
            left_open.add(result)
        elif name == "close":
            left_open.discard(args[0])
        return result

    return step
