"""What a lease queue is: the words that every backend, worker and checker share.

The contract behind them is `openspec/specs/lease-queue/spec.md`.
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Protocol, TypeVar, get_args

T = TypeVar("T")

JOB_ID_BYTES_MAX = 200
BATCH_MAX = 1_000
"""How many jobs `claim_many` takes at most; of more, `enqueue_many` and `ack_many` make several steps."""

Clock = Callable[[], datetime]
"""A worker's own clock: the present instant as an aware UTC datetime."""

Durability = Literal["power-loss", "process-crash"]
"""What an operation that returned survives: loss of power, or only the death of its process."""


def utc_now() -> datetime:
    """Return the host's wall-clock time, the default clock of every backend."""
    return datetime.now(UTC)


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueClaim:
    """One worker's right to one job until it is acked, released or superseded by a later claim."""

    job_id: str
    claim_id: str
    """Names this claim and no other, ever (SQS: receipt handle)."""
    worker_id: str
    attempt: int
    """1 for an incarnation's first claim; counted when claimed, so a worker that dies has used one."""
    claimed_at: datetime
    lease_expires_at: datetime
    """From here on (and the queue's `max_clock_skew_seconds` later) anyone may claim the job."""
    payload: bytes = b""


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryPolicy:
    """How often a job may be claimed, and how long it rests after a release."""

    max_attempts: int = 3
    backoff_base_seconds: float = 0.0
    backoff_max_seconds: float = 30.0

    def __post_init__(self) -> None:
        """Refuse a policy that could never hand out a job, or would hand it out in the past."""
        if self.max_attempts < 1:
            raise ValueError(f"RetryPolicy: max_attempts is {self.max_attempts}; give 1 or more")
        if self.backoff_base_seconds < 0 or self.backoff_max_seconds < 0:
            raise ValueError("RetryPolicy: a back-off is negative; give 0 or more seconds")

    def backoff_seconds(self, attempt: int) -> float:
        """Return the rest after a release of the attempt: the base, doubled for each further one, capped."""
        return min(self.backoff_base_seconds * 2.0 ** min(attempt - 1, 64), self.backoff_max_seconds)


@dataclass(frozen=True, kw_only=True, slots=True)
class QueueStats:
    """How many jobs are in each state, by the clock of the handle that was asked."""

    queued: int
    """Available to the next claim."""
    delayed: int
    """Queued, resting until their `available_at`."""
    claimed: int
    """Held under a lease that has not ended."""
    expired: int
    """Held under a lease that has ended; the next claim may take them."""
    dead: int
    damaged: int = 0
    """Records set aside because they could not be read back whole."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeadJob:
    """A job that used up its attempts; `requeue_dead` gives it a new incarnation."""

    job_id: str
    attempts: int
    died_at: datetime
    payload: bytes = b""


class WorkerQueue(Protocol):
    """The five operations that a worker needs. Each takes effect at one instant, or not at all."""

    def enqueue(self, job_id: str, *, payload: bytes = b"") -> None:
        """Add a job; of a job that is queued, claimed or dead, change nothing."""
        ...

    def claim(self, *, worker_id: str) -> QueueClaim | None:
        """Take the oldest available job, or None if none was available at some instant of the call."""
        ...

    def ack(self, *, claim: QueueClaim) -> None:
        """Finish the claimed job for good. Raise `LeaseLost` if the claim is no longer current."""
        ...

    def release(self, *, claim: QueueClaim) -> None:
        """Give the job back: queued again after its back-off, or dead after its last attempt.

        Raise `LeaseLost` if the claim is no longer current.
        """
        ...

    def extend(self, *, claim: QueueClaim) -> QueueClaim:
        """Start the lease anew from now (a heartbeat). Raise `LeaseLost` if the claim isn't current."""
        ...


class BatchQueue(Protocol):
    """Many jobs in one call. Each of them keeps every promise by itself; they change together, or one by one.

    A call that raises anything but `LeasesLost` may have reached some of the jobs and not others.
    """

    def enqueue_many(self, jobs: Iterable[tuple[str, bytes]]) -> None:
        """Add jobs, each an id with its payload, in this order and each as `enqueue` would.

        All are looked at first: an id or a payload that is none changes nothing.
        """
        ...

    def claim_many(self, limit: int, *, worker_id: str) -> list[QueueClaim]:
        """Take the oldest available jobs, oldest first; fewer than the limit if no more were available.

        Each has its own claim id and lease. Raise `ValueError` for a limit below 1 or over `BATCH_MAX`.
        """
        ...

    def ack_many(self, *, claims: Iterable[QueueClaim]) -> None:
        """Finish all claimed jobs whose claims are current; then raise `LeasesLost` if others were not."""
        ...


