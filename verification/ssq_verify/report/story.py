"""How a promise broke, for a person: a sentence, and at most ten rows in columns by worker, in order."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from rich.text import Text

from ssq_verify.history import NEVER_NS, Event, History, Operation
from ssq_verify.report.columns import Row, drawn, seconds
from ssq_verify.report.layout import WIDTH, paragraph, printable, rounded
from ssq_verify.report.racing import ALL_SURVIVES, ENDS, Acting, Raced, Stop, stopped, struck, without_it
from ssq_verify.report.wording import event_text, named, operation_text
from ssq_verify.verdict import Violation

ROWS_MAX = 10
SETTLED_NS = 1_000_000
"""An operation that took less than this is shown at one instant."""
QUIET = frozenset({"open", "heal", "resume"})
"""Observations that no story needs."""
AT_THE_END = frozenset({"no-lost-job", "durable"})
"""Invariants that break when the queue is found drained."""


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
    called = " ".join((moment.inside.f, *named(moment.inside, shows_payload=False)))
    return f"{called}… {told}"
