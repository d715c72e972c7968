"""How soon does Hypothesis alone come upon each bug? A state machine with a model, as its users write them.

Its rules call one whole operation after another, on a clock of their own; a worker dies between two.
"""

import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bugs import FOUND, LEASE_SECONDS, MEMORY, NOT_FOUND, Bug, left_in, report
from hypothesis import Phase, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from ssq_verify.subjects.naive_file import NaiveFileQueue


class Machine(RuleBasedStateMachine):
    """Jobs with names of their own; of each it is known which claim of it is the last."""

    bug = Bug.SUPERSEDED

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(dir=MEMORY)
        self.now = datetime.now(UTC)
        self.queue = NaiveFileQueue(Path(self.folder.name), LEASE_SECONDS, lambda: self.now)
        self.waiting: set[str] = set()
        self.jobs = 0
        self.claims: list[Any] = []
        self.last: dict[str, str] = {}

    @rule()
    def enqueue(self) -> None:
        """Add a job."""
        self.jobs += 1
        self.waiting.add(f"j{self.jobs}")
        self.queue.enqueue(f"j{self.jobs}")

    @rule()
    def claim(self) -> None:
        """Take a job."""
        if (claim := self.queue.claim(worker_id="w")) is not None:
            self.claims.append(claim)
            self.last[claim.job_id] = claim.claim_id

    @rule(data=st.data())
    def ack(self, data: Any) -> None:
        """Finish a job with any claim that there was."""
        if self.claims:
            claim = data.draw(st.sampled_from(self.claims))
            self.queue.ack(claim=claim)
            is_current = self.last[claim.job_id] == claim.claim_id
            assert self.bug is not Bug.SUPERSEDED or is_current, "it was claimed anew since"
            if is_current:
                self.waiting.discard(claim.job_id)

    @rule()
    def die(self) -> None:
        """Let all workers die and forget what they had."""
        self.claims.clear()

    @rule(seconds=st.sampled_from((1.0, LEASE_SECONDS, LEASE_SECONDS + 1)))
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)

    def teardown(self) -> None:
        """Look for the jobs that were not finished."""
        left = left_in(Path(self.folder.name))
        self.folder.cleanup()
        assert self.bug is Bug.SUPERSEDED or self.waiting <= left, f"lost {self.waiting - left}"


def searched(bug: Bug, seed: int, limit: float) -> str:
    """Run the machine's test again and again, each time with another seed."""
    begin = time.perf_counter()
    Machine.bug = bug
    # To the first failure, as for the other ways: nothing is shrunk.
    asked = settings(database=None, deadline=None, phases=[Phase.generate])
    number = seed * 1_000_000
    while time.perf_counter() - begin < limit:
        number += 1
        try:
            run_state_machine_as_test(seeded(number)(Machine), settings=asked)
        except AssertionError:
            return FOUND
    return NOT_FOUND


if __name__ == "__main__":
    report(searched)