class AwaitableQueue(Protocol):
    """A queue that can be waited for, without asking it again and again."""

    def wait(self, *, seconds: float) -> bool:
        """Return True as soon as a job may be available, False after so many seconds. A hint: claim anyway.

        Wakes for what is enqueued, given back, or comes due meanwhile, and may wake for nothing.
        """
        ...


class LeaseQueue(WorkerQueue, BatchQueue, AwaitableQueue, Protocol):
    """A `WorkerQueue` that does all that every backend of this package can, and can be looked into."""

    def stats(self) -> QueueStats:
        """Count the jobs by state; reads the whole queue."""
        ...

    def dead(self) -> list[DeadJob]:
        """Return the dead letters, oldest job first; reads the whole queue."""
        ...

    def requeue_dead(self, job_id: str) -> bool:
        """Give a dead job a new incarnation with all its attempts; False if it is not dead."""
        ...


def printable_path(path: Path | str) -> str:
    """Return a path as any log can take it: bytes that are no UTF-8 are written as escapes."""
    return os.fsencode(path).decode(errors="backslashreplace")


class QueueError(Exception):
    """The root of all errors that this package raises on purpose."""


class LeaseLost(QueueError):  # noqa: N818 - a published name
    """The claim is no longer current: it was acked, released or superseded. Nothing was changed."""

    def __init__(self, job_id: str, claim_id: str) -> None:
        super().__init__(
            f"job {job_id!r}: claim {claim_id} is no longer current; drop its result, claim again"
        )
        self.job_id = job_id
        self.claim_id = claim_id


class LeasesLost(LeaseLost):
    """Of many claims that were acked at once, these were no longer current; all others were acked."""

    def __init__(self, claims: Iterable[QueueClaim]) -> None:
        self.claims = tuple(claims)
        super().__init__(self.claims[0].job_id, self.claims[0].claim_id)

    def __str__(self) -> str:
        more = len(self.claims) - 1
        return super().__str__() + (f" (and {more} more; the others were acked)" if more else "")


class QueueIOError(QueueError):
    """The storage refused an operation; whether it took effect is not known."""

    def __init__(self, operation: str, path: Path | str, reason: str = "") -> None:
        super().__init__(f"{operation} failed at {printable_path(path)}: {reason or 'input/output error'}")
        self.operation = operation
        self.path = Path(path)
        self.reason = reason


class QueueBusy(QueueIOError):  # noqa: N818 - named like its siblings
    """The storage stayed locked by others for as long as the queue will wait. Nothing was changed."""


class OutcomeUnknown(QueueError):  # noqa: N818 - it names what is unknown
    """The connection broke, or no answer came in time: the operation took effect, or will, or never does.

    Who enqueues again adds no second job while the first is there; one that was finished meanwhile runs once
    more. A second ack that raises `LeaseLost` may mean that the first one counted.
    """

    def __init__(self, operation: str, where: str, reason: str) -> None:
        super().__init__(
            f"{operation} at {where}: {reason}; whether it took effect is not known: enqueue again, "
            "or claim again (a job that was taken unseen comes back when its lease ends)"
        )
        self.operation = operation
        self.where = where
        self.reason = reason


class QueueUnavailable(QueueError):  # noqa: N818 - named like its siblings
    """The server could not be reached, or refused to work. Nothing was changed."""

    def __init__(self, operation: str, where: str, reason: str) -> None:
        super().__init__(f"{operation} at {where}: {reason}; nothing was changed")
        self.operation = operation
        self.where = where
        self.reason = reason


class MissingDriver(QueueError, ImportError):  # noqa: N818 - named like its siblings
    """The queue's server needs a package that is not installed."""

    def __init__(self, driver: str, extra: str) -> None:
        super().__init__(f"{driver} is not installed; pip install 'ssq[{extra}]'")
        self.driver = driver
        self.extra = extra


class QueueDataCorruptedError(QueueError):
    """The storage holds something that this queue did not write."""

    def __init__(self, path: Path | str, reason: str = "") -> None:
        super().__init__(
            f"{printable_path(path)} is damaged: {reason or 'it can not be read back'}; "
            "restore it or move it away"
        )
        self.path = Path(path)
        self.reason = reason


