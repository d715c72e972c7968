"""How a promise broke, for a person: a sentence, and at most ten rows in columns by worker, in order."""

import base64
import binascii
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len
from rich.text import Text

from ssq_verify.history import NEVER_NS, Event, EventType, History, Operation
from ssq_verify.report.layout import GAP, WIDTH, Cell, paragraph, printable, rounded, row, shortened
from ssq_verify.report.racing import ALL_SURVIVES, ENDS, Acting, Raced, Stop, stopped, struck, without_it
from ssq_verify.verdict import Violation

ROWS_MAX = 10
MARK = "✗ here"
SETTLED_NS = 1_000_000
"""An operation that took less than this is shown at one instant."""
QUIET = frozenset({"open", "heal", "resume"})
"""Observations that no story needs."""
AT_THE_END = frozenset({"no-lost-job", "durable"})
"""Invariants that break when the queue is found drained."""
COLUMN_MIN = 12
FIRST, LAST = "setup", "drain"
"""Who prepares the queue, and who comes when all is over, have the first and the last column."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One thing that one worker did, and what came of it."""

    time_ns: int
    """When it returned, since the run began."""
    worker: str
    text: str
    is_witness: bool
    is_break: bool = False
    """Here the promise broke."""
    reaches: bool = False
    """It may be longer than its column is wide."""
    short: str = ""
    """The text with no more of an error than its type."""


def story(
    history: History, violation: Violation, *, width: int = WIDTH, raced: Raced | None = None
) -> list[Text]:
    """Return the story of a violation that was found in this history, as lines at most `width` wide.

    Where workers raced, it shows where each was stopped or struck, and how a run without that differs.
    """
    sentence = Text(no_wrap=True).append(violation.invariant, style="bold red")
    lines = [sentence, *paragraph(rounded(violation.sentence), width=width), Text()]
    lines += drawn(rows(history, violation, raced=raced), width=width)
    if raced is not None and raced.passing is not None:
        lines += paragraph(without_it(history, raced), width=width, style="dim")
    return lines


def rows(
    history: History, violation: Violation, *, limit: int = ROWS_MAX, raced: Raced | None = None
) -> tuple[Row, ...]:
    """Choose the rows that tell it: what shows the violation, what happened to that job, what stands near."""
    witness = {event.index for event in violation.witness}
    if violation.invariant in AT_THE_END:
        witness |= {
            event.index for event in history.events if event.run == violation.run and event.f == "drained"
        }
    racing, raced = raced is not None, raced or Raced()
    moments = _moments(history, violation.run, raced.stops)
    limit -= any(moment.is_power_loss for moment in moments) and racing
    shown = sorted(_chosen(moments, witness, violation.job_id, limit), key=lambda moment: moment.index)
    start_ns = min((event.time_ns for event in history.events if event.run == violation.run), default=0)
    told: list[Row] = []
    for moment in shown:
        told.append(_row(moment, start_ns, witness, violation))
        if moment.is_power_loss and racing:
            told.append(replace(told[-1], text=raced.survives or ALL_SURVIVES))
    last = max((position for position, each in enumerate(told) if each.is_witness), default=-1)
    return tuple(replace(each, is_break=position == last) for position, each in enumerate(told))


def drawn(told: Sequence[Row], *, width: int = WIDTH) -> list[Text]:
    """Draw rows in a column for each worker; where that's too wide, in one column with the workers' names.

    What is told of a stop or a fault may reach into the columns to its right: nobody else is told of there.
    """
    shortened_ones = [replace(each, text=each.short or each.text) for each in told]
    in_columns = _drawn_in_columns(told, width) or _drawn_in_columns(shortened_ones, width)
    return in_columns or _drawn_narrow(told, width)


def _drawn_in_columns(told: Sequence[Row], width: int) -> list[Text] | None:
    """Draw rows in columns, None if they are too wide for that."""
    workers = sorted({each.worker for each in told}, key=_column)
    columns = [_width(worker, [each for each in told if each.worker == worker]) for worker in workers]
    times = [seconds(each.time_ns) for each in told]
    time_width = max((len(time) for time in times), default=0)
    starts = [time_width + GAP + sum(columns[:place]) + GAP * place for place in range(len(workers) + 1)]
    reach = [starts[workers.index(each.worker)] + len(each.text) + GAP for each in told]
    mark_at = max([starts[-1], *(end for each, end in zip(told, reach, strict=True) if each.is_break)])
    if max([mark_at + len(MARK), *(end - GAP for end in reach)]) > width:
        return None
    heading = [Cell(text=""), *(Cell(text=worker, style="dim") for worker in workers)]
    lines = [row(heading, (time_width, *columns))]
    for each, time in zip(told, times, strict=True):
        line = Text(no_wrap=True, overflow="ignore").append(time.rjust(time_width), style="dim")
        line.append(" " * (starts[workers.index(each.worker)] - time_width))
        line.append(each.text, style=_style(each))
        if each.is_break:
            line.append(" " * (mark_at - cell_len(line.plain))).append(MARK, style="bold red")
        lines.append(line)
    return lines


