"""What does one worker process do? It claims, works and gives back, or it enqueues; and writes it down.

What it decides it draws from its own seed. What it is told it reads from the board: the stage, the clock, the
faults that it is to do to itself. It ends when the stage ends, when nobody supervises it, or by a fault.
"""

import time
from itertools import cycle
from typing import Any

from ssq_stress.faults import Phase
from ssq_stress.processes import host
from ssq_stress.processes.assignment import Assignment, Role, patience_seconds, reporting
from ssq_stress.processes.board import Field, Head, Stage
from ssq_stress.processes.desk import Desk
from ssq_stress.processes.effects import Effects
from ssq_stress.processes.log import MONOTONIC_NS
from ssq_stress.processes.many import Many
from ssq_stress.processes.workload import Fate

POLL_SECONDS = 0.015
CLAIM_SECONDS = 0.002
"""About how much later than it was asked for a lease begins."""
APPROACH_SECONDS = 0.03
"""Others keep away for so long before, and no longer than it may take the one that waits."""
AWAITED_SECONDS_MAX = 0.25
"""How long a worker waits for a lease to end, to be struck in the claim that takes the job over."""
RECENT_IDS = 400


STAGE_FATES = {Stage.DRAIN: Fate.ACK, Stage.LULL: Fate.LEAVE}
ORDERED = {Phase.RELEASE: Fate.RELEASE, Phase.EXTEND: Fate.EXTEND}
"""What leads to the phase that a fault waits for."""


def work(assignment: Assignment) -> None:
    """Be a worker process: the function that `multiprocess` starts."""
    host.settle()
    with reporting(assignment.failure):
        _Worker(assignment).run()


