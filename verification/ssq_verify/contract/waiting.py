"""Can a worker wait for work, and not ask again and again? Whatever makes a job available wakes it.

A wait takes real time, whatever clock the queue was given. So the tests here only wait for what comes: for as
long as it takes, with a limit that a queue which works never reaches.
"""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import pytest

from ssq_core.queue import RetryPolicy
from ssq_verify.contract.suite import Suite, needs
from ssq_verify.workplace import WAIT_SECONDS_MAX, Workplace, claimed, race_policy

SHORT_SECONDS = 0.05
LEASE_SECONDS = 0.2
WAKINGS_FOR_NOTHING_MAX = 20


class Waiting(Suite):
    """`wait`, where a queue has it."""

    @needs("wait")
    @pytest.mark.scenario("lease-queue/a-job-is-there-already")
    @pytest.mark.parametrize("seconds", [0, 0.0, WAIT_SECONDS_MAX, math.inf])
    def test_a_job_is_there_already(self, place: Workplace, seconds: float) -> None:
        """A wait for a job that was there before is over at once."""
        place.handle().enqueue("j1")
        queue: Any = place.handle()

        assert queue.wait(seconds=seconds) is True

        assert claimed(queue).job_id == "j1"

    @needs("wait")
    @pytest.mark.scenario("lease-queue/a-job-is-there-already")
    def test_what_came_due_is_there_already(self, place: Workplace) -> None:
        """A job whose lease has ended by the queue's clock needs no wait."""
        queue: Any = place.handle()
        queue.enqueue("j1")
        claimed(queue)
        place.expire()

        assert queue.wait(seconds=0) is True

        assert claimed(queue).attempt == 2

    @needs("wait")
    @pytest.mark.scenario("lease-queue/nothing-comes")
    @pytest.mark.parametrize("seconds", [0, SHORT_SECONDS])
    @pytest.mark.parametrize("held", [False, True])
    def test_nothing_comes(self, place: Workplace, held: bool, seconds: float) -> None:
        """On a queue that is empty, or whose one job is held, a wait ends with False."""
        queue: Any = place.handle()
        if held:
            queue.enqueue("j1")
            claimed(queue)

        # It may wake for nothing, such as news of what is no longer so, but not again and again.
        assert not all(queue.wait(seconds=seconds) for _ in range(WAKINGS_FOR_NOTHING_MAX))

    @needs("wait")
    @pytest.mark.scenario("lease-queue/somebody-enqueues-or-gives-back")
    def test_who_waits_is_woken_by_an_enqueue(self, place: Workplace) -> None:
        """What another handle enqueues ends the wait, time after time."""
        queue = place.handle()

        with ThreadPoolExecutor(1) as threads:
            for number in range(3):
                waiting = self._waiting(threads, place)
                queue.enqueue(f"j{number}")
                assert waiting() == f"j{number}"

    @needs("wait")
    @pytest.mark.scenario("lease-queue/somebody-enqueues-or-gives-back")
    def test_who_waits_is_woken_by_a_release(self, place: Workplace) -> None:
        """What another handle gives back ends the wait, though nothing new came."""
        queue = place.handle()
        queue.enqueue("j1")
        claim = claimed(queue)

        with ThreadPoolExecutor(1) as threads:
            waiting = self._waiting(threads, place)
            queue.release(claim=claim)
            assert waiting() == "j1"

    @needs("wait", "batches")
    @pytest.mark.scenario("lease-queue/somebody-enqueues-or-gives-back")
    def test_who_waits_is_woken_by_many(self, place: Workplace) -> None:
        """Jobs enqueued in one call end the wait like one."""
        queue: Any = place.handle()

        with ThreadPoolExecutor(1) as threads:
            waiting = self._waiting(threads, place)
            queue.enqueue_many([("j1", b""), ("j2", b"")])
            assert waiting() == "j1"

    @needs("wait")
    @pytest.mark.scenario("lease-queue/a-lease-or-a-rest-ends")
    def test_a_lease_ends(self, place: Workplace) -> None:
        """A worker that waits gets a dead worker's job although nobody calls the queue any more."""
        queue: Any = self.open(place.workdir, race_policy(lease_ttl_seconds=LEASE_SECONDS))
        queue.enqueue("j1")
        claimed(queue, "dies")

        assert _waited_for(queue).attempt == 2

    @needs("wait", "back-off")
    @pytest.mark.scenario("lease-queue/a-lease-or-a-rest-ends")
    def test_a_rest_ends(self, place: Workplace) -> None:
        """A worker that waits gets a job that was given back when its rest is over."""
        retry = RetryPolicy(max_attempts=3, backoff_base_seconds=LEASE_SECONDS)
        queue: Any = self.open(place.workdir, race_policy(retry=retry))
        queue.enqueue("j1")
        queue.release(claim=claimed(queue))

        assert _waited_for(queue).attempt == 2

    @needs("wait")
    @pytest.mark.scenario("lease-queue/a-time-that-nobody-can-wait")
    @pytest.mark.parametrize("seconds", [-1, -0.001, math.nan, -math.inf])
    def test_a_time_that_nobody_can_wait(self, place: Workplace, seconds: float) -> None:
        """Less than nothing, and what is no number, is refused."""
        queue: Any = place.handle()

        with pytest.raises(ValueError, match=str(seconds)):
            queue.wait(seconds=seconds)

    def _waiting(self, threads: ThreadPoolExecutor, place: Workplace) -> Callable[[], str]:
        """Let another worker wait on a handle of its own; return when it is about to."""
        about_to = Event()

        def work() -> str:
            queue: Any = place.handle()
            assert queue.claim(worker_id="w2") is None
            about_to.set()
            claim = _waited_for(queue)
            queue.ack(claim=claim)
            close = getattr(queue, "close", None)
            if callable(close):
                close()
            return str(claim.job_id)

        ended = threads.submit(work)
        assert about_to.wait(WAIT_SECONDS_MAX) or ended.result()
        return ended.result


def _waited_for(queue: Any) -> Any:
    """Claim as a worker does that waits: what wakes it is a hint."""
    while (claim := queue.claim(worker_id="w2")) is None:
        assert queue.wait(seconds=WAIT_SECONDS_MAX), "a job became available, and nobody was woken"
    return claim
