"""What does each theme of the contract stand on? A queue that is opened, and what it does not offer."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

import pytest

from ssq_core.queue import LeaseQueue
from ssq_verify.subject import Policy, load
from ssq_verify.workplace import MAX_CLOCK_SKEW, Workplace

Feature = Literal["payload", "extend", "retries", "back-off", "dead letters", "stats", "worker clocks"]
Test = TypeVar("Test", bound=Callable[..., None])


def needs(*features: Feature) -> Callable[[Test], Test]:
    """Say what a test asks for beyond enqueue, claim, ack and release."""

    def declare(test: Test) -> Test:
        test.ssq_needs = frozenset(features)  # type: ignore[attr-defined]
        return test

    return declare


class Suite:
    """What all themes need. Name a `subject`, or override `open`."""

    subject: ClassVar[str] = ""
    """A reference as `ssq verify` takes it. Its race is run between processes."""

    race_in: ClassVar[Literal["processes", "threads"]] = "processes"
    """Threads: for a queue that lives in one process, or one opened by an overridden `open`."""

    not_offered: ClassVar[frozenset[Feature]] = frozenset()
    """What the queue does not promise: its tests are skipped and say so; they never pass."""

    max_clock_skew: ClassVar[timedelta] = MAX_CLOCK_SKEW
    """E, as the queue is asked for it; zero where it takes no part."""

    def open(self, workdir: Path, policy: Policy) -> LeaseQueue:
        """Open the queue that lives in `workdir` for one worker."""
        return load(self.subject).factory(workdir, policy)  # type: ignore[return-value]

    @pytest.fixture(autouse=True)
    def _offered(self, request: pytest.FixtureRequest) -> None:
        missing: frozenset[str] = getattr(request.function, "ssq_needs", frozenset()) & self.not_offered
        if missing:
            pytest.skip(f"not offered: {', '.join(sorted(missing))}")

    @pytest.fixture
    def place(self, tmp_path: Path) -> Workplace:
        """Return an empty queue's workplace."""
        return Workplace(opened=self.open, workdir=tmp_path, max_clock_skew=self.max_clock_skew)
