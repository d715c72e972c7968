"""How soon does frontrun come upon each bug? Two threads on one folder, explored as its documentation says.

`frontrun python threads.py BUG` uses DPOR, its default, or, with the variable STRATEGY=random, its strategy
for state that DPOR can't see. DPOR takes calls on one path for a conflict, and knows neither renames nor
listings. No thread can be killed: a worker that dies does so between two operations. Leases end in its
virtual clock.
"""

import os
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import frontrun
from bugs import COMPLETE, FOUND, LEASE_SECONDS, NOT_FOUND, Bug, left_in, report

from ssq_verify.subjects.naive_file import NaiveFileQueue

EVER = 10**9
POLL_SECONDS = 31.0
STRATEGIES = {
    "dpor": {"strategy": "dpor", "search": "bit-reversal"},
    "random": {"strategy": "random", "max_attempts": EVER},
}


class Team:
    """What two workers share: a folder, and a list of the acks that were accepted."""

    def __init__(self, jobs: int) -> None:
        self.folder = tempfile.TemporaryDirectory()  # not under /dev, which frontrun leaves out
        self.queue = NaiveFileQueue(Path(self.folder.name), LEASE_SECONDS, _now)
        self.acked: list[str] = []
        for number in range(1, jobs + 1):
            self.queue.enqueue(f"j{number}")


def _now() -> datetime:
    return datetime.fromtimestamp(time.time(), UTC)


def _produce(team: Team) -> None:
    team.queue.enqueue("j1")


def _die(team: Team) -> None:
    team.queue.claim(worker_id="w1")


def _consume(team: Team) -> None:
    try:
        claim = team.queue.claim(worker_id="w2")
    except ValueError:
        return
    if claim is not None:
        team.queue.ack(claim=claim)
        team.acked.append(claim.job_id)


def _overrun(team: Team) -> None:
    for _ in range(3):
        claim = team.queue.claim(worker_id="w")
        time.sleep(POLL_SECONDS if claim is None else LEASE_SECONDS + 10)
        if claim is not None:
            team.queue.ack(claim=claim)
            team.acked.append(claim.job_id)


def _is_kept(team: Team) -> bool:
    return set(team.acked) | left_in(Path(team.folder.name)) == {"j1"}


def _is_acked_once(team: Team) -> bool:
    return len(team.acked) <= 1


def searched(bug: Bug, seed: int, limit: float) -> str:
    """Explore until the bug is found or all is explored."""
    workers = {
        Bug.KILLED: [_die, _consume],
        Bug.HALF_WRITTEN: [_produce, _consume],
        Bug.SUPERSEDED: [_overrun, _overrun],
    }[bug]
    name = os.environ.get("STRATEGY", "dpor")
    result = frontrun.explore(
        setup=lambda: Team(jobs=0 if bug is Bug.HALF_WRITTEN else 1),
        workers=workers,
        invariant=_is_acked_once if bug is Bug.SUPERSEDED else _is_kept,
        clock="virtual" if bug is Bug.SUPERSEDED else "real",
        total_timeout=limit,
        reproduce_on_failure=0,
        trace_packages=["ssq_verify.subjects.*"],
        **STRATEGIES[name],
        **({"seed": seed} if name == "random" else {}),
    )
    if not result.property_holds:
        return FOUND
    return NOT_FOUND if name == "random" else COMPLETE


if __name__ == "__main__":
    report(searched)
