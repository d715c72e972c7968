"""How often is a job tried, when again, and what becomes of it then? It is counted, rests, and dies."""

from datetime import timedelta

import pytest

from ssq_verify.contract.suite import Suite, needs
from ssq_verify.workplace import (
    LEASE_TTL,
    MAX_CLOCK_SKEW,
    MICROSECOND,
    RETRY,
    RETRY_WITH_REST,
    Workplace,
    claimed,
    counted,
    kill,
)


class Attempts(Suite):
    """Attempts, dead letters, back-off, and counting."""

    # Attempts and dead letters

    @pytest.mark.scenario("lease-queue/attempts-count-from-one")
    @pytest.mark.parametrize("way", ["released", "expired"])
    def test_attempts_count_from_one(self, place: Workplace, way: str) -> None:
        """Claims of one incarnation have attempts 1, 2, 3, however each ended, also when its worker died."""
        attempts = []
        place.handle().enqueue("j1")
        for _ in range(3):
            worker = place.handle()
            claim = claimed(worker)
            attempts.append(claim.attempt)
            if way == "released":
                worker.release(claim=claim)
            else:
                del worker
                place.expire()

        assert attempts == [1, 2, 3]

    @needs("retries")
    @pytest.mark.scenario("lease-queue/the-last-attempt-ends-in-a-dead-letter")
    @pytest.mark.parametrize("way", ["released", "expired"])
    def test_the_last_attempt_ends_in_a_dead_letter(self, place: Workplace, way: str) -> None:
        """A job released, or left to expire, at its last attempt is never claimed again."""
        queue = place.handle()
        queue.enqueue("j1")
        for _ in range(RETRY.max_attempts):
            claim = claimed(queue)
            if way == "released":
                queue.release(claim=claim)
            else:
                place.expire()

        assert queue.claim(worker_id="w2") is None
        place.clock.advance(10 * LEASE_TTL)
        assert place.handle().claim(worker_id="w3") is None

    @needs("retries")
    @pytest.mark.scenario("lease-queue/an-ack-at-the-last-attempt-counts")
    def test_an_ack_at_the_last_attempt_counts(self, place: Workplace) -> None:
        """The last attempt is a full one: its ack ends the job, and the id is free."""
        queue = place.handle()
        queue.enqueue("j1")
        for _ in range(RETRY.max_attempts - 1):
            queue.release(claim=claimed(queue))

        queue.ack(claim=claimed(queue))
        queue.enqueue("j1")

        assert claimed(queue).attempt == 1

    @needs("dead letters")
    @pytest.mark.scenario("lease-queue/dead-letters-are-listed")
    def test_dead_letters_are_listed(self, place: Workplace) -> None:
        """Dead letters come oldest job first, with attempts, payload and the instant of their death."""
        queue = place.handle()
        for number in (1, 2, 3):
            queue.enqueue(f"j{number}", payload=bytes([number]))
        held = [claimed(queue) for _ in range(3)]
        place.clock.advance(timedelta(seconds=1))
        for claim in reversed(held):
            for _ in range(RETRY.max_attempts - 1):
                queue.release(claim=claim)
                claim = claimed(queue)  # noqa: PLW2901 - the same job's next claim
            queue.release(claim=claim)
            place.clock.advance(timedelta(seconds=1))

        dead = place.handle().dead()

        assert [(job.job_id, job.attempts, job.payload) for job in dead] == [
            ("j1", 3, b"\1"),
            ("j2", 3, b"\2"),
            ("j3", 3, b"\3"),
        ]
        assert [place.clock.now - job.died_at for job in dead] == [timedelta(seconds=n) for n in (1, 2, 3)]

    @needs("dead letters")
    @pytest.mark.scenario("lease-queue/a-dead-letter-gets-a-new-incarnation")
    def test_a_dead_letter_gets_a_new_incarnation(self, place: Workplace) -> None:
        """`requeue_dead` gives a dead job all its attempts again, with its payload and in its old place."""
        queue = place.handle()
        queue.enqueue("j0", payload=b"zero")
        kill(place, queue, "j0")
        queue.enqueue("j1")

        assert place.handle().requeue_dead("j0") is True

        assert queue.dead() == []
        again = claimed(queue)
        assert (again.job_id, again.attempt, again.payload) == ("j0", 1, b"zero")

    @needs("dead letters")
    @pytest.mark.scenario("lease-queue/only-a-dead-job-is-requeued")
    def test_only_a_dead_job_is_requeued(self, place: Workplace) -> None:
        """`requeue_dead` of an unknown, queued, claimed or acked job says False and changes nothing."""
        queue = place.handle()
        answers = [queue.requeue_dead("j1")]
        queue.enqueue("j1")
        answers.append(queue.requeue_dead("j1"))
        claim = claimed(queue)
        answers.append(queue.requeue_dead("j1"))
        queue.ack(claim=claim)
        answers.append(queue.requeue_dead("j1"))

        assert answers == [False] * 4
        assert queue.claim(worker_id="w1") is None

    # Back-off

    @needs("back-off")
    @pytest.mark.scenario("lease-queue/a-released-job-rests")
    def test_a_released_job_rests(self, place: Workplace) -> None:
        """After a release a job is not claimed before its rest is over, and is from that instant on."""
        queue, other = place.handle(retry=RETRY_WITH_REST), place.handle(retry=RETRY_WITH_REST)
        queue.enqueue("j1")
        # 10 s, doubled for each attempt, 30 s at most.
        for rest_seconds in (10, 20, 30, 30):
            queue.release(claim=claimed(queue))
            place.clock.advance(timedelta(seconds=rest_seconds) - MICROSECOND)
            assert other.claim(worker_id="w2") is None
            place.clock.advance(MICROSECOND)

        assert claimed(other).attempt == RETRY_WITH_REST.max_attempts

    @needs("back-off")
    @pytest.mark.scenario("lease-queue/a-resting-job-holds-up-nobody")
    def test_a_resting_job_holds_up_nobody(self, place: Workplace) -> None:
        """While the oldest job rests, the next one is claimed."""
        queue = place.handle(retry=RETRY_WITH_REST)
        queue.enqueue("j1")
        queue.enqueue("j2")
        queue.release(claim=claimed(queue))

        assert claimed(queue).job_id == "j2"
        place.clock.advance(timedelta(seconds=10))
        assert claimed(queue).job_id == "j1"

    @pytest.mark.scenario("lease-queue/without-back-off-no-clock-is-asked")
    def test_without_back_off_no_clock_is_asked(self, place: Workplace) -> None:
        """Enqueued, or released without a rest, a job is there at once for a worker whose clock is behind."""
        ahead, behind = place.handle(ahead=MAX_CLOCK_SKEW / 2), place.handle(ahead=-MAX_CLOCK_SKEW / 2)
        ahead.enqueue("j1")
        ahead.release(claim=claimed(ahead))

        assert claimed(behind).attempt == 2

    # Counting

    @needs("stats")
    @pytest.mark.scenario("lease-queue/jobs-are-counted-by-state")
    def test_jobs_are_counted_by_state(self, place: Workplace) -> None:
        """`stats` counts each job in the state that it has by the clock of the handle that is asked."""
        queue = place.handle(retry=RETRY_WITH_REST)
        assert queue.stats() == counted()
        for number in range(5):
            queue.enqueue(f"j{number}")
        assert queue.stats() == counted(queued=5)
        released, held, _ = claimed(queue), claimed(queue), claimed(queue)
        queue.release(claim=released)
        assert queue.stats() == counted(queued=2, delayed=1, claimed=2)
        place.clock.now = held.lease_expires_at + place.max_clock_skew
        assert queue.stats() == counted(queued=3, claimed=2)
        place.clock.advance(MICROSECOND)
        assert queue.stats() == counted(queued=3, expired=2)
        queue.ack(claim=held)

        assert place.handle().stats() == counted(queued=3, expired=1)

    @needs("stats")
    @pytest.mark.scenario("lease-queue/jobs-are-counted-by-state")
    def test_dead_jobs_are_counted(self, place: Workplace) -> None:
        """A dead letter counts as dead and nothing else, and again as queued once it is requeued."""
        queue = place.handle()
        kill(place, queue, "j1")
        assert queue.stats() == counted(dead=1)

        queue.requeue_dead("j1")

        assert queue.stats() == counted(queued=1)
