"""The contract of a lease queue as a pytest suite: name your queue in a subclass, and each promise is a test.

    from ssq_verify.contract import LeaseQueueContract

    class TestMyQueue(LeaseQueueContract):
        subject = "my_queue.py:open_queue"

`pytest_plugins = ["ssq_verify.contract"]` in your `conftest.py` makes failures show their values. The queue
must take its time from `policy.clock`: the tests move that clock by hand and never sleep.
"""

import itertools
import multiprocessing
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial
from pathlib import Path
from threading import Barrier
from typing import Any, ClassVar, Literal, TypeVar

import pytest

from ssq_core.queue import InvalidJobId, LeaseLost, LeaseQueue
from ssq_verify.subject import Policy, load
from ssq_verify.workplace import (
    LEASE_TTL,
    MAX_CLOCK_SKEW,
    MICROSECOND,
    RACE_JOBS,
    RACE_START_SECONDS_MAX,
    RACERS,
    RETRY,
    RETRY_WITH_REST,
    STALE,
    Workplace,
    altered,
    claimed,
    counted,
    drained,
    kill,
    line_up,
    race,
    race_policy,
    worked_off,
)

Feature = Literal["payload", "extend", "retries", "back-off", "dead letters", "stats"]
Test = TypeVar("Test", bound=Callable[..., None])


def pytest_configure(config: pytest.Config) -> None:
    """Register this suite's marker."""
    config.addinivalue_line("markers", "scenario(id): the scenario of the specification that this test shows")


def needs(*features: Feature) -> Callable[[Test], Test]:
    """Say what a test asks for beyond enqueue, claim, ack and release."""

    def declare(test: Test) -> Test:
        test.ssq_needs = frozenset(features)  # type: ignore[attr-defined]
        return test

    return declare


class LeaseQueueContract:
    """Every queue passes these. Name a `subject`, or override `open`."""

    subject: ClassVar[str] = ""
    """A reference as `ssq verify` takes it. Its race is run between processes."""

    race_in: ClassVar[Literal["processes", "threads"]] = "processes"
    """Threads: for a queue that lives in one process, or one opened by an overridden `open`."""

    not_offered: ClassVar[frozenset[Feature]] = frozenset()
    """What the queue does not promise: its tests are skipped and say so; they never pass."""

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
        return Workplace(opened=self.open, workdir=tmp_path)

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

        claimed = [claim for taken in self._raced(place.workdir) for claim in taken]

        # A racer may stop at a None that only contention explains; in the quiet afterwards nothing is hidden.
        claimed += worked_off(queue, "last")
        assert Counter(claimed) == Counter((job_id, 1) for job_id in ids)

    def _raced(self, workdir: Path) -> list[list[tuple[str, int]]]:
        names = [f"w{number}" for number in range(RACERS)]
        if self.race_in == "threads":
            barrier = Barrier(RACERS)

            def run(name: str) -> list[tuple[str, int]]:
                queue = self.open(workdir, race_policy())
                barrier.wait(RACE_START_SECONDS_MAX)
                return worked_off(queue, name)

            with ThreadPoolExecutor(RACERS) as threads:
                return list(threads.map(run, names))
        context = multiprocessing.get_context("spawn")
        with context.Pool(RACERS, line_up, (context.Barrier(RACERS),)) as processes:
            return processes.map(partial(race, self.subject, workdir), names, chunksize=1)

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
        place.clock.now = extended.lease_expires_at + MAX_CLOCK_SKEW
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

        place.clock.now = claim.lease_expires_at + MAX_CLOCK_SKEW + past_us * MICROSECOND

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
        place.clock.advance(2 * MAX_CLOCK_SKEW + MICROSECOND)
        assert claimed(claimer, "w2").attempt == 2

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
        place.clock.now = held.lease_expires_at + MAX_CLOCK_SKEW
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
