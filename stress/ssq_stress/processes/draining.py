"""What does the process do that nothing strikes? It drains the queue in the end, and tells what is left."""

import time
from typing import Any

from ssq_stress.processes import host
from ssq_stress.processes.assignment import Assignment, patience_seconds, reporting
from ssq_stress.processes.board import Stage
from ssq_stress.processes.desk import Desk
from ssq_stress.processes.log import MONOTONIC_NS, EventLog
from ssq_verify.execution import DRAIN_WORKER, EMPTY_POLLS_AT_END
from ssq_verify.history import EventType
from ssq_verify.subject import SubjectFailed

SECONDS_MAX = 60.0
"""For what the others left; a queue that still gives out jobs then is not drained."""


def drain(assignment: Assignment) -> None:
    """Claim and ack alone, until the queue is found empty for good; then tell what is left in it."""
    host.settle()
    with reporting(assignment.failure):
        _Drain(assignment).run()


class _Drain:
    def __init__(self, assignment: Assignment) -> None:
        self._desk: Desk | None = None
        self._assignment = assignment

    def run(self) -> None:
        """Drain, or say what kept us from it."""
        try:
            self._desk = Desk(self._assignment, is_struck=False)
        except SubjectFailed as error:
            # After faults a queue must open again without a repair; what it lost, nobody can know now.
            self._end_without_queue(str(error))
            return
        limit = self._drained()
        dead, there = [], []
        try:
            dead = list(self._desk.queue.inner.dead()) if self._desk.terms.dead_letters else []
            there = list(self._desk.queue.inner.job_ids()) if self._desk.terms.lists_jobs else []
        except Exception as error:  # noqa: BLE001 - anybody's code
            limit = f"listing its jobs raised {type(error).__name__}: {error}"
        self._tell(limit, dead, there)

    def _drained(self) -> str | None:
        """Return None when the queue is empty, else the limit that was reached."""
        assert self._desk is not None
        until_ns = MONOTONIC_NS() + round(SECONDS_MAX * 1e9)
        patience, empty = patience_seconds(self._assignment.settings), 0
        while MONOTONIC_NS() < until_ns:
            if self._desk.board.stage is Stage.STOP:
                return "an interruption"
            came_back, claim = self._desk.ask("claim", worker_id=DRAIN_WORKER)
            if claim is not None:
                self._desk.ask("ack", claim=claim)
                empty = 0
                continue
            empty = empty + 1 if came_back else 0
            if empty == EMPTY_POLLS_AT_END:
                return None
            # Nothing was about for so long that one more wait shows all that there is.
            time.sleep(patience if came_back and empty == 1 else 0.01)
        return f"{SECONDS_MAX:.0f} s"

    def _tell(self, limit: str | None, dead: list[Any], there: list[str]) -> None:
        assert self._desk is not None
        log = self._desk.log
        log.record(DRAIN_WORKER, EventType.INFO, "drained" if limit is None else "drain-cut", value=limit)
        for job in dead:
            attempts = getattr(job, "attempts", None)
            log.record(DRAIN_WORKER, EventType.INFO, "dead", job_id=job.job_id, attempt=attempts)
        for job_id in there:
            log.record(DRAIN_WORKER, EventType.INFO, "present", job_id=job_id)

    def _end_without_queue(self, why: str) -> None:
        EventLog(self._assignment.path).single(DRAIN_WORKER, "drain-cut", value=why)