class UnsupportedFilesystem(QueueError):  # noqa: N818 - a published name
    """The folder is on a shared or network file system, where rename and sync do not promise enough."""

    def __init__(self, path: Path | str, fstype: str) -> None:
        super().__init__(
            f"{printable_path(path)} is on {fstype}, a shared or network file system; use a local disk"
        )
        self.path = Path(path)
        self.fstype = fstype


class UnsupportedSchema(QueueError):  # noqa: N818 - named like its sibling
    """The storage was written by another version of this package."""

    def __init__(self, path: Path | str, found: int, expected: int) -> None:
        super().__init__(
            f"{printable_path(path)} has schema version {found}, this ssq reads {expected}; "
            "use the ssq that wrote it"
        )
        self.path = Path(path)
        self.found = found
        self.expected = expected


class InvalidJobId(QueueError, ValueError):  # noqa: N818 - a published name
    """A job id must be non-empty text of at most 200 bytes in UTF-8. Nothing was changed."""

    def __init__(self, job_id: object, reason: str) -> None:
        shown = repr(job_id)
        super().__init__(f"job id {shown if len(shown) <= 60 else shown[:57] + '...'}: {reason}")  # noqa: PLR2004 - what fits on a line
        self.job_id = job_id
        self.reason = reason


def encoded_job_id(job_id: str) -> bytes:
    """Return the id in UTF-8, or raise `InvalidJobId`: the one door through which ids enter a queue."""
    if not isinstance(job_id, str):
        raise InvalidJobId(job_id, f"it is a {type(job_id).__name__}; give text")
    if not job_id:
        raise InvalidJobId(job_id, "it is empty; give at least one character")
    try:
        encoded = job_id.encode()
    except UnicodeEncodeError:
        raise InvalidJobId(job_id, "it has a lone surrogate; give text that UTF-8 can encode") from None
    if len(encoded) > JOB_ID_BYTES_MAX:
        raise InvalidJobId(job_id, f"it has {len(encoded)} bytes in UTF-8; give at most {JOB_ID_BYTES_MAX}")
    return encoded


def checked_payload(payload: bytes) -> bytes:
    """Return the payload, or raise `TypeError`: the one door through which payloads enter a queue."""
    if not isinstance(payload, bytes):
        raise TypeError(f"payload is a {type(payload).__name__}; give bytes")
    return payload


def checked_jobs(jobs: Iterable[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    """Return jobs to be enqueued, or raise as `encoded_job_id` and `checked_payload` do for any of them."""
    checked = list(jobs)
    for job_id, payload in checked:
        encoded_job_id(job_id)
        checked_payload(payload)
    return checked


def in_pieces(many: Sequence[T]) -> Iterator[Sequence[T]]:
    """Yield the sequence in steps of at most `BATCH_MAX`."""
    return (many[at : at + BATCH_MAX] for at in range(0, len(many), BATCH_MAX))


def checked_limit(limit: int) -> int:
    """Return how many jobs one call may claim, or raise `ValueError`."""
    if not 1 <= limit <= BATCH_MAX:
        raise ValueError(f"limit is {limit}; give 1 to {BATCH_MAX}")
    return limit


def checked_wait_seconds(seconds: float) -> float:
    """Return how long to wait for a job, or raise `ValueError` for less than no time."""
    if not seconds >= 0:
        raise ValueError(f"seconds is {seconds}; give 0 or more")
    return seconds


def checked_lease_seconds(lease_ttl_seconds: float) -> float:
    """Return the length of a lease, or raise `ValueError` for one that no queue could keep."""
    if not 0 < lease_ttl_seconds < math.inf:
        raise ValueError(f"lease_ttl_seconds is {lease_ttl_seconds}; give more than 0, and a finite number")
    return lease_ttl_seconds


def checked_skew_seconds(max_clock_skew_seconds: float) -> float:
    """Return by how much clocks may differ, or raise `ValueError` for what no queue could wait."""
    if not 0 <= max_clock_skew_seconds < math.inf:
        raise ValueError(
            f"max_clock_skew_seconds is {max_clock_skew_seconds}; give 0 or more, and a finite number"
        )
    return max_clock_skew_seconds


def checked_durability(durability: Durability) -> Durability:
    """Return what is to survive, or raise `ValueError` for what nobody promises."""
    if durability not in get_args(Durability):
        raise ValueError(f"durability is {durability!r}; give one of {', '.join(get_args(Durability))}")
    return durability
