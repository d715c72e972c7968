"""What failed here before? Repros are kept by subject, tried first the next time, and dropped once fixed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ssq_verify.repro import InvalidRepro, Replayed, Result, load, replay, save
from ssq_verify.subject import Subject, safe_name

FAILURES = Path(".ssq/failures")
"""Under the folder that ssq runs in: it may be put under version control."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tried:
    """A kept failure, and what it comes to now."""

    path: Path
    replayed: Replayed


def kept(subject: Subject, *, folder: Path = FAILURES) -> list[Path]:
    """Return the files in which a subject's failures are kept."""
    return sorted((folder / safe_name(subject.reference)).glob("*.json"))


def tried(subject: Subject, *, processes: int, folder: Path = FAILURES) -> Iterator[Tried]:
    """Run each kept failure again; one that is fixed is dropped, one that ssq can't read is left alone."""
    for path in kept(subject, folder=folder):
        try:
            outcome = replay(load(path), processes=processes)
        except InvalidRepro:
            continue
        if outcome.result is Result.FIXED:
            path.unlink()
        yield Tried(path=path, replayed=outcome)


def keep(subject: Subject, repros: Iterable[Path], *, folder: Path = FAILURES) -> None:
    """Keep repros for the next time; a newer one of the same name takes the older one's place."""
    for path in repros:
        save(load(path), folder / safe_name(subject.reference) / path.name)
