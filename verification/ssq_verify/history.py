"""What happened, in which order, as seen from outside: the one form that every run is judged in.

A history is a header (the terms that the queue is held to) and events in the order of one true clock. The
vocabulary is Jepsen's: an operation opens with `invoke` and closes with `ok` (it took effect), `fail` (it
certainly did not) or `info` (nobody knows: it may have, at any later time, or never). The file format is
JSON Lines, one header line and then one event a line, so that any program in any language can write one;
its specification is `openspec/specs/history/spec.md`.
"""

from collections.abc import Iterable, Iterator, Sequence
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

SCHEMA_VERSION = 1
T = TypeVar("T")
NEVER_NS = 2**63 - 1
"""The return time of an operation whose outcome is not known: later than everything."""


class EventType(StrEnum):
    """Where in an operation's life an event stands."""

    INVOKE = "invoke"
    OK = "ok"
    FAIL = "fail"
    INFO = "info"


OPERATIONS = frozenset({"enqueue", "claim", "ack", "release", "extend", "requeue"})
"""What a worker calls; each has an `invoke` and at most one completion.

A call with many jobs is that many operations of the worker at once, each in a *lane* of its own.
"""

FAULTS = frozenset({
    "crash", "pause", "resume", "clock", "power-loss", "io-error",
    "server-kill", "server-pause", "server-back", "connection-cut",
})  # fmt: skip
"""What is done to a worker, its storage or its server; single events of type `info`. Those of a server name
it in place of a worker, and end nobody's operation: what was cut off says so itself."""

OBSERVATIONS = frozenset({
    "open", "heal", "drained", "drain-cut", "dead", "present", "zone", "strobe", "sweep", "swept",
})  # fmt: skip
"""What the harness did or saw: a handle opened, faults over, the queue empty (or given up), a dead letter, a
job that is in the queue in whatever state; that the queue's own sweeper began a round, and ended it."""


LEASE_LOST, NOT_DEAD = "LeaseLost", "not dead"
"""How the error of a `fail` begins that says something of the job: the claim is not current, there is no dead
letter. Any other `fail` says that nothing was changed, and no more."""

INHERITED = "inherited across a fork"
"""What an `open` says of a handle that a worker did not open itself."""


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """What this queue is held to: its promises, resolved against the policy that it was opened with."""

    lease_ttl_seconds: float = 60.0
    max_attempts: int | None = 3
    """None: retries without bound are what the queue promises."""
    backoff_base_seconds: float = 0.0
    backoff_max_seconds: float = 30.0
    max_clock_skew_seconds: float | None = 0.0
    """E, the bound under which single-claimer is judged; None: the server keeps the time, any is within."""
    time_resolution_seconds: float = 0.001
    """How coarse its own times are: so late may it see that a lease, or a rest, has ended."""
    lease: bool = True
    fencing: bool = True
    release: bool = True
    """Whether a job can be given back."""
    extend: bool = True
    back_off: bool = True
    payload: bool = True
    dead_letters: bool = True
    """Whether the queue can list its dead letters."""
    batches: bool = False
    """Whether the queue takes many jobs in one call."""
    lists_jobs: bool = False
    """Whether the queue can list the jobs that it has, in whatever state."""
    sweeps: bool = False
    """Whether what is due is brought back by a sweeper of its own, and not by the claim that takes it."""
    idempotent_enqueue: bool = True
    repeat_ack: Literal["refused", "accepted"] = "refused"
    late_ack: Literal["accepted", "rejected", "either"] = "accepted"
    durability: Literal["power-loss", "process-crash", "none"] = "power-loss"
    order: Literal["fifo", "fifo-relaxed"] | None = "fifo"
    spurious_empty: bool = True
    forks: bool = False
    """Whether a handle may be used on either side of a fork."""

    def backoff_seconds(self, attempt: int) -> float:
        """Return how long a job rests after a release of the given attempt."""
        if not self.back_off:
            return 0.0
        return min(self.backoff_base_seconds * 2.0 ** min(attempt - 1, 64), self.backoff_max_seconds)


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of a history file."""

    ssq_history: int = SCHEMA_VERSION
    subject: str = ""
    terms: Terms = Terms()


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One line of a history. Fields that do not apply are absent."""

    index: int
    """The place in the file: 0, 1, 2, …"""
    time_ns: int
    """The clock that all recorders share (CLOCK_MONOTONIC, or virtual time); never decreases in a run."""
    worker: str
    type: EventType
    f: str
    """An operation, a fault or an observation; see `OPERATIONS`, `FAULTS`, `OBSERVATIONS`."""
    job_id: str | None = None
    claim_id: str | None = None
    attempt: int | None = None
    value: str | None = None
    """enqueue invoke, claim ok: the payload in base64. fail, info: the error. clock: the offset from the true
    clock in seconds. drain-cut: the limit that was reached."""
    wall_time: str | None = None
    """The worker's own clock, ISO 8601 in UTC."""
    run: int = 0
    """A file may hold many runs; each is judged by itself."""
    lane: int = 0
    """Of an operation: which job of a call with many it is, from 0 on; a call with one has lane 0 alone."""


