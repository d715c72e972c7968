"""What is a worker process given? Its name, its seed, its files, and how to open the queue."""

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ssq_stress.nemesis import skew
from ssq_stress.processes.workload import Workload
from ssq_verify.scenario import Settings
from ssq_verify.subject import Subject, SubjectFailed

PAYLOAD_BYTES_MAX = 120
SUBJECT_FAILED = "SubjectFailed: "
"""How a report begins that blames the subject, and not the harness."""


class Role(StrEnum):
    """What a worker is for."""

    CONSUMER = "consumer"
    PRODUCER = "producer"
    SWEEPER = "sweeper"
    """It does what the queue leaves to a scheduler or a periodic task."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Folders:
    """Where a round has its files."""

    round: Path
    queue: Path
    """The queue's own, given to its factory."""
    disk: Path | None = None
    """The small file system that the queue lies on, if it does."""

    @property
    def board(self) -> Path:
        """What the supervisor and the workers tell each other."""
        return self.round / "board"

    @property
    def events(self) -> Path:
        """One file a process."""
        return self.round / "events"

    @property
    def effects(self) -> Path:
        """One file a job."""
        return self.round / "effects"


@dataclass(frozen=True, kw_only=True, slots=True)
class Assignment:
    """All that a worker process is given."""

    load: Callable[[], Subject]
    name: str
    number: int
    """Of its slot on the board."""
    generation: int
    """How many before it had this name, and died."""
    role: Role
    folders: Folders
    settings: Settings
    seed: str
    skew_seconds: float | None
    """By how much any two clocks may differ; None: by any."""
    base_ns: int
    """What has to be added to CLOCK_MONOTONIC for the true date."""
    workload: Workload
    rate: float | None = None
    """producer: how many jobs a second; None: as many as are taken."""
    payload_bytes_max: int = PAYLOAD_BYTES_MAX
    """producer: no job carries more."""

    @property
    def path(self) -> Path:
        """Its events."""
        return self.folders.events / f"{self.name}.{self.generation:06d}.jsonl"

    @property
    def failure(self) -> Path:
        """Where it says why it could not go on."""
        return self.path.with_suffix(".failed")

    @property
    def time_file(self) -> Path:
        """Where its C code is told the time, and that of its successor."""
        return self.folders.round / f"{self.name}.time"

    @property
    def clock_limit_ns(self) -> int:
        """How far its clock may be from the true time."""
        return skew.limit_ns(self.skew_seconds)


@contextmanager
def reporting(path: Path) -> Iterator[None]:
    """Write down why a process could not go on: nobody sees its traceback."""
    try:
        yield
    except BaseException as error:  # noqa: BLE001 - as above
        path.write_text(_report(error, path))


def _report(error: BaseException, path: Path) -> str:
    """Return a line about a subject, a number and a place about a disk, or a traceback.

    What is empty could not be written for want of room, and is read so.
    """
    if isinstance(error, SubjectFailed):
        return f"{SUBJECT_FAILED}{error}"
    if isinstance(error, OSError) and error.errno:
        return f"{error.errno} {error.filename or path.parent}"
    return traceback.format_exc()


def patience_seconds(settings: Settings) -> float:
    """Return after how long without a job there is none left: each lease and each rest has ended by then."""
    longest = max(settings.lease_ttl_seconds, settings.backoff_max_seconds)
    return longest + 2 * settings.max_clock_skew_seconds + 0.2
