"""What may many jobs in one call do? Whatever each of them could by itself, and no more."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest

from ssq_core.queue import BATCH_MAX, InvalidJobId, LeasesLost
from ssq_verify.contract.suite import Suite, needs
from ssq_verify.workplace import (
    LEASE_TTL,
    RACE_JOBS,
    RETRY,
    RETRY_WITH_REST,
    Workplace,
    claimed,
    drained,
    kill,
    race_policy,
    worked_off_by_threes,
)


class Batches(Suite):
    """`enqueue_many`, `claim_many` and `ack_many`, where a queue has them."""

    # Enqueue

    @needs("batches", "payload")
    @pytest.mark.scenario("lease-queue/many-jobs-keep-their-order")
    def test_many_jobs_keep_their_order(self, place: Workplace) -> None:
        """Jobs of one call are claimed in the order in which they were given, each with its payload."""
        queue: Any = place.handle()
        jobs = [(job_id, job_id.encode()) for job_id in ("m", "z", "a", "10", "9", "M")]
        queue.enqueue("first")
        queue.enqueue_many(job for job in jobs)
        queue.enqueue("last")

        claims = queue.claim_many(8, worker_id="w1")

        assert [claim.job_id for claim in claims] == ["first", *(job_id for job_id, _ in jobs), "last"]
        assert [claim.payload for claim in claims] == [b"", *(payload for _, payload in jobs), b""]

    @needs("batches")
    @pytest.mark.scenario("lease-queue/one-job-among-many-is-none")
    @pytest.mark.parametrize("place_of_it", [0, 1, 2])
    @pytest.mark.parametrize(
        "bad", [("", b""), ("x" * 201, b""), ("j9", "text")], ids=["empty", "long", "text for bytes"]
    )
    def test_one_job_among_many_is_none(
        self, place: Workplace, bad: tuple[str, Any], place_of_it: int
    ) -> None:
        """An id or a payload that is none, wherever it stands among others, leaves the queue as it was."""
        queue: Any = place.handle()
        jobs = [("j1", b""), ("j2", b"")]
        jobs.insert(place_of_it, bad)

        with pytest.raises(InvalidJobId if isinstance(bad[1], bytes) else TypeError):
            queue.enqueue_many(jobs)

        assert queue.claim_many(3, worker_id="w1") == []

    @needs("batches", "payload", "retries")
    @pytest.mark.scenario("lease-queue/live-jobs-among-many-are-passed-over")
    def test_live_jobs_among_many_are_passed_over(self, place: Workplace) -> None:
        """A job that is queued, claimed, dead, or given twice stays as it is; the others are added."""
        queue: Any = place.handle()
        kill(place, queue, "dead")
        queue.enqueue("held")
        held = claimed(queue)
        queue.enqueue("queued", payload=b"old")

        jobs = [
            ("new", b"1"),
            ("held", b"x"),
            ("new", b"2"),
            ("dead", b"x"),
            ("queued", b"x"),
            ("newer", b"3"),
        ]
        queue.enqueue_many(jobs)

        taken = queue.claim_many(9, worker_id="w2")
        shown = [(claim.job_id, claim.payload) for claim in taken]
        assert shown == [("queued", b"old"), ("new", b"1"), ("newer", b"3")]
        queue.ack_many(claims=[held, *taken])
        assert drained(queue) == []

    # Claim

    @needs("batches")
    @pytest.mark.scenario("lease-queue/no-more-is-claimed-than-there-is")
    def test_no_more_is_claimed_than_there_is(self, place: Workplace) -> None:
        """As many are claimed as were asked for, then what is left, then nothing, by others, too."""
        queue: Any = place.handle()
        queue.enqueue_many((f"j{number}", b"") for number in range(5))

        taken = [queue.claim_many(limit, worker_id="w1") for limit in (2, BATCH_MAX, 1)]

        assert [[claim.job_id for claim in claims] for claims in taken] == [
            ["j0", "j1"],
            ["j2", "j3", "j4"],
            [],
        ]
        assert place.handle().claim(worker_id="w2") is None

    @needs("batches")
    @pytest.mark.scenario("lease-queue/each-of-many-claims-is-a-claim-of-its-own")
    def test_each_of_many_claims_is_a_claim_of_its_own(self, place: Workplace) -> None:
        """Each has a claim id, an attempt and a lease, and is released or acked without the others."""
        queue: Any = place.handle()
        queue.enqueue_many([("j1", b""), ("j2", b""), ("j3", b"")])

        first, second, third = queue.claim_many(3, worker_id="w1")

        assert len({first.claim_id, second.claim_id, third.claim_id}) == 3
        for claim in (first, second, third):
            assert (claim.worker_id, claim.attempt, claim.claimed_at) == ("w1", 1, place.clock.now)
            assert claim.lease_expires_at - claim.claimed_at == LEASE_TTL
        queue.ack(claim=second)
        queue.release(claim=third)
        assert claimed(queue).job_id == "j3"
        queue.ack(claim=first)

    @needs("batches")
    @pytest.mark.scenario("lease-queue/a-number-of-jobs-that-no-call-can-take")
    @pytest.mark.parametrize("limit", [0, -1, BATCH_MAX + 1])
    def test_a_number_of_jobs_that_no_call_can_take(self, place: Workplace, limit: int) -> None:
        """A limit below 1 or over `BATCH_MAX` is refused, and nothing is claimed."""
        queue: Any = place.handle()
        queue.enqueue("j1")

        with pytest.raises(ValueError, match=str(limit)):
            queue.claim_many(limit, worker_id="w1")

        assert claimed(queue).attempt == 1

    @needs("batches")
    @pytest.mark.scenario("lease-queue/expired-jobs-are-claimed-with-others")
    def test_expired_jobs_are_claimed_with_others(self, place: Workplace) -> None:
        """Jobs whose leases ended come back in their old places, with the attempt counted."""
        queue: Any = place.handle()
        queue.enqueue_many([("j1", b""), ("j2", b""), ("j3", b"")])
        queue.claim_many(2, worker_id="dies")
        place.expire()

        taken = place.handle().claim_many(3, worker_id="w2")

        assert [(claim.job_id, claim.attempt) for claim in taken] == [("j1", 2), ("j2", 2), ("j3", 1)]

    @needs("batches", "retries", "dead letters")
    @pytest.mark.scenario("lease-queue/expired-jobs-are-claimed-with-others")
    def test_spent_jobs_are_buried_on_the_way(self, place: Workplace) -> None:
        """Jobs whose last leases ended are dead, and take no place from those that are claimed."""
        queue: Any = place.handle()
        queue.enqueue_many([("spent", b""), ("spent, too", b"")])
        for _ in range(RETRY.max_attempts):
            assert len(queue.claim_many(2, worker_id="dies")) == 2
            place.expire()
        queue.enqueue_many([("j1", b""), ("j2", b"")])

        taken = queue.claim_many(2, worker_id="w1")

        assert [(claim.job_id, claim.attempt) for claim in taken] == [("j1", 1), ("j2", 1)]
        assert [(job.job_id, job.attempts) for job in queue.dead()] == [("spent", 3), ("spent, too", 3)]

    @needs("batches", "back-off")
    @pytest.mark.scenario("lease-queue/expired-jobs-are-claimed-with-others")
    def test_resting_jobs_are_passed_over(self, place: Workplace) -> None:
        """Jobs that rest are left, and the younger ones claimed."""
        queue: Any = place.handle(retry=RETRY_WITH_REST)
        queue.enqueue_many([("j1", b""), ("j2", b""), ("j3", b"")])
        for claim in queue.claim_many(2, worker_id="w1"):
            queue.release(claim=claim)

        taken = queue.claim_many(3, worker_id="w1")

        assert [(claim.job_id, claim.attempt) for claim in taken] == [("j3", 1)]

    @needs("batches")
    @pytest.mark.scenario("lease-queue/many-workers-race-for-many-jobs-at-once")
    def test_many_workers_race_for_many_jobs_at_once(self, place: Workplace) -> None:
        """Each of 100 jobs is claimed once, at attempt 1, by workers that take up to three at once."""
        queue: Any = self.open(place.workdir, race_policy())
        ids = [f"j{number}" for number in range(RACE_JOBS)]
        queue.enqueue_many((job_id, b"") for job_id in ids)

        claimed = [claim for taken in self.raced(place.workdir, worked_off_by_threes) for claim in taken]

        # As in a race for single jobs: in the quiet afterwards nothing is hidden.
        claimed += worked_off_by_threes(queue, "last")
        assert Counter(claimed) == Counter((job_id, 1) for job_id in ids)

    # Ack

    @needs("batches")
    @pytest.mark.scenario("lease-queue/stale-claims-among-many-are-named")
    def test_stale_claims_among_many_are_named(self, place: Workplace) -> None:
        """Superseded, acked and released claims are named and change nothing; all the others are acked."""
        queue: Any = place.handle()
        queue.enqueue_many((f"j{number}", b"") for number in range(5))
        first = queue.claim_many(4, worker_id="w1")
        place.expire()
        second = queue.claim_many(2, worker_id="w2")
        queue.ack(claim=first[2])
        (fifth,) = [claim for claim in queue.claim_many(2, worker_id="w3") if claim.job_id == "j4"]

        with pytest.raises(LeasesLost) as lost:
            queue.ack_many(claims=(claim for claim in [*first, fifth]))

        # The fourth was superseded by the claim of w3.
        assert sorted(_ids(lost.value.claims)) == sorted(_ids(first))
        assert lost.value.job_id in {claim.job_id for claim in first}
        queue.ack_many(claims=second)
        place.expire()
        assert drained(queue) == ["j3"]

    @needs("batches")
    @pytest.mark.scenario("lease-queue/stale-claims-among-many-are-named")
    @pytest.mark.parametrize("stale", [0, 1, 2])
    def test_current_claims_are_acked_around_a_stale_one(self, place: Workplace, stale: int) -> None:
        """Wherever the one stale claim stands, the two others are acked, also after their leases' ends."""
        queue: Any = place.handle()
        queue.enqueue_many([("j1", b""), ("j2", b""), ("j3", b"")])
        claims = queue.claim_many(3, worker_id="w1")
        queue.release(claim=claims[stale])
        place.expire()

        with pytest.raises(LeasesLost) as lost:
            queue.ack_many(claims=claims)

        assert _ids(lost.value.claims) == [claims[stale].claim_id]
        assert [(claim.job_id, claim.attempt) for claim in queue.claim_many(9, worker_id="w2")] == [
            (claims[stale].job_id, 2)
        ]

    @needs("batches")
    @pytest.mark.scenario("lease-queue/nothing-and-more-than-a-call-can-take")
    def test_nothing_in_one_call(self, place: Workplace) -> None:
        """No jobs, and no claims, change nothing."""
        queue: Any = place.handle()
        queue.enqueue("j1")
        claim = claimed(queue)

        queue.enqueue_many([])
        queue.ack_many(claims=[])

        queue.ack(claim=claim)
        assert queue.claim_many(1, worker_id="w1") == []

    @needs("batches")
    @pytest.mark.scenario("lease-queue/nothing-and-more-than-a-call-can-take")
    def test_more_than_a_call_can_claim(self, place: Workplace) -> None:
        """More jobs than one call can claim are enqueued, and acked, in one call."""
        queue: Any = place.handle()
        queue.enqueue_many((f"j{number}", b"") for number in range(BATCH_MAX + 1))

        claims = queue.claim_many(BATCH_MAX, worker_id="w1")
        claims += queue.claim_many(BATCH_MAX, worker_id="w1")

        assert [claim.job_id for claim in claims] == [f"j{number}" for number in range(BATCH_MAX + 1)]
        queue.ack_many(claims=claims)
        place.expire()
        assert queue.claim(worker_id="w1") is None


def _ids(claims: Iterable[Any]) -> list[str]:
    return [claim.claim_id for claim in claims]
