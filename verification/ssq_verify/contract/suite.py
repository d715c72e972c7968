"""What does each theme of the contract stand on? A queue that is opened, and what it does not offer."""

import multiprocessing
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import ClassVar, Literal, TypeVar

import pytest

from ssq_core.queue import LeaseQueue
from ssq_verify.subject import BATCH_OPERATIONS, Policy, load
from ssq_verify.workplace import (
    MAX_CLOCK_SKEW,
    RACE_START_SECONDS_MAX,
    RACERS,
    Work,
    Workplace,
    line_up,
    race,
    race_policy,
)

Feature = Literal[
    "payload", "extend", "retries", "back-off", "dead letters", "stats", "worker clocks", "batches", "wait"
]
FOUND_BY_LOOKING: dict[str, tuple[str, ...]] = {
    "batches": BATCH_OPERATIONS,
    "wait": ("wait",),
}
"""What a queue need not have, and need not say that it lacks: by which operations it is known."""
Test = TypeVar("Test", bound=Callable[..., None])


def needs(*features: Feature) -> Callable[[Test], Test]:
    """Say what a test asks for beyond enqueue, claim, ack and release."""

    def declare(test: Test) -> Test:
        test.ssq_needs = frozenset(features)  # type: ignore[attr-defined]
        return test

    return declare


def offers(queue: object, feature: str) -> bool:
    """Whether a queue has the operations of a feature."""
    return all(callable(getattr(queue, name, None)) for name in FOUND_BY_LOOKING[feature])


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
        _skip(_needed(request) & self.not_offered)

    @pytest.fixture
    def place(self, request: pytest.FixtureRequest, tmp_path: Path) -> Workplace:
        """Return an empty queue's workplace."""
        place = Workplace(opened=self.open, workdir=tmp_path, max_clock_skew=self.max_clock_skew)
        looked_for = _needed(request) & FOUND_BY_LOOKING.keys()
        if looked_for:
            queue = place.handle()
            _skip({feature for feature in looked_for if not offers(queue, feature)})
        return place

    def raced(self, workdir: Path, work: Work) -> list[list[tuple[str, int]]]:
        """Let workers loose on the queue at one instant; return what each of them claimed."""
        names = [f"w{number}" for number in range(RACERS)]
        if self.race_in == "threads":
            barrier = Barrier(RACERS)

            def run(name: str) -> list[tuple[str, int]]:
                queue = self.open(workdir, race_policy())
                barrier.wait(RACE_START_SECONDS_MAX)
                return work(queue, name)

            with ThreadPoolExecutor(RACERS) as threads:
                return list(threads.map(run, names))
        context = multiprocessing.get_context("spawn")
        with context.Pool(RACERS, line_up, (context.Barrier(RACERS),)) as processes:
            return processes.map(partial(race, self.subject, workdir, work), names, chunksize=1)


def _needed(request: pytest.FixtureRequest) -> frozenset[str]:
    needed: frozenset[str] = getattr(request.function, "ssq_needs", frozenset())
    return needed


def _skip(missing: AbstractSet[str]) -> None:
    if missing:
        pytest.skip(f"not offered: {', '.join(sorted(missing))}")