class _Worker:
    def __init__(self, assignment: Assignment) -> None:
        self._assignment, self._workload = assignment, assignment.workload
        self._desk = Desk(assignment)
        self._effects = Effects(assignment.folders.effects)
        self._rng, self._board, self._slot = self._desk.rng, self._desk.board, self._desk.slot
        self._striker, self._terms = self._desk.striker, self._desk.terms
        self._name = assignment.name
        self._recent: list[str] = []
        self._made = 0
        self._has_left = self._is_woken = False
        self._late_fates = cycle(self._rng.sample([Fate.ACK, *self._others()], k=1 + len(self._others())))
        """In turn, so that none is missing in a short run."""
        self._begun_ns = MONOTONIC_NS()
        self._many = Many(self._rng, is_offered=self._terms.batches)

    def run(self) -> None:
        """Work until the stage says that it is over, or there is nothing more to do."""
        turns = {Role.CONSUMER: self._consume, Role.PRODUCER: self._produce, Role.SWEEPER: self._sweep}
        turn = turns[self._assignment.role]
        last_ns = MONOTONIC_NS()
        while self._desk.is_supervised:
            stage = self._board.stage
            if stage is Stage.STOP or (stage is Stage.DRAIN and self._is_over(MONOTONIC_NS() - last_ns)):
                return
            self._striker.arrive(Phase.IDLE)
            is_done = turn(stage)
            self._slot.set(Field.IS_READY, 1)
            if is_done:
                last_ns = MONOTONIC_NS()
            else:
                self._rest(self._rng.uniform(0.5, 1.5) * POLL_SECONDS, stage)

    def _rest(self, seconds: float, stage: Stage) -> None:
        """Wait for a job as the queue can, in turn with a sleep: what wakes it may be nothing."""
        claims = self._assignment.role is Role.CONSUMER and stage in {Stage.FAULTS, Stage.DRAIN}
        self._is_woken = claims and not self._is_woken and self._desk.wait(seconds)
        if not self._is_woken:
            time.sleep(seconds)

    def _is_over(self, idle_ns: int) -> bool:
        if self._assignment.role is not Role.CONSUMER:
            return self._assignment.role is Role.PRODUCER
        return idle_ns > round(patience_seconds(self._assignment.settings) * 1e9)

    def _produce(self, stage: Stage) -> bool:
        """Enqueue one job, if there is room for one."""
        if self._are_all_made():
            return False
        if stage is Stage.FAULTS and self._assignment.rate is not None:
            due = (MONOTONIC_NS() - self._begun_ns) / 1e9 * self._assignment.rate
            if self._made >= due:
                return False
        elif self._board.backlog >= self._workload.backlog and not self._slot.is_ordered:
            return False
        if self._many.is_due():
            return self._produce_many()
        again = self._terms.idempotent_enqueue and self._recent and self._is_again()
        job_id = self._rng.choice(self._recent) if again else self._new_id()
        came_back, _ = self._desk.ask("enqueue", job_id, payload=self._payload())
        if not came_back:
            # It is not tried again: its job may be done by then, and another try would be a new one.
            self._recent = [each for each in self._recent if each != job_id]
        elif not again:
            self._slot.add(Field.ENQUEUED)
            self._recent = [*self._recent[-RECENT_IDS:], job_id]
        self._made += 1
        return came_back

    def _produce_many(self) -> bool:
        """Enqueue some new jobs in one call, not more than there are to be."""
        jobs = [(self._new_id(more), self._payload()) for more in range(self._many.count())]
        if self._workload.jobs is not None:
            del jobs[self._workload.jobs - self._board.total(Field.ENQUEUED) :]
        came_back, _ = self._desk.ask("enqueue_many", jobs, jobs=len(jobs))
        if came_back:
            self._slot.add(Field.ENQUEUED, len(jobs))
            self._recent = [*self._recent[-RECENT_IDS:], *(job_id for job_id, _ in jobs)]
        self._made += len(jobs)
        return came_back

    def _payload(self) -> bytes:
        return self._rng.randbytes(self._rng.randrange(self._assignment.payload_bytes_max))

    def _is_again(self) -> bool:
        return self._rng.random() < self._workload.again_share

    def _are_all_made(self) -> bool:
        jobs = self._workload.jobs
        return jobs is not None and self._board.total(Field.ENQUEUED) >= jobs

    def _new_id(self, more: int = 0) -> str:
        return f"{self._name}-{self._assignment.generation}-{self._made + more}"

    def _sweep(self, _stage: Stage) -> bool:
        """Do one round of what the queue leaves to a sweeper; then others have time for theirs."""
        self._desk.sweep()
        return False

    def _consume(self, stage: Stage) -> bool:
        """Claim a job and do with it what the dice say; False if there was none."""
        if stage is Stage.FILL or (stage is Stage.LULL and self._has_left):
            return False
        if self._stands_back():
            return False
        asked_ns = MONOTONIC_NS()
        if stage is not Stage.LULL and self._many.is_due():
            count = self._many.count()
            _, claims = self._desk.ask("claim_many", count, worker_id=self._name, jobs=count)
            self._end_wait()
            if claims:
                self._work_on_many(claims, asked_ns, stage)
            return bool(claims)
        _, claim = self._desk.ask("claim", worker_id=self._name)
        self._end_wait()
        if claim is None:
            return False
        self._work_on(claim, asked_ns, stage)
        return True

    def _work_on_many(self, claims: list[Any], asked_ns: int, stage: Stage) -> None:
        """Work on one job after the other, and finish all of them together, or all but one."""
        for claim in claims:
            self._count(claim)
        self._hold_until(asked_ns, next((claim for claim in claims if not self._is_last(claim)), claims[0]))
        fate = STAGE_FATES.get(stage) or self._fate(claims[0])
        self._striker.arrive(Phase.BEFORE_EFFECT)
        for claim in claims:
            self._begin(claim)
            self._striker.arrive(Phase.HOLDING)
            _last(self._rng.choice(self._workload.work_seconds))
            self._end(claim)
        self._meet_many(fate, claims)

    def _meet_many(self, fate: Fate, claims: list[Any]) -> None:
        if fate is Fate.LATE:
            self._be_late()
        elif fate is Fate.RELEASE:
            self._give_back(fate, claims.pop())
        elif fate is Fate.EXTEND:
            # Of one job the lease goes on, while those of the others end: only a part of the acks is in time.
            self._be_late(0.5, 0.6)
            self._desk.ask("extend", claim=claims[0])
            self._be_late(0.6, 0.9)
        if fate is Fate.LEAVE:
            self._board.orphan(self._slot)
        elif claims:
            came_back, acked = self._desk.ack_many(claims)
            self._slot.add(Field.ACKED, acked)
            if came_back:
                self._slot.set(Field.HELD_UNTIL_NS, 0)
            else:
                self._board.orphan(self._slot)

    def _work_on(self, claim: Any, asked_ns: int, stage: Stage) -> None:
        self._count(claim)
        self._hold_until(asked_ns, claim)
        fate = STAGE_FATES.get(stage) or self._fate(claim)
        self._has_left = stage is Stage.LULL
        self._striker.arrive(Phase.BEFORE_EFFECT)
        self._begin(claim)
        self._striker.arrive(Phase.HOLDING)
        self._meet(fate, claim)

    def _begin(self, claim: Any) -> None:
        self._effects.write("begin", job_id=claim.job_id, claim_id=str(claim.claim_id), worker=self._name)

    def _stands_back(self) -> bool:
        """Wait for a lease to end if a fault waits for the claim that takes its job; leave it to who does."""
        reclaimer, ends_ns = self._board.head(Head.RECLAIMER), self._board.head(Head.ORPHANED_NS)
        left_seconds = (ends_ns - MONOTONIC_NS()) / 1e9
        if reclaimer == 0 or ends_ns == 0:
            return False
        if reclaimer == self._assignment.number + 1:
            time.sleep(min(max(0.0, left_seconds), AWAITED_SECONDS_MAX))
            return False
        return -AWAITED_SECONDS_MAX < left_seconds < APPROACH_SECONDS

    def _end_wait(self) -> None:
        """Let others have what is left behind, once this worker has claimed."""
        if self._board.head(Head.RECLAIMER) == self._assignment.number + 1:
            self._board.set_head(Head.RECLAIMER, 0)

    def _fate(self, claim: Any) -> Fate:
        """Return what chance says, unless a fault waits for an operation that seldom comes."""
        order = self._slot.order
        is_first = getattr(claim, "attempt", 1) == 1
        weights = self._workload.fates if is_first else self._workload.fates_again
        fate = self._rng.choices(list(weights), list(weights.values()))[0]
        wanted = fate if order is None else ORDERED.get(order.phase, fate)
        offered = {
            Fate.RELEASE: self._terms.release,
            Fate.EXTEND: self._terms.extend,
            Fate.AGAIN: self._terms.idempotent_enqueue,
        }
        return wanted if offered.get(wanted, True) else Fate.ACK

    def _meet(self, fate: Fate, claim: Any) -> None:
        ttl = self._assignment.settings.lease_ttl_seconds
        if fate is Fate.LEAVE:
            self._end(claim)
            self._board.orphan(self._slot)
            return
        if fate is Fate.LATE:
            self._be_late()
            fate = next(self._late_fates)
        if fate is Fate.AGAIN:
            self._desk.ask("enqueue", claim.job_id, payload=getattr(claim, "payload", b""))
            time.sleep(self._rng.uniform(0.0, 0.1) * ttl)
        elif fate in {Fate.ACK, Fate.RELEASE}:
            _last(self._rng.choice(self._workload.work_seconds))
        if fate is Fate.EXTEND:
            time.sleep(self._rng.uniform(0.0, 0.1) * ttl)
            asked_ns = MONOTONIC_NS()
            came_back, renewed = self._desk.ask("extend", claim=claim)
            if not came_back:
                self._end(claim)
                return
            claim = renewed
            self._hold_until(asked_ns, claim)
        self._end(claim)
        self._give_back(fate, claim)

    def _be_late(self, least: float = 0.9, most: float = 2.3) -> None:
        """Do nothing for about so many leases."""
        self._slot.set(Field.IS_LATE, 1)
        time.sleep(self._rng.uniform(least, most) * self._assignment.settings.lease_ttl_seconds)
        self._slot.set(Field.IS_LATE, 0)

    def _give_back(self, fate: Fate, claim: Any) -> None:
        """Ack or release a job."""
        came_back, _ = self._desk.ask("release" if fate is Fate.RELEASE else "ack", claim=claim)
        if came_back:
            self._slot.set(Field.HELD_UNTIL_NS, 0)
            self._slot.add(Field.BURIED if fate is Fate.RELEASE and self._is_last(claim) else Field.ACKED)
        else:
            self._board.orphan(self._slot)

    def _others(self) -> list[Fate]:
        offered = {Fate.RELEASE: self._terms.release, Fate.EXTEND: self._terms.extend}
        return [fate for fate, is_offered in offered.items() if is_offered]

    def _end(self, claim: Any) -> None:
        self._effects.write("end", job_id=claim.job_id, claim_id=str(claim.claim_id), worker=self._name)

    def _is_last(self, claim: Any) -> bool:
        attempt = getattr(claim, "attempt", None)
        return attempt is not None and attempt == self._terms.max_attempts

    def _count(self, claim: Any) -> None:
        attempt = getattr(claim, "attempt", None)
        is_again = isinstance(attempt, int) and attempt > 1
        self._slot.add(Field.RECLAIMED if is_again else Field.CLAIMED)
        if is_again and self._board.head(Head.ORPHANED_NS) < MONOTONIC_NS():
            self._board.set_head(Head.ORPHANED_NS, 0)

    def _hold_until(self, asked_ns: int, claim: Any) -> None:
        """Leave on the board when the lease ends, if the job is then to be had again."""
        if self._is_last(claim):
            self._slot.set(Field.HELD_UNTIL_NS, 0)
            return
        settings = self._assignment.settings
        lease_seconds = settings.lease_ttl_seconds + settings.max_clock_skew_seconds
        self._slot.set(Field.HELD_UNTIL_NS, asked_ns + round((lease_seconds + CLAIM_SECONDS) * 1e9))


def _last(seconds: float) -> None:
    # Asked to sleep for no time, the system lets others go first.
    if seconds:
        time.sleep(seconds)
