"""What if clocks differ, and workers come and go? Leases hold within the skew, and jobs come back."""

from datetime import timedelta

import pytest

from ssq_core.queue import LeaseLost
from ssq_verify.contract.suite import Suite, needs
from ssq_verify.workplace import (
    LEASE_TTL,
    MAX_CLOCK_SKEW,
    MICROSECOND,
    Workplace,
    claimed,
)


class Clocks(Suite):
    """Times by clocks that may be wrong, and handles that others opened."""

    # Time and clocks

    @pytest.mark.scenario("lease-queue/a-job-is-taken-only-past-expiry-and-skew")
    @pytest.mark.parametrize(("past_us", "taken"), [(-1, False), (0, False), (1, True)])
    def test_a_job_is_taken_only_past_expiry_and_skew(
        self,
        place: Workplace,
        past_us: int,
        taken: bool,
    ) -> None:
        """An expired job is taken strictly after its lease's end plus the skew, to the microsecond."""
        queue, other = place.handle(), place.handle()
        queue.enqueue("j1")
        claim = claimed(queue)

        place.clock.now = claim.lease_expires_at + place.max_clock_skew + past_us * MICROSECOND

        assert (other.claim(worker_id="w2") is not None) is taken

    @pytest.mark.scenario("lease-queue/within-the-skew-no-two-workers-hold-a-job")
    @pytest.mark.parametrize("sign", [1, -1])
    def test_within_the_skew_no_two_workers_hold_a_job(self, place: Workplace, sign: int) -> None:
        """With clocks E apart a lease is never cut short, and ends at the latest 2 E late."""
        holder = place.handle(ahead=-sign * MAX_CLOCK_SKEW / 2)
        claimer = place.handle(ahead=sign * MAX_CLOCK_SKEW / 2)
        holder.enqueue("j1")
        claimed(holder)

        place.clock.advance(LEASE_TTL)
        assert claimer.claim(worker_id="w2") is None
        place.clock.advance(2 * place.max_clock_skew + MICROSECOND)
        assert claimed(claimer, "w2").attempt == 2

    @needs("worker clocks")
    @pytest.mark.scenario("lease-queue/beyond-the-skew-fencing-still-holds")
    def test_beyond_the_skew_fencing_still_holds(self, place: Workplace) -> None:
        """A worker an hour ahead may take a held job; then only its ack counts, and nothing is lost."""
        holder, hasty = place.handle(), place.handle(ahead=timedelta(hours=1))
        holder.enqueue("j1")
        claim = claimed(holder)
        taken = claimed(hasty, "w2")

        with pytest.raises(LeaseLost):
            holder.ack(claim=claim)

        hasty.ack(claim=taken)
        assert hasty.claim(worker_id="w2") is None

    @needs("worker clocks")
    @pytest.mark.scenario("lease-queue/a-wrong-clock-takes-nothing-for-others")
    def test_a_wrong_clock_takes_nothing_for_others(self, place: Workplace) -> None:
        """A worker that is an hour ahead finds a held job expired; workers with right clocks still do not."""
        holder, hasty, other = place.handle(), place.handle(ahead=timedelta(hours=1)), place.handle()
        for job_id in ("j1", "j2"):
            holder.enqueue(job_id)
        claimed(holder)
        claimed(holder)

        assert claimed(hasty, "w2").job_id == "j1"
        assert other.claim(worker_id="w3") is None

    # Handles, crashes

    @pytest.mark.scenario("lease-queue/what-one-handle-did-another-sees")
    def test_what_one_handle_did_another_sees(self, place: Workplace) -> None:
        """Any handle sees every operation that returned, and may use any current claim."""
        first, second = place.handle(), place.handle()
        first.enqueue("j1")
        claim = claimed(second, "w2")
        assert first.claim(worker_id="w1") is None
        second.release(claim=claim)
        claim = claimed(first, "w1")
        second.ack(claim=claim)

        assert first.claim(worker_id="w1") is None
        with pytest.raises(LeaseLost):
            first.ack(claim=claim)

    @pytest.mark.scenario("lease-queue/opening-a-queue-changes-nothing")
    def test_opening_a_queue_changes_nothing(self, place: Workplace) -> None:
        """A new handle over an old backlog frees no claim, counts no attempt and keeps the order."""
        queue = place.handle()
        for job_id in ("j1", "j2", "j3"):
            queue.enqueue(job_id)
        claim = claimed(queue)
        del queue

        queue = place.handle()

        assert claimed(queue).job_id == "j2"
        queue.ack(claim=claim)
        place.expire()
        rest = [claimed(place.handle()), claimed(place.handle())]
        assert [(claim.job_id, claim.attempt) for claim in rest] == [("j2", 2), ("j3", 1)]

    @pytest.mark.scenario("lease-queue/a-dead-worker-s-job-comes-back-by-itself")
    def test_a_dead_workers_job_comes_back_by_itself(self, place: Workplace) -> None:
        """A dead worker's job is claimed by the first poll after its lease, whatever the backlog."""
        place.handle().enqueue("j0")
        claimed(place.handle(), "dies")
        queue = place.handle()
        for number in range(1, 50):
            queue.enqueue(f"j{number}")
        for number in range(1, 10):
            claim = claimed(queue)
            assert claim.job_id == f"j{number}"
            queue.ack(claim=claim)

        place.expire()

        assert claimed(queue).job_id == "j0"