class Operation(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """An invocation with its completion."""

    run: int
    worker: str
    f: str
    job_id: str | None
    """Of a claim: the job that it returned, None for "nothing available"."""
    claim_id: str | None
    attempt: int | None
    value: str | None
    """enqueue, claim ok: the payload in base64, as sent and as received."""
    outcome: EventType
    error: str | None
    inv_ns: int
    ret_ns: int
    """`NEVER_NS` if the outcome is `info`: the effect may come at any later time."""
    inv_index: int
    ret_index: int | None
    """The completing event; None if there is none."""
    lane: int = 0


class InvalidHistory(Exception):  # noqa: N818 - it names what is invalid
    """A history that no run can have produced."""

    def __init__(self, where: str, reason: str) -> None:
        super().__init__(f"{where}: {reason}")
        self.where = where
        self.reason = reason

    def __reduce__(self) -> tuple[type["InvalidHistory"], tuple[str, str]]:
        """Come through to another process as it is."""
        return type(self), (self.where, self.reason)


class History(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """A validated sequence of events with the terms that it is judged by."""

    header: Header = Header()
    events: tuple[Event, ...] = ()

    @property
    def terms(self) -> Terms:
        """What the queue is held to."""
        return self.header.terms

    @cached_property
    def operations(self) -> tuple[Operation, ...]:
        """The operations in the order of their invocations. Raises `InvalidHistory`."""
        return tuple(sorted(paired(self.events), key=lambda operation: operation.inv_index))

    def validated(self) -> "History":
        """Return this history. Raises `InvalidHistory`, naming event and line, if no run can have made it."""
        _ = self.operations
        return self


def paired(events: Iterable[Event]) -> Iterator[Operation]:
    """Join invocations with completions, each as soon as it is known. Raises `InvalidHistory`."""
    open_operations: dict[tuple[int, str], dict[int, Event]] = {}
    clocks: dict[int, int] = {}
    for position, event in enumerate(events):
        if event.index != position:
            raise _invalid(event, position, f"index is {event.index}, expected {position}")
        if event.time_ns < clocks.get(event.run, event.time_ns):
            raise _invalid(event, position, "time_ns runs backward")
        clocks[event.run] = event.time_ns
        key = (event.run, event.worker)
        if event.f not in OPERATIONS:
            _check_single(event, position)
            if event.f == "crash" and key in open_operations:
                yield from (_operation(opened, None) for opened in open_operations.pop(key).values())
        elif event.type is EventType.INVOKE:
            lanes = open_operations.setdefault(key, {})
            _check_lane(event, position, lanes)
            lanes[event.lane] = event
        else:
            opened = open_operations.get(key, {}).pop(event.lane, None)
            if opened is None or opened.f != event.f:
                raise _invalid(event, position, f"{event.worker} has no open {event.f} to complete")
            yield _operation(opened, event)
    for lanes in open_operations.values():
        yield from (_operation(opened, None) for opened in lanes.values())


def joined(histories: Sequence[History]) -> History:
    """Return one history with all runs, as which they can be judged together: its runs are 0, 1 and so on."""
    numbers: dict[tuple[int, int], int] = {}
    events = [
        (numbers.setdefault((place, event.run), len(numbers)), event)
        for place, history in enumerate(histories)
        for event in history.events
    ]
    numbered = (
        msgspec.structs.replace(event, run=run, index=index) for index, (run, event) in enumerate(events)
    )
    return History(header=histories[0].header if histories else Header(), events=tuple(numbered))


def read(path: Path) -> History:
    """Read a JSON Lines or Parquet (`.parquet`) history. Raises `InvalidHistory`, naming the line."""
    if path.suffix == ".parquet":
        from ssq_verify import parquet  # noqa: PLC0415 - DuckDB takes 0.1 s to load; most readers do not need it

        return parquet.read(path).validated()
    with path.open("rb") as lines:
        header = _decoded(next(lines, b""), 1, Header)
        if header.ssq_history != SCHEMA_VERSION:
            raise InvalidHistory(
                "line 1", f"history schema {header.ssq_history}; this ssq reads {SCHEMA_VERSION}"
            )
        events = tuple(_decoded(line, number, Event) for number, line in enumerate(lines, start=2))
    return History(header=header, events=events).validated()


def write(history: History, path: Path) -> None:
    """Write a history as JSON Lines, the same one as the same bytes, or as Parquet (`.parquet`)."""
    if path.suffix == ".parquet":
        from ssq_verify import parquet  # noqa: PLC0415 - as in `read`

        parquet.write(history, path)
        return
    encoder = msgspec.json.Encoder()
    with path.open("wb") as lines:
        lines.write(encoder.encode(history.header) + b"\n")
        lines.writelines(encoder.encode(event) + b"\n" for event in history.events)


def _decoded(line: bytes, number: int, kind: type[T]) -> T:
    if not line.endswith(b"\n"):
        raise InvalidHistory(f"line {number}", "cut in mid-line; drop it, or record the run again")
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.MsgspecError as error:
        raise InvalidHistory(f"line {number}", f"not a history {kind.__name__.lower()}: {error}") from None


def _check_single(event: Event, position: int) -> None:
    if event.f not in FAULTS | OBSERVATIONS:
        raise _invalid(event, position, f"f is {event.f!r}, neither an operation, a fault nor an observation")
    if event.type is not EventType.INFO:
        raise _invalid(
            event, position, f"{event.f} is a single event; its type is 'info', not {event.type.value!r}"
        )


def _check_lane(event: Event, position: int, lanes: dict[int, Event]) -> None:
    if event.lane:
        if event.lane == len(lanes) and 0 in lanes and lanes[0].f == event.f:
            return
        raise _invalid(
            event, position, f"lane {event.lane} is not the next of an open {event.f}; begin a call at lane 0"
        )
    if lanes:
        opened = next(iter(lanes.values()))
        raise _invalid(event, position, f"{event.worker} has an open {opened.f}; complete it first")


def _operation(opened: Event, closed: Event | None) -> Operation:
    outcome = EventType.INFO if closed is None else closed.type
    answer = closed if closed is not None and opened.f == "claim" else opened
    known = outcome is not EventType.INFO
    return Operation(
        run=opened.run,
        worker=opened.worker,
        f=opened.f,
        job_id=answer.job_id,
        claim_id=answer.claim_id,
        attempt=answer.attempt,
        value=answer.value if opened.f != "claim" or outcome is EventType.OK else None,
        outcome=outcome,
        error=closed.value if closed is not None and outcome is not EventType.OK else None,
        inv_ns=opened.time_ns,
        ret_ns=closed.time_ns if closed is not None and known else NEVER_NS,
        inv_index=opened.index,
        ret_index=closed.index if closed is not None else None,
        lane=opened.lane,
    )


def _invalid(event: Event, position: int, reason: str) -> InvalidHistory:
    # The header is line 1, so the first event is line 2.
    return InvalidHistory(
        f"event {position} (line {position + 2})", f"{reason} [{event.worker} {event.f} {event.type.value}]"
    )
