"""What does a queue hand over when its jobs move to another? Each job as it stands, and how far the move is.

A move is stopped and started again at any instant. So the source says in itself that it is being moved, under
which *token* and where to, before anything is copied; and the destination notes under that token, in the same
transaction as each piece, the last position that it has. What it has had it never takes again, whatever
workers have made of it meanwhile.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from ssq_core.queue import QueueError, printable_path


@dataclass(frozen=True, kw_only=True, slots=True)
class StoredJob:
    """A job in a queue that nobody works on."""

    position: int
    """Its number in the source's order, 1 or more; a later job has a higher one."""
    job_id: str
    payload: bytes
    attempts: int
    """Claims so far; one that nobody finished counts, and its job waits again."""
    available_at: datetime | None = None
    """When its rest ends; None if it waits for nothing, or is dead."""
    died_at: datetime | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class DamagedJob:
    """A record that can not be read back whole: it stays where it is."""

    position: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """What moves in one step: the jobs of a stretch of the source's order."""

    after: int
    last: int
    jobs: Sequence[StoredJob]
    damaged: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Moved:
    """How far a move has come, in all its runs, by what the destination has noted."""

    position: int = 0
    queued: int = 0
    resting: int = 0
    dead: int = 0
    met: int = 0
    """Jobs whose id had been enqueued in the destination meanwhile: those stand, and these were left out."""
    damaged: int = 0
    """Records that could not be read, and stay in the source."""

    @property
    def seen(self) -> int:
        """How many of the source's jobs have had their turn."""
        return self.queued + self.resting + self.dead + self.met + self.damaged


@dataclass(frozen=True, kw_only=True, slots=True)
class Mark:
    """What a source says of itself once it is being moved."""

    token: str
    destination: str
    is_complete: bool = False


class Source(Protocol):
    """A queue that gives its jobs away."""

    where: str

    def mark(self) -> Mark | None:
        """Return what the queue says of a move, None if there was none."""
        ...

    def fence(self, mark: Mark) -> None:
        """Let every operation of everybody fail from now on. Raise `MoveRefused` if a lease is held."""
        ...

    def unfence(self) -> None:
        """Undo that: the queue is as it was."""
        ...

    def count(self) -> int:
        """Return how many jobs there are, damaged ones too."""
        ...

    def stored(self, *, after: int = 0) -> Iterator[StoredJob | DamagedJob]:
        """Yield the jobs beyond a position, oldest first."""
        ...

    def retire(self, mark: Mark) -> None:
        """Say for good that the jobs are elsewhere. Nothing is deleted."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class Destination(Protocol):
    """A queue that takes jobs over."""

    where: str

    def is_empty(self) -> bool:
        """Whether it has no job."""
        ...

    def moved(self, token: str) -> Moved | None:
        """Return how far a move has come, None if it knows nothing of it."""
        ...

    def begin(self, token: str) -> Moved | None:
        """Note that a move begins, and return how far it is; None if there are jobs of others."""
        ...

    def adopt(self, token: str, piece: Piece) -> Moved | None:
        """Take a piece and note it, all at once; None, and nothing, unless `after` is how far it is."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class QueueMigrated(QueueError):  # noqa: N818 - named like its siblings
    """The queue's jobs have moved, or are moving, to another queue. Nothing was changed."""

    def __init__(self, path: Path | str, mark: Mark) -> None:
        done = "were moved" if mark.is_complete else "are being moved, by `ssq migrate`,"
        super().__init__(f"{printable_path(path)}: its jobs {done} to {mark.destination}; open that instead")
        self.path = Path(path)
        self.destination = mark.destination
        self.is_complete = mark.is_complete


class MoveRefused(QueueError):  # noqa: N818 - named like its siblings
    """The jobs can not be moved, or not yet; nothing was lost."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{printable_path(where)}: {reason}")
        self.where = where
        self.reason = reason
