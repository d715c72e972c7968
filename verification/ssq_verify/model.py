"""What may one job do next? The lease queue's state diagram as one pure step function.

Jobs are independent of each other, so one job is the whole model. `step` returns the state after an operation
took effect with the outcome that it reports, or None where the contract forbids that:

    ABSENT --enqueue--> QUEUED --claim, attempt + 1--> CLAIMED --ack--> ABSENT
                          ^                               |
                          +--release, attempt < max-------+--claim after the lease's end, attempt + 1: CLAIMED
                          |                               |
                          +--requeue-- DEAD <-------------+  release, or the lease's end, at attempt = max

Time. An operation takes effect at one instant between its call (`inv`) and its return (`ret`), on the one
true clock of the history. Almost all that the contract asks of time is a "not before":
`JobState.instant_ns` is therefore the earliest instant at which the last operation can have taken effect,
each rule moves it on, and an order of operations is impossible exactly when an operation would have to
take effect after its return. (The one "not after", a late ack that is promised to be refused, is met best
by the earliest instant, too.)

*A lease ends, at the earliest, at `claim.inv + ttl`*, whatever the clocks within E show. Let the claimer's
clock be ahead of the true one by a; it is read at some t1 >= inv, so the lease's end is written as t1 + a
+ ttl. Who takes the job over, with a clock that is ahead by b, does so once that clock is past it by E: t
+ b > t1 + a + ttl + E. As b - a <= E, t > t1 + ttl >= inv + ttl. The holder counts from before its call
and so gives up by inv + ttl. An extend that returned ok moves the end to `extend.inv + ttl` in the same
way. By the same sum a job rests after a release until `release.inv + back-off - E` at the earliest: there
nobody waits E longer.

When the clocks of a run differed by more than E, time drops out (`Contract.timed`): any instant may be
after a lease's end. All the rest is still asked for.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Literal

import msgspec

from ssq_verify.history import LEASE_LOST, NEVER_NS, NOT_DEAD, EventType, Operation, Terms

SECOND_NS = 1_000_000_000
ON_CLAIMS = frozenset({"ack", "release", "extend"})
"""The operations on a claim that was made before."""


class Phase(StrEnum):
    """Where in the diagram a job stands."""

    ABSENT = "absent"
    QUEUED = "queued"
    CLAIMED = "claimed"
    DEAD = "dead"


class JobState(msgspec.Struct, frozen=True):
    """One job at one instant. What does not matter in a phase has its default there: equal means equal."""

    phase: Phase = Phase.ABSENT
    instant_ns: int = 0
    """The earliest instant at which the last operation can have taken effect."""
    attempt: int = 0
    """How often this incarnation was claimed."""
    payload: str | None = None
    claim_id: str | None = None
    """CLAIMED: the current claim, by `claim_name`."""
    lease_end_ns: int = 0
    """CLAIMED: the lease ends at this instant at the earliest."""
    lease_end_latest_ns: int = 0
    """CLAIMED: and at this one at the latest."""
    available_ns: int = 0
    """QUEUED: the job rests until this instant at least."""
    acked: frozenset[str | None] = frozenset()
    """The claims that were acked; kept only where a repeated ack is promised to return ok."""


class Contract(msgspec.Struct, frozen=True, kw_only=True):
    """`Terms` in nanoseconds, and whether time counts in this run."""

    terms: Terms
    ttl_ns: int
    skew_ns: int
    """E; 0 where the server keeps the time."""
    resolution_ns: int
    """How coarse the queue's own times are."""
    timed: bool
    """False where a lease may end at any instant."""
    max_attempts: int | None
    late_ack: Literal["accepted", "rejected", "either"]

    def lease_end_ns(self, inv_ns: int) -> int:
        """Return the earliest end of a lease that was asked for at `inv_ns`."""
        if not self.timed:
            return 0
        return inv_ns + self.ttl_ns if self.terms.lease else NEVER_NS

    def lease_end_latest_ns(self, ret_ns: int) -> int:
        """Return the latest end: both clocks of that sum at their other extreme, E waited for, rounded up."""
        if not self.terms.lease or not self.timed or ret_ns == NEVER_NS:
            return NEVER_NS
        return ret_ns + self.ttl_ns + 2 * self.skew_ns + self.resolution_ns

    def rest_end_ns(self, inv_ns: int, attempt: int) -> int:
        """Return until when, at least, a job rests that was released at `inv_ns`."""
        if not self.timed:
            return 0
        return inv_ns + round(self.terms.backoff_seconds(attempt) * SECOND_NS) - self.skew_ns


Rule = Callable[[JobState, Operation, Contract, int], JobState | None]
"""From the state before an operation to the one after, at the earliest instant that is left for it."""


