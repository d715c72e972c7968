"""Why does no order of a job's operations fit the contract? The sentence that goes with a witness."""

from ssq_verify.history import EventType, Operation
from ssq_verify.model import SECOND_NS, JobState, Phase
from ssq_verify.pieces import Piece


def no_order(piece: Piece, last: Operation, state: JobState, start_ns: int) -> str:
    """Say that the operation that completes the witness fits nowhere, and how the job then stood.

    Seconds count from `start_ns`.
    """
    return (
        f"no order of job {piece.job_id}'s {piece.size} operations fits the contract: "
        f"{_happened(last, start_ns)}{_with_payload(last, state)}, but then {_stood(piece, state, start_ns)}"
    )


def reuse(piece: Piece, claims: list[Operation], start_ns: int) -> str:
    """Say that two claims were given one id."""
    given = " and ".join(f"to {claim.worker} at {_seconds(claim.ret_ns, start_ns)}" for claim in claims)
    return (
        f"claim id {claims[0].claim_id} of job {piece.job_id} was given {given}; it must name one claim only"
    )


def _happened(operation: Operation, start_ns: int) -> str:
    at = f"at {_seconds(operation.ret_ns, start_ns)}"
    if operation.f == "dead":
        return f"{operation.worker} saw it among the dead letters {at}"
    if operation.outcome is EventType.FAIL:
        return f"{operation.worker}'s {_named(operation)} was refused {at}"
    return f"{operation.worker}'s {_named(operation)} returned ok {at}"


def _with_payload(operation: Operation, state: JobState) -> str:
    if operation.f != "claim" or operation.value is None or state.payload in {None, operation.value}:
        return ""
    return " with another payload than was enqueued"


def _named(operation: Operation) -> str:
    claim = "" if operation.claim_id is None else f" {operation.claim_id}"
    attempt = "" if operation.attempt is None else f" (attempt {operation.attempt})"
    of = " as" if operation.f == "claim" else " of"
    return f"{operation.f}{of if claim else ''}{claim}{attempt}"


def _stood(piece: Piece, state: JobState, start_ns: int) -> str:
    timed = piece.contract.timed
    match state.phase:
        case Phase.ABSENT:
            return "there was no such job"
        case Phase.QUEUED:
            rests = timed and state.available_ns > state.instant_ns
            until = f", to rest until {_seconds(state.available_ns, start_ns)}" if rests else ""
            return f"it was queued after {_attempts(state)}{_bound(piece)}{until}"
        case Phase.CLAIMED:
            until = (
                f", its lease not ending before {_seconds(state.lease_end_ns, start_ns)}"
                if timed and piece.contract.terms.lease
                else ""
            )
            by = f"claim {state.claim_id}" if state.claim_id is not None else "a claim of unknown outcome"
            return f"it was held by {by}, attempt {state.attempt}{_bound(piece)}{until}"
        case Phase.DEAD:
            return f"it was a dead letter after {_attempts(state)}"


def _attempts(state: JobState) -> str:
    return "1 attempt" if state.attempt == 1 else f"{state.attempt} attempts"


def _bound(piece: Piece) -> str:
    return "" if piece.contract.max_attempts is None else f" of {piece.contract.max_attempts:,}"


def _seconds(time_ns: int, start_ns: int) -> str:
    return f"{(time_ns - start_ns) / SECOND_NS:.6f}".rstrip("0").rstrip(".") + " s"
