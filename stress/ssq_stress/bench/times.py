"""What did each process do, and when? Numbers in arrays while the clock runs; read and joined afterwards."""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from ssq_verify.whole import whole

NANOSECONDS = "q"


class Pair(msgspec.Struct, frozen=True, array_like=True):
    """One claim that returned a job, and its ack."""

    job_id: str
    claim_id: str
    attempt: int | None
    worker: str
    due_ns: int
    """When the claim was to begin: where there is no timetable, when it began."""
    asked_ns: int
    claimed_ns: int
    """Its ack began then, too."""
    acked_ns: int


class Filled(msgspec.Struct, frozen=True, array_like=True):
    """One job that was enqueued."""

    job_id: str
    worker: str
    asked_ns: int
    done_ns: int


class Effort(msgspec.Struct, frozen=True):
    """What a process needed while the clock ran."""

    cpu_seconds: float
    peak_bytes: int
    empty_ns: tuple[int, ...] = ()
    """How long each claim took that found nothing."""


@dataclass(slots=True)
class Sheet:
    """Where a worker notes what it does: nothing is formatted or written while the clock runs."""

    worker: str
    claims: list[Any] = field(default_factory=list)
    instants: "array[int]" = field(default_factory=lambda: array(NANOSECONDS))
    """Four a pair."""
    empty_ns: "array[int]" = field(default_factory=lambda: array(NANOSECONDS))

    def note(self, claim: Any, due: int, asked: int, claimed: int, acked: int) -> None:
        """Add one pair."""
        self.claims.append(claim)
        self.instants.extend((due, asked, claimed, acked))

    def pairs(self) -> Iterator[Pair]:
        """Yield what was noted."""
        for place, claim in enumerate(self.claims):
            yield Pair(
                str(claim.job_id),
                str(claim.claim_id),
                getattr(claim, "attempt", None),
                self.worker,
                *self.instants[4 * place : 4 * place + 4],
            )


def write(path: Path, records: Iterable[msgspec.Struct], effort: Effort | None = None) -> None:
    """Write what a process has, whole or not at all."""
    with whole(path) as draft:
        draft.write_bytes(msgspec.msgpack.encode((list(records), effort)))


def read_pairs(path: Path) -> tuple[list[Pair], Effort]:
    """Read what a worker wrote."""
    return msgspec.msgpack.decode(path.read_bytes(), type=tuple[list[Pair], Effort])


def read_filled(path: Path) -> list[Filled]:
    """Read what a producer wrote."""
    return msgspec.msgpack.decode(path.read_bytes(), type=tuple[list[Filled], None])[0]