def _column(worker: str) -> tuple[bool, bool, int, str]:
    """Return what orders the columns."""
    return worker == LAST, worker != FIRST, len(worker), worker


def _width(worker: str, told: Sequence[Row]) -> int:
    """Return how wide a worker's column is: what may reach further does not count."""
    return max(len(worker), COLUMN_MIN, *(0 if each.reaches else len(each.text) for each in told))


def seconds(time_ns: int) -> str:
    """Return a time in seconds to one decimal, cut and not rounded: what came before 60 s stays before."""
    return f"{time_ns // 100_000_000 / 10:.1f} s"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Moment:
    """An operation, a single event or a stop, at its place in the history."""

    index: float
    """Of what closed it; of what opened it, if nothing did; a stop stands between two events."""
    what: Operation | Event | Stop
    time_ns: int
    indexes: frozenset[int]
    healed: bool = False
    """It came after the faults were over: the drain."""
    inside: Operation | None = None
    """The operation that a worker was in when it was stopped or struck."""
    goes_on: bool = False
    """An operation that was stopped before it came back."""

    @property
    def job_id(self) -> str | None:
        """The job that it is about."""
        return None if isinstance(self.what, Stop) else self.what.job_id

    @property
    def is_power_loss(self) -> bool:
        """Whether here the power fails."""
        return isinstance(self.what, Event) and self.what.f == "power-loss"

    @property
    def is_turn(self) -> bool:
        """Whether here the schedule did what the story turns on."""
        return isinstance(self.what, Stop) or (isinstance(self.what, Event) and struck(self.what) is not None)


def _moments(history: History, run: int, stops: Iterable[Stop]) -> list[_Moment]:
    events = [event for event in history.events if event.run == run]
    heal = min((event.index for event in events if event.f == "heal"), default=math.inf)
    acting = Acting(each for each in history.operations if each.run == run)
    turns = [*_stops(history, stops, acting), *_strikes(events, acting)]
    ended = {id(each.inside) for each in turns if isinstance(each.what, Event) and each.what.f in ENDS}
    stopped_ones = {id(each.inside) for each in turns if each.inside is not None}
    moments = [
        _moment(operation, heal, goes_on=id(operation) in stopped_ones)
        for operation in history.operations
        if operation.run == run and id(operation) not in ended
    ]
    paired = {index for each in history.operations for index in (each.inv_index, each.ret_index)}
    moments += [
        _Moment(
            index=event.index,
            what=event,
            time_ns=event.time_ns,
            indexes=frozenset({event.index}),
            healed=event.index > heal,
        )
        for event in events
        if event.index not in paired and event.f not in QUIET and struck(event) is None
    ]
    return sorted([*moments, *turns], key=lambda moment: moment.index)


def _moment(operation: Operation, heal: float, *, goes_on: bool) -> _Moment:
    closed = operation.inv_index if operation.ret_index is None else operation.ret_index
    return _Moment(
        index=closed,
        what=operation,
        time_ns=operation.inv_ns if operation.ret_ns == NEVER_NS else operation.ret_ns,
        indexes=frozenset({operation.inv_index, closed}),
        healed=operation.inv_index > heal,
        goes_on=goes_on,
    )


def _stops(history: History, stops: Iterable[Stop], acting: Acting) -> Iterator[_Moment]:
    """Yield the stops inside operations; one between two is told by their order."""
    for number, stop in enumerate(stops):
        operation = acting.at(stop.worker, stop.event)
        if operation is not None:
            time_ns = history.events[stop.event - 1].time_ns
            index = stop.event - 1 + (number + 1) / 1_000
            yield _Moment(index=index, what=stop, time_ns=time_ns, indexes=frozenset(), inside=operation)


def _strikes(events: Iterable[Event], acting: Acting) -> Iterator[_Moment]:
    for event in events:
        if struck(event) is not None:
            operation = acting.at(event.worker, event.index)
            ends = operation is not None and event.f in ENDS
            indexes = {event.index} | ({operation.inv_index} if operation is not None and ends else set())
            yield _Moment(
                index=event.index,
                what=event,
                time_ns=event.time_ns,
                indexes=frozenset(indexes),
                inside=operation,
            )


def _chosen(moments: list[_Moment], witness: set[int], job_id: str | None, limit: int) -> list[_Moment]:
    end = max(witness, default=moments[-1].index if moments else 0)

    def rank(moment: _Moment) -> tuple[int, float]:
        if moment.indexes & witness or moment.is_turn:
            return 0, moment.index
        about_the_job = job_id is not None and moment.job_id == job_id
        return (1 if about_the_job else 2), end - moment.index

    candidates = [
        moment
        for moment in moments
        if moment.indexes & witness
        or moment.is_turn
        or (moment.index <= end and (not moment.healed or moment.job_id == job_id))
    ]
    return sorted(candidates, key=rank)[:limit]


