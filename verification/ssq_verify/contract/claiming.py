"""Which job does a claim give, and to whom? The oldest available one, to one worker."""

import itertools
from collections import Counter

import pytest

from ssq_verify.contract.suite import Suite, needs
from ssq_verify.workplace import (
    LEASE_TTL,
    MAX_CLOCK_SKEW,
    RACE_JOBS,
    Workplace,
    claimed,
    drained,
    kill,
    race_policy,
    worked_off,
)


class Claiming(Suite):
    """What is enqueued, and who gets it."""

    # Enqueue

    @pytest.mark.scenario("lease-queue/a-queued-job-is-enqueued-again")
    def test_a_queued_job_is_enqueued_again(self, place: Workplace) -> None:
        """Enqueueing a queued job twice gives one job, in its old place."""
        queue = place.handle()
        for job_id in ("j1", "j2", "j1"):
            queue.enqueue(job_id)

        assert drained(queue) == ["j1", "j2"]

    @needs("payload")
    @pytest.mark.scenario("lease-queue/a-queued-job-is-enqueued-again")
    def test_a_second_enqueue_leaves_the_payload(self, place: Workplace) -> None:
        """Enqueueing a live job with another payload changes nothing."""
        queue = place.handle()
        queue.enqueue("j1", payload=b"first")
        queue.enqueue("j1", payload=b"second")

        assert claimed(queue).payload == b"first"

    @pytest.mark.scenario("lease-queue/a-claimed-job-is-enqueued-again")
    @pytest.mark.parametrize("expired", [False, True])
    def test_a_claimed_job_is_enqueued_again(self, place: Workplace, expired: bool) -> None:
        """Enqueueing a claimed job adds no second one: its holder's ack ends it."""
        queue = place.handle()
        queue.enqueue("j1")
        claim = claimed(queue)
        if expired:
            place.expire()

        queue.enqueue("j1")
        queue.ack(claim=claim)

        assert queue.claim(worker_id="w2") is None

    @needs("retries", "dead letters")
    @pytest.mark.scenario("lease-queue/a-dead-job-is-enqueued-again")
    def test_a_dead_job_is_enqueued_again(self, place: Workplace) -> None:
        """Enqueueing a dead job leaves it dead."""
        queue = place.handle()
        kill(place, queue, "j1")

        queue.enqueue("j1")

        assert queue.claim(worker_id="w1") is None
        assert [job.job_id for job in queue.dead()] == ["j1"]

    @pytest.mark.scenario("lease-queue/an-acked-job-is-enqueued-again")
    def test_an_acked_job_is_enqueued_again(self, place: Workplace) -> None:
        """After its ack an id is free: a new incarnation with attempt 1, in line behind the others."""
        queue = place.handle()
        queue.enqueue("j1")
        queue.release(claim=claimed(queue))
        queue.enqueue("j2")
        place.clock.advance(LEASE_TTL)
        second = claimed(queue)
        queue.ack(claim=second)

        queue.enqueue("j1")

        assert (second.job_id, second.attempt) == ("j1", 2)
        assert claimed(queue).job_id == "j2"
        again = claimed(queue)
        assert (again.job_id, again.attempt) == ("j1", 1)

    # Claim

    @pytest.mark.scenario("lease-queue/the-oldest-available-job-is-claimed")
    def test_the_oldest_available_job_is_claimed(self, place: Workplace) -> None:
        """Jobs are claimed in the order of their enqueueing, which neither their ids nor clocks decide."""
        first, second = place.handle(ahead=MAX_CLOCK_SKEW), place.handle()
        ids = ["m", "z", "a", "10", "9", "M"]
        for queue, job_id in zip(itertools.cycle([first, second]), ids, strict=False):
            queue.enqueue(job_id)

        assert drained(second) == ids

    @pytest.mark.scenario("lease-queue/a-job-given-back-keeps-its-place")
    @pytest.mark.parametrize("way", ["released", "expired"])
    def test_a_job_given_back_keeps_its_place(self, place: Workplace, way: str) -> None:
        """A job that was released, or whose lease expired, is older than what was enqueued after it."""
        queue = place.handle()
        for job_id in ("j1", "j2", "j3"):
            queue.enqueue(job_id)
        claim = claimed(queue)
        if way == "released":
            queue.release(claim=claim)
        else:
            place.expire()

        assert drained(queue) == ["j1", "j2", "j3"]

    @pytest.mark.scenario("lease-queue/nothing-is-available")
    def test_nothing_is_available(self, place: Workplace) -> None:
        """An empty queue, and one whose jobs are all held, answer None."""
        queue = place.handle()
        assert queue.claim(worker_id="w1") is None
        queue.enqueue("j1")
        claimed(queue)

        assert queue.claim(worker_id="w1") is None
        assert place.handle().claim(worker_id="w2") is None

    @pytest.mark.scenario("lease-queue/many-workers-race-for-the-same-jobs")
    def test_many_workers_race_for_the_same_jobs(self, place: Workplace) -> None:
        """Whoever races for a job, one worker gets it: each of 100 jobs is claimed once, at attempt 1."""
        queue = self.open(place.workdir, race_policy())
        ids = [f"j{number}" for number in range(RACE_JOBS)]
        for job_id in ids:
            queue.enqueue(job_id)

        claimed = [claim for taken in self.raced(place.workdir, worked_off) for claim in taken]

        # A racer may stop at a None that only contention explains; in the quiet afterwards nothing is hidden.
        claimed += worked_off(queue, "last")
        assert Counter(claimed) == Counter((job_id, 1) for job_id in ids)
