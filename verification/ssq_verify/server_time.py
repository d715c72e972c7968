"""What time is it for a server? A file says so, which the server reads through libfaketime at each look.

The instant stands still until it is moved, so that a server takes part in virtual time as it is, unmodified.
An adapter moves it before each operation; a worker's own clock, right or wrong, plays no part.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from ssq_core.queue import Clock, DeadJob, LeaseQueue, QueueClaim, QueueStats

T = TypeVar("T")
Move = Callable[[datetime], None]
"""Sets a server's clock."""

REAL_TIME = "+0"
LOOK_SECONDS = 0.005


def show(path: Path, now: datetime) -> None:
    """Let the servers that read this file see an instant, to the microsecond."""
    # Half a microsecond more: libfaketime computes with floating point and rounds down.
    _write(path, f"{now.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}5")


def release(path: Path) -> None:
    """Let the servers that read this file see the real time again."""
    _write(path, REAL_TIME)


def shift(path: Path, seconds: float) -> None:
    """Let the processes that read this file see a time that is off by so much, and goes on."""
    _write(path, f"{seconds:+.9f}")


def _write(path: Path, line: str) -> None:
    # By rename: whoever reads it meanwhile sees one line or the other, whole.
    draft = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}")
    draft.write_text(f"{line}\n", encoding="ascii")
    draft.replace(path)


class InServerTime:
    """A queue whose server's clock is set to the right time before each operation."""

    def __init__(self, queue: LeaseQueue, *, move: Move, time: Clock) -> None:
        self._queue = queue
        self._move = move
        self._time = time

    def enqueue(self, job_id: str, *, payload: bytes = b"") -> None:
        """Add a job."""
        self._now().enqueue(job_id, payload=payload)

    def claim(self, *, worker_id: str) -> QueueClaim | None:
        """Take a job."""
        return self._now().claim(worker_id=worker_id)

    def ack(self, *, claim: QueueClaim) -> None:
        """Finish a job."""
        self._now().ack(claim=claim)

    def release(self, *, claim: QueueClaim) -> None:
        """Give a job back."""
        self._now().release(claim=claim)

    def extend(self, *, claim: QueueClaim) -> QueueClaim:
        """Start a lease anew."""
        return self._now().extend(claim=claim)

    def enqueue_many(self, jobs: Iterable[tuple[str, bytes]]) -> None:
        """Add jobs."""
        self._now().enqueue_many(jobs)

    def claim_many(self, limit: int, *, worker_id: str) -> list[QueueClaim]:
        """Take jobs."""
        return self._now().claim_many(limit, worker_id=worker_id)

    def ack_many(self, *, claims: Iterable[QueueClaim]) -> None:
        """Finish jobs."""
        self._now().ack_many(claims=claims)

    def wait(self, *, seconds: float) -> bool:
        """Look for a job again and again: the server's clock stands, and who blocks in it would for ever."""
        until = time.monotonic() + seconds
        while not self._now().wait(seconds=min(seconds, 0)):
            if time.monotonic() >= until:
                return False
            time.sleep(LOOK_SECONDS)
        return True

    def stats(self) -> QueueStats:
        """Count the jobs."""
        return self._now().stats()

    def dead(self) -> list[DeadJob]:
        """Return the dead letters."""
        return self._now().dead()

    def requeue_dead(self, job_id: str) -> bool:
        """Give a dead job a new incarnation."""
        return self._now().requeue_dead(job_id)

    def _now(self) -> LeaseQueue:
        self._move(self._time())
        return self._queue
