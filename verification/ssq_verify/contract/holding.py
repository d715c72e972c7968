"""What may the holder of a claim do, and until when? While the claim is current, all of it."""

import pytest

from ssq_core.queue import LeaseLost
from ssq_verify.contract.suite import Suite, needs
from ssq_verify.workplace import (
    LEASE_TTL,
    MICROSECOND,
    STALE,
    Workplace,
    altered,
    claimed,
)


class Holding(Suite):
    """Acks, releases and heartbeats, of claims that are current and of such as are not."""

    # Which claim is current

    @pytest.mark.scenario("lease-queue/a-claim-that-is-no-longer-current-is-refused")
    @pytest.mark.parametrize("operation", ["ack", "release"])
    @pytest.mark.parametrize(
        "way", ["acked", "released", "superseded", "superseded, acked", "new incarnation"]
    )
    def test_a_stale_claim_is_refused(self, place: Workplace, way: str, operation: str) -> None:
        """Ack and release of a claim that is no longer current raise `LeaseLost` and change nothing."""
        self._refused(place, way, operation)

    @needs("extend")
    @pytest.mark.scenario("lease-queue/a-claim-that-is-no-longer-current-is-refused")
    @pytest.mark.parametrize(
        "way", ["acked", "released", "superseded", "superseded, acked", "new incarnation"]
    )
    def test_a_stale_claim_is_not_extended(self, place: Workplace, way: str) -> None:
        """Extend of a claim that is no longer current raises `LeaseLost` and changes nothing."""
        self._refused(place, way, "extend")

    @needs("retries", "dead letters")
    @pytest.mark.scenario("lease-queue/a-claim-that-is-no-longer-current-is-refused")
    @pytest.mark.parametrize("operation", ["ack", "release"])
    def test_a_buried_job_is_not_brought_back(self, place: Workplace, operation: str) -> None:
        """The last claim of a job that died under it is refused, and the job stays dead."""
        self._refused(place, "buried", operation)

    def _refused(self, place: Workplace, way: str, operation: str) -> None:
        queue = place.handle()
        queue.enqueue("j1")
        claim, still = STALE[way](place, queue)

        with pytest.raises(LeaseLost) as lost:
            getattr(queue, operation)(claim=claim)

        assert (lost.value.job_id, lost.value.claim_id) == (claim.job_id, claim.claim_id)
        still()

    @pytest.mark.scenario("lease-queue/a-claim-of-nothing-is-refused")
    @pytest.mark.parametrize("operation", ["ack", "release"])
    def test_a_claim_of_nothing_is_refused(self, place: Workplace, operation: str) -> None:
        """A claim that the queue never gave out is refused, and the current one stays current."""
        queue = place.handle()
        queue.enqueue("j1")
        held = claimed(queue)

        for job_id, claim_id in (("j1", "made-up"), ("j2", held.claim_id), ("../j1", "../../x"), ("j1", "")):
            with pytest.raises(LeaseLost):
                getattr(queue, operation)(claim=altered(held, job_id=job_id, claim_id=claim_id))
        queue.ack(claim=held)

    @pytest.mark.scenario("lease-queue/a-current-claim-outlives-its-lease")
    def test_a_current_claim_is_acked_after_its_lease(self, place: Workplace) -> None:
        """An ack after expiry and before the next claim counts: the job is done."""
        queue = place.handle()
        queue.enqueue("j1")
        claim = claimed(queue)
        place.clock.advance(10 * LEASE_TTL)

        queue.ack(claim=claim)

        assert queue.claim(worker_id="w2") is None

    @pytest.mark.scenario("lease-queue/a-current-claim-outlives-its-lease")
    def test_a_current_claim_is_released_after_its_lease(self, place: Workplace) -> None:
        """A release after expiry and before the next claim gives the job back, with that attempt counted."""
        queue = place.handle()
        queue.enqueue("j1")
        claim = claimed(queue)
        place.clock.advance(10 * LEASE_TTL)

        queue.release(claim=claim)

        assert claimed(queue).attempt == 2

    # Extend

    @needs("extend")
    @pytest.mark.scenario("lease-queue/a-heartbeat-starts-the-lease-anew")
    def test_a_heartbeat_starts_the_lease_anew(self, place: Workplace) -> None:
        """An extended lease ends one lease after the extend, not earlier and not later."""
        queue, other = place.handle(), place.handle()
        queue.enqueue("j1")
        claim = claimed(queue)
        place.clock.advance(LEASE_TTL / 2)

        extended = queue.extend(claim=claim)

        assert extended.lease_expires_at == place.clock.now + LEASE_TTL
        assert (extended.job_id, extended.claim_id, extended.attempt) == ("j1", claim.claim_id, 1)
        place.clock.now = extended.lease_expires_at + place.max_clock_skew
        assert other.claim(worker_id="w2") is None
        place.clock.advance(MICROSECOND)
        assert claimed(other, "w2").attempt == 2

    @needs("extend")
    @pytest.mark.scenario("lease-queue/a-heartbeat-revives-an-expired-lease")
    def test_a_heartbeat_revives_an_expired_lease(self, place: Workplace) -> None:
        """A current claim whose lease has ended is extended, even where a claim could have taken the job."""
        queue, other = place.handle(), place.handle()
        queue.enqueue("j0")
        queue.enqueue("j1")
        claimed(queue)
        claim = claimed(queue)
        place.expire()
        assert claimed(other).job_id == "j0"

        queue.extend(claim=claim)

        assert other.claim(worker_id="w2") is None

    @needs("extend")
    @pytest.mark.scenario("lease-queue/the-claim-from-before-a-heartbeat-stays-current")
    @pytest.mark.parametrize("operation", ["ack", "release", "extend"])
    def test_the_claim_from_before_a_heartbeat_stays_current(self, place: Workplace, operation: str) -> None:
        """Whoever kept the old claim object may go on using it, in any process."""
        queue = place.handle()
        queue.enqueue("j1")
        claim = claimed(queue)
        for _ in range(2):
            place.clock.advance(LEASE_TTL / 2)
            queue.extend(claim=claim)

        getattr(place.handle(), operation)(claim=claim)

    @needs("extend")
    @pytest.mark.scenario("lease-queue/the-claim-from-before-a-heartbeat-stays-current")
    def test_the_extended_claim_is_acked(self, place: Workplace) -> None:
        """The claim that extend returned is current, too."""
        queue = place.handle()
        queue.enqueue("j1")

        queue.ack(claim=queue.extend(claim=claimed(queue)))

        assert queue.claim(worker_id="w2") is None
