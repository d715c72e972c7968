"""What is told of workers that raced: where one was stopped or struck, and how a run without that differs."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from ssq_verify.history import Event, EventType, History, Operation
from ssq_verify.report.layout import shortened

_RANDOM = re.compile(r"[0-9a-f]{12,}")
_FOLDERS = re.compile(r"(?:[^\s/]+/)+(?=[^\s/]+/[^\s/]+)")
_SAME_FOLDER = re.compile(r"([^\s/]+/)(\S+) -> \1")
POINT_LENGTH_MAX = 60


class Raced(NamedTuple):
    """What a story needs to know of a run in which workers raced, besides its history."""

    stops: "tuple[Stop, ...]" = ()
    survives: str = ""
    """What a loss of power left, in words."""
    passing: History | None = None
    """The same run without its last stop or fault; it holds."""


class Stop(NamedTuple):
    """A worker was stopped inside an operation, and others ran."""

    event: int
    """How many events there were by then."""
    worker: str
    at: str
    """What it was about to do: `os.rename queued/j1.json -> claimed/j1.tmp`."""


def place(at: str) -> str:
    """Return what a worker was about to do, for people: `before rename queued/j1.json → claimed/j1.tmp`."""
    call, _, detail = at.partition(" ")
    if call in {"return", "call"}:
        return {"return": "before its answer", "call": "as it begins"}[call]
    plain = _RANDOM.sub(lambda found: f"{found[0][:3]}…", _FOLDERS.sub("", detail))
    plain = _SAME_FOLDER.sub(r"\1\2 → ", plain).replace("->", "→")
    return shortened(f"before {call.removeprefix('os.')} {plain}".rstrip(), length=POINT_LENGTH_MAX)


def stopped(history: History, stop: Stop) -> str:
    """Return what is told of a stop: `claim… stops before rename queued/j1.json → claimed/j1.tmp`."""
    inside = [event for event in history.events[: stop.event] if event.worker == stop.worker]
    begun = inside[-1] if inside and inside[-1].type is EventType.INVOKE else None
    name = "" if begun is None else " ".join(filter(None, (begun.f, begun.claim_id or begun.job_id)))
    return f"{name}… stops {place(stop.at)}" if name else f"stops {place(stop.at)}"


def struck(event: Event, survives: str = "") -> str | None:
    """Return what is told of a fault that struck at a point; None of one that struck between operations."""
    if event.value is None or event.f not in {"crash", "power-loss", "io-error", "pause"}:
        return None
    what, _, at = event.value.rpartition("|")
    told = {
        "crash": "is killed",
        "power-loss": "the power fails",
        "io-error": what,
        "pause": f"stands still for {what}",
    }
    after = f"; {survives}" if survives and event.f == "power-loss" else ""
    return f"{told[event.f]} {place(at)}{after}"


def without_it(failing: History, passing: History) -> str:
    """Return how a run that holds first differs: `without that: w1's claim → j1`."""
    other = first_difference(failing, passing)
    return "" if other is None else f"without that: {other.worker}'s {answered(other)}"


def answered(operation: Operation) -> str:
    """Return what an operation was and what it answered, in a few words."""
    if operation.f == "claim":
        got = "no answer" if operation.outcome is EventType.INFO else operation.job_id or "nothing"
        return f"claim → {got}"
    answer = (
        "ok" if operation.outcome is EventType.OK else shortened(operation.error or "no answer", length=40)
    )
    return f"{operation.f} {operation.claim_id or operation.job_id} → {answer}"


def first_difference(failing: History, passing: History) -> Operation | None:
    """Return the first operation of the passing run that the failing one answered otherwise, or not."""
    answers = {key: _answer(operation) for key, operation in _numbered(failing)}
    differing = (operation for key, operation in _numbered(passing) if answers.get(key) != _answer(operation))
    return next(differing, None)


def _numbered(history: History) -> Iterator[tuple[tuple[str, str, int], Operation]]:
    """Yield each operation with a name that it has in both runs: a worker and its n-th claim or ack."""
    counts: Counter[tuple[str, str]] = Counter()
    for operation in history.operations:
        counts[operation.worker, operation.f] += 1
        yield (operation.worker, operation.f, counts[operation.worker, operation.f]), operation


def _answer(operation: Operation) -> tuple[EventType, str | None]:
    return operation.outcome, operation.job_id