def _row(moment: _Moment, start_ns: int, witness: set[int], violation: Violation) -> Row:
    return Row(
        time_ns=moment.time_ns - start_ns,
        worker=printable(moment.what.worker),
        text=printable(_text(moment, start_ns, violation)),
        short=printable(_text(moment, start_ns, violation, error_length=0)),
        is_witness=bool(moment.indexes & witness) or moment.is_turn,
        reaches=moment.is_turn,
    )


def _text(moment: _Moment, start_ns: int, violation: Violation, *, error_length: int = 48) -> str:
    what, shows_payload = moment.what, violation.invariant == "integrity"
    if isinstance(what, Operation):
        text = ("…" if moment.goes_on else "") + operation_text(
            what, shows_payload=shows_payload, error_length=error_length
        )
        took = moment.time_ns - what.inv_ns
        return f"{text} (called at {seconds(what.inv_ns - start_ns)})" if took >= SETTLED_NS else text
    told = stopped(what) if isinstance(what, Stop) else struck(what) or event_text(what)
    if moment.inside is None:
        return told
    called = " ".join((moment.inside.f, *_named(moment.inside, shows_payload=False)))
    return f"{called}… {told}"


def operation_text(operation: Operation, *, shows_payload: bool = False, error_length: int = 48) -> str:
    """Return what an operation did and what it answered: `claim → j1 #2 as c2`, `ack c1 → LeaseLost`."""
    called = " ".join((operation.f, *_named(operation, shows_payload=shows_payload)))
    match operation.outcome:
        case EventType.OK:
            return f"{called} → {_answer(operation, shows_payload=shows_payload)}"
        case EventType.FAIL:
            return f"{called} → {shortened(operation.error or 'refused', length=32)}"
        case _:
            error = operation.error or "no answer"
            return f"{called} → {shortened(error, length=error_length) if error_length else _type(error)}"


def _type(error: str) -> str:
    return error.partition(":")[0]


def event_text(event: Event) -> str:
    """Return what a single event says: `dies`, `clock is 2.0 s ahead`, `finds the queue drained`."""
    if event.f == "clock":
        return _clock(float(event.value or 0))
    known = {
        "crash": "dies",
        "power-loss": "the power fails",
        "drained": "finds the queue drained",
        "drain-cut": f"stops polling: {event.value}",
        "dead": f"finds {event.job_id} dead",
        "zone": f"is in the time zone {event.value}",
        "present": f"sees {event.job_id} in the queue",
    }
    return known.get(event.f) or " ".join(part for part in (event.f, event.job_id, event.value) if part)


def _named(operation: Operation, *, shows_payload: bool) -> Iterable[str]:
    if operation.f == "claim":
        return
    if operation.f in {"enqueue", "requeue"}:
        yield shortened(operation.job_id or "?", length=24)
        if shows_payload and operation.value is not None:
            yield _payload(operation.value)
    else:
        yield shortened(operation.claim_id or operation.job_id or "?", length=12)


def _answer(operation: Operation, *, shows_payload: bool) -> str:
    if operation.f != "claim":
        return "ok"
    if operation.job_id is None:
        return "nothing"
    answer = shortened(operation.job_id, length=24)
    answer += f" #{operation.attempt}" if operation.attempt is not None else ""
    answer += f" as {shortened(operation.claim_id, length=12)}" if operation.claim_id is not None else ""
    return answer + (
        f", {_payload(operation.value)}" if shows_payload and operation.value is not None else ""
    )


def _payload(encoded: str) -> str:
    try:
        return shortened(repr(base64.b64decode(encoded, validate=True))[1:], length=24)
    except binascii.Error:
        return shortened(repr(encoded), length=24)


def _clock(offset_seconds: float) -> str:
    if offset_seconds == 0:
        return "clock is right"
    return f"clock is {abs(offset_seconds):g} s {'ahead' if offset_seconds > 0 else 'behind'}"


def _drawn_narrow(told: Sequence[Row], width: int) -> list[Text]:
    times = [seconds(each.time_ns) for each in told]
    time_width = max((len(time) for time in times), default=0)
    name_width = max((len(each.worker) for each in told), default=0)
    text_width = width - time_width - name_width - len(MARK) - 3 * GAP
    widths = (time_width, name_width, text_width, len(MARK))
    return [
        row(
            (
                Cell(text=time.rjust(time_width), style="dim"),
                Cell(text=each.worker, style="dim"),
                Cell(text=shortened(each.text, length=text_width), style=_style(each)),
                Cell(text=MARK if each.is_break else "", style="bold red"),
            ),
            widths,
        )
        for each, time in zip(told, times, strict=True)
    ]


def _style(each: Row) -> str:
    if each.is_break:
        return "bold red"
    return "" if each.is_witness else "dim"
