"""What did a worker do, in a few words? An operation with its answer, or an event that stands alone."""

import base64
import binascii
from collections.abc import Iterable

from ssq_verify.history import Event, EventType, Operation
from ssq_verify.report.layout import shortened


def operation_text(operation: Operation, *, shows_payload: bool = False, error_length: int = 48) -> str:
    """Return what an operation did and what it answered: `claim → j1 #2 as c2`, `ack c1 → LeaseLost`."""
    # Of a call with many jobs: which of them, as the notation of histories writes it.
    lane = (f"(+{operation.lane})",) if operation.lane else ()
    called = " ".join((operation.f, *lane, *named(operation, shows_payload=shows_payload)))
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
        "connection-cut": f"its connection is cut: {(event.value or '').partition('|')[0]}",
        "server-kill": "the server is killed",
        "server-pause": "the server stands still",
        "server-back": "the server is back",
        "drained": "finds the queue drained",
        "drain-cut": f"stops polling: {event.value}",
        "dead": f"finds {event.job_id} dead",
        "zone": f"is in the time zone {event.value}",
        "strobe": f"clock jumps to and fro by {event.value} s",
        "sweep": "begins to bring back what is due",
        "swept": "has brought back what is due"
        if event.value is None
        else f"brought it back in part: {event.value}",
        "present": f"sees {event.job_id} in the queue",
    }
    return known.get(event.f) or " ".join(part for part in (event.f, event.job_id, event.value) if part)


def named(operation: Operation, *, shows_payload: bool) -> Iterable[str]:
    """Yield what an operation was called with: its job, or its claim."""
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
