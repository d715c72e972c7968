"""Where arguments become values: what is wrong with them is said here, in one line, before anything runs."""

import difflib
import errno
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, TypeVar

from ssq_stress.command.console import BadInput
from ssq_stress.faults import ALL, POWER_LOSS, Fault, elsewhere
from ssq_verify import history as history_module
from ssq_verify import subject as subject_module
from ssq_verify.history import History, InvalidHistory
from ssq_verify.subject import Subject, UnknownSubject

if TYPE_CHECKING:
    from ssq_verify.repro import Repro

T = TypeVar("T")
ROOM_BYTES_MIN = 65_536
"""Less is soon used up, whatever runs."""
DISK_ERRORS = frozenset({errno.EACCES, errno.EDQUOT, errno.EIO, errno.ENOSPC, errno.EPERM, errno.EROFS})


def named_subject(reference: str) -> Subject:
    """Return the subject that was named. Raises `BadInput`."""
    try:
        return subject_module.load(reference)
    except UnknownSubject as error:
        raise BadInput(str(error)) from error


def fit_for_stress(subject: Subject) -> Subject:
    """Return the subject, if many processes that are killed can have it open. Raises `BadInput`."""
    if subject.promises.processes == "one":
        raise BadInput(f"{subject.reference} promises itself to one process at a time; use ssq verify")
    if subject.promises.durability == "none":
        raise BadInput(f"{subject.reference} does not survive the death of a process; use ssq verify")
    return subject


def held_to(subject: Subject, skew_seconds: float | None) -> Subject:
    """Return the subject, as if it promised to bear clocks that differ by so much. Raises `BadInput`."""
    if skew_seconds is None:
        return subject
    if subject.promises.max_clock_skew_seconds is None:
        raise BadInput(
            f"--skew: {subject.reference} stands any difference of clocks, and is tried so; leave it out"
        )
    return replace(subject, promises=replace(subject.promises, max_clock_skew_seconds=skew_seconds))


def named_history(path: Path) -> History:
    """Read the history that was named. Raises `BadInput`."""
    return read_file(path, history_module.read, InvalidHistory)


def named_repro(path: Path) -> "Repro":
    """Read the repro that was named. Raises `BadInput`."""
    from ssq_verify.repro import InvalidRepro, load  # noqa: PLC0415 - only `ssq replay` needs it

    return read_file(path, load, InvalidRepro)


def chosen(invariants: str | None) -> frozenset[str] | None:
    """Return the ids in a comma-separated list; None means all. Raises `BadInput`."""
    if invariants is None:
        return None
    ids = frozenset(name.strip() for name in invariants.split(",") if name.strip())
    for unknown in sorted(ids - set(invariant_ids())):
        raise BadInput(unknown_invariant(unknown))
    if not ids:
        raise BadInput("--invariants is empty; name one or more, as in --invariants fencing,integrity")
    return ids


def duration(text: str) -> float:
    """Return the seconds in `90s`, `30m` or `8h`. Raises `BadInput`."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", text)
    if match is None:
        raise BadInput(f"--for {text}: not a duration; write 90s, 30m or 8h")
    seconds = float(match[1]) * {"s": 1.0, "m": 60.0, "h": 3_600.0}[match[2]]
    if seconds == 0:
        raise BadInput(f"--for {text}: nothing is seen in no time; write 90s, 30m or 8h")
    return seconds


def faults_chosen(text: str) -> frozenset[Fault]:
    """Return those in a comma-separated list that strike workers; `all`, `none`. Raises `BadInput`."""
    if text in {ALL, "none"}:
        return frozenset(Fault) if text == ALL else frozenset()
    names = [name.strip() for name in text.split(",") if name.strip()]
    for unknown in sorted(set(names) - {*Fault, POWER_LOSS}):
        known = ", ".join([*Fault, POWER_LOSS])
        raise BadInput(f"--faults: {unknown}: no such fault; name some of {known}, or all, or none")
    if not names:
        raise BadInput("--faults is empty; name one or more, as in --faults kill,pause, or all, or none")
    return frozenset(Fault(name) for name in names if name != POWER_LOSS)


def takes_power(subject: Subject, text: str) -> bool:
    """Return whether the power is to fail, too: if that was named, or is among `all`. Raises `BadInput`."""
    is_named = POWER_LOSS in [name.strip() for name in text.split(",")]
    is_promised = subject.promises.durability == POWER_LOSS
    if is_named and not is_promised:
        what = f"{subject.reference} does not promise to survive {POWER_LOSS}"
        raise BadInput(f"--faults: {what}; leave it out, or name all")
    return is_promised and (is_named or text == ALL)


def faults_for(subject: Subject, text: str) -> frozenset[Fault]:
    """Return the chosen faults, if each can strike this subject; of `all`, which can. Raises `BadInput`."""
    chosen_faults, missing = faults_chosen(text), elsewhere(subject.server)
    if text == ALL:
        return chosen_faults - missing
    for fault in sorted(chosen_faults & missing):
        where = "lives in no server" if subject.server is None else "has its data on a server"
        raise BadInput(
            f"--faults: {fault} misses {subject.reference}, which {where}; leave it out, or name all"
        )
    return chosen_faults


def invariant_ids() -> tuple[str, ...]:
    """Return what can be judged, in the order of the table."""
    from ssq_verify.judge import IDS  # noqa: PLC0415 - it loads DuckDB

    return tuple(IDS)


def unknown_invariant(name: str) -> str:
    """Return what to say of an id that there isn't, with the nearest that there is."""
    near = difflib.get_close_matches(name, invariant_ids(), n=1)
    advice = f"did you mean {near[0]}?" if near else "`ssq explain` lists them"
    return f"{name}: no such invariant; {advice}"


def writable(folder: Path) -> Path:
    """Make the folder that results go to, and see that there is room in it. Raises `BadInput`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # In a folder that is there already this may be the first that fails: better now than at the end.
        with TemporaryFile(dir=folder) as trial:
            trial.write(bytes(ROOM_BYTES_MIN))
    except OSError as error:
        raise BadInput(
            f"{folder}: can not write there ({error.strerror}); name another folder with --out"
        ) from error
    return folder


def result_file(path: Path | None, option: str) -> Path | None:
    """Make the folder of a file that results go to, before anything runs. Raises `BadInput`."""
    if path is None:
        return None
    if path.is_dir():
        raise BadInput(f"{option} {path}: is a folder; name a file in it")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(
            f"{option} {path}: can not write there ({error.strerror}); name another file"
        ) from error
    return path


@contextmanager
def room_for(folder: Path) -> Iterator[None]:
    """Say of a disk that is full, or was taken away, that it is so. Raises `BadInput`."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_ERRORS:
            raise
        where = error.filename or folder
        raise BadInput(
            f"{where}: can not write there ({error.strerror}); make room, or name another --out"
        ) from error


def read_file(path: Path, reader: Callable[[Path], T], invalid: type[Exception]) -> T:
    """Read a file that was named. Raises `BadInput`."""
    try:
        return reader(path)
    except FileNotFoundError as error:
        raise BadInput(f"{path}: no such file; check the path") from error
    except OSError as error:
        raise BadInput(f"{path}: can not be read ({error.strerror}); check the path") from error
    except invalid as error:
        message = str(error)
        raise BadInput(message if str(path) in message else f"{path}: {message}") from error
