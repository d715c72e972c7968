"""What is told of workers that raced: where one was stopped or struck, and how a run without that differs."""

import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from operator import attrgetter
from typing import NamedTuple

from ssq_verify.history import Event, EventType, History, Operation
from ssq_verify.report.layout import shortened

_RANDOM = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{12,}")
_FOLDERS = re.compile(r"(?:[^\s/]+/)+(?=[^\s/]+/[^\s/]+)")
_SAME_FOLDER = re.compile(r"([^\s/]+/)(\S+) -> \1")
POINT_LENGTH_MAX = 60
STRIKES = frozenset({"crash", "power-loss", "io-error", "pause"})
ENDS = frozenset({"crash", "power-loss"})
SPECIAL = {"return": "before its answer", "call": "as it begins", "exit": "by itself"}
"""Where a worker is that is before no call: last, it ended with nobody's help."""
"""Faults after which an operation has no answer."""
ALL_SURVIVES = "all that was written survives"
STOPS, WAITS, REVERSED = "stops", "lets time pass", "listed in another order"


class Raced(NamedTuple):
    """What a story needs to know of a run in which workers raced, besides its history."""

    stops: "tuple[Stop, ...]" = ()
    survives: str = ""
    """What a loss of power left, in words."""
    passing: History | None = None
    """The same run without its last stop or fault; it holds."""
    last: str = ""
    """What that was: `the kill`."""


class Stop(NamedTuple):
    """A worker was stopped inside an operation, and others ran."""

    event: int
    """How many events there were by then."""
    worker: str
    at: str
    """What it was about to do: `os.rename queued/j1.json -> claimed/j1.tmp`."""
    what: str = STOPS
    """Or that it lets time pass, or is given a listing in another order."""


def place(at: str) -> str:
    """Return what a worker was about to do, for people: `before rename queued/j1.json → claimed/j1.tmp`."""
    call, _, detail = at.partition(" ")
    if call in SPECIAL:
        return SPECIAL[call]
    plain = _RANDOM.sub(lambda found: f"{found[0][:3]}…", _FOLDERS.sub("", detail))
    plain = _SAME_FOLDER.sub(r"\1\2 → ", plain).replace("->", "→")
    return shortened(f"before {call.removeprefix('os.')} {plain}".rstrip(), length=POINT_LENGTH_MAX)


def stopped(stop: Stop) -> str:
    """Return what is told of a stop: `stops before rename queued/j1.json → claimed/j1.tmp`."""
    if stop.what == REVERSED:
        return f"{REVERSED}: {place(stop.at).removeprefix('before ')}"
    return f"{stop.what} {place(stop.at)}"


class Acting:
    """In which operation was a worker when there were so many events?"""

    def __init__(self, operations: Iterable[Operation]) -> None:
        self._of: defaultdict[str, list[Operation]] = defaultdict(list)
        for operation in operations:
            self._of[operation.worker].append(operation)

    def at(self, worker: str, event: int) -> Operation | None:
        """Return the operation that was called before this event, and had not come back by then."""
        called = self._of[worker]
        place = bisect_left(called, event, key=attrgetter("inv_index"))
        last = called[place - 1] if place else None
        is_over = last is None or (last.ret_index is not None and last.ret_index < event)
        return None if is_over else last


def struck(event: Event) -> str | None:
    """Return what is told of a fault that struck at a point; None of one that struck between operations."""
    if event.value is None or event.f not in STRIKES:
        return None
    what, _, at = event.value.rpartition("|")
    told = {
        "crash": f"is killed {place(at)}",
        "power-loss": f"the power fails {place(at)}",
        "io-error": f"{place(at).removeprefix('before ')} fails: {what}",
        "pause": f"stands still for {what} {place(at)}",
    }
    return told[event.f]


def without_it(failing: History, raced: Raced) -> str:
    """Return how a run that holds first differs: `without the kill: w1's claim → j1`."""
    assert raced.passing is not None
    other = first_difference(failing, raced.passing)
    return "" if other is None else f"without {raced.last or 'that'}: {other.worker}'s {answered(other)}"


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