def contract(terms: Terms, *, timed: bool = True) -> Contract:
    """Return what `step` asks for; not `timed` if the run's clocks differed by more than the terms allow."""
    return Contract(
        terms=terms,
        ttl_ns=round(terms.lease_ttl_seconds * SECOND_NS),
        skew_ns=round((terms.max_clock_skew_seconds or 0.0) * SECOND_NS),
        resolution_ns=round(terms.time_resolution_seconds * SECOND_NS),
        timed=timed,
        max_attempts=terms.max_attempts,
        late_ack=terms.late_ack,
    )


def step(state: JobState, operation: Operation, contract: Contract) -> JobState | None:
    """Return the state after the operation took effect as it reports, None if the contract forbids that.

    An outcome that is not known (`info`) is taken as ok; that it may never have happened is the caller's
    business.
    """
    instant = _earliest(state, operation)
    rule = _refusal(operation) if operation.outcome is EventType.FAIL else _EFFECTS[operation.f]
    after = rule(state, operation, contract, instant)
    if after is None or after.instant_ns > operation.ret_ns:
        return None
    return after


def step_idle(state: JobState, operation: Operation, contract: Contract) -> JobState | None:
    """Return the state after an ack, release or extend that did nothing; None if it can't have done so.

    Only without fencing is that an answer: what a stale one does to the job, if anything, is not promised.
    """
    if operation.f not in ON_CLAIMS or operation.outcome is EventType.FAIL:
        return None
    instant = _earliest(state, operation)
    idle = _died(state, contract, instant) if _is_current(state, operation) else _unchanged(state, instant)
    if idle is None or idle.instant_ns > operation.ret_ns:
        return None
    return idle


def _earliest(state: JobState, operation: Operation) -> int:
    return max(state.instant_ns, operation.inv_ns)


def claim_name(operation: Operation) -> str | None:
    """Return what tells claims apart: its id, or else the attempt or the worker that it reports."""
    if operation.claim_id is not None or operation.outcome is EventType.INFO:
        return operation.claim_id
    return f"@{operation.worker}" if operation.attempt is None else f"#{operation.attempt}"


def _enqueue(state: JobState, operation: Operation, contract: Contract, instant: int) -> JobState:
    # A queue that keeps no dead letters may forget a dead job, and take it anew.
    forgotten = state.phase is Phase.DEAD and not contract.terms.dead_letters
    if state.phase is not Phase.ABSENT and not forgotten:
        return _unchanged(state, instant)
    return JobState(Phase.QUEUED, instant, payload=operation.value, acked=state.acked)


def _claim(state: JobState, operation: Operation, contract: Contract, instant: int) -> JobState | None:
    if state.phase is Phase.QUEUED:
        instant = max(instant, state.available_ns)
    elif state.phase is Phase.CLAIMED:
        instant = max(instant, state.lease_end_ns + 1)
    else:
        return None
    attempt = _counted(state, operation, contract)
    if attempt is None or not _same_payload(state, operation, contract):
        return None
    return JobState(
        Phase.CLAIMED,
        instant,
        attempt,
        state.payload,
        claim_name(operation),
        contract.lease_end_ns(operation.inv_ns),
        contract.lease_end_latest_ns(operation.ret_ns),
        acked=state.acked,
    )


def _counted(state: JobState, operation: Operation, contract: Contract) -> int | None:
    reported = operation.attempt
    attempt = state.attempt + 1
    if contract.max_attempts is None:
        # Who retries without bound need not count; what is reported is the best that the back-off can know.
        return attempt if reported is None else reported
    if attempt > contract.max_attempts:
        return None
    if reported is not None and reported != attempt:
        return None
    return attempt


def _same_payload(state: JobState, operation: Operation, contract: Contract) -> bool:
    # A log need not record payloads: what is absent on either side is not compared.
    if not contract.terms.payload or operation.value is None or state.payload is None:
        return True
    return operation.value == state.payload


def _ack(state: JobState, operation: Operation, contract: Contract, instant: int) -> JobState | None:
    if not _acts(state, operation, contract):
        return _unchanged(state, instant) if claim_name(operation) in state.acked else None
    if contract.late_ack == "rejected" and instant > state.lease_end_latest_ns:
        return None
    if contract.terms.repeat_ack == "refused":
        return JobState(Phase.ABSENT, instant)
    return JobState(Phase.ABSENT, instant, acked=state.acked | {claim_name(operation)})


def _release(state: JobState, operation: Operation, contract: Contract, instant: int) -> JobState | None:
    if not _acts(state, operation, contract):
        return None
    if _is_last(state, contract):
        return _dead(state, instant)
    available = contract.rest_end_ns(operation.inv_ns, state.attempt)
    return JobState(
        Phase.QUEUED, instant, state.attempt, state.payload, available_ns=available, acked=state.acked
    )


