"""What has a night done so far? A line for each watch that is over, on the disk before the next begins.

Whatever ends a night, the file says where to go on: a line that was cut is dropped, and its watch done again.
"""

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import msgspec

from ssq_stress.following import Again
from ssq_stress.plan import Plan
from ssq_stress.record import Record
from ssq_verify.subject import Subject

NAME = "night.jsonl"
FORMAT = 1


class NotThisNight(Exception):  # noqa: N818 - it says what the folder is not
    """A folder holds another night, or somebody else is at work in it."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}; name another folder with --out")
        self.path, self.why = path, why


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a night was asked for; it may go on for longer, but not with something else."""

    format: int = FORMAT
    subject: str
    seed: int
    profile: str
    consumers: int
    producers: int
    rate: float | None
    faults: tuple[str, ...]
    takes_power: bool
    max_clock_skew: float | str | None
    """What the queue is held to."""


class Watch(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of one watch."""

    number: int
    seed: int
    conditions: str
    seconds: float
    """All in all."""
    record: Record = Record()
    repros: dict[str, str] = {}
    """By the invariant, what a search in simulation found."""
    sought: tuple[str, ...] = ()
    """What was gone after."""
    again: tuple[Again, ...] = ()
    interrupted: str | None = None
    failed: str | None = None
    """By what it ended that is no finding."""


class Ledger:
    """The file, held by one night at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.was_cut = False
        """Whether the last line was not written to its end."""
        self._file = path.open("a+b")

    @classmethod
    def opened(cls, folder: Path, asked: Asked) -> Self:
        """Begin a night in a folder, or go on with the one that is there.

        Raises `NotThisNight`, `OSError`.
        """
        ledger = cls(folder / NAME)
        try:
            ledger._hold()
            ledger._mend()
            ledger._begin(asked)
        except BaseException:
            ledger.close()
            raise
        return ledger

    def watches(self) -> Iterator[Watch]:
        """Yield those that are over, one after the other."""
        with self.path.open("rb") as lines:
            next(lines)
            for line in lines:
                yield msgspec.json.decode(line, type=Watch)

    def append(self, watch: Watch) -> None:
        """Write down that a watch is over, and return when it is on the disk."""
        self._write(msgspec.json.encode(watch))

    def close(self) -> None:
        """Let others have it."""
        self._file.close()

    def _hold(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise NotThisNight(self.path, "another night is at work there") from error

    def _mend(self) -> None:
        whole = 0
        with self.path.open("rb") as lines:
            for line in lines:
                self.was_cut = not line.endswith(b"\n")
                whole += 0 if self.was_cut else len(line)
        self._file.truncate(whole)

    def _begin(self, asked: Asked) -> None:
        with self.path.open("rb") as lines:
            first = lines.readline()
        if not first:
            self._write(msgspec.json.encode(asked))
            return
        try:
            begun = msgspec.json.decode(first, type=Asked)
        except msgspec.DecodeError as error:
            raise NotThisNight(self.path, f"it is no night that this version knows ({error})") from error
        if other := _difference(begun, asked):
            raise NotThisNight(self.path, f"that night was begun with {other}")

    def _write(self, line: bytes) -> None:
        self._file.write(line + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())


def asked(subject: Subject, plan: Plan) -> Asked:
    """Return what a plan asks of a night, but for its time."""
    return Asked(
        subject=subject.reference,
        seed=plan.seed,
        profile=plan.profile,
        consumers=plan.consumers,
        producers=plan.producers,
        rate=plan.rate,
        faults=tuple(sorted(plan.faults)),
        takes_power=plan.takes_power,
        max_clock_skew=subject.promises.max_clock_skew_seconds,
    )


def _difference(begun: Asked, now: Asked) -> str | None:
    """Return the first thing in which two differ, in words, or None."""
    for name in begun.__struct_fields__:
        before, after = getattr(begun, name), getattr(now, name)
        if before != after:
            return f"{name.replace('_', ' ')} {before}, not {after}"
    return None
