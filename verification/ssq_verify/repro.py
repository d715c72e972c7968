"""How is a failure shown again, on another day and with another Hypothesis? By a file that holds all of it.

A repro names its subject as the command line did, so it is replayed from the folder where it was found.
"""

import hashlib
import platform
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import msgspec

from ssq_verify import invariants, linearize
from ssq_verify import subject as subject_module
from ssq_verify.execution import execute, scratch
from ssq_verify.history import History
from ssq_verify.scenario import Scenario
from ssq_verify.subject import Subject
from ssq_verify.verdict import Violation

REPRO_VERSION = 1
VIOLATIONS_MAX = 10_000


class Versions(msgspec.Struct, frozen=True, kw_only=True):
    """What found it."""

    ssq: str
    python: str


class Repro(msgspec.Struct, frozen=True, kw_only=True):
    """A scenario that breaks an invariant of a subject."""

    ssq_repro: int = REPRO_VERSION
    subject: str
    """The reference, as `subject.load` takes it; a file's path is relative to where ssq runs."""
    invariant: str
    sentence: str
    """What happened, in plain words."""
    scenario: Scenario
    digest: str
    """Of the history that it gave: see `digest`."""
    versions: Versions


@dataclass(frozen=True, kw_only=True, slots=True)
class Replay:
    """What a repro did when it was run again."""

    still_fails: bool
    history: History
    violation: Violation | None
    is_same_history: bool
    """Whether the history was the recorded one, byte for byte."""


class InvalidRepro(Exception):  # noqa: N818 - it names what is invalid
    """A file that is no repro of this version; the message says what to do."""


def repro(subject: Subject, scenario: Scenario, violation: Violation, history: History) -> Repro:
    """Return the repro of a violation that the scenario's history shows."""
    return Repro(
        subject=subject.reference,
        invariant=violation.invariant,
        sentence=violation.sentence,
        scenario=scenario,
        digest=digest(history),
        versions=Versions(ssq=version("ssq"), python=platform.python_version()),
    )


def digest(history: History) -> str:
    """Return the SHA-256 of the history as JSON Lines, in hexadecimal."""
    encoder = msgspec.json.Encoder()
    lines = (encoder.encode(part) + b"\n" for part in (history.header, *history.events))
    return hashlib.sha256(b"".join(lines)).hexdigest()


def save(repro: Repro, path: Path) -> None:
    """Write a repro as JSON that a person can read and edit; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(repro), indent=2) + b"\n")


def load(path: Path) -> Repro:
    """Read a repro. Raises `InvalidRepro`; `OSError` if the file can not be read."""
    content = path.read_bytes()
    try:
        found = msgspec.json.decode(content, type=_Version).ssq_repro
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidRepro(f"{path}: not a repro ({error}); give a file that `ssq verify` wrote") from None
    if found != REPRO_VERSION:
        raise InvalidRepro(
            f"{path}: repro version {found}, this ssq replays {REPRO_VERSION}; use the ssq that wrote it"
        )
    try:
        return msgspec.json.decode(content, type=Repro)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidRepro(f"{path}: damaged repro ({error}); run `ssq verify` again") from None


def replay(repro: Repro) -> Replay:
    """Run a repro again on its subject as it is now. Raises `UnknownSubject`, `SubjectFailed`."""
    subject = subject_module.load(repro.subject)
    with scratch() as workdir:
        history = execute(repro.scenario, subject, workdir)
    found = violations(history, repro.invariant)
    return Replay(
        still_fails=bool(found),
        history=history,
        violation=min(found, key=lambda violation: len(violation.witness), default=None),
        is_same_history=digest(history) == repro.digest,
    )


def violations(history: History, invariant: str) -> tuple[Violation, ...]:
    """Return how the history breaks one invariant, be it judged by a query or by the exact check."""
    if invariant == "linearizable":
        return linearize.violations(history)
    return invariants.violations(history, invariant, limit=VIOLATIONS_MAX)


class _Version(msgspec.Struct):
    ssq_repro: int
