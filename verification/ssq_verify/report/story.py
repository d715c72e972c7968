"""How a promise broke, for a person: a sentence, and at most ten rows in columns by worker, in order."""

import base64
import binascii
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rich.text import Text

from ssq_verify.history import NEVER_NS, Event, EventType, History, Operation
from ssq_verify.report.layout import GAP, WIDTH, Cell, paragraph, printable, rounded, row, shortened
from ssq_verify.report.racing import Raced, Stop, stopped, struck, without_it
from ssq_verify.verdict import Violation

ROWS_MAX = 10
MARK = "✗ here"
SETTLED_NS = 1_000_000
"""An operation that took less than this is shown at one instant."""
QUIET = frozenset({"open", "heal", "resume"})
AT_THE_END = frozenset({"no-lost-job", "durable"})
"""Invariants that break when the queue is found drained."""
"""Observations that no story needs."""


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
        lines += paragraph(without_it(history, raced.passing), width=width, style="dim")
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
    raced = raced or Raced()
    moments = _moments(history, violation.run, raced.stops)
    shown = sorted(_chosen(moments, witness, violation.job_id, limit), key=lambda moment: moment.index)
    start_ns = min((event.time_ns for event in history.events if event.run == violation.run), default=0)
    told = [_row(moment, start_ns, witness, violation, raced.survives) for moment in shown]
    last = max((position for position, each in enumerate(told) if each.is_witness), default=-1)
    return tuple(
        Row(
            time_ns=each.time_ns,
            worker=each.worker,
            text=each.text,
            is_witness=each.is_witness,
            is_break=position == last,
        )
        for position, each in enumerate(told)
    )


def drawn(told: Sequence[Row], *, width: int = WIDTH) -> list[Text]:
    """Draw rows in a column for each worker; where that's too wide, in one column with the workers' names."""
    workers = sorted({each.worker for each in told}, key=lambda name: (len(name), name))
    columns = {
        worker: max(len(worker), *(len(each.text) for each in told if each.worker == worker))
        for worker in workers
    }
    times = [seconds(each.time_ns) for each in told]
    time_width = max((len(time) for time in times), default=0)
    if time_width + GAP + sum(columns.values()) + GAP * len(columns) + len(MARK) > width:
        return _drawn_narrow(told, times, time_width, width)
    widths = (time_width, *columns.values(), len(MARK))
    heading = row(
        [Cell(text=""), *(Cell(text=worker, style="dim") for worker in workers), Cell(text="")], widths
    )
    return [
        heading,
        *(
            row(_cells(each, time, time_width, workers), widths)
            for each, time in zip(told, times, strict=True)
        ),
    ]


def seconds(time_ns: int) -> str:
    """Return a time in seconds to one decimal, cut and not rounded: what came before 60 s stays before."""
    return f"{time_ns // 100_000_000 / 10:.1f} s"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Moment:
    """An operation, or a single event, at its place in the history."""

    index: float
    """Of what closed it; of what opened it, if nothing did; a stop stands between two events."""
    what: "Operation | Event | _Stopped"
    indexes: frozenset[int]
    healed: bool
    """It came after the faults were over: the drain."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Stopped:
    """A stop, told."""

    worker: str
    time_ns: int
    text: str
    job_id: str | None = None


def _moments(history: History, run: int, stops: Iterable[Stop]) -> list[_Moment]:
    heal = min(
        (event.index for event in history.events if event.run == run and event.f == "heal"), default=None
    )
    moments = [
        _moment(operation, operation.inv_index, operation.ret_index, heal)
        for operation in history.operations
        if operation.run == run
    ]
    paired = {index for moment in moments for index in moment.indexes}
    moments += [
        _moment(event, event.index, None, heal)
        for event in history.events
        if event.run == run and event.index not in paired and event.f not in QUIET
    ]
    for stop in stops:
        told = stopped(history, stop)
        time_ns = history.events[stop.event - 1].time_ns
        what = _Stopped(worker=stop.worker, time_ns=time_ns, text=told)
        moments.append(_Moment(index=stop.event - 0.5, what=what, indexes=frozenset(), healed=False))
    return sorted(moments, key=lambda moment: moment.index)


def _moment(what: Operation | Event, index: int, closed: int | None, heal: int | None) -> _Moment:
    indexes = frozenset({index} if closed is None else {index, closed})
    return _Moment(
        index=index if closed is None else closed,
        what=what,
        indexes=indexes,
        healed=heal is not None and index > heal,
    )


def _chosen(moments: list[_Moment], witness: set[int], job_id: str | None, limit: int) -> list[_Moment]:
    end = max(witness, default=moments[-1].index if moments else 0)

    def rank(moment: _Moment) -> tuple[int, float]:
        if moment.indexes & witness or _is_turn(moment):
            return 0, moment.index
        about_the_job = job_id is not None and moment.what.job_id == job_id
        return (1 if about_the_job else 2), end - moment.index

    candidates = [
        moment
        for moment in moments
        if moment.indexes & witness
        or _is_turn(moment)
        or (moment.index <= end and (not moment.healed or moment.what.job_id == job_id))
    ]
    return sorted(candidates, key=rank)[:limit]


def _is_turn(moment: _Moment) -> bool:
    """Whether here the schedule did what the story turns on."""
    what = moment.what
    return isinstance(what, _Stopped) or (isinstance(what, Event) and struck(what) is not None)


def _row(moment: _Moment, start_ns: int, witness: set[int], violation: Violation, survives: str) -> Row:
    what = moment.what
    shows_payload = violation.invariant == "integrity"
    if isinstance(what, _Stopped):
        time_ns, text = what.time_ns, what.text
    elif isinstance(what, Event):
        time_ns, text = what.time_ns, struck(what, survives) or event_text(what)
    else:
        text = operation_text(what, shows_payload=shows_payload)
        time_ns = what.inv_ns if what.ret_ns == NEVER_NS else what.ret_ns
        text += (
            f" (called at {seconds(what.inv_ns - start_ns)})" if time_ns - what.inv_ns >= SETTLED_NS else ""
        )
    return Row(
        time_ns=time_ns - start_ns,
        worker=printable(what.worker),
        text=printable(text),
        is_witness=bool(moment.indexes & witness) or _is_turn(moment),
    )


def operation_text(operation: Operation, *, shows_payload: bool = False) -> str:
    """Return what an operation did and what it answered: `claim → j1 #2 as c2`, `ack c1 → LeaseLost`."""
    called = " ".join((operation.f, *_named(operation, shows_payload=shows_payload)))
    match operation.outcome:
        case EventType.OK:
            return f"{called} → {_answer(operation, shows_payload=shows_payload)}"
        case EventType.FAIL:
            return f"{called} → {shortened(operation.error or 'refused', length=32)}"
        case _:
            return f"{called} → {shortened(operation.error or 'no answer', length=48)}"


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


def _cells(each: Row, time: str, time_width: int, workers: Sequence[str]) -> list[Cell]:
    style = _style(each)
    mine = [Cell(text=each.text if worker == each.worker else "", style=style) for worker in workers]
    mark = Cell(text=MARK if each.is_break else "", style="bold red")
    return [Cell(text=time.rjust(time_width), style="dim"), *mine, mark]


def _drawn_narrow(told: Sequence[Row], times: Sequence[str], time_width: int, width: int) -> list[Text]:
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
