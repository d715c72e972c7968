"""What should the queue's state be by now, and what has a run exercised? The model, kept in step with a run.

The generator steers by it: when does that lease end, which job is dead? Where the queue under test answers as
the contract forbids, the lockstep goes on from what the queue said; whether it was right is for the judge.
"""

from collections import Counter, defaultdict

from ssq_verify import model
from ssq_verify.history import NEVER_NS, EventType, Operation, Terms
from ssq_verify.model import JobState, Phase

ON_CLAIM = frozenset({"ack", "release", "extend"})


class Lockstep:
    """The model's state of each job, and a tally of what was exercised."""

    def __init__(self, terms: Terms) -> None:
        self.tally: Counter[str] = Counter()
        self._contract = model.contract(terms)
        self._states: dict[str, JobState] = {}
        self._superseded: defaultdict[str, set[str | None]] = defaultdict(set)

    def state(self, job_id: str) -> JobState:
        """Return what the model says of a job."""
        return self._states.get(job_id, JobState())

    def lease_ends_ns(self) -> list[int]:
        """Return when the leases of the claimed jobs end, by a right clock; none does without leases."""
        held = (state for _, state in sorted(self._states.items()) if state.phase is Phase.CLAIMED)
        return [state.lease_end_ns for state in held if state.lease_end_ns < NEVER_NS]

    def rest_ends_ns(self) -> list[int]:
        """Return until when the queued jobs rest, as the contract lets the earliest claimer see it."""
        states = (state for _, state in sorted(self._states.items()))
        return [state.available_ns for state in states if state.phase is Phase.QUEUED and state.available_ns]

    def dead(self) -> list[str]:
        """Return the jobs that are dead letters, or are as soon as the queue looks."""
        last = self._contract.max_attempts
        return [
            job_id
            for job_id, state in sorted(self._states.items())
            if state.phase is Phase.DEAD or (state.phase is Phase.CLAIMED and state.attempt == last)
        ]

    def observe(self, operation: Operation) -> None:
        """Take one more operation into account."""
        self.tally["operations"] += 1
        if operation.job_id is None:
            self.tally["empty claims"] += operation.outcome is EventType.OK
            return
        before = self.state(operation.job_id)
        self._count(operation, before)
        after = None if operation.outcome is EventType.INFO else model.step(before, operation, self._contract)
        self._states[operation.job_id] = after or self._as_answered(before, operation)
        if operation.f == "claim" and before.phase is Phase.CLAIMED:
            self._superseded[operation.job_id].add(before.claim_id)
        if self._states[operation.job_id].phase is Phase.DEAD and before.phase is not Phase.DEAD:
            self.tally["dead letters"] += 1

    def _count(self, operation: Operation, before: JobState) -> None:
        if operation.f == "claim":
            self.tally["claims"] += 1
            self.tally["reclaims"] += before.phase is Phase.CLAIMED
        elif operation.f in ON_CLAIM:
            moment = self._moment(operation, before)
            self.tally[f"{operation.f}s {moment}"] += 1

    def _moment(self, operation: Operation, before: JobState) -> str:
        assert operation.job_id is not None
        if before.phase is Phase.CLAIMED and before.claim_id == operation.claim_id:
            return "in time" if operation.inv_ns <= before.lease_end_ns else "after expiry"
        if operation.claim_id not in self._superseded[operation.job_id]:
            return "repeated"
        return "after the next claim" if before.phase is Phase.CLAIMED else "after the next holder's end"

    def _as_answered(self, before: JobState, operation: Operation) -> JobState:
        if operation.f != "claim" or operation.outcome is not EventType.OK:
            return before
        return JobState(
            Phase.CLAIMED,
            operation.inv_ns,
            operation.attempt or before.attempt + 1,
            operation.value,
            operation.claim_id,
            self._contract.lease_end_ns(operation.inv_ns),
            self._contract.lease_end_latest_ns(operation.ret_ns),
        )
