"""What is told of workers that raced: where one was stopped or struck, and how a run without that differs."""

import re
from typing import NamedTuple

from ssq_verify.history import Event, EventType, History, Operation
from ssq_verify.report.layout import shortened

_RANDOM = re.compile(r"[0-9a-f]{12,}")
_FOLDERS = re.compile(r"(?:[^\s/]+/)+(?=[^\s/]+/[^\s/]+)")
POINT_LENGTH_MAX = 56


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
    plain = _RANDOM.sub(lambda found: f"{found[0][:3]}…", _FOLDERS.sub("", detail)).replace("->", "→")
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
    """Return how a run that holds first differs: `a run without that differs first in drain's claim → j1`."""
    mine, other = first_difference(failing, passing)
    if other is not None:
        return f"without that: {other.worker}'s {answered(other)}"
    return f"without that: {mine.worker}'s {mine.f} is not called" if mine is not None else ""


def answered(operation: Operation) -> str:
    """Return what an operation was and what it answered, in a few words."""
    if operation.f == "claim":
        got = "no answer" if operation.outcome is EventType.INFO else operation.job_id or "nothing"
        return f"claim → {got}"
    answer = (
        "ok" if operation.outcome is EventType.OK else shortened(operation.error or "no answer", length=40)
    )
    return f"{operation.f} {operation.claim_id or operation.job_id} → {answer}"


def first_difference(failing: History, passing: History) -> tuple[Operation | None, Operation | None]:
    """Return the first operations in which two runs differ, that of each; None where one has no more."""
    ours, theirs = _ended(failing), _ended(passing)
    for mine, other in zip(ours, theirs, strict=False):
        if _said(mine) != _said(other):
            return mine, other
    longer, shorter = max(ours, theirs, key=len), min(len(ours), len(theirs))
    more = longer[shorter] if len(longer) > shorter else None
    return (more, None) if longer is ours else (None, more)


def _ended(history: History) -> list[Operation]:
    """Return the operations in the order in which they came back; what never did stands where it was called."""
    return sorted(history.operations, key=lambda operation: operation.ret_index or operation.inv_index)


def _said(operation: Operation) -> tuple[str, str, EventType, str | None]:
    return operation.worker, operation.f, operation.outcome, operation.job_id