def _extend(state: JobState, operation: Operation, contract: Contract, instant: int) -> JobState | None:
    if not _acts(state, operation, contract) or state.phase is not Phase.CLAIMED:
        return None
    # Two extends may overtake each other; each holder was promised its own, so the end only moves on.
    return JobState(
        Phase.CLAIMED,
        instant,
        state.attempt,
        state.payload,
        state.claim_id,
        max(state.lease_end_ns, contract.lease_end_ns(operation.inv_ns)),
        max(state.lease_end_latest_ns, contract.lease_end_latest_ns(operation.ret_ns)),
        acked=state.acked,
    )


def _requeue(state: JobState, operation: Operation, contract: Contract, instant: int) -> JobState | None:
    dead = _seen_dead(state, operation, contract, instant)
    if dead is None:
        return None
    return JobState(Phase.QUEUED, dead.instant_ns, payload=dead.payload, acked=dead.acked)


def _seen_dead(state: JobState, _operation: Operation, contract: Contract, instant: int) -> JobState | None:
    if contract.max_attempts is None and state.attempt > 0:
        # Where no bound is promised, none is judged: the queue gave the job up for reasons of its own.
        return _dead(state, max(instant, state.lease_end_ns + 1))
    return _died(state, contract, instant)


def _lose_holder(state: JobState, operation: Operation, _contract: Contract, instant: int) -> JobState | None:
    """Without leases, the holder's death is what ends a claim."""
    if not _is_current(state, operation):
        return None
    return msgspec.structs.replace(state, instant_ns=instant, lease_end_ns=0)


def _refusal(operation: Operation) -> Rule:
    """Return what must be so when nothing was changed: where a server was away, nothing else."""
    error = operation.error
    return _REFUSALS[operation.f] if error is None or error.startswith((LEASE_LOST, NOT_DEAD)) else _refused


def _refused_claim_operation(
    state: JobState, operation: Operation, contract: Contract, instant: int
) -> JobState | None:
    """`LeaseLost`: right of every claim but the current one."""
    if not _is_current(state, operation):
        return _unchanged(state, instant)
    if contract.late_ack != "accepted":
        # The holder's own clock may decide, which does not wait E longer.
        return _unchanged(state, max(instant, state.lease_end_ns - contract.skew_ns + 1))
    return _died(state, contract, instant)


def _refused_requeue(
    state: JobState, _operation: Operation, _contract: Contract, instant: int
) -> JobState | None:
    return None if state.phase is Phase.DEAD else _unchanged(state, instant)


def _refused(state: JobState, _operation: Operation, _contract: Contract, instant: int) -> JobState:
    return _unchanged(state, instant)


def _is_current(state: JobState, operation: Operation) -> bool:
    return state.phase is Phase.CLAIMED and state.claim_id == claim_name(operation)


def _acts(state: JobState, operation: Operation, contract: Contract) -> bool:
    """Whether an ack, release or extend may act on the job: of the current claim, or unfenced of any."""
    return _is_current(state, operation) if contract.terms.fencing else state.phase is not Phase.ABSENT


def _is_last(state: JobState, contract: Contract) -> bool:
    return contract.max_attempts is not None and state.attempt >= contract.max_attempts


def _died(state: JobState, contract: Contract, instant: int) -> JobState | None:
    """Return the job as a dead letter, if by now it can be one.

    A lease's end at the last attempt makes it one without any operation. Nobody sees when, so it stays
    CLAIMED here until something shows that it died; an ack that came first is still right.
    """
    if state.phase is Phase.DEAD:
        return _unchanged(state, instant)
    if state.phase is Phase.CLAIMED and _is_last(state, contract):
        return _dead(state, max(instant, state.lease_end_ns + 1))
    return None


def _dead(state: JobState, instant: int) -> JobState:
    return JobState(Phase.DEAD, instant, state.attempt, state.payload, acked=state.acked)


def _unchanged(state: JobState, instant: int) -> JobState:
    return msgspec.structs.replace(state, instant_ns=instant)


_EFFECTS = {
    "enqueue": _enqueue,
    "claim": _claim,
    "ack": _ack,
    "release": _release,
    "extend": _extend,
    "requeue": _requeue,
    "dead": _seen_dead,
    "death": _lose_holder,
}
"""What each operation does when it returns ok. `dead`: a dead letter was seen; `death`: the holder died."""

_REFUSALS = {
    "enqueue": _refused,
    "claim": _refused,
    "ack": _refused_claim_operation,
    "release": _refused_claim_operation,
    "extend": _refused_claim_operation,
    "requeue": _refused_requeue,
}
"""What must be so when it returns an error that promises that nothing was changed."""
