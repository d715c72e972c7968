"""What may be passed to a queue, and what does it give back? Names, claims, job ids, payloads."""

from datetime import timedelta
from typing import Any

import pytest

from ssq_core.queue import InvalidJobId
from ssq_verify.contract.suite import Suite, needs
from ssq_verify.workplace import (
    LEASE_TTL,
    Workplace,
    claimed,
)


class Interface(Suite):
    """What goes in and what comes out."""

    # The interface

    @pytest.mark.scenario("lease-queue/arguments-are-passed-by-keyword")
    def test_arguments_are_passed_by_keyword(self, place: Workplace) -> None:
        """Only the job id of enqueue may be given by position."""
        queue: Any = place.handle()
        queue.enqueue("j1")

        with pytest.raises(TypeError):
            queue.claim("w1")
        claim = queue.claim(worker_id="w1")
        for operation in (queue.ack, queue.release):
            with pytest.raises(TypeError):
                operation(claim)
        queue.ack(claim=claim)

    @pytest.mark.scenario("lease-queue/a-claim-says-who-holds-what-until-when")
    def test_a_claim_says_who_holds_what_until_when(self, place: Workplace) -> None:
        """A claim carries job, worker, attempt and a lease of the agreed length, in aware UTC times."""
        queue = place.handle()
        queue.enqueue("j1")

        claim = claimed(queue, "w1")

        assert (claim.job_id, claim.worker_id, claim.attempt) == ("j1", "w1", 1)
        assert claim.claimed_at == place.clock.now
        assert claim.lease_expires_at - claim.claimed_at == LEASE_TTL
        assert claim.claimed_at.utcoffset() == claim.lease_expires_at.utcoffset() == timedelta(0)

    @pytest.mark.scenario("lease-queue/a-claim-can-not-be-changed")
    def test_a_claim_can_not_be_changed(self, place: Workplace) -> None:
        """A claim is a frozen value."""
        queue = place.handle()
        queue.enqueue("j1")
        claim: Any = claimed(queue)

        with pytest.raises(AttributeError):
            claim.attempt = 7

    @pytest.mark.scenario("lease-queue/no-two-claims-share-a-claim-id")
    def test_no_two_claims_share_a_claim_id(self, place: Workplace) -> None:
        """Claims of other jobs, other attempts and other incarnations all have ids of their own."""
        queue = place.handle()
        claims = []
        for _ in range(3):
            queue.enqueue("j1")
            queue.enqueue("j2")
            claims += [claimed(queue), claimed(queue)]
            queue.release(claim=claims[-2])
            claims.append(claimed(queue))
            queue.ack(claim=claims[-1])
            queue.ack(claim=claims[-2])

        assert len({claim.claim_id for claim in claims}) == len(claims)

    # Job ids and payloads

    @pytest.mark.scenario("lease-queue/any-short-text-is-a-job-id")
    @pytest.mark.parametrize(
        "job_id",
        ["j", "a/b", "../../etc/passwd", "/", ".", "..", "a\0b", "line\nbreak", " ", "%2F", "é", "e\u0301",
         "😀", "J", "x" * 200, "é" * 100, "CON", "job.json", "'; DROP TABLE jobs; --", "*", "-rf", "~"],
    )  # fmt: skip
    def test_any_short_text_is_a_job_id(self, place: Workplace, job_id: str) -> None:
        """Text of 1 to 200 bytes in UTF-8 comes back as it was, apart from all other ids."""
        queue = place.handle()
        queue.enqueue("j1")
        queue.enqueue(job_id)

        claims = [claimed(queue), claimed(queue)]

        assert [claim.job_id for claim in claims] == ["j1", job_id]
        for claim in claims:
            queue.ack(claim=claim)
        assert queue.claim(worker_id="w1") is None

    @pytest.mark.scenario("lease-queue/what-is-no-job-id-is-refused")
    @pytest.mark.parametrize(
        "job_id", ["", "x" * 201, "é" * 101, "\ud800", None, 7, b"j1"], ids=lambda value: repr(value)[:12]
    )
    def test_what_is_no_job_id_is_refused(self, place: Workplace, job_id: Any) -> None:
        """A bad id raises `InvalidJobId`, which is a `ValueError`, and adds nothing."""
        queue = place.handle()

        with pytest.raises(InvalidJobId) as refused:
            queue.enqueue(job_id)

        assert isinstance(refused.value, ValueError)
        assert refused.value.job_id == job_id
        assert queue.claim(worker_id="w1") is None

    @needs("payload")
    @pytest.mark.scenario("lease-queue/a-payload-comes-back-byte-for-byte")
    @pytest.mark.parametrize(
        "payload",
        [b"", b"\0", b"\0\n\r\0", bytes(range(256)), b"\n", b"\xff\xfe", b'{"a": 1}', bytes(1_000_000)],
        ids=lambda payload: f"{len(payload)}-bytes-{payload[:3].hex()}",
    )
    def test_a_payload_comes_back_byte_for_byte(self, place: Workplace, payload: bytes) -> None:
        """Each attempt's claim has the payload as it was enqueued, whatever bytes it holds."""
        queue = place.handle()
        queue.enqueue("j1", payload=payload)

        first = claimed(queue)
        queue.release(claim=first)
        place.clock.advance(LEASE_TTL)
        second = claimed(place.handle())

        assert first.payload == second.payload == payload
